"""What opens a circuit: failures in a row that span time, a failure rate, a slow-call rate."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from seawall import Breaker
from seawall.policies.breaker import Result
from seawall.stats.window import Column
from tests.core.policies.circuit import Circuit

OK, BAD, NEUTRAL = Result.SUCCESS, Result.FAILURE, Result.NEUTRAL
ONLY_RUNS: dict[str, Any] = {"min_requests": 10**6}
ONLY_RATES: dict[str, Any] = {"failure_threshold": 10**6}


def test__new__is_closed() -> None:
    circuit = Circuit()
    assert (circuit.phase, circuit.state.retry_after(circuit.now)) == ("closed", 0)
    circuit.ok(100)
    assert circuit.phase == "closed"


def test__run__of_failure_threshold_spanning_enough__opens() -> None:
    circuit = Circuit(failure_threshold=5, min_failure_span=0.5, **ONLY_RUNS)
    circuit.fail(4, every=0.2)
    assert circuit.phase == "closed"
    circuit.wait(0.2).fail()
    assert circuit.changes == [("closed", "RUN", "open")]


def test__closed__ten_failures_within_a_millisecond__stays_closed() -> None:
    circuit = Circuit(**ONLY_RUNS)
    circuit.fail(10, every=0.0001)
    assert circuit.phase == "closed"


def test__closed__a_burst_of_a_thousand_parallel_failures__stays_closed() -> None:
    circuit = Circuit(**ONLY_RUNS)
    permits = [circuit.admit() for _ in range(1000)]
    circuit.wait(3)
    for permit in permits:
        circuit.settle(permit, BAD)
    assert circuit.phase == "closed"


def test__run__long_enough_but_too_short__opens_as_soon_as_it_spans_the_time() -> None:
    circuit = Circuit(failure_threshold=10, min_failure_span=0.5, **ONLY_RUNS)
    circuit.fail(20, every=0.02)
    assert circuit.phase == "closed"
    circuit.wait(0.119).fail()
    assert circuit.phase == "closed"
    circuit.wait(0.001 + 1e-9).fail()
    assert circuit.phase == "open"


def test__run__span__is_from_the_first_failure_to_the_last_not_from_the_phase() -> None:
    circuit = Circuit(failure_threshold=3, min_failure_span=0.5, **ONLY_RUNS)
    circuit.wait(60).fail(3)
    assert circuit.phase == "closed"


def test__run__spanning_enough_but_too_few__stays_closed() -> None:
    circuit = Circuit(failure_threshold=10, **ONLY_RUNS)
    circuit.fail(9, every=5)
    assert circuit.phase == "closed"


def test__run__a_success_between__starts_it_over_count_and_span() -> None:
    circuit = Circuit(failure_threshold=5, min_failure_span=0.5, **ONLY_RUNS)
    circuit.fail(4, every=1).ok().wait(0.1).fail(5, every=0.1)
    assert circuit.phase == "closed"
    circuit.wait(0.2).fail()
    assert circuit.phase == "open"


def test__run__what_says_nothing__neither_counts_nor_ends_it() -> None:
    circuit = Circuit(failure_threshold=5, min_failure_span=0.5, **ONLY_RUNS)
    circuit.fail(4, every=0.2).ignore(50)
    assert circuit.phase == "closed"
    circuit.wait(0.2).fail()
    assert circuit.phase == "open"


def test__run__is_not_limited_by_the_window() -> None:
    circuit = Circuit(failure_threshold=5, sampling_window=10, **ONLY_RUNS)
    circuit.fail(5, every=100)
    assert circuit.phase == "open"


def test__span_zero__the_count_alone_decides() -> None:
    circuit = Circuit(failure_threshold=5, min_failure_span=0, **ONLY_RUNS)
    circuit.fail(5)
    assert circuit.phase == "open"


def test__rate__reached_with_min_requests__opens_at_that_failure() -> None:
    circuit = Circuit(failure_rate_threshold=0.5, min_requests=10, **ONLY_RATES)
    circuit.ok(5).fail(4)
    assert circuit.phase == "closed"
    circuit.fail()
    assert circuit.changes == [("closed", "RATE", "open")]


def test__rate__below_min_requests__stays_closed_even_if_all_fail() -> None:
    circuit = Circuit(failure_rate_threshold=0.5, min_requests=10, **ONLY_RATES)
    circuit.fail(9, every=0.1)
    assert circuit.phase == "closed"


@pytest.mark.parametrize(
    ("threshold", "requests", "failures"),
    [
        (0.8, 20, 16),
        (0.5, 10, 5),
        (0.55, 20, 11),
        (0.7, 10, 7),
        (0.07, 100, 7),
        (0.29, 100, 29),
        (0.57, 100, 57),
        (1.0, 20, 20),
        (1 / 3, 9, 3),
    ],
)
def test__rate__exactly_at_the_threshold__opens_and_one_failure_less_does_not(
    threshold: float, requests: int, failures: int
) -> None:
    for short in (0, 1):
        circuit = Circuit(failure_rate_threshold=threshold, min_requests=requests, **ONLY_RATES)
        circuit.ok(requests - failures + short).fail(failures - short)
        assert circuit.phase == ("closed" if short else "open"), f"{failures - short} of {requests}"


def test__rate__half_of_many_below_four_fifths__stays_closed() -> None:
    circuit = Circuit(min_failure_span=1000)
    for _ in range(200):
        circuit.wait(0.04).ok().fail()
    assert circuit.phase == "closed"


def test__rate__what_says_nothing__is_in_neither_count() -> None:
    circuit = Circuit(failure_rate_threshold=0.5, min_requests=10, **ONLY_RATES)
    circuit.fail(9).ignore(100)
    assert circuit.phase == "closed"
    assert circuit.counts == (0, 9)
    circuit.fail()
    assert circuit.phase == "open"


def test__rate__failures_older_than_the_window__do_not_count() -> None:
    circuit = Circuit(failure_rate_threshold=0.5, min_requests=10, sampling_window=10, **ONLY_RATES)
    circuit.fail(9).wait(11).fail(9)
    assert circuit.phase == "closed"
    circuit.wait(5).fail()
    assert circuit.phase == "open"


def test__rate__failures_from_before_lunch__do_not_count_after_an_idle_gap() -> None:
    circuit = Circuit(failure_rate_threshold=0.5, min_requests=10, **ONLY_RATES)
    circuit.fail(9, every=0.9).wait(3600).fail(9)
    assert circuit.phase == "closed"


SLOW: dict[str, Any] = {"slow_call_duration": 2, "slow_call_rate_threshold": 0.5, "min_requests": 10, **ONLY_RATES}


def slow(circuit: Circuit, count: int) -> Circuit:
    """Calls that took long and then went well."""
    for _ in range(count):
        permit = circuit.admit()
        circuit.settle(permit, OK)
        circuit.state.slow(permit, permit.phase, circuit.now, circuit.u, in_flight=False)
    return circuit


def hang(circuit: Circuit, count: int) -> list[Any]:
    """Calls that are slow and have not ended."""
    permits = [circuit.admit() for _ in range(count)]
    for permit in permits:
        circuit.state.slow(permit, permit.phase, circuit.now, circuit.u, in_flight=True)
    return permits


def end(circuit: Circuit, permits: list[Any], result: Result) -> None:
    for permit in permits:
        circuit.state.slow_ended(permit, permit.phase, result, circuit.now)
        circuit.settle(permit, result)


def test__slow_rate__reached_with_min_requests__opens() -> None:
    circuit = Circuit(**SLOW)
    slow(circuit.ok(5), 4)
    assert circuit.phase == "closed"
    slow(circuit, 1)
    assert circuit.changes == [("closed", "SLOW", "open")]


def test__slow_rate__below_min_requests__stays_closed() -> None:
    circuit = Circuit(**SLOW)
    slow(circuit, 9)
    assert circuit.phase == "closed"


def test__slow_rate__below_the_threshold__stays_closed() -> None:
    circuit = Circuit(**SLOW)
    slow(circuit.ok(20), 15)
    assert circuit.phase == "closed"


def test__slow_rate__without_slow_call_duration__opens_nothing() -> None:
    circuit = Circuit(**(SLOW | {"slow_call_duration": None}))
    slow(circuit, 100)
    assert circuit.phase == "closed"


def test__slow_in_flight__counts_before_it_ends() -> None:
    circuit = Circuit(**SLOW)
    circuit.ok(5)
    hang(circuit, 4)
    assert circuit.phase == "closed"
    hang(circuit, 1)
    assert circuit.phase == "open"


def test__slow_in_flight__calls_from_before_an_idle_gap__do_not_outweigh_it() -> None:
    circuit = Circuit(**SLOW)
    hang(circuit.ok(50).wait(3600), 10)
    assert circuit.phase == "open"


def test__slow_in_flight__is_counted_once_when_it_ends() -> None:
    circuit = Circuit(**SLOW)
    permits = hang(circuit.ok(10), 6)
    end(circuit, permits, OK)
    assert (circuit.counts, circuit.seen(Column.SLOW)) == ((16, 0), 6)
    circuit.ok(4).fail()
    assert circuit.phase == "closed"
    hang(circuit, 4)
    assert circuit.phase == "closed"


def test__slow_in_flight__then_cancelled__does_not_stay_in_the_rate_without_being_a_call() -> None:
    # Cancelled calls are ignored. Left among the slow, but not among the calls, they would open a circuit in which
    # every call that ended was fast.
    circuit = Circuit(**SLOW)
    end(circuit, hang(circuit.ok(8), 7), NEUTRAL)
    circuit.ok(3).fail()
    assert circuit.phase == "closed"


def test__slow_in_flight__of_an_older_phase__moves_nothing() -> None:
    circuit = Circuit(**SLOW)
    permits = hang(circuit.ok(20), 9)
    circuit.state.reset(circuit.now)
    end(circuit, permits, OK)
    for permit in permits:
        circuit.state.slow(permit, permit.phase, circuit.now, circuit.u, in_flight=False)
    assert circuit.phase == "closed"
    assert circuit.seen(Column.SLOW) == 0


@pytest.mark.parametrize(("timeouts", "fives", "throttles"), list(product([True, False], repeat=3)))
@pytest.mark.parametrize(
    "kind",
    [{"timeout"}, {"status_5xx"}, {"status_429"}, {"timeout", "status_5xx"}, set()],
    ids=["timeout", "5xx", "429", "504: a timeout and a 5xx", "any other failure"],
)
def test__count_flags__leave_that_kind_out_and_no_other(
    timeouts: bool, fives: bool, throttles: bool, kind: set[str]
) -> None:
    config = Breaker(count_timeouts_as_failures=timeouts, count_5xx_as_failures=fives, count_429_as_failures=throttles)
    left_out = {
        name
        for name, counts in zip(("timeout", "status_5xx", "status_429"), (timeouts, fives, throttles), strict=True)
        if not counts
    }
    flags = {name: name in kind for name in ("timeout", "status_5xx", "status_429")}
    assert config.weigh(BAD, **flags) is (NEUTRAL if kind & left_out else BAD)
    assert (config.weigh(OK, **flags), config.weigh(NEUTRAL, **flags)) == (OK, NEUTRAL)


def slowing(**figures: Any) -> Circuit:
    """Two slow calls of three; the fourth decides."""
    circuit = Circuit(slow_call_duration=1, slow_call_rate_threshold=0.5, min_requests=4, open_jitter=0, **figures)
    for _ in range(2):
        permit = circuit.admit()
        circuit.settle(permit, Result.SUCCESS)
        circuit.state.slow(permit, permit.phase, circuit.now, circuit.u, in_flight=False)
    return circuit.ok()


def test__slow_rate__seen_at_a_failure__opens_until_the_instant_the_server_named() -> None:
    circuit = slowing()
    circuit.settle(circuit.admit(), Result.FAILURE, circuit.now + 60)
    assert circuit.changes == [("closed", "SLOW", "open")]
    assert circuit.opening == 60


def test__slow_rate__in_the_first_second_of_a_clock__opens_for_its_time_and_no_longer() -> None:
    circuit = slowing(start=0.0, open_duration=0.25).ok()
    permit = circuit.admit()
    circuit.settle(permit, Result.SUCCESS)
    for _ in range(2):
        circuit.state.slow(permit, permit.phase, circuit.now, circuit.u, in_flight=False)
    assert circuit.changes == [("closed", "SLOW", "open")]
    assert circuit.opening == 0.25


def test__slow_ended__of_a_call_that_was_not_seen_to_be_slow__counts_nothing() -> None:
    circuit = Circuit(slow_call_duration=1)
    slow, other = circuit.admit(), circuit.admit()
    circuit.state.slow_ended(other, other.phase, Result.SUCCESS, circuit.now)
    circuit.state.slow(slow, slow.phase, circuit.now, circuit.u, in_flight=True)
    circuit.state.slow_ended(other, other.phase, Result.SUCCESS, circuit.now)
    assert circuit.seen(Column.SLOW) == 0
    circuit.half_open()
    probe = circuit.admit()
    circuit.state.slow_ended(probe, probe.phase, Result.SUCCESS, circuit.now)
    assert circuit.seen(Column.SLOW) == 0
