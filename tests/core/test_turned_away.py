"""Refusals at the door: while a circuit is open its callers hear so at once, and as much as the whole journey says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import seawall
from seawall import Ending
from seawall.errors import dress
from seawall.events import Event
from seawall.flow import turned_away
from seawall.outcome import Reason, Rejection
from tests.core.stage import HOST, Stage, answer, brittle, fault, only

OPEN_FOR = 10


def opened() -> Stage:
    stage = Stage(only(breaker=brittle()), fault())
    stage.together(stage.start(), stage.start())
    stage.peer.sent.clear()
    return stage


def at_the_door(stage: Stage) -> Any:
    return turned_away(stage.call())


def by_the_flow(stage: Stage) -> Any:
    return stage.get()


@pytest.mark.parametrize("way", [at_the_door, by_the_flow])
def test__open_circuit__is_refused_and_counted_by_either_way(way: Callable[[Stage], Any]) -> None:
    stage = opened()
    reasons = [way(stage).reason for _ in range(100)]
    assert reasons == [Reason.CIRCUIT_OPEN] * 100
    assert (stage.host.rejections, stage.host.failures, stage.sent) == (100, 2, [])


@pytest.mark.parametrize("way", [at_the_door, by_the_flow])
def test__listeners__hear_the_same_of_either_way(way: Callable[[Stage], Any]) -> None:
    stage = opened()
    heard: list[Event] = []
    stage.resilience.subscribe(heard.append)
    stage.clock.advance(1)
    way(stage)
    way(stage)
    assert [type(event).__name__ for event in heard] == ["Rejected", "CallEnded"] * 2
    assert {getattr(event, "retry_after", OPEN_FOR - 1) for event in heard} == {OPEN_FOR - 1}
    assert {getattr(event, "ending", Ending.REFUSED) for event in heard} == {Ending.REFUSED}


def test__rejections__are_counted_each_in_its_own_time() -> None:
    stage = opened()
    for _ in range(8):
        at_the_door(stage)
        stage.clock.advance(1)
    stage.resilience.isolate(HOST)
    stage.clock.advance(5)
    assert stage.host.rejections == 4


def test__story__is_that_of_a_refused_call() -> None:
    stage = opened()
    at_the_door(stage)
    call = stage.call()
    refusal = turned_away(call)
    assert isinstance(refusal, Rejection)
    assert (call.ending, call.reason, call.attempts) == (Ending.REFUSED, "circuit open", ())


def test__one_opening__has_one_refusal_for_all_and_the_next_another() -> None:
    stage = opened()
    first = at_the_door(stage)
    assert at_the_door(stage) is first
    stage.clock.advance(OPEN_FOR)
    assert at_the_door(stage) is None
    stage.get()
    second = at_the_door(stage)
    assert (second is first, second.reason) == (False, Reason.CIRCUIT_OPEN)


def test__calm_again__nobody_is_refused() -> None:
    stage = opened()
    at_the_door(stage)
    stage.resilience.reset(HOST)
    assert at_the_door(stage) is None


def test__isolated_while_open__says_so() -> None:
    stage = opened()
    at_the_door(stage)
    stage.resilience.isolate(HOST)
    assert (at_the_door(stage).reason, at_the_door(stage).wait(stage.clock.now)) == (Reason.ISOLATED, None)


def test__wait__counts_down_to_the_instant_and_not_below_zero() -> None:
    refusal = Rejection(Reason.CIRCUIT_OPEN, HOST, until=10)
    assert [refusal.wait(now) for now in (7, 9.5, 10, 12)] == [3, 0.5, 0, 0]
    assert Rejection(Reason.GATE, HOST, 0.5).wait(7) == 0.5


def test__closed_resilience_while_open__says_so() -> None:
    stage = opened()
    at_the_door(stage)
    stage.resilience.close(0)
    assert at_the_door(stage).reason is Reason.CLOSED


def test__override_without_breaker__passes() -> None:
    stage = opened()
    at_the_door(stage)
    assert turned_away(stage.call(override=seawall.override(breaker=None))) is None


def test__deadline_over__is_for_the_flow_to_say() -> None:
    stage = opened()
    at_the_door(stage)
    with seawall.deadline(0):
        call = stage.call()
    assert turned_away(call) is None


def test__deadline_at_this_instant__is_over() -> None:
    stage = opened()
    call = stage.call()
    call.deadline = call.started
    assert turned_away(call) is None


def test__closed_gate__is_for_the_flow_to_wait_at() -> None:
    stage = Stage(only(), answer(200))
    stage.close_gate(5)
    assert at_the_door(stage) is None


# -- the error, made when somebody looks ---------------------------------------------------------------------------


def test__retry_after_and_elapsed__are_as_of_the_refusal_however_late_they_are_read() -> None:
    stage = opened()
    stage.clock.advance(1)
    at_the_door(stage)
    stage.clock.advance(2)
    call = stage.call()
    refusal = turned_away(call)
    assert refusal is not None
    error: Any = dress(call, refusal)
    stage.clock.advance(30)
    assert (error.retry_after, error.elapsed, error.host) == (OPEN_FOR - 3, 0, HOST)
    assert error.opened_at == pytest.approx(stage.clock.wall() - 33)


def test__request__set_by_the_client_before_anybody_looked__stays() -> None:
    stage = opened()
    call = stage.call()
    refusal = turned_away(call)
    assert refusal is not None
    error: Any = dress(call, refusal)
    error.request = "the client's"
    assert (error.request, error.host, error.report) == ("the client's", HOST, call)


def test__refused_while_another_thread_looks__every_refusal_is_counted() -> None:
    stage = opened()
    call = stage.call()
    state: Any = call.state
    before = stage.host.rejections
    state.turn_away(call, stage.now)
    told = state._told  # as a thread holds it that was interrupted just before it counts
    state.turn_away(call, stage.now)
    state.refuses(call, stage.now)  # another thread finds the refusal anew
    told[3].append(stage.now)
    assert stage.host.rejections == before + 3
