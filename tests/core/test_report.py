"""The story of a call: what each attempt was, why it ended, where a report is found, and that it travels."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from seawall import Ending, ErrorKind, Policy, Report, RetryBudget, Timeouts, Verdict, deadline, report
from seawall._story import Call, attach
from seawall.flow import run
from seawall.outcome import Again, Outcome
from tests.core.stage import HOST, Stage, answer, brittle, fault, one_at_a_time, only, steady


def played(stage: Stage) -> Call:
    """One call, to its end."""
    call = stage.call()
    stage.together(run(call, stage.peer))
    return call


# -- what it tells ---------------------------------------------------------------------------------


def test__attempts__each_with_when_how_long_what_and_verdict() -> None:
    stage = Stage(only(retry=steady()), answer(503, after=0.5), fault(after=0.25), answer(200, after=2))
    story = played(stage)
    assert [(a.number, a.host, a.started, a.wait, a.duration, a.status, a.kind, a.verdict) for a in story.attempts] == [
        (1, HOST, 0, 0, 0.5, 503, ErrorKind.SERVICE_UNAVAILABLE, Verdict.FAILURE),
        (2, HOST, 1.5, 1, 0.25, None, ErrorKind.CONNECTION_RESET, Verdict.FAILURE),
        (3, HOST, 2.75, 1, 2, 200, None, Verdict.SUCCESS),
    ]
    assert (story.host, story.ending, story.elapsed) == (HOST, Ending.ANSWERED, 4.75)


def test__attempt__wait_is_backoff_gate_and_line_together() -> None:
    stage = Stage(only(retry=steady(), bulkhead=one_at_a_time()), answer(503), answer(200))
    call = stage.call()
    stage.together(run(call, stage.peer), stage.at(0.5, stage.hold), stage.at(3.5, lambda: stage.held[0].abandon()))
    assert [attempt.wait for attempt in call.attempts] == [0, 3.5]
    assert [attempt.started for attempt in call.attempts] == [0, 3.5]


def test__good_answer__is_one_attempt() -> None:
    story = played(Stage(Policy(), answer(204)))
    (attempt,) = story.attempts
    assert (attempt.status, attempt.kind, attempt.verdict, attempt.retry_after) == (204, None, Verdict.SUCCESS, None)


def test__refused__tells_who_refused() -> None:
    stage = Stage(only(breaker=brittle()))
    stage.resilience.isolate(HOST)
    story = played(stage)
    assert (story.attempts, story.ending, story.elapsed) == ((), Ending.REFUSED, 0)
    assert "isolated" in str(story)


def test__refused_after_a_wait__tells_of_it() -> None:
    stage = Stage(only(retry=steady(), bulkhead=one_at_a_time(max_wait=2)), answer(503))
    call = stage.call()
    stage.together(run(call, stage.peer), stage.at(0.5, stage.hold))
    assert (call.waited_in_vain, pickle.loads(pickle.dumps(call)).waited_in_vain) == (3, 3)
    assert str(call).splitlines() == [
        f"{HOST}: refused locally (bulkhead timeout), 3 s",
        "  attempt 1: 503 (service unavailable) in 0 s: failure",
        "  waited 3 s in vain",
    ]


@pytest.mark.parametrize("script", [[answer(200)], [answer(503)], [answer(503), answer(200)]])
def test__not_refused__waited_for_nothing_in_vain(script: list[Any]) -> None:
    story = played(Stage(only(retry=steady()), *script))
    assert story.waited_in_vain == 0
    assert "in vain" not in str(story)


def test__times_too_short_to_tell__are_not_spelt_out() -> None:
    story = played(Stage(only(), answer(200, after=0.0004)))
    assert str(story) == f"{HOST}: answered, less than 1 ms\n  attempt 1: 200 in less than 1 ms: success"


def test__body_that_breaks__rewrites_the_last_attempt() -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(200, stream=True))
    call = stage.call()
    (response,) = stage.together(run(call, stage.peer))
    stage.clock.advance(4)
    response.admission.broke(Outcome(Verdict.FAILURE, ErrorKind.CONNECTION_RESET, Again.SAFE))
    first, last = call.attempts
    assert (first.status, last.status, last.kind, last.verdict, last.duration) == (
        503,
        200,
        ErrorKind.CONNECTION_RESET,
        Verdict.FAILURE,
        4,
    )


def test__budget_and_time_left() -> None:
    budget = RetryBudget(ratio=0, cap=5, start=5, refill_per_minute=0)
    stage = Stage(only(retry=steady(), budget=budget, timeouts=Timeouts(total=10)), answer(503), answer(200, after=2))
    story = played(stage)
    assert (story.budget_left, story.time_left) == (4, 7)


def test__time_left__without_a_deadline_is_none() -> None:
    assert played(Stage(only())).time_left is None


def test__time_left__of_an_inherited_deadline() -> None:
    stage = Stage(only(), answer(200, after=2))
    with stage.clock.as_process_clock(), deadline(5):
        assert played(stage).time_left == 3


def test__origin_and_precision() -> None:
    story = played(Stage(only()))
    assert (story.served_from, story.deadline_precision) == ("origin", "exact")


def test__text__is_the_story_in_a_few_lines() -> None:
    stage = Stage(
        only(retry=steady()), answer(503, after=0.5), fault(ErrorKind.CONNECTION_REFUSED), answer(200, after=2)
    )
    assert str(played(stage)).splitlines() == [
        "https://api.test: answered, 4.5 s",
        "  attempt 1: 503 (service unavailable) in 0.5 s: failure",
        "  attempt 2: no answer (connection refused) in 0 s, after waiting 1 s: failure",
        "  attempt 3: 200 in 2 s, after waiting 1 s: success",
    ]


def test__text__under_way() -> None:
    call = Stage(only()).call()
    assert (str(call), repr(call)) == (
        "https://api.test: under way, 0 s",
        "<Report https://api.test: 0 attempts, under way>",
    )


def test__story_read_early__is_not_changed_by_what_comes_after() -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(200))
    call = stage.call()
    _, early = stage.together(run(call, stage.peer), stage.at(0.5, lambda: call.attempts))
    assert (len(early), len(call.attempts)) == (1, 2)


# -- it travels ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "duplicate", [lambda x: pickle.loads(pickle.dumps(x)), copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"]
)
def test__copy__tells_the_same_and_holds_nothing_of_ours(duplicate: Any) -> None:
    budget = RetryBudget(ratio=0, cap=5, start=5, refill_per_minute=0)
    stage = Stage(only(retry=steady(), budget=budget, timeouts=Timeouts(total=10)), answer(503), answer(200, after=2))
    story = played(stage)
    twin = duplicate(story)
    assert type(twin) is Report
    assert (twin.host, twin.ending, twin.attempts, twin.elapsed) == (
        story.host,
        story.ending,
        story.attempts,
        story.elapsed,
    )
    assert (twin.budget_left, twin.time_left, str(twin)) == (4, 7, str(story))
    assert not hasattr(twin, "request")


def test__copy__of_a_refused_one_still_tells_who_refused() -> None:
    stage = Stage(only(breaker=brittle()))
    stage.resilience.isolate(HOST)
    story = played(stage)
    assert str(pickle.loads(pickle.dumps(story))) == str(story)


# -- where it is found -----------------------------------------------------------------------------


class Carrier:
    """A response or an error of somebody's."""

    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)


def story() -> Report:
    return played(Stage(only()))


def test__report__of_itself() -> None:
    told = story()
    assert report(told) is told


@pytest.mark.parametrize(
    "x", [None, 5, "text", object(), ValueError("x"), Carrier(response=None), Carrier(extensions={})]
)
def test__report__of_what_we_had_no_part_in_is_none(x: Any) -> None:
    assert report(x) is None


def test__report__attached_to_a_librarys_response_or_error() -> None:
    for carrier in (Carrier(), ValueError("x")):
        told = story()
        attach(carrier, told)
        assert report(carrier) is told


def test__report__attached_to_what_has_no_room_is_simply_not_there() -> None:
    class Slotted:
        __slots__ = ()

    carrier = Slotted()
    attach(carrier, story())
    assert report(carrier) is None


def test__report__in_the_extensions_of_an_httpx_response() -> None:
    told = story()
    assert report(Carrier(extensions={"resilience": told})) is told
    assert report(Carrier(extensions={"resilience": "not ours"})) is None


@pytest.mark.parametrize("name", ["report", "response", "http_response"])
def test__report__behind_an_sdks_error(name: str) -> None:
    told = story()
    inner = Carrier()
    attach(inner, told)
    assert report(Carrier(**{name: inner})) is told


def test__report__behind_causes_however_deep() -> None:
    told = story()
    error: BaseException = ConnectionError("the library's")
    attach(error, told)
    for depth in range(10):
        outer = RuntimeError(f"layer {depth}")
        outer.__cause__ = error
        error = outer
    assert report(error) is told


def test__report__of_what_was_being_handled_meanwhile__is_another_calls() -> None:
    told, inner = story(), ConnectionError("the library's")
    attach(inner, told)

    def sdk() -> None:
        try:
            raise inner
        except ConnectionError:
            raise ValueError("the SDK's")  # noqa: B904

    with pytest.raises(ValueError, match="SDK") as caught:
        sdk()
    assert report(caught.value) is None


def test__report__going_round_in_circles_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert report(one) is None


def test__report__of_what_raises_when_looked_at_does_not_raise() -> None:
    class Hostile:
        @property
        def response(self) -> Any:
            raise RuntimeError("no response yet")

    assert report(Hostile()) is None
