"""Workers that are killed with SIGKILL at random moments, again and again: `killing.py FILE URL KILLS SEED`.

Run by test_kills.py as a process of its own, since it forks and a process with threads should not. Each worker puts
some requests into the outbox, tells the parent of each that was acknowledged, and sends what is due, until it is
killed. Prints the acknowledged ones as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

import httpx

import seawall
from seawall import Outbox, Policy, Retry

LEASE = 0.15


def work(path: str, url: str, client: httpx.Client, tell: int, seed: str) -> None:
    """Until killed."""
    chance = random.Random(seed)
    outbox = Outbox(path)
    for n in range(100_000):
        for m in range(chance.choice((0, 1, 3)) if n < 3 else 0):
            key = f"{seed}-{n}-{m}"
            receipt = outbox.put(
                "POST", f"{url}/{key}", (("Idempotency-Key", key),), key.encode() * 50, host=url, queue_timeout=3600
            )
            os.write(tell, f"{receipt.id} {key}\n".encode())
        outbox.drain(client, lease=LEASE)


def main(path: str, url: str, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    policy = Policy(retry=Retry(max_retries=1, base_delay=0.001))
    client = seawall.mount(httpx.Client(verify=False, trust_env=False), policy)
    Outbox(path).drain(client)  # everything is imported once, not by each worker
    listen, tell = os.pipe()
    os.set_blocking(listen, False)
    told = b""
    for number in range(kills):
        worker = os.fork()
        if not worker:
            try:
                work(path, url, client, tell, f"{seed}-{number}")
            finally:
                os._exit(1)
        time.sleep(0.002 + chance.choice((0.01, 0.03, 0.06)) * chance.random())
        os.kill(worker, signal.SIGKILL)
        status = os.waitpid(worker, 0)[1]
        assert os.WIFSIGNALED(status), f"worker {number} ended by itself: {status}"
        try:
            told += os.read(listen, 1 << 20)
        except BlockingIOError:
            pass
    print(json.dumps([line.split() for line in told.decode().splitlines()]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
