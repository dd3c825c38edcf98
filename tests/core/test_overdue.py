"""Attempts that take too long count while they are still in flight: as failures, or as slow; and only once."""

from __future__ import annotations

import pytest

from seawall import Breaker, ErrorKind, Timeouts, Verdict, override
from seawall.admission import Admission
from seawall.outcome import Reason
from tests.core.stage import Stage, answer, brittle, fault, only, outcome, word


def hanging(stage: Stage, count: int) -> list[Admission]:
    return [stage.hold() for _ in range(count)]


def test__overdue__counts_as_failure_and_timeout_while_in_flight() -> None:
    stage = Stage(only(timeouts=Timeouts(attempt=2), breaker=brittle()))
    hanging(stage, 2)
    stage.clock.advance(2)
    assert stage.host.state == "closed"
    stage.clock.advance(1)
    host = stage.host
    assert (host.state, host.failures, host.timeouts, host.in_flight) == ("open", 2, 2, 2)


def test__overdue__is_not_counted_again_at_its_end() -> None:
    stage = Stage(only(timeouts=Timeouts(attempt=2), breaker=brittle(failure_threshold=9)))
    one, two = hanging(stage, 2)
    stage.clock.advance(4)
    assert (stage.host.requests, stage.host.failures, stage.host.timeouts) == (2, 2, 2)
    one.broke(outcome(Verdict.FAILURE, ErrorKind.TIMEOUT))
    stage.end(two)
    host = stage.host
    assert (host.total_requests, host.total_failures, host.total_timeouts, host.in_flight) == (2, 2, 2, 0)


def test__overdue__headers_came__does_not_count() -> None:
    stage = Stage(only(timeouts=Timeouts(attempt=2), breaker=brittle()))
    for admission in hanging(stage, 2):
        admission.headers_at = stage.clock.now
    stage.clock.advance(60)
    assert (stage.host.state, stage.host.requests) == ("closed", 0)


def test__overdue__beside_one_whose_body_is_read__counts() -> None:
    stage = Stage(only(timeouts=Timeouts(attempt=2), breaker=brittle()))
    reading, _, _ = hanging(stage, 3)
    reading.headers_at = stage.clock.now
    stage.clock.advance(3)
    assert (stage.host.state, stage.host.failures) == ("open", 2)


def test__overdue__the_next_call_is_refused_as_soon_as_they_count() -> None:
    stage = Stage(only(timeouts=Timeouts(attempt=0.5), breaker=brittle(sampling_window=10)))
    hanging(stage, 2)
    stage.clock.advance(1)
    assert word(stage.get()) is Reason.CIRCUIT_OPEN


def test__overdue__a_probe__opens_the_circuit_again() -> None:
    stage = Stage(only(timeouts=Timeouts(attempt=2), breaker=brittle()), fault())
    stage.together(stage.start(), stage.start())
    stage.clock.advance(10)
    hanging(stage, 1)
    assert stage.host.state == "half_open"
    stage.clock.advance(3)
    assert (stage.host.state, stage.host.open_count) == ("open", 2)


def test__overdue__timeouts_left_out__does_not_count() -> None:
    stage = Stage(only(timeouts=Timeouts(attempt=2), breaker=brittle(count_timeouts_as_failures=False)))
    hanging(stage, 2)
    stage.clock.advance(60)
    assert (stage.host.state, stage.host.failures) == ("closed", 0)


def test__overdue__the_calls_own_longer_limit_holds() -> None:
    stage = Stage(only(timeouts=Timeouts(attempt=2), breaker=brittle()))
    for _ in range(2):
        stage.hold(override(timeouts=Timeouts(attempt=30)))
    stage.clock.advance(10)
    assert stage.host.failures == 0


def test__slow__counts_while_in_flight() -> None:
    slow = Breaker(slow_call_duration=2, slow_call_rate_threshold=1, min_requests=2, open_jitter=0)
    stage = Stage(only(breaker=slow))
    hanging(stage, 2)
    stage.clock.advance(4)
    host = stage.host
    assert (host.state, host.slow) == ("open", 2)


@pytest.mark.parametrize(("slow_call_duration", "seconds", "slow"), [(5, 4, 0), (5, 5, 1), (None, 60, 0)])
def test__slow__counts_in_flight_from_its_duration_on(
    slow_call_duration: float | None, seconds: float, slow: int
) -> None:
    breaker = Breaker(slow_call_duration=slow_call_duration)
    stage = Stage(only(timeouts=Timeouts(attempt=2), breaker=breaker))
    hanging(stage, 1)
    stage.clock.advance(seconds)
    assert stage.host.slow == slow


def test__slow__a_good_answer_that_took_too_long_counts() -> None:
    slow = Breaker(slow_call_duration=2, slow_call_rate_threshold=1, min_requests=3, open_jitter=0)
    stage = Stage(only(breaker=slow), answer(200, after=2))
    stage.together(*[stage.start() for _ in range(2)])
    assert (stage.host.slow, stage.host.state) == (2, "closed")
    stage.get()
    assert stage.host.state == "open"


def test__slow__is_counted_once() -> None:
    slow = Breaker(slow_call_duration=2, min_requests=20)
    stage = Stage(only(breaker=slow))
    (admission,) = hanging(stage, 1)
    stage.clock.advance(4)
    assert stage.host.slow == 1
    stage.end(admission)
    assert (stage.host.slow, stage.host.successes) == (1, 1)
