"""When steps are asked, in which order, with how much time, and how a degraded answer is counted."""

from __future__ import annotations

from typing import Any

import pytest

from seawall import (
    Answer,
    Ending,
    ErrorKind,
    ErrorWithAlternatives,
    FallbackProvider,
    Policy,
    SimplifiedResponse,
    Timeouts,
    events,
)
from seawall.degrade.step import Trouble
from seawall.degrading import journey
from seawall.flow import Failed
from seawall.outcome import Reason, Rejection
from seawall.testing.loop import sleep
from tests.core.stage import HOST, Stage, answer, brittle, fault, hang, one_at_a_time, only, steady, word


class Asked:
    """A step that passes on, or answers, and remembers what it was told."""

    source = "simplified"

    def __init__(self, gives: Any = None, *, reserve: float | None = 0.0, takes: float = 0.0) -> None:
        self.gives = gives
        self.reserve = reserve
        self.takes = takes
        self.told: list[Trouble] = []
        self.times: list[float] = []

    def begin(self, call: Any, runtime: Any) -> None:
        pass

    def could_answer(self, call: Any) -> bool:
        return self.gives is not None

    async def answer(self, trouble: Trouble) -> Any:
        self.told.append(trouble)
        self.times.append(trouble.call.state.clock.monotonic())
        if self.takes:
            await sleep(self.takes)
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives


CANNED = Answer(200, json=[])


def play(stage: Stage) -> tuple[Any, Any]:
    call = stage.call()
    (result,) = stage.together(journey(call, stage.peer))
    return result, call


@pytest.mark.parametrize(
    "step",
    [answer(500), answer(503), answer(501), answer(408), answer(425), answer(429), fault(ErrorKind.CONNECTION_REFUSED)],
    ids=["500", "503", "501", "408", "425", "429", "refused"],
)
def test__host_failed__the_step_answers(step: Any) -> None:
    asked = Asked(CANNED)
    result, call = play(Stage(only(degrade=[asked]), step))
    assert result is CANNED
    assert (call.ending, call.served_from) == (Ending.DEGRADED, "simplified")
    assert call.error is asked.told[0].error
    assert isinstance(call.error, Exception)


@pytest.mark.parametrize(
    "step",
    [answer(200), answer(304), answer(400), answer(401), answer(404), answer(409), fault(ErrorKind.FOREIGN)],
    ids=["200", "304", "400", "401", "404", "409", "the caller's own"],
)
def test__answer_or_mistake_of_the_caller__no_step_is_asked(step: Any) -> None:
    asked = Asked(CANNED)
    result, call = play(Stage(only(degrade=[asked]), step))
    assert asked.told == []
    assert result is not CANNED
    assert call.served_from == "origin"


def test__we_refused__the_step_answers_and_nothing_is_sent() -> None:
    stage = Stage(only(degrade=[Asked(CANNED)], breaker=brittle()))
    stage.resilience.isolate("https://api.test")
    result, call = play(stage)
    assert (result, stage.sent, call.attempts) == (CANNED, [], ())


def test__closed_resilience__degrades_nothing() -> None:
    stage = Stage(only(degrade=[Asked(CANNED)]))
    stage.call()
    stage.resilience.close(timeout=0)
    result, _ = play(stage)
    assert isinstance(result, Rejection)
    assert result.reason is Reason.CLOSED


def test__steps__are_asked_in_order_until_one_answers() -> None:
    first, broken, third, fourth = Asked(), Asked(ValueError("broken")), Asked(CANNED), Asked(Answer(200))
    result, _ = play(Stage(only(degrade=[first, broken, third, fourth]), answer(503)))
    assert result is CANNED
    assert [len(step.told) for step in (first, broken, third, fourth)] == [1, 1, 1, 0]


def test__no_step_answers__the_call_ends_as_without_them() -> None:
    result, call = play(Stage(only(degrade=[Asked(), Asked(ValueError("broken"))]), answer(503)))
    assert word(result) == 503
    assert (call.ending, call.served_from, call.error) == (Ending.RETRY_OFF, "origin", None)


def test__retries_come_first() -> None:
    stage = Stage(only(degrade=[Asked(CANNED)], retry=steady()), answer(503))
    result, call = play(stage)
    assert (result, stage.sent) == (CANNED, [1, 2, 3])
    assert [attempt.status for attempt in call.attempts] == [503, 503, 503]


def test__degraded__is_counted_as_such_and_never_as_success() -> None:
    stage = Stage(only(degrade=[Asked(CANNED)]), answer(503))
    play(stage)
    host = stage.host
    assert (host.successes, host.failures, host.total_degraded, host.in_flight) == (0, 1, 1, 0)


def test__degraded__one_terminal_event_that_says_so() -> None:
    stage = Stage(only(degrade=[Asked(CANNED)]), answer(503))
    seen: list[events.Event] = []
    stage.resilience.subscribe(seen.append)
    play(stage)
    assert [e.ending for e in seen if isinstance(e, events.CallEnded)] == [Ending.DEGRADED]
    assert [e.source for e in seen if isinstance(e, events.Degraded)] == ["simplified"]


def test__not_degraded__one_terminal_event_too() -> None:
    stage = Stage(only(degrade=[Asked(CANNED)]), answer(200))
    seen: list[events.Event] = []
    stage.resilience.subscribe(seen.append)
    play(stage)
    assert [e.ending for e in seen if isinstance(e, events.CallEnded)] == [Ending.ANSWERED]


def test__failed_answer__is_let_go_and_its_verdict_falls() -> None:
    stage = Stage(only(degrade=[Asked(CANNED)]), answer(503, stream=True))
    play(stage)
    assert [response.status_code for response in stage.peer.closed] == [503]
    assert (stage.host.failures, stage.host.in_flight) == (1, 0)


# -- time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "held"), [(b"sorry", 0), (None, 1)], ids=["short", "long"])
def test__failed_answer__holds_nothing_while_the_steps_take_their_time(body: bytes | None, held: int) -> None:
    stage = Stage(
        only(degrade=[Asked(CANNED, takes=5)], breaker=brittle(failure_threshold=1), bulkhead=one_at_a_time()),
        answer(503, body, stream=True),
    )
    seen: list[tuple[int, str]] = []
    result, _ = stage.together(
        stage.start(), stage.at(2, lambda: seen.append((stage.host.in_flight, stage.host.state)))
    )
    assert (result, seen) == (CANNED, [(held, "closed" if held else "open")])
    assert (stage.host.failures, stage.host.in_flight) == (1, 0)


@pytest.mark.parametrize(
    ("reserves", "left"),
    [([0.0], 0.0), ([4.0], 4.0), ([None], 5.0), ([4.0, None], 7.0), ([30.0], 10.0)],
    ids=["nothing", "what it says", "half", "what is said, and half of the rest", "never more than there is"],
)
def test__primary__leaves_a_step_the_time_it_reserves(reserves: list[float | None], left: float) -> None:
    steps = [Asked(reserve=reserve) for reserve in reserves]
    stage = Stage(only(degrade=steps, timeouts=Timeouts(total=10)), hang())
    result, call = play(stage)
    assert steps[0].times == [pytest.approx(call.started + 10 - left)]
    assert call.deadline == call.started + 10
    assert isinstance(result, Rejection)


def test__good_answer__its_body_has_the_whole_deadline() -> None:
    stage = Stage(only(degrade=[Asked(reserve=9.0)], timeouts=Timeouts(total=10)), answer(200))
    _, call = play(stage)
    assert (call.whole, call.deadline) == (call.started + 10, call.started + 10)


@pytest.mark.parametrize(
    ("step", "waited"),
    [
        (Asked(CANNED), 0.0),
        (Asked(None), 2.0),
        (ErrorWithAlternatives(["cheaper"]), 0.0),
        (SimplifiedResponse(lambda request, error: CANNED), 0.0),
        (FallbackProvider("https://other.test"), 0.0),
    ],
    ids=["could answer", "could not", "alternatives", "simplified", "fallback"],
)
def test__degrade_after__backoff_longer_than_that_is_not_slept_if_a_step_could_answer(step: Any, waited: float) -> None:
    stage = Stage(only(degrade=[step], degrade_after=0.5, retry=steady()), answer(503))
    play(stage)
    assert stage.now == waited


def test__degrade_after__shorter_backoff_is_slept() -> None:
    stage = Stage(only(degrade=[Asked(CANNED)], degrade_after=1, retry=steady()), answer(503), answer(200))
    result, call = play(stage)
    assert word(result) == 200
    assert call.served_from == "origin"


def test__degrade_after__bounds_the_wait_for_a_permit() -> None:
    stage = Stage(only(degrade=[Asked(CANNED)], degrade_after=0.5, bulkhead=one_at_a_time()))
    stage.hold()
    result, _ = play(stage)
    assert (result, stage.now) == (CANNED, 0.5)


def test__degrade_after__bounds_the_wait_at_the_gate() -> None:
    stage = Stage(only(degrade=[Asked(CANNED)], degrade_after=0.5, retry=steady()))
    stage.close_gate(3)
    result, _ = play(stage)
    assert (result, stage.now) == (CANNED, 0)


def test__degrade_after__gate_that_opens_by_then__is_waited_for() -> None:
    stage = Stage(only(degrade=[Asked(CANNED)], degrade_after=1, retry=steady()), answer(200))
    stage.close_gate(1)
    play(stage)
    assert stage.times == [1]


# -- the steps ---------------------------------------------------------------------------------------------------------


def test__simplified__builds_from_request_and_error() -> None:
    seen: list[Any] = []

    def build(request: Any, error: BaseException) -> Answer:
        seen.append((request, error))
        return CANNED

    stage = Stage(only(degrade=[SimplifiedResponse(build)]), fault(ErrorKind.CONNECTION_REFUSED))
    result, call = play(stage)
    assert result is CANNED
    assert seen == [(call.request, call.error)]


def test__simplified__async_function_too() -> None:
    async def build(request: Any, error: BaseException) -> Answer:
        await sleep(1)
        return CANNED

    result, _ = play(Stage(only(degrade=[SimplifiedResponse(build)]), answer(503)))
    assert result is CANNED


def test__alternatives__end_the_call_and_keep_the_cause() -> None:
    stage = Stage(only(degrade=[ErrorWithAlternatives(["status page"])]), fault(ErrorKind.CONNECTION_REFUSED))
    result, call = play(stage)
    assert isinstance(result, Rejection)
    error: Any = stage.peer.exception(call, result)
    assert error.alternatives == ("status page",)
    assert isinstance(error.__cause__, Exception)
    assert (call.served_from, stage.host.total_degraded) == ("origin", 0)


def test__alternatives__say_when_to_try_again() -> None:
    stage = Stage(only(degrade=[ErrorWithAlternatives(["other"])]), answer(503, retry_after="7"))
    result, _ = play(stage)
    assert isinstance(result, Rejection)
    assert result.retry_after == 7


@pytest.mark.parametrize("wrong", [[], "names", b"x"], ids=repr)
def test__alternatives__none_or_a_word__raises(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="give"):
        ErrorWithAlternatives(wrong)


@pytest.mark.parametrize("wrong", [None, 5, "text"], ids=repr)
def test__simplified__no_function__raises(wrong: Any) -> None:
    with pytest.raises(TypeError, match="give"):
        SimplifiedResponse(wrong)


@pytest.mark.parametrize("wrong", [5, "stale", [None], [SimplifiedResponse], [CANNED]], ids=repr)
def test__policy__degrade__takes_steps_only(wrong: Any) -> None:
    with pytest.raises(TypeError, match="give"):
        Policy(degrade=wrong)


def test__none__switches_the_steps_of_the_less_specific_off() -> None:
    policies = {"all://": only(degrade=[SimplifiedResponse(lambda request, error: CANNED)]), HOST: Policy(degrade=None)}
    stage = Stage(policies, answer(503))
    result, call = play(stage)
    assert (word(result), call.served_from) == (503, "origin")


def test__failed_without_steps__nothing_is_made() -> None:
    result, call = play(Stage(only(), fault(ErrorKind.CONNECTION_REFUSED)))
    assert isinstance(result, Failed)
    assert call.error is None


def test__closed_while_a_step_answers__the_hosts_answer_is_let_go_without_awaiting() -> None:
    stage = Stage(only(degrade=[Asked(CANNED, takes=5)]), answer(503, None, stream=True))
    call = stage.start()
    for _ in range(20):
        pause = call.send(None)
        if pause.seconds == 5:
            break
        stage.clock.now += pause.seconds
    assert (pause.seconds, stage.host.in_flight) == (5, 1)
    call.close()
    assert (stage.host.in_flight, stage.host.failures, stage.peer.closed) == (0, 1, [])


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (SimplifiedResponse(word), "SimplifiedResponse(word)"),
        (ErrorWithAlternatives(["cheaper"]), "ErrorWithAlternatives(['cheaper'])"),
        (FallbackProvider("https://a.test", "https://b.test"), "FallbackProvider('https://a.test', 'https://b.test')"),
    ],
    ids=lambda value: type(value).__name__,
)
def test__step__is_told_by_what_it_was_given(step: Any, said: str) -> None:
    assert repr(step) == said
    assert said in Policy(degrade=[step]).describe()
