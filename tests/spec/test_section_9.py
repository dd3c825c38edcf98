"""SPEC 9, the three uses and the promises: rows of docs/specification.md that no other test shows."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import httpx

from httpx_resilience import mount
from seawall import AdaptiveBudget, Breaker, Bulkhead, Policy, Resilience, Retry, Timeouts
from seawall.testing import VirtualClock
from tests.core.stage import HOST, Stage, answer, brittle, fault, one_at_a_time, purse, steady

TraceFunction = Callable[[FrameType, str, Any], Any]
QUESTION = {"messages": [{"role": "user", "content": "How is the sea today?"}]}


def client_of(resilience: Resilience, provider: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    return mount(httpx.Client(transport=httpx.MockTransport(provider), timeout=None), resilience)


def at_once() -> VirtualClock:
    """No chance: full jitter makes every delay none."""
    return VirtualClock(u=0.0)


def test__llm_request__is_answered_through_a_passing_overload() -> None:
    statuses, keys = [529, 503, 200], list[str]()

    def provider(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        return httpx.Response(statuses[len(keys) - 1], json={"answer": "calm"})

    with client_of(Resilience(Policy.llm(), clock=at_once()), provider) as client:
        response = client.post("https://llm.test/v1/chat/completions", json=QUESTION)
    assert (response.status_code, response.json()) == (200, {"answer": "calm"})
    assert (len(keys), len(set(keys))) == (3, 1)


def test__llm_request_with_a_fallback__the_second_provider_answers() -> None:
    asked: list[str] = []

    def provider(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(503 if request.url.host == "first.test" else 200, text=request.url.host)

    first = Policy(
        retry=Retry(max_retries=1, base_delay=0, max_delay=0), breaker=Breaker(failure_threshold=2, min_failure_span=0)
    )
    resilience = Resilience({"first": first, "second": Policy()}, clock=at_once())
    with client_of(resilience, provider) as client:

        def ask(host: str) -> str:
            return client.post(f"https://{host}/", json=QUESTION).raise_for_status().text

        for _ in range(3):
            text = resilience.execute_with_fallback(
                "first", partial(ask, "first.test"), "second", partial(ask, "second.test")
            )
            assert text == "second.test"
    assert (asked.count("first.test"), asked.count("second.test")) == (2, 3)
    assert resilience.snapshot("first").state == "open"  # type: ignore[union-attr]


def test__custom_configuration__is_what_calls_get() -> None:
    custom = Policy(
        timeouts=Timeouts(connect=2, attempt=5, total=20),
        retry=Retry(max_retries=5, base_delay=0, max_delay=0, backoff="fibonacci", jitter="equal"),
        budget=AdaptiveBudget(max_tokens=50, refill_rate=5),
        breaker=Breaker(failure_threshold=5, failure_rate_threshold=0.5, min_requests=10, min_failure_span=0),
        bulkhead=Bulkhead(max_concurrent=20, max_wait=1),
    )
    resilience = Resilience({"all://": Policy.gateway(), "https://api.test": custom}, clock=at_once())
    sent: list[httpx.Request] = []

    def provider(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(502)

    with client_of(resilience, provider) as client:
        assert client.get("https://api.test/").status_code == 502
    host = resilience.snapshot("https://api.test")
    assert host is not None
    assert (len(sent), host.state, host.limit, host.budget, host.budget_max) == (5, "open", 20, 46, 50)
    assert sent[0].extensions["timeout"]["connect"] is None  # the client's own, put back


def test__snapshots_in_an_outage__hold_what_a_health_page_shows() -> None:
    policy = Policy(breaker=brittle(), bulkhead=one_at_a_time(), budget=purse(), retry=steady())
    stage = Stage(policy, answer(200, after=1))
    _, _, (busy,) = stage.together(stage.start(), stage.start(), stage.at(0.5, stage.resilience.snapshots))
    assert (busy.state, busy.utilization, busy.queue_depth, busy.failure_rate) == ("closed", 1, 1, 0)
    stage.script(fault())
    stage.get()
    (sick,) = stage.resilience.snapshots()
    assert (sick.host, sick.state, sick.last_change, sick.failures) == (HOST, "open", stage.clock.wall(), 2)
    assert (sick.failure_rate, sick.consecutive_successes, sick.mean_wait) == (0.5, 0, 0.25)
    assert (sick.budget, sick.budget_max, sick.budget_refill_rate) == (9, 10, 0)
    stage.clock.advance(60)
    (idle,) = stage.resilience.snapshots()
    assert (idle.state, idle.failures, idle.failure_rate) == ("half_open", 0, 0)
    stage.script(answer(200))
    assert stage.get().status_code == 200
    (well,) = stage.resilience.snapshots()
    assert (well.state, well.failure_rate, well.queue_depth, well.utilization) == ("closed", 0, 0, 0)


def switching(frame: FrameType, event: str, arg: Any) -> TraceFunction | None:
    """A tracer under which another thread runs before each line of the host's state, wherever a lock is held."""
    if not frame.f_code.co_filename.endswith(("host.py", "ledger.py", "counting.py", "bulkhead.py")):
        return None
    time.sleep(0.00001)
    return switching


def test__threads_that_switch_at_every_line__exceed_no_limit_and_lose_no_count() -> None:
    threads, each = 6, 8
    together = threading.Barrier(threads)
    resilience = Resilience({"all://": Policy(bulkhead=Bulkhead(max_concurrent=1, max_wait=5))})
    inside: list[None] = []
    most: list[int] = []

    def operation() -> None:
        inside.append(None)
        most.append(len(inside))
        inside.pop()

    def work() -> None:
        together.wait(20)
        sys.settrace(switching)
        try:
            for _ in range(each):
                resilience.execute("primary", operation)
        finally:
            sys.settrace(None)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    host = resilience.snapshot("primary")
    assert host is not None
    assert (len(most), max(most), host.peak_in_flight) == (threads * each, 1, 1)
    assert (host.total_successes, host.acquire_successes, host.acquire_failures) == (threads * each, threads * each, 0)
    assert (host.in_flight, host.queue_depth) == (0, 0)
