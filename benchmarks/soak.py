"""Does anything grow, or stay behind? `make soak MINUTES=60` (`python -m benchmarks.soak --minutes 60`).

Threads and tasks call real servers that misbehave, through every client, while policies change, hosts are isolated and
restored, calls are cancelled and answers dropped. Each minute a line says what the process uses; the end says whether
all came back. Exit status 1 if it did not.
"""

import argparse
import gc
import os
import random
import resource
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

from benchmarks import soak_server
from benchmarks.soak_clients import Crew
from seawall import Breaker, Bulkhead, Policy, Resilience, Retry, StaleResponse, Timeouts
from seawall.policies.breaker import HalfOpen

HOSTS, KEPT = 300, 64
"""Hosts that are called, of which the Resilience has room for so many."""

PATIENT = Timeouts(attempt=0.5, total=2)
RETRY = Retry(base_delay=0.01, max_delay=0.1, max_retry_after=1.5)
POLICIES = (
    Policy(timeouts=PATIENT, retry=RETRY, degrade=[StaleResponse(coalesce=True, max_bytes=1_000_000)]),
    Policy(timeouts=PATIENT, retry=RETRY, bulkhead=Bulkhead(max_concurrent=4, max_wait=0.5)),
    Policy(timeouts=PATIENT, retry=None, breaker=Breaker(failure_threshold=3, min_failure_span=0)),
    Policy(timeouts=Timeouts(total=1), retry=RETRY, breaker=None, budget=None, bulkhead=Bulkhead(max_concurrent=1)),
)


class Use(NamedTuple):
    """What the process uses at an instant."""

    megabytes: float
    files: int
    threads: int
    in_flight: int
    waiting: int


def use(resilience: Resilience) -> Use:
    pictures = resilience.snapshots()
    in_flight, waiting = (sum(getattr(one, name) for one in pictures) for name in ("in_flight", "queue_depth"))
    return Use(megabytes(), files(), threading.active_count(), in_flight, waiting)


def megabytes() -> float:
    """Resident memory; where the system does not say, the most there was."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize() / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def files() -> int:
    """Open file descriptors."""
    return len(os.listdir("/dev/fd"))


def meddle(resilience: Resilience, addresses: Callable[[random.Random], str], chance: random.Random) -> None:
    """What operators do, one thing at a time."""
    host = addresses(chance)
    dice = chance.random()
    if dice < 0.3:
        resilience.configure("all://", chance.choice(POLICIES), keep_state=chance.random() < 0.8)
    elif dice < 0.5:
        resilience.isolate(host)
    elif dice < 0.8:
        for picture in resilience.snapshots():
            if picture.state == "isolated":
                resilience.restore(picture.host)
    elif dice < 0.9:
        resilience.reset(host)
    elif dice < 0.95:
        resilience.remove(host)
    else:
        resilience.health()


def soak(minutes: float, seed: int = 0, every: float = 60.0) -> list[str]:
    """Run it, and say what is wrong at the end."""
    chance = random.Random(seed)
    resilience = Resilience(POLICIES[0], max_hosts=KEPT)
    unsubscribe = resilience.subscribe(lambda event: None)
    with soak_server.running() as port:

        def addresses(chance: random.Random) -> str:
            number = chance.randrange(HOSTS) if sys.platform == "linux" else 0
            number = number if chance.random() < 0.3 else number % 5  # most calls go to few hosts
            return f"http://127.0.{number // 100}.{number % 100 + 1}:{port}"

        crew = Crew(resilience, addresses, seed)
        began = told = time.monotonic()
        calls, samples = 0, []
        print(f"{'minute':>7} {'calls/s':>8} {'MB':>7} {'files':>6} {'threads':>8} {'in flight':>10} {'waiting':>8}")
        while (now := time.monotonic()) < began + minutes * 60 and not crew.surprises:
            time.sleep(0.2)
            meddle(resilience, addresses, chance)
            if now >= began + len(samples):
                samples.append(use(resilience))
            if now >= told + every:
                total, last = crew.counts.total(), samples[-1]
                print(
                    f"{(now - began) / 60:>7.2f} {(total - calls) / (now - told):>8,.0f} {last.megabytes:>7.1f} "
                    f"{last.files:>6} {last.threads:>8} {last.in_flight:>10} {last.waiting:>8}",
                    flush=True,
                )
                told, calls = now, total
        wrong = [f"{thread.name} did not end" for thread in crew.stop()]
    unsubscribe()
    print(", ".join(f"{count:,} {what}" for what, count in crew.counts.most_common()))
    wrong += [f"unexpected: {error!r}" for error in crew.surprises[:5]]
    return wrong + left_behind(resilience) + grown(samples)


def left_behind(resilience: Resilience, patience: float = 5.0) -> list[str]:
    """What did not come back, after a collection (dropped answers sit in cycles)."""
    gc.collect()
    wrong = []
    for state in resilience._registry.everybody():
        picture, queue, phase = state.snapshot(), state.bulkhead.queue, state.breaker.phase
        probes = len(phase.probes) if isinstance(phase, HalfOpen) else 0
        left = {
            "in flight": picture.in_flight,
            "waiting": len(queue.waiting),
            "called": len(queue.granted),
            "probes": probes,
            "asleep": len(state._sleepers or ()),
        }
        wrong += [f"{picture.host}: {count} {what}" for what, count in left.items() if count]
        if not 0 <= picture.budget <= (picture.budget_max or float("inf")):
            wrong.append(f"{picture.host}: {picture.budget} tokens")
    if len(resilience) > KEPT + 5:  # an operator's wish is not bound by the room there is
        wrong.append(f"{len(resilience)} hosts are remembered, room is for {KEPT}")
    if not resilience.close(timeout=patience):
        wrong.append("close() found calls in flight")
    return wrong


def grown(samples: list[Use]) -> list[str]:
    """Is what the process uses level? The first third warms up; then the last third may not use more than the one
    before it, but for 5 % and 4 MB of memory, and a tenth and 20 of the files and threads: medians of samples of a
    second, since calls come in waves."""
    third = len(samples) // 3
    if third < 10:
        print("too short to tell whether anything grows")
        return []
    wrong = []
    for name, share, slack in (("megabytes", 0.05, 4), ("files", 0.1, 20), ("threads", 0.1, 20)):
        before, after = (
            statistics.median(getattr(sample, name) for sample in samples[n * third : (n + 1) * third]) for n in (1, 2)
        )
        print(f"{name}: {before:.1f} in the second third, {after:.1f} in the last")
        if after > before * (1 + share) + slack:
            wrong.append(f"{name} grew from {before:.1f} to {after:.1f}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=60.0, help="seconds between two lines")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "seawall.* dropped", ResourceWarning)  # on purpose
    wrong = soak(arguments.minutes, arguments.seed, arguments.every)
    print("\n".join(f"WRONG: {text}" for text in wrong) or "all came back, nothing grew")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
