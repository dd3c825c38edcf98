"""What observers hear: each kind, in order, once; and that listening can break nothing."""

from __future__ import annotations

from typing import Any

import pytest

from seawall import Ending, ErrorKind, Verdict, events
from seawall.events import (
    AttemptEnded,
    BreakerChanged,
    BudgetExhausted,
    CallEnded,
    Degraded,
    Event,
    GateClosed,
    Rejected,
    RetryScheduled,
)
from tests.core.stage import HOST, START, Stage, answer, brittle, fault, only, purse, steady
from tests.core.test_cancellation import SCENARIOS, Play, Scenario, scenarios

KINDS = [AttemptEnded, RetryScheduled, Rejected, BreakerChanged, GateClosed, BudgetExhausted, Degraded, CallEnded]


def heard(stage: Stage, *kinds: type[Event]) -> list[Any]:
    """What a listener of these kinds hears from now on."""
    found: list[Event] = []
    stage.resilience.subscribe(found.append, kinds or None)
    return found


# -- each kind -------------------------------------------------------------------------------------


def test__attempt_ended__once_per_send_with_its_verdict() -> None:
    stage = Stage(only(retry=steady()), answer(503, after=0.5), fault(), answer(200, after=2))
    found = heard(stage, AttemptEnded)
    stage.get()
    assert [(e.host, e.at - START, e.number, e.duration, e.status, e.kind, e.verdict) for e in found] == [
        (HOST, 0.5, 1, 0.5, 503, ErrorKind.SERVICE_UNAVAILABLE, Verdict.FAILURE),
        (HOST, 1.5, 2, 0, None, ErrorKind.CONNECTION_RESET, Verdict.FAILURE),
        (HOST, 4.5, 3, 2, 200, None, Verdict.SUCCESS),
    ]


def test__attempt_ended__comes_at_the_end_of_the_body() -> None:
    stage = Stage(only(), answer(200, stream=True))
    found = heard(stage, AttemptEnded)
    response = stage.get()
    assert found == []
    stage.clock.advance(3)
    response.admission.finish()
    assert [(e.at - START, e.verdict) for e in found] == [(3, Verdict.SUCCESS)]


def test__retry_scheduled__says_which_attempt_follows_and_when() -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(429, retry_after="4"), answer(200))
    found = heard(stage, RetryScheduled)
    stage.get()
    assert [(e.number, e.delay, e.kind, e.at - START) for e in found] == [
        (2, 1, ErrorKind.SERVICE_UNAVAILABLE, 0),
        (3, 4, ErrorKind.TOO_MANY_REQUESTS, 1),
    ]


def test__rejected__says_who_refused_and_when_to_try_again() -> None:
    stage = Stage(only(breaker=brittle()), fault())
    stage.together(stage.start(), stage.start())
    found = heard(stage, Rejected)
    stage.get()
    assert [(e.host, e.policy, e.reason, e.retry_after) for e in found] == [(HOST, "breaker", "circuit open", 10)]


def test__breaker_changed__every_change_in_order_with_its_reason() -> None:
    stage = Stage(only(breaker=brittle()), fault())
    found = heard(stage, BreakerChanged)
    stage.together(stage.start(), stage.start())
    stage.clock.advance(10)
    stage.script(answer(200))
    stage.get()
    stage.resilience.isolate(HOST)
    stage.resilience.restore(HOST)
    assert [(e.before, e.after, e.reason) for e in found] == [
        ("closed", "open", "failures in a row"),
        ("open", "half_open", "open duration over"),
        ("half_open", "closed", "enough probes succeeded"),
        ("closed", "isolated", "isolate()"),
        ("isolated", "closed", "restore()"),
    ]
    assert [e.at - START for e in found] == [0, 10, 10, 10, 10]


def test__gate_closed__says_for_how_long() -> None:
    stage = Stage(only(retry=steady(max_retries=0)), answer(503, retry_after="7"))
    found = heard(stage, GateClosed)
    stage.get()
    assert [(e.host, e.seconds) for e in found] == [(HOST, 7)]


@pytest.mark.parametrize(
    "stage",
    [
        Stage(only(retry=steady(share_retry_after=False)), answer(503, retry_after="7")),
        Stage(only(), answer(503, retry_after="7")),
        Stage(only(retry=steady(max_retries=0)), answer(503)),
        Stage(only(retry=steady(max_retries=0)), answer(404, retry_after="7")),
    ],
    ids=["not shared", "no retry", "no delay", "404"],
)
def test__gate_closed__not_when_nothing_closes(stage: Stage) -> None:
    found = heard(stage, GateClosed)
    stage.get()
    assert (found, stage.host.gate) == ([], 0)


def test__gate_closed__not_again_when_another_answer_does_not_move_it() -> None:
    stage = Stage(only(retry=steady(max_retries=0)), answer(503, retry_after="7"), answer(404, retry_after="2"))
    found = heard(stage, GateClosed)
    stage.together(stage.start(), stage.start())
    assert [e.seconds for e in found] == [7]


def test__budget_exhausted__when_an_extra_attempt_is_denied() -> None:
    stage = Stage(only(retry=steady(), budget=purse(1)), answer(503))
    found = heard(stage, BudgetExhausted)
    stage.get()
    assert [(e.host, e.at - START) for e in found] == [(HOST, 1)]


def test__call_ended__says_how_often_how_long_and_why() -> None:
    stage = Stage(only(retry=steady()), answer(503, after=0.5))
    found = heard(stage, CallEnded)
    stage.get()
    assert [(e.host, e.attempts, e.duration, e.ending) for e in found] == [(HOST, 3, 3.5, Ending.ATTEMPTS_EXHAUSTED)]


def test__kinds__are_all_there_are() -> None:
    made = {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)}
    assert made == {Event, *KINDS}


# -- once, and in agreement with the counters ------------------------------------------------------


def to_the_end(scenario: Scenario) -> Play:
    play = Play(scenario)
    while not play.is_over:
        play.let_pass()
        play.resume()
    return play


@scenarios
def test__every_call__ends_in_exactly_one_terminal_event(scenario: Scenario) -> None:
    play = to_the_end(scenario)
    assert len([event for event in play.events if isinstance(event, CallEnded)]) == 1
    assert isinstance(play.events[-1], CallEnded) or "streams" in str(scenario)


@scenarios
def test__every_attempt_that_ended__is_one_event(scenario: Scenario) -> None:
    play = to_the_end(scenario)
    ended = [event for event in play.events if isinstance(event, AttemptEnded)]
    ours = play.stage.peer.sent[play.sent_before :]
    others = [held for held in play.stage.held if held.settled]
    assert len(ended) == len(ours) + len(others) - ("streams" in str(scenario))


@scenarios
def test__refused_calls__are_as_many_in_the_log_as_in_the_counters(scenario: Scenario) -> None:
    play = Play(scenario)
    before = play.stage.host.total_rejections
    while not play.is_over:
        play.let_pass()
        play.resume()
    rejected = [event for event in play.events if isinstance(event, Rejected)]
    assert play.stage.host.total_rejections - before == len(rejected)


def test__scenarios__are_the_thirty_of_the_cancellation_tests() -> None:
    assert len(SCENARIOS) >= 30
