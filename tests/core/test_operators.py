"""What operators do to a host while calls run: reset, isolate and restore, close, new figures."""

from __future__ import annotations

from seawall import ErrorKind, RetryBudget, Verdict, override
from seawall.outcome import Reason, Rejection
from tests.core.stage import (
    HOST,
    Request,
    Stage,
    answer,
    brittle,
    fault,
    one_at_a_time,
    only,
    outcome,
    purse,
    steady,
    word,
)

# -- what operators do -----------------------------------------------------------------------------


def used() -> Stage:
    """A host with something of everything: an open circuit, a full window, a gate, a spent budget."""
    parts = {"breaker": brittle(), "retry": steady(max_retries=1), "budget": purse()}
    stage = Stage(only(**parts), answer(429, retry_after="4"), fault())
    stage.get(Request(replayable=False))
    stage.clock.advance(4)
    stage.get()
    stage.clock.advance(10)
    stage.script(answer(503, retry_after="20"))
    stage.get(Request(replayable=False))
    return stage


def test__reset__phase_window_streaks_budget_and_gate_as_new() -> None:
    stage = used()
    before = stage.host
    assert (before.state, before.failures > 0, before.gate > 0, before.budget) == ("open", True, True, 9)
    assert stage.resilience.reset(HOST)
    host = stage.host
    assert (host.state, host.retry_after, host.gate, host.budget) == ("closed", 0, 0, 10)
    assert (host.requests, host.failures, host.throttled, host.failure_rate, host.consecutive_failures) == (
        0,
        0,
        0,
        0,
        0,
    )
    assert (host.latency_p50, host.latency_p90, host.latency_p99) == (None, None, None)


def test__reset__totals_and_attempts_in_flight_stay() -> None:
    stage = used()
    before = stage.host
    with override(breaker=None, retry=None):
        stage.clock.advance(20)
        stage.hold()
    stage.resilience.reset(HOST)
    host = stage.host
    for name in ("total_requests", "total_failures", "total_throttled", "open_count", "half_open_count"):
        assert getattr(host, name) == getattr(before, name), name
    assert host.in_flight == 1


def test__reset__a_failure_from_before_moves_nothing_after() -> None:
    stage = Stage(only(breaker=brittle(failure_threshold=1)))
    admission = stage.hold()
    stage.resilience.reset(HOST)
    admission.broke(outcome())
    assert (stage.host.state, stage.host.total_failures) == ("closed", 1)


def test__isolate__holds_open_until_restore_whatever_the_time() -> None:
    stage = Stage(only(breaker=brittle()))
    stage.resilience.isolate(HOST)
    stage.clock.advance(1_000_000)
    rejection = stage.get()
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, rejection.retry_after, stage.host.state, stage.host.retry_after) == (
        Reason.ISOLATED,
        None,
        "isolated",
        None,
    )
    stage.resilience.restore(HOST)
    assert (word(stage.get()), stage.host.state) == (200, "closed")


def test__isolate__works_where_the_policy_has_no_breaker() -> None:
    stage = Stage(only())
    stage.resilience.isolate(HOST)
    assert word(stage.get()) is Reason.ISOLATED


def test__restore__of_a_circuit_that_opened_by_itself__changes_nothing() -> None:
    stage = used()
    stage.resilience.restore(HOST)
    assert stage.host.state == "open"


def test__close__sends_waiters_and_sleepers_away_at_once() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(), retry=steady()), answer(503))
    results = stage.together(
        stage.start(),
        stage.at(0.25, stage.hold),
        stage.at(0.5, stage.start),
        stage.at(0.75, lambda: stage.resilience.close(0)),
    )
    assert (word(results[0]), word(results[2]), results[3], stage.now) == (503, Reason.CLOSED, False, 0.75)
    assert word(stage.get()) is Reason.CLOSED


# -- new figures, same state -----------------------------------------------------------------------


def test__configure__keeps_phase_window_gate_and_attempts() -> None:
    stage = used()
    before = stage.host
    stage.resilience.configure("all://", only(breaker=brittle(failure_threshold=7), retry=steady(), budget=purse()))
    host = stage.host
    for name in ("state", "retry_after", "gate", "failures", "total_requests", "open_count", "budget"):
        assert getattr(host, name) == getattr(before, name), name


def test__configure__closed_circuit_takes_new_threshold_at_its_next_settle() -> None:
    stage = Stage(only(breaker=brittle(failure_threshold=9)))
    for _ in range(3):
        stage.settle(Verdict.FAILURE, ErrorKind.CONNECTION_RESET)
    stage.resilience.configure("all://", only(breaker=brittle(failure_threshold=4)))
    assert stage.host.state == "closed"
    stage.settle(Verdict.FAILURE, ErrorKind.CONNECTION_RESET)
    assert stage.host.state == "open"


def test__configure__another_sampling_window__starts_empty_and_forgets_after_its_new_length() -> None:
    stage = Stage(only(breaker=brittle(failure_threshold=9)))
    stage.settle(Verdict.FAILURE, ErrorKind.CONNECTION_RESET)
    stage.resilience.configure("all://", only(breaker=brittle(failure_threshold=9, sampling_window=40)))
    assert (stage.host.failures, stage.host.total_failures) == (0, 1)
    stage.settle(Verdict.FAILURE, ErrorKind.CONNECTION_RESET)
    stage.clock.advance(39)
    assert stage.host.failures == 1
    stage.clock.advance(1)
    assert stage.host.failures == 0


def test__configure__breaker_taken_away__closes_and_never_opens() -> None:
    stage = used()
    stage.clock.advance(20)
    stage.resilience.configure("all://", only())
    for _ in range(20):
        stage.settle(Verdict.FAILURE, ErrorKind.CONNECTION_RESET)
    assert stage.host.state == "closed"


def test__configure__unchanged_budget_keeps_its_tokens_a_new_one_starts_full() -> None:
    stage = used()
    stage.resilience.configure("all://", only(breaker=brittle(), budget=purse()))
    assert stage.host.budget == 9
    stage.resilience.configure("all://", only(breaker=brittle(), budget=RetryBudget(cap=7, start=4)))
    assert (stage.host.budget, stage.host.budget_max) == (4, 7)


def test__configure__keep_state_false__starts_afresh() -> None:
    stage = used()
    stage.resilience.configure("all://", only(breaker=brittle(), budget=purse()), keep_state=False)
    host = stage.host
    assert (host.state, host.gate, host.requests, host.budget) == ("closed", 0, 0, 10)
