"""What does remembering a host cost, and does it stay so with 100,000 of them?

A fresh process for each subject and number of hosts makes one record per host name, then looks random ones up again.
Bytes are counted by tracemalloc on a second store of the same kind. Ours comes in three rows: records as new; after a
call to each host (whose cost is in the times, too); and with the default bound, which has met as many hosts but keeps
only `max_hosts` of them.
"""

import gc
import json
import random
import statistics
import sys
import tracemalloc
from collections.abc import Callable

from benchmarks.clients import clock
from benchmarks.measure import FLOOR, OURS, Goal, child, table

USED, BOUNDED = "ours, after a call", "ours, default bound"
QUICK_SUBJECTS = (FLOOR, OURS, USED)
SUBJECTS = (*QUICK_SUBJECTS, BOUNDED, "interlock-cb", "pybreaker", "circuitbreaker", "purgatory", "hyx")
FEW, MANY, QUICK_MANY = 1_000, 100_000, 5_000


def store(kind: str, count: int) -> Callable[[str], object]:
    """Get or create the record of a host by its name."""
    if kind == FLOOR:
        from benchmarks.floor import Policy, Registry

        registry = Registry(Policy())
        return lambda name: registry.hosts.get(("http", name, None)) or registry.create(("http", name, None))
    if kind == "interlock-cb":
        import httpx
        from interlock.integrations.httpx import CircuitBreakerTransport

        return CircuitBreakerTransport(httpx.BaseTransport()).registry.get
    if kind == "purgatory":
        from purgatory import SyncCircuitBreakerFactory

        return SyncCircuitBreakerFactory().get_breaker
    if kind == USED:
        return used(count)
    if kind.startswith(OURS):
        from seawall import Resilience

        resilience = Resilience() if kind == BOUNDED else Resilience(max_hosts=count + 1)
        routes = resilience.routes
        return lambda name: (
            routes.get(("http", name, None)) or resilience.route(("http", name, None), "http", name, None)
        )
    records: dict[str, object] = {}
    if kind == "pybreaker":
        import pybreaker

        return lambda name: records.get(name) or records.setdefault(name, pybreaker.CircuitBreaker(name=name))
    if kind == "circuitbreaker":
        import circuitbreaker

        return lambda name: records.get(name) or records.setdefault(name, circuitbreaker.CircuitBreaker(name=name))
    from hyx.circuitbreaker import consecutive_breaker

    return lambda name: records.get(name) or records.setdefault(name, consecutive_breaker())


def used(count: int) -> Callable[[str], object]:
    """A call that succeeds, without a client library around it."""
    from seawall import Resilience
    from seawall.admission import Admission
    from seawall.outcome import Verdict

    resilience = Resilience(max_hosts=count + 1)
    routes, now = resilience.routes, resilience.clock.monotonic

    def get(name: str) -> None:
        key = ("http", name, None)
        route = routes.get(key) or resilience.route(key, "http", name, None)
        call = resilience.call(route, None)
        assert call is not None
        admission = Admission(call, 1, call.started)
        route.state.admit(admission, call.started)
        route.state.settle(admission, Verdict.SUCCESS, now())

    return get


def run(quick: bool) -> list[Goal]:
    many = QUICK_MANY if quick else MANY
    found: dict[str, dict[int, list[float]]] = {}
    for kind in QUICK_SUBJECTS if quick else SUBJECTS:
        outputs = {count: child(kind, "-m", "benchmarks.hosts", str(count), kind) for count in (FEW, many)}
        if all(outputs.values()):
            found[kind] = {count: json.loads(output or "") for count, output in outputs.items()}
    table(
        f"Hosts: one record each, {FEW:,} and {many:,} of them",
        (
            "subject",
            f"bytes/host at {FEW:,}",
            f"at {many:,}",
            "create µs",
            f"lookup µs at {FEW:,}",
            f"at {many:,}",
            "GC ms",
        ),
        (
            (
                kind,
                f"{f[FEW][0]:,.0f}",
                f"{f[many][0]:,.0f}",
                *(f"{v:.2f}" for v in (f[many][1], f[FEW][2], f[many][2])),
                f"{f[many][3]:.0f}",
            )
            for kind, f in found.items()
        ),
    )
    print(f"\nGC: one full collection of a process with {many:,} of them.")
    measured = {
        f"{count:,} hosts{', used' * (kind == USED)}": figures[0]
        for kind in (OURS, USED)
        for count, figures in found.get(kind, {}).items()
    }
    return [Goal("bytes per host", 2_000, measured)]


def measure(kind: str, count: int) -> tuple[float, float, float, float]:
    """Bytes per host, microseconds to create one and to look one up, milliseconds of a full collection."""
    names = [f"host-{i}.example.com" for i in range(count)]
    get = store(kind, count)
    get("warm")
    gc.collect()
    start = clock()
    for name in names:
        get(name)
    create = clock() - start
    picks = random.choices(names, k=5_000)
    lookups = []
    for _ in range(5):
        start = clock()
        for name in picks:
            get(name)
        lookups.append((clock() - start) / len(picks))
    gc.collect()
    start = clock()
    gc.collect()
    pause = clock() - start
    del get
    gc.collect()
    get = store(kind, count)
    get("warm")
    tracemalloc.start()  # only now: it slows everything that allocates
    for name in names:
        get(name)
    gc.collect()
    memory = tracemalloc.get_traced_memory()[0]
    return memory / count, create / count * 1e6, statistics.median(lookups) * 1e6, pause * 1e3


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[2], int(sys.argv[1]))))
