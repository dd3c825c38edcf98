"""Slow calls count before they end; whatever their end is, they do not stay in the rate for ever."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from seawall import Breaker, ErrorKind, Verdict, override
from seawall.admission import Admission
from tests.core.stage import Stage, answer, fault, only, outcome

SLOW = {"slow_call_duration": 2, "slow_call_rate_threshold": 0.5, "min_requests": 5, "failure_threshold": 1000}


def throttled(admission: Admission) -> None:
    admission.headers_at = admission.call.state.clock.monotonic()
    admission.status = 429
    admission.outcome = outcome(Verdict.THROTTLED, ErrorKind.TOO_MANY_REQUESTS, 429)
    admission.finish()


def abandoned(admission: Admission) -> None:
    admission.abandon()


def dropped(admission: Admission) -> None:
    """Nothing is said: with the last reference the attempt dies."""


def well(stage: Stage) -> None:
    stage.end(stage.hold())


@pytest.mark.parametrize("end", [throttled, abandoned, dropped])
def test__slow_in_flight__ended_without_success_or_failure__leaves_the_rate(end: Callable[[Admission], None]) -> None:
    stage = Stage(only(breaker=Breaker(**SLOW)))
    for _ in range(3):
        stage.hold()
    stage.clock.advance(3.5)
    assert stage.host.slow == 3
    while stage.held:
        end(stage.held.pop())
    gc.collect()
    assert (stage.host.slow, stage.host.in_flight) == (0, 0)
    stage.clock.advance(60)
    assert stage.host.slow == 0
    well(stage)
    well(stage)
    stage.settle(Verdict.FAILURE)
    assert stage.host.state == "closed"


def test__answer__is_slow_by_the_time_to_its_headers() -> None:
    stage = Stage(only(breaker=Breaker(slow_call_duration=2)), answer(after=0.25, stream=True))
    streaming = stage.get()
    stage.clock.advance(60)
    streaming.admission.finish()
    assert (stage.host.successes, stage.host.slow, stage.host.latency_p50) == (1, 0, 0.25)


@pytest.mark.parametrize(("after", "slow"), [(1.75, 0), (2, 1)])
def test__no_answer__is_slow_by_the_time_to_the_error(after: float, slow: int) -> None:
    stage = Stage(only(breaker=Breaker(slow_call_duration=2)), fault(after=after))
    stage.get()
    assert (stage.host.failures, stage.host.slow) == (1, slow)


# -- calls that an override took out of the circuit's hands ----------------------------------------

RATE = {"failure_rate_threshold": 0.5, "min_requests": 5, "failure_threshold": 1000}


def test__override_breaker_none__its_failures_feed_no_rate() -> None:
    stage = Stage(only(breaker=Breaker(**RATE)), fault())
    with override(breaker=None):
        for _ in range(10):
            stage.get()
    stage.get()
    assert (stage.host.state, stage.host.failures) == ("closed", 11)


def test__override_breaker_none__its_successes_dilute_no_rate() -> None:
    stage = Stage(only(breaker=Breaker(**RATE)))
    with override(breaker=None):
        for _ in range(10):
            stage.get()
    assert (stage.host.successes, stage.host.failures) == (10, 0)
    stage.script(fault())
    for _ in range(5):
        stage.get()
    assert stage.host.state == "open"
