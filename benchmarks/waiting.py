"""Do threads that wait for a slow host still wait at the same time?

A layer that holds a lock or a semaphore while it sends turns 16 threads into one. First on a transport that sleeps
1 ms, then through a whole client to a real server that answers after 1 ms, where the client's own work weighs in:
there each thread has its own connection pool under the shared layer, because a pool shared by 64 threads is itself
the bottleneck, which would make every layer look free.
"""

import importlib
import ssl
import threading
import time
from functools import partial
from typing import Any

from benchmarks import server
from benchmarks.clients import URL, canned, sync_block
from benchmarks.measure import BY_HAND, ESSENTIAL, NOOP, OURS, Goal
from benchmarks.subjects import make, sync_subjects
from benchmarks.threads import throughput

COUNTS = (16, 64)
DELAY = 0.001
PEERS = ("interlock-cb", "httpx-retries", "tenacity", "pybreaker", "circuitbreaker", "purgatory", BY_HAND)


def run(quick: bool) -> list[Goal]:
    hx = importlib.import_module("httpx")
    budget = 1.0 if quick else 35.0
    subjects = ESSENTIAL if quick else (*ESSENTIAL, *PEERS)
    asleep = make(sync_subjects(hx), partial(canned, hx, partial(time.sleep, DELAY)), subjects)
    crews = {
        name: [sync_block(hx, transport, "direct", URL) for _ in range(max(COUNTS))]
        for name, transport in asleep.items()
    }
    slept = throughput("Threads on a transport that sleeps 1 ms (httpx, direct)", crews, COUNTS, 1, 0.1, budget)
    with server.running(DELAY) as url:
        real = make(sync_subjects(hx), partial(per_thread, hx), ESSENTIAL)
        crews = {name: [sync_block(hx, transport, "loopback", url)] * max(COUNTS) for name, transport in real.items()}
        served = throughput(
            "Threads on a 1 ms server (httpx, loopback)", crews, COUNTS, 1, 0.1 if quick else 0.4, budget
        )
    there = OURS in crews
    return [
        Goal(
            "16 threads waiting 1 ms, throughput / bare",
            0.95,
            {OURS: slept[OURS, 16]} if there else {},
            at_least=True,
        ),
        Goal(
            "64 threads on a 1 ms server, throughput / no-op wrapper's",
            0.9,
            {OURS: served[OURS, 64] / served[NOOP, 64]} if there else {},
            at_least=True,
        ),
    ]


def per_thread(hx: Any) -> Any:
    local, context = threading.local(), ssl.create_default_context()

    class PerThread(hx.BaseTransport):
        def handle_request(self, request: Any) -> Any:
            inner = getattr(local, "inner", None)
            if inner is None:
                inner = local.inner = hx.HTTPTransport(verify=context)
            return inner.handle_request(request)

    return PerThread()
