"""HostState: what an attempt's verdict is counted as, and who holds permits."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from seawall import (
    AdaptiveBudget,
    Bulkhead,
    ErrorKind,
    RetryBudget,
    Verdict,
    override,
)
from seawall.admission import Admission
from seawall.outcome import Reason
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
    steady,
    word,
)


def columns(stage: Stage) -> dict[str, int]:
    """The window's counts that are not zero."""
    host = stage.host
    names = ("requests", "successes", "failures", "throttled", "timeouts", "rejections")
    return {name: count for name in names if (count := getattr(host, name))}


# -- verdicts and what they are counted as ---------------------------------------------------------

FAILED, THROTTLED = {"requests": 1, "failures": 1}, {"requests": 1, "throttled": 1}
TIMED_OUT, LEFT_OUT = {"requests": 1, "failures": 1, "timeouts": 1}, {"requests": 1}


@pytest.mark.parametrize(
    ("verdict", "kind", "status", "off", "expected"),
    [
        (Verdict.SUCCESS, None, 200, {}, {"requests": 1, "successes": 1}),
        (Verdict.SUCCESS, ErrorKind.NOT_FOUND, 404, {}, {"requests": 1, "successes": 1}),
        (Verdict.FAILURE, ErrorKind.CONNECTION_RESET, None, {}, FAILED),
        (Verdict.FAILURE, ErrorKind.SERVICE_UNAVAILABLE, 503, {}, FAILED),
        (Verdict.FAILURE, ErrorKind.TIMEOUT, None, {}, TIMED_OUT),
        (Verdict.THROTTLED, ErrorKind.TOO_MANY_REQUESTS, 429, {}, THROTTLED),
        (Verdict.IGNORED, ErrorKind.FOREIGN, None, {}, {}),
        (Verdict.FAILURE, ErrorKind.INTERNAL_SERVER_ERROR, 500, {"count_5xx_as_failures": False}, LEFT_OUT),
        (Verdict.FAILURE, ErrorKind.CONNECTION_RESET, None, {"count_5xx_as_failures": False}, FAILED),
        (
            Verdict.FAILURE,
            ErrorKind.TIMEOUT,
            None,
            {"count_timeouts_as_failures": False},
            {"requests": 1, "timeouts": 1},
        ),
        (Verdict.FAILURE, ErrorKind.CONNECTION_RESET, None, {"count_timeouts_as_failures": False}, FAILED),
        (
            Verdict.THROTTLED,
            ErrorKind.TOO_MANY_REQUESTS,
            429,
            {"count_429_as_failures": True},
            {"requests": 1, "failures": 1, "throttled": 1},
        ),
    ],
    ids=[
        "success",
        "404",
        "reset",
        "503",
        "timeout",
        "429",
        "ignored",
        "5xx left out",
        "5xx left out, reset",
        "timeouts left out",
        "timeouts left out, reset",
        "429 is a failure",
    ],
)
def test__verdict__is_one_request_in_its_columns(
    verdict: Verdict, kind: ErrorKind | None, status: int | None, off: dict[str, bool], expected: dict[str, int]
) -> None:
    stage = Stage(only(breaker=brittle(failure_threshold=99, **off)))
    stage.settle(verdict, kind, status)
    assert columns(stage) == expected
    host = stage.host
    totals = {name: getattr(host, f"total_{name}") for name in expected}
    assert totals == expected


@pytest.mark.parametrize("off", [{"count_5xx_as_failures": False}, {"count_timeouts_as_failures": False}])
def test__left_out__adds_nothing_to_the_run(off: dict[str, bool]) -> None:
    stage = Stage(only(breaker=brittle(**off)))
    for _ in range(5):
        stage.settle(Verdict.FAILURE, ErrorKind.GATEWAY_TIMEOUT, 504)
    host = stage.host
    assert (host.state, host.consecutive_failures, host.failure_rate) == ("closed", 0, 0)


def test__429_as_failure__opens_the_circuit() -> None:
    stage = Stage(only(breaker=brittle(count_429_as_failures=True)))
    for _ in range(2):
        stage.settle(Verdict.THROTTLED, ErrorKind.TOO_MANY_REQUESTS, 429)
    assert stage.host.state == "open"


def test__429__opens_nothing_by_default_and_ends_no_run() -> None:
    stage = Stage(only(breaker=brittle(failure_threshold=3)))
    stage.settle(Verdict.FAILURE, ErrorKind.CONNECTION_RESET)
    for _ in range(20):
        stage.settle(Verdict.THROTTLED, ErrorKind.TOO_MANY_REQUESTS, 429)
    assert (stage.host.state, stage.host.consecutive_failures) == ("closed", 1)


def test__settled__once_and_for_all() -> None:
    stage = Stage(only())
    admission = stage.hold()
    stage.end(admission)
    admission.finish()
    admission.abandon()
    admission.broke(outcome())
    admission.call.state.settle(admission, Verdict.FAILURE, stage.clock.now)
    assert columns(stage) == {"requests": 1, "successes": 1}


@pytest.mark.parametrize("first", ["finish", "abandon", "broke"])
def test__settled__the_first_verdict_stands(first: str) -> None:
    stage = Stage(only())
    admission = stage.hold()
    admission.headers_at = stage.clock.now
    broken = (outcome(),)
    getattr(admission, first)(*(broken if first == "broke" else ()))
    seen = columns(stage)
    for later in ("finish", "abandon", "broke"):
        getattr(admission, later)(*(broken if later == "broke" else ()))
    assert columns(stage) == seen
    assert seen == {"finish": {"requests": 1, "successes": 1}, "abandon": {}, "broke": FAILED}[first]


class Raced(Admission):
    """Another thread settles it just after the first has seen that it holds a permit."""

    _permit: Any = None
    other: Any = None

    @property
    def permit(self) -> Any:  # type: ignore[override]
        seen, other, self.other = self._permit, self.other, None
        if other is not None:
            other()
        return seen

    @permit.setter
    def permit(self, value: Any) -> None:
        self._permit = value


@pytest.mark.parametrize("verdict", [Verdict.SUCCESS, Verdict.FAILURE])
def test__settled__by_two_at_once__counts_once(verdict: Verdict) -> None:
    stage = Stage(only())
    admission, now = Raced(stage.call(), 1, stage.clock.now), stage.clock.now
    state = admission.call.state
    assert state.admit(admission, now) is None
    admission.headers_at = now
    admission.other = lambda: state.settle(admission, verdict, now)
    state.settle(admission, verdict, now)
    assert (stage.host.total_requests, stage.host.acquire_successes, stage.host.in_flight) == (1, 1, 0)


def test__never_admitted__settles_to_nothing() -> None:
    stage = Stage(only())
    admission = Admission(stage.call(), 1, stage.clock.now)
    admission.call.state.settle(admission, Verdict.FAILURE, stage.clock.now)
    assert (columns(stage), stage.host.in_flight) == ({}, 0)


def test__late_result__is_counted_and_moves_nothing() -> None:
    stage = Stage(only(breaker=brittle()))
    early = [stage.hold() for _ in range(4)]
    for admission in early[:2]:
        admission.broke(outcome())
    assert stage.host.state == "open"
    stage.clock.advance(10)
    assert stage.host.state == "half_open"
    early[2].broke(outcome())
    stage.end(early[3])
    host = stage.host
    assert (host.state, host.consecutive_successes, host.total_failures, host.total_successes) == ("half_open", 0, 3, 1)


def test__window__forgets_and_totals_do_not() -> None:
    stage = Stage(only())
    stage.settle(Verdict.FAILURE, ErrorKind.CONNECTION_RESET)
    stage.clock.advance(10)
    stage.settle(Verdict.SUCCESS)
    host = stage.host
    assert (host.failures, host.successes, host.total_failures, host.total_requests) == (0, 1, 1, 2)


# -- permits are the live admissions ---------------------------------------------------------------


def drop(stage: Stage) -> None:
    """All admissions die without a word."""
    stage.held.clear()
    gc.collect()


def test__admission_dies__its_permit_is_back() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=0)))
    stage.hold()
    assert (stage.host.in_flight, word(stage.get())) == (1, Reason.BULKHEAD_FULL)
    drop(stage)
    assert (stage.host.in_flight, word(stage.get())) == (0, 200)
    assert columns(stage)["successes"] == 1


def test__admission_dies_in_a_cycle__its_permit_is_back_after_a_collection() -> None:
    stage = Stage(only())
    admission: Any = stage.hold()
    admission.me = admission
    del admission
    drop(stage)
    assert stage.host.in_flight == 0


def test__settled_admission_dies__nothing_changes() -> None:
    stage = Stage(only(bulkhead=Bulkhead(max_concurrent=2)))
    stage.end(stage.hold())
    stage.hold()
    stage.held.pop(0)
    gc.collect()
    assert stage.host.in_flight == 1


def test__probe_dies__its_slot_is_back() -> None:
    stage = Stage(only(breaker=brittle()), fault())
    stage.together(stage.start(), stage.start())
    stage.clock.advance(10)
    stage.hold()
    assert word(stage.get()) is Reason.HALF_OPEN_LIMIT
    drop(stage)
    stage.script(answer(200))
    assert (word(stage.get()), stage.host.state) == (200, "closed")


def test__probe_never_ends__its_lease_does() -> None:
    stage = Stage(only(breaker=brittle(half_open_timeout=5)), fault())
    stage.client = (5, 5)
    stage.together(stage.start(), stage.start())
    stage.clock.advance(10)
    stage.hold()
    stage.clock.advance(5)
    assert stage.host.state == "open"
    stage.clock.advance(10)
    stage.script(answer(200))
    assert (word(stage.get()), stage.host.state) == (200, "closed")


def test__probe_never_ends__the_next_call_is_refused_for_another_opening() -> None:
    stage = Stage(only(breaker=brittle(half_open_timeout=5, open_jitter=0.2)), fault())
    stage.client = (5, 5)
    stage.together(stage.start(), stage.start())
    stage.clock.advance(10)
    stage.hold()
    stage.clock.advance(5)
    refusal = stage.get()
    assert (refusal.reason, refusal.wait(stage.clock.now)) == (Reason.CIRCUIT_OPEN, 8)


def test__probe_that_streams__gives_its_slot_back_at_good_headers() -> None:
    stage = Stage(only(breaker=brittle(success_threshold=2)), fault())
    stage.together(stage.start(), stage.start())
    stage.clock.advance(10)
    stage.script(answer(200, stream=True), answer(200))
    streaming = stage.get()
    assert (stage.host.state, stage.host.in_flight) == ("half_open", 1)
    stage.get()
    assert stage.host.state == "closed"
    streaming.admission.broke(outcome())
    assert (stage.host.state, stage.host.total_failures) == ("closed", 3)


@pytest.mark.parametrize(("headers", "state"), [({}, "half_open"), ({"retry_after": "4"}, "open")])
def test__probe_throttled__reopens_for_the_servers_delay_or_gives_its_slot_back(
    headers: dict[str, str], state: str
) -> None:
    stage = Stage(only(breaker=brittle(), retry=steady()), fault())
    stage.together(*[stage.start(Request(replayable=False)) for _ in range(2)])
    stage.clock.advance(10)
    stage.script(answer(429, **headers))
    assert word(stage.get(Request(replayable=False))) == 429
    host = stage.host
    assert (host.state, host.retry_after) == (state, 4 if headers else 0)


def test__override_breaker_off__neither_refused_nor_counted_by_the_circuit() -> None:
    stage = Stage(only(breaker=brittle()), fault())
    with override(breaker=None):
        for _ in range(5):
            stage.get()
    assert (stage.host.state, stage.host.consecutive_failures, stage.host.failures) == ("closed", 0, 5)
    stage.resilience.isolate(HOST)
    with override(breaker=None):
        assert word(stage.get()) is ErrorKind.CONNECTION_RESET


def test__group_of_exempt_attempts__still_holds_permits() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=0)))
    stage.hold(override(bulkhead=None))
    assert (stage.host.in_flight, word(stage.get())) == (1, Reason.BULKHEAD_FULL)


# -- the budget's samples --------------------------------------------------------------------------


def paid(stage: Stage, verdict: Verdict, count: int = 20) -> None:
    for _ in range(count):
        admission = stage.hold()
        admission.paid = True
        admission.outcome = outcome(verdict, ErrorKind.UNKNOWN)
        admission.call.state.settle(admission, verdict, stage.clock.now)


@pytest.mark.parametrize(
    ("verdict", "rate"), [(Verdict.SUCCESS, 11), (Verdict.FAILURE, 9), (Verdict.IGNORED, 10)], ids=lambda v: str(v)
)
def test__adaptive_budget__learns_from_retries_that_reached_the_network(verdict: Verdict, rate: float) -> None:
    stage = Stage(only(budget=AdaptiveBudget()))
    paid(stage, verdict)
    stage.clock.advance(60)
    paid(stage, verdict, 1)
    assert stage.host.budget_refill_rate == pytest.approx(rate)


# -- what a refusal says, and when there is nothing to ask -----------------------------------------


def full(**figures: Any) -> Stage:
    stage = Stage(only(bulkhead=one_at_a_time(**figures)))
    stage.hold()
    return stage


def closed() -> Stage:
    stage = Stage(only())
    stage.call()
    stage.resilience.close(0)
    return stage


def probed() -> Stage:
    stage = opened()
    stage.clock.advance(10)
    stage.hold()
    return stage


def opened() -> Stage:
    stage = Stage(only(breaker=brittle()), fault())
    stage.together(stage.start(), stage.start())
    return stage


def isolated() -> Stage:
    stage = Stage(only(breaker=brittle()))
    stage.call()
    stage.resilience.isolate(HOST)
    return stage


@pytest.mark.parametrize(
    ("stage", "reason", "limit", "entered", "wait"),
    [
        (lambda: full(max_wait=0), Reason.BULKHEAD_FULL, 0, None, None),
        (lambda: full(max_queue=0), Reason.BULKHEAD_FULL, 5, None, None),
        (closed, Reason.CLOSED, None, None, None),
        (opened, Reason.CIRCUIT_OPEN, None, 3, 7),
        (probed, Reason.HALF_OPEN_LIMIT, 1, 3, 90 - 3),
        (isolated, Reason.ISOLATED, None, 3, None),
    ],
    ids=["no wait", "no queue", "closed", "open", "half open", "isolated"],
)
def test__refusal__names_the_host_the_figure_that_was_reached_and_since_when(
    stage: Any, reason: Reason, limit: float | None, entered: float | None, wait: float | None
) -> None:
    played = stage()
    played.clock.advance(3)
    refusal = played.get()
    assert (refusal.reason, refusal.host, refusal.limit) == (reason, played.call().state.name, limit)
    assert refusal.wait(played.clock.now) == wait
    since = None if refusal.since is None else played.clock.wall() - refusal.since
    assert since == (None if entered is None else pytest.approx(entered))


def test__calm__only_while_a_permit_is_all_there_is_to_ask_for() -> None:
    stage = Stage(only(breaker=brittle(), retry=steady(max_retries=0)), fault())
    state = stage.call().state
    assert state.is_calm is True
    stage.together(stage.start(), stage.start())
    assert state.is_calm is False
    stage.clock.advance(10)
    stage.script(answer())
    stage.get()
    assert state.is_calm is True
    stage.close_gate(5)
    assert state.is_calm is False
    stage.resilience.reset(HOST)
    assert state.is_calm is True
    stage.resilience.isolate(HOST)
    assert state.is_calm is False
    stage.resilience.restore(HOST)
    assert state.is_calm is True
    stage.resilience.close(0)
    assert state.is_calm is False


class HeldElsewhere:
    """The lock, as it is for this thread while another holds it."""

    def __enter__(self) -> None:
        raise AssertionError("waits for the other thread")

    def __exit__(self, *_: object) -> None:
        pass

    def _is_owned(self) -> bool:
        return False


def test__calm_without_a_limit__good_calls_come_and_go_while_another_thread_holds_the_lock() -> None:
    stage = Stage(only())
    state = stage.call().state
    lock, state._lock = state._lock, HeldElsewhere()
    assert [word(stage.get()) for _ in range(31)] == [200] * 31
    state._lock = lock
    assert columns(stage) == {"requests": 31, "successes": 31}


def test__good_ends__not_counted_yet__never_are_more_than_a_few() -> None:
    stage = Stage(only())
    state = stage.call().state
    most = 0
    for _ in range(200):
        stage.get()
        most = max(most, len(state.done))
    assert most < 40
    assert columns(stage) == {"requests": 200, "successes": 200}


def test__usual_time__is_what_half_of_twenty_answers_needed_and_unknown_before() -> None:
    stage = Stage(only())
    state = stage.call().state
    for after in [1] * 12 + [9] * 7:
        stage.script(answer(after=after))
        stage.get()
    assert state.usual_time() == 0
    stage.get()
    assert state.usual_time() == 1


def test__child_of_a_fork__has_the_slots_of_the_parents_probes() -> None:
    stage = probed()
    state = stage.call().state
    assert word(stage.get()) is Reason.HALF_OPEN_LIMIT
    state.begin_afresh()
    stage.script(answer())
    assert word(stage.get()) == 200


def test__child_of_a_fork__open_circuit_refuses_and_counts_as_before() -> None:
    stage = opened()
    state = stage.call().state
    state.turn_away(stage.call(), stage.clock.now)
    before = stage.host.rejections
    state.begin_afresh()
    for _ in range(3):
        refusal = state.turn_away(stage.call(), stage.clock.now)
        assert refusal is not None
    assert stage.host.rejections == before + 3


@pytest.mark.parametrize("verdict", [Verdict.SUCCESS, Verdict.FAILURE, Verdict.IGNORED])
def test__mean_hold__is_over_all_that_held_a_permit_however_they_ended(verdict: Verdict) -> None:
    stage = Stage(only())
    for seconds in (2, 4, 9):
        admission = stage.hold()
        stage.clock.advance(seconds)
        admission.outcome = outcome(verdict)
        admission.call.state.settle(admission, verdict, stage.clock.now)
    assert stage.host.mean_hold == 5


def test__budget__only_success_brings_a_deposit() -> None:
    stage = Stage(only(budget=RetryBudget(ratio=1, start=0, refill_per_minute=0)))
    for verdict in (Verdict.FAILURE, Verdict.THROTTLED, Verdict.IGNORED):
        stage.settle(verdict, ErrorKind.CONNECTION_RESET)
    assert stage.host.budget == 0
    stage.settle(Verdict.SUCCESS, ErrorKind.NOT_FOUND, 404)
    assert stage.host.budget == 1
