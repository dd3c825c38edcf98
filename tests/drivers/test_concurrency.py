"""10,000 tasks and 64 threads on one host: no permit lost, no count lost, the limit never exceeded."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from seawall import Breaker, Bulkhead, HostSnapshot, Resilience, Retry, TokenBudget, events
from seawall._story import Call
from seawall.admission import Admission
from seawall.flow import run
from seawall.policies.breaker import HalfOpen
from seawall.policies.bulkhead import Queue, Ticket
from seawall.runtime import run_sync
from tests.drivers.quick import HOST, Answer, Sync, aget, begin, get, hold, only, threads


def picture(resilience: Resilience) -> HostSnapshot:
    found = resilience.snapshot(HOST)
    assert found is not None
    return found


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Threads take turns a hundred times more often than usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


class Gauge:
    """Who is inside at a time; for one loop, or under its lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.most = self.entered = 0

    def __enter__(self) -> None:
        with self.lock:
            self.now += 1
            self.entered += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.now -= 1


def nothing_left(resilience: Resilience) -> bool:
    host = picture(resilience)
    return (host.in_flight, host.queue_depth, host.utilization) == (0, 0, 0)


# -- 10,000 tasks ----------------------------------------------------------------------------------

TASKS = 10_000


def run_tasks(resilience: Resilience, gauge: Gauge, count: int = TASKS) -> Counter[str]:
    async def serve() -> None:
        with gauge:
            await asyncio.sleep(0)

    async def main() -> Counter[str]:
        async with asyncio.timeout(60):
            results = await asyncio.gather(*[aget(resilience, serve) for _ in range(count)])
        return Counter(type(result).__name__ for result in results)

    return asyncio.run(main(), debug=False)


def test__10_000_tasks__without_a_limit() -> None:
    resilience, gauge = Resilience(), Gauge()
    assert run_tasks(resilience, gauge) == {"Answer": TASKS}
    host = picture(resilience)
    assert nothing_left(resilience)
    assert (host.total_requests, host.total_successes, host.acquire_successes) == (TASKS, TASKS, TASKS)
    assert host.peak_in_flight == gauge.most == TASKS


def test__10_000_tasks__through_100_permits() -> None:
    resilience = Resilience(only(bulkhead=Bulkhead(max_concurrent=100, max_wait=60, max_queue=TASKS)))
    gauge = Gauge()
    assert run_tasks(resilience, gauge) == {"Answer": TASKS}
    host = picture(resilience)
    assert nothing_left(resilience)
    assert gauge.most == host.peak_in_flight == 100
    assert (host.total_successes, host.acquire_attempts, host.acquire_failures) == (TASKS, TASKS, 0)


def test__10_000_tasks__more_than_may_wait__the_rest_is_refused_and_counted() -> None:
    resilience = Resilience(only(bulkhead=Bulkhead(max_concurrent=10, max_wait=60, max_queue=90)))
    results = run_tasks(resilience, Gauge())
    host = picture(resilience)
    assert nothing_left(resilience)
    assert results == {"Answer": 100, "Rejection": TASKS - 100}
    assert (host.total_successes, host.total_rejections, host.acquire_failures) == (100, TASKS - 100, TASKS - 100)


def test__10_000_tasks__half_of_them_cancelled() -> None:
    resilience = Resilience(only(bulkhead=Bulkhead(max_concurrent=50, max_wait=60, max_queue=TASKS)))
    gauge = Gauge()

    async def serve() -> None:
        with gauge:
            await asyncio.sleep(0)

    async def main() -> Counter[str]:
        tasks = [asyncio.ensure_future(aget(resilience, serve)) for _ in range(TASKS)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        async with asyncio.timeout(60):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        return Counter(type(result).__name__ for result in results)

    results = asyncio.run(main(), debug=False)
    assert results["Answer"] + results["CancelledError"] == TASKS
    assert results["Answer"] >= TASKS / 2
    assert nothing_left(resilience)
    assert gauge.most <= 50
    assert picture(resilience).total_successes == results["Answer"]


# -- 64 threads ------------------------------------------------------------------------------------

THREADS, EACH = 64, 150


def run_threads(resilience: Resilience, serve: Any, call: Any = None, pause: float = 0) -> Counter[str]:
    call = call or (lambda: get(resilience, serve))
    results: Counter[str] = Counter()
    lock = threading.Lock()
    together = threading.Barrier(THREADS)

    def work() -> None:
        together.wait(20)
        mine: Counter[str] = Counter()
        for _ in range(EACH):
            mine[type(call()).__name__] += 1
            if pause:
                time.sleep(pause)
        with lock:
            results.update(mine)

    with threads(*[work] * THREADS, seconds=60):
        pass
    return results


@pytest.mark.usefixtures("eager_switches")
@pytest.mark.parametrize("limit", [None, 8, 1])
def test__64_threads__no_permit_and_no_count_is_lost(limit: int | None) -> None:
    resilience = Resilience(only(bulkhead=Bulkhead(max_concurrent=limit, max_wait=60)))
    gauge = Gauge()

    def serve() -> None:
        with gauge:
            pass

    assert run_threads(resilience, serve) == {"Answer": THREADS * EACH}
    host = picture(resilience)
    assert nothing_left(resilience)
    assert gauge.entered == host.total_successes == host.acquire_successes == THREADS * EACH
    assert limit is None or max(gauge.most, host.peak_in_flight) <= limit


@pytest.mark.usefixtures("eager_switches")
def test__64_threads__good_and_bad_ends_are_all_counted_and_told_once() -> None:
    resilience = Resilience(only(breaker=Breaker(failure_threshold=1_000_000, failure_rate_threshold=1)))
    told: Counter[str] = Counter()
    lock = threading.Lock()

    def listen(event: events.Event) -> None:
        with lock:
            told[type(event).__name__] += 1

    resilience.subscribe(listen)
    turn = iter(range(THREADS * EACH))

    def serve() -> None:
        with lock:
            bad = next(turn) % 3 == 0
        if bad:
            raise ConnectionError

    results = run_threads(resilience, serve)
    host = picture(resilience)
    assert results == {"Answer": THREADS * EACH * 2 // 3, "Failed": THREADS * EACH // 3}
    assert (host.total_successes, host.total_failures) == (results["Answer"], results["Failed"])
    assert told == dict.fromkeys(("AttemptStarted", "AttemptEnded", "CallEnded"), THREADS * EACH)
    assert nothing_left(resilience)


@pytest.mark.usefixtures("eager_switches")
def test__64_threads__extra_attempts_never_exceed_the_budget() -> None:
    retry = Retry(max_retries=3, base_delay=0, max_delay=0)
    resilience = Resilience(only(retry=retry, budget=TokenBudget(max_tokens=100, refill_rate=0)))
    sends = Gauge()

    def serve() -> None:
        with sends:
            pass
        raise ConnectionError

    assert run_threads(resilience, serve) == {"Failed": THREADS * EACH}
    assert sends.entered == THREADS * EACH + 100
    assert picture(resilience).budget == 0


@pytest.fixture
def rare_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiter looks by itself every five seconds only: whoever was not woken shows."""
    for name, module in list(sys.modules.items()):
        if name.startswith("seawall.") and hasattr(module, "CLAIM_WITHIN"):
            monkeypatch.setattr(module, "CLAIM_WITHIN", 5.0)


@pytest.mark.usefixtures("eager_switches", "rare_looks")
@pytest.mark.parametrize("crowd", [2, 3, 8])
def test__threads_that_hand_one_permit_on__none_sleeps_while_it_is_free(crowd: int) -> None:
    resilience = Resilience(only(bulkhead=Bulkhead(max_concurrent=1, max_wait=60)))
    longest: list[float] = []
    stop = time.monotonic() + 0.5

    def work() -> None:
        waits = [0.0]
        while time.monotonic() < stop:
            started = time.monotonic()
            get(resilience)
            waits.append(time.monotonic() - started)
        longest.append(max(waits))

    with threads(*[work] * crowd, seconds=60):
        pass
    assert max(longest) < 3


@pytest.mark.usefixtures("rare_looks")
def test__permit_given_back_while_somebody_joins_the_line__wakes_him(monkeypatch: pytest.MonkeyPatch) -> None:
    resilience = Resilience(only(bulkhead=Bulkhead(max_concurrent=1, max_wait=60)))
    holder = hold(resilience)
    holder.headers_at = holder.started
    join = Queue.join

    def late(queue: Queue, now: float) -> Ticket:
        """The line was found to be needed; before it is joined, another thread gives the permit back."""
        other = threading.Thread(target=holder.finish, daemon=True)
        other.start()
        other.join(0.2)  # it may have to wait for us
        return join(queue, now)

    monkeypatch.setattr(Queue, "join", late)
    started = time.monotonic()
    assert isinstance(get(resilience), Answer)
    assert time.monotonic() - started < 3


class Watching(Sync):
    """Counts the probes of each half-open phase that are out at a time."""

    def __init__(self, serve: Any) -> None:
        super().__init__(serve)
        self.lock = threading.Lock()
        self.probes: dict[HalfOpen, Gauge] = {}

    async def send(self, call: Call, admission: Admission) -> Answer:
        phase = admission.phase
        if not isinstance(phase, HalfOpen):
            return await super().send(call, admission)
        with self.lock:
            gauge = self.probes.setdefault(phase, Gauge())
        with gauge:
            return await super().send(call, admission)


@pytest.mark.usefixtures("eager_switches")
def test__64_threads__a_circuit_that_opens_and_closes__every_end_counted_and_probes_few() -> None:
    breaker = Breaker(
        failure_threshold=3,
        min_failure_span=0,
        open_duration=0.005,
        max_open_duration=0.005,
        open_multiplier=1,
        open_jitter=0,
        half_open_max_requests=2,
        success_threshold=5,
    )
    resilience = Resilience(only(breaker=breaker))
    turn, lock = iter(range(10_000_000)), threading.Lock()

    def serve() -> None:
        with lock:
            bad = next(turn) % 7 < 3
        if bad:
            raise ConnectionError

    server = Watching(serve)
    results = run_threads(resilience, serve, lambda: run_sync(run(begin(resilience), server)), pause=0.0005)
    host = picture(resilience)
    assert sum(results.values()) == THREADS * EACH
    assert set(results) <= {"Answer", "Failed", "Rejection"}
    assert (host.total_successes, host.total_failures) == (results["Answer"], results["Failed"])
    assert host.total_rejections == results["Rejection"]
    assert host.open_count >= 1
    assert server.probes
    assert max(gauge.most for gauge in server.probes.values()) <= 2
    assert nothing_left(resilience)


def test__tasks_and_threads_together__through_the_same_permits() -> None:
    resilience = Resilience(only(bulkhead=Bulkhead(max_concurrent=4, max_wait=60)))
    gauge, answers = Gauge(), Counter[str]()

    def serve() -> None:
        with gauge:
            pass

    def work() -> None:
        for _ in range(100):
            assert isinstance(get(resilience, serve), Answer)

    with threads(*[work] * 16, seconds=60):
        answers = run_tasks(resilience, gauge, 900)
    assert answers == {"Answer": 900}
    assert nothing_left(resilience)
    assert gauge.most <= 4
    assert picture(resilience).total_successes == 16 * 100 + 900
