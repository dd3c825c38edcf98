"""Does it hold at scale: 100,000 hosts, 64 threads at one limit, 10,000 tasks in one line?

Hosts: 64 threads make one call to each of them, in a fresh process for each subject, whose resident memory is read
before and after; ours with room for all, and with the default bound. Threads and tasks: calls of 1 ms through a
bulkhead, beside a plain semaphore and hyx's bulkhead. After each, what is still in flight or waiting is counted: it
must be nothing.
"""

import asyncio
import gc
import importlib
import json
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.clients import TIMEOUT, URL, async_canned, canned, clock, send_once
from benchmarks.measure import BARE, OURS, Goal, child, table

BOUNDED, HYX = "ours, default bound", "hyx bulkhead"
SEMAPHORE = "a semaphore"
THREADS, PERMITS = 64, 100


def run(quick: bool) -> list[Goal]:
    hosts, calls, tasks = (2_000, 20, 1_000) if quick else (100_000, 200, 10_000)
    left = {f"{hosts:,} hosts": at_hosts(hosts, quick), f"{THREADS} threads": at_limit(calls)}
    left[f"{tasks:,} tasks"], ratio = asyncio.run(in_line(tasks))
    return [
        Goal("in flight or waiting after it all", 0, left),
        Goal(f"{tasks:,} tasks through {PERMITS} permits, CPU × a semaphore's", 2.5, {OURS: ratio}),
    ]


# -- hosts -------------------------------------------------------------------------------------------------------------


def at_hosts(count: int, quick: bool) -> int:
    rows, left = [], 0
    for kind in (BARE, OURS) if quick else (BARE, OURS, BOUNDED, "interlock-cb"):
        output = child(kind, "-m", "benchmarks.scale", kind, str(count))
        if output is None:
            continue
        each, more, known, kept = json.loads(output)
        left += kept
        rows.append((kind, f"{each:.1f}", f"{more:.1f}", f"{known:,}" if known else "–", str(kept)))
    table(
        f"{THREADS} threads, a call to each of {count:,} hosts (httpx, direct)",
        ("subject", "µs/call", "MB more", "hosts known", "left in flight"),
        rows,
    )
    return left


def visit_hosts(kind: str, count: int) -> tuple[float, float, int, int]:
    """Microseconds of wall time a call, megabytes more than before, hosts known and calls left in flight afterwards."""
    from benchmarks.soak import megabytes

    hx = importlib.import_module("httpx")
    transport, resilience = canned(hx), None
    if kind.startswith(OURS):
        from httpx_resilience import ResilientTransport
        from seawall import Resilience

        resilience = Resilience() if kind == BOUNDED else Resilience(max_hosts=count + 1)
        transport = ResilientTransport(transport, resilience)
    elif kind != BARE:
        transport = importlib.import_module("interlock.integrations.httpx").CircuitBreakerTransport(transport)

    def visit(numbers: range) -> None:
        for number in numbers:
            request = hx.Request("GET", f"http://host-{number}.example.com/", extensions={"timeout": TIMEOUT})
            response = transport.handle_request(request)
            for _ in response.stream:
                pass
            response.close()

    visit(range(count, count + 1))
    gc.collect()
    before = megabytes()
    took = together([partial(visit, range(thread, count, THREADS)) for thread in range(THREADS)])
    gc.collect()
    more = megabytes() - before
    pictures = [] if resilience is None else resilience.snapshots()
    return took / count * 1e6, more, len(pictures), sum(one.in_flight + one.queue_depth for one in pictures)


# -- threads -----------------------------------------------------------------------------------------------------------


def at_limit(calls: int) -> int:
    from httpx_resilience import ResilientTransport
    from seawall import Bulkhead, Policy, Resilience

    hx = importlib.import_module("httpx")
    limit, lock, inside = THREADS // 8, threading.Lock(), [0, 0]
    semaphore = threading.BoundedSemaphore(limit)

    def work() -> None:
        with lock:
            inside[0] += 1
            inside[1] = max(inside)
        time.sleep(0.001)
        with lock:
            inside[0] -= 1

    def guarded() -> None:
        with semaphore:
            work()

    bulkhead = Bulkhead(max_concurrent=limit, max_wait=60, max_queue=THREADS)
    resilience = Resilience(Policy(bulkhead=bulkhead))
    subjects = {SEMAPHORE: canned(hx, guarded), OURS: ResilientTransport(canned(hx, work), resilience)}
    rows = []
    for name, transport in subjects.items():

        def send(transport: Any = transport) -> None:
            for _ in range(calls):
                response = transport.handle_request(hx.Request("GET", URL, extensions={"timeout": TIMEOUT}))
                for _ in response.stream:
                    pass
                response.close()

        inside[:] = 0, 0
        took = together([send] * THREADS)
        assert inside[1] <= limit, f"{name} let {inside[1]} in at a time"
        rows.append((name, f"{THREADS * calls / took:,.0f}", str(inside[1])))
    table(
        f"{THREADS} threads at one host that takes 1 ms and {limit} at a time (httpx, direct)",
        ("subject", "calls/s", "most at a time"),
        rows,
    )
    return sum(one.in_flight + one.queue_depth for one in resilience.snapshots())


def together(acts: list[Callable[[], None]]) -> float:
    """Seconds until threads have done each of these."""
    threads = [threading.Thread(target=act) for act in acts]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


# -- tasks -------------------------------------------------------------------------------------------------------------


async def in_line(count: int) -> tuple[int, float]:
    """Calls left in flight, and how many times the CPU of a semaphore's a call took."""
    from httpx_resilience import AsyncResilientTransport
    from seawall import Bulkhead, Policy, Resilience

    hx = importlib.import_module("httpx")
    gate = asyncio.Event()

    async def work() -> None:
        await gate.wait()
        await asyncio.sleep(0.001)

    semaphore = asyncio.Semaphore(PERMITS)

    async def guarded() -> None:
        async with semaphore:
            await work()

    resilience = Resilience(Policy(bulkhead=Bulkhead(max_concurrent=PERMITS, max_wait=600, max_queue=count)))
    subjects = {
        SEMAPHORE: async_canned(hx, guarded),
        OURS: AsyncResilientTransport(async_canned(hx, work), resilience),
    }
    try:
        from hyx.bulkhead import bulkhead

        subjects[HYX] = async_canned(hx, bulkhead(PERMITS, count)(work))
    except ImportError:
        pass
    rows, costs = [], {}
    for name, transport in subjects.items():
        gate.set()
        await send_once(hx, transport)  # what the first call loads
        gate.clear()
        gc.collect()
        tracemalloc.start()
        few = [asyncio.create_task(send_once(hx, transport)) for _ in range(count // 10)]
        for _ in range(5):
            await asyncio.sleep(0)
        size = tracemalloc.get_traced_memory()[0] / len(few)
        tracemalloc.stop()
        gate.set()
        await asyncio.gather(*few)
        gc.collect()
        start = clock()
        await asyncio.gather(*[send_once(hx, transport) for _ in range(count)])
        costs[name] = (clock() - start) / count * 1e6
        rows.append((name, f"{costs[name]:.1f}", f"{size:,.0f}"))
    table(
        f"{count:,} tasks through {PERMITS} permits, 1 ms each (httpx, direct)",
        ("subject", "CPU µs/call", "bytes/waiting call, its task included"),
        rows,
    )
    left = sum(one.in_flight + one.queue_depth for one in resilience.snapshots())
    return left, costs[OURS] / costs[SEMAPHORE]


if __name__ == "__main__":
    print(json.dumps(visit_hosts(sys.argv[1], int(sys.argv[2]))))
