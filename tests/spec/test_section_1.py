"""SPEC 1, the breaker: rows of docs/specification.md that no other test shows."""

from __future__ import annotations

import pytest

from seawall import Breaker, Bulkhead, BulkheadFull, CircuitOpen, HostSnapshot, NonRetryable, Policy, Resilience
from seawall.testing import VirtualClock


def gateway(**parts: object) -> Resilience:
    policy: dict[str, object] = {"retry": None, "budget": None, "breaker": None} | parts
    return Resilience({"all://": Policy(**policy)}, clock=VirtualClock())  # type: ignore[arg-type]


def fail(resilience: Resilience, error: Exception, times: int = 1) -> None:
    def operation() -> None:
        raise error

    for _ in range(times):
        with pytest.raises(NonRetryable):
            resilience.execute("primary", operation)


def look(resilience: Resilience, name: str = "primary") -> HostSnapshot:
    picture = resilience.snapshot(name)
    assert picture is not None
    return picture


def test__refusals_of_an_open_circuit__are_rejections_and_no_failures() -> None:
    resilience = gateway(breaker=Breaker(failure_threshold=2, min_failure_span=0))
    fail(resilience, ConnectionResetError(), times=2)
    for _ in range(5):
        with pytest.raises(CircuitOpen):
            resilience.execute("primary", lambda: "never")
    host = look(resilience)
    assert (host.state, host.failures, host.requests, host.total_failures) == ("open", 2, 2, 2)
    assert (host.rejections, host.total_rejections) == (5, 5)


def test__window_statistics__of_each_kind_of_end() -> None:
    resilience = gateway(bulkhead=Bulkhead(max_concurrent=1, max_wait=0))
    fail(resilience, ConnectionResetError())
    for _ in range(3):
        resilience.execute("primary", lambda: "well")
    fail(resilience, TimeoutError())
    with pytest.raises(BulkheadFull):
        resilience.execute("primary", lambda: resilience.execute("primary", lambda: "never"))
    host = look(resilience)
    assert (host.requests, host.successes, host.failures, host.timeouts, host.rejections) == (5, 3, 2, 1, 1)
    assert (host.failure_rate, host.consecutive_failures) == (0.4, 1)


def test__streaks__are_not_the_windows_counts() -> None:
    resilience = gateway(breaker=Breaker(failure_threshold=3, min_failure_span=0, open_jitter=0, success_threshold=3))
    fail(resilience, ConnectionResetError())
    resilience.execute("primary", lambda: "well")
    fail(resilience, ConnectionResetError(), times=2)
    assert (look(resilience).failures, look(resilience).consecutive_failures) == (3, 2)
    fail(resilience, ConnectionResetError())
    clock = resilience.clock
    assert isinstance(clock, VirtualClock)
    clock.advance(1)
    for _ in range(2):
        resilience.execute("primary", lambda: "well")
    host = look(resilience)
    assert (host.state, host.successes, host.consecutive_successes, host.consecutive_failures) == ("half_open", 3, 2, 0)


def test__reset__of_one__leaves_the_others() -> None:
    resilience = gateway()
    for name in ("https://a.test", "https://b.test"):
        resilience.isolate(name)
    assert resilience.reset("https://a.test")
    assert (look(resilience, "https://a.test").state, look(resilience, "https://b.test").state) == (
        "closed",
        "isolated",
    )
