"""Why a call stops, and what its caller gets: what the bare client gives, or with `on_exhausted="raise"` an error."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from seawall import (
    Ending,
    ErrorKind,
    MaxRetriesExceeded,
    NonRetryable,
    ResilienceError,
    RetryBudgetExhausted,
    Timeouts,
    deadline,
)
from seawall._story import Call
from seawall.errors import dress
from seawall.events import CallEnded
from seawall.flow import Failed, run
from seawall.outcome import Reason, Rejection
from tests.core.stage import (
    HOST,
    Answer,
    Request,
    Stage,
    Step,
    answer,
    brittle,
    fault,
    hang,
    one_at_a_time,
    only,
    purse,
    steady,
    word,
)


class Scenario:
    """A call that ends in a certain way: policy, what the server does, which request."""

    def __init__(
        self,
        ending: Ending,
        reason: Reason,
        *steps: Step,
        request: Request | None = None,
        isolated_at: float | None = None,
        **retry: Any,
    ) -> None:
        self.ending = ending
        self.reason = reason
        self.steps = steps
        self.request = request
        self.isolated_at = isolated_at
        self.budget = retry.pop("budget", None)
        self.retry = retry

    def __str__(self) -> str:
        return self.ending.name.lower()

    def play(self, on_exhausted: str, steps: tuple[Step, ...]) -> tuple[Call, Any]:
        retry = steady(on_exhausted=on_exhausted, **self.retry)
        policy = only(retry=retry, budget=self.budget, breaker=brittle(failure_threshold=99))
        stage = Stage(policy, *steps)
        call = stage.call(self.request)
        tasks = [run(call, stage.peer)]
        if self.isolated_at is not None:
            tasks.append(stage.at(self.isolated_at, lambda: stage.resilience.isolate(HOST)))
        return call, stage.together(*tasks)[0]


ENDINGS = [
    Scenario(Ending.NOT_RETRYABLE, Reason.NOT_RETRYABLE, retry_on={418}),
    Scenario(Ending.NOT_REPEATABLE, Reason.NOT_RETRYABLE, request=Request("POST")),
    Scenario(Ending.BODY_NOT_REPLAYABLE, Reason.NOT_RETRYABLE, request=Request(replayable=False)),
    Scenario(Ending.VETOED, Reason.NOT_RETRYABLE, when=lambda attempt, request: False),
    Scenario(Ending.ATTEMPTS_EXHAUSTED, Reason.ATTEMPTS),
    Scenario(Ending.BUDGET_EXHAUSTED, Reason.BUDGET, budget=purse(1)),
    Scenario(Ending.OUT_OF_TIME, Reason.ATTEMPTS, max_elapsed=1.5),
    Scenario(Ending.REFUSED, Reason.ATTEMPTS, isolated_at=0.5),
]
scenarios = pytest.mark.parametrize("scenario", ENDINGS, ids=str)


@scenarios
def test__answer__is_returned_as_it_is(scenario: Scenario) -> None:
    call, result = scenario.play("return", (answer(503, b"busy"),))
    assert isinstance(result, Answer)
    assert (result.status_code, result.body, call.ending) == (503, b"busy", scenario.ending)


@scenarios
def test__exception__is_given_as_it_is(scenario: Scenario) -> None:
    call, result = scenario.play("return", (fault(),))
    assert isinstance(result, Failed)
    assert (word(result), call.ending) == (ErrorKind.CONNECTION_RESET, scenario.ending)


@scenarios
@pytest.mark.parametrize("step", [answer(503, b"busy"), fault()], ids=["answer", "exception"])
def test__on_exhausted_raise__says_why_and_keeps_the_last(scenario: Scenario, step: Step) -> None:
    call, result = scenario.play("raise", (step,))
    assert isinstance(result, Rejection)
    assert (result.reason, call.ending) == (scenario.reason, scenario.ending)
    cause = result.cause
    error: Any = dress(call, result)
    assert isinstance(error, MaxRetriesExceeded | NonRetryable | RetryBudgetExhausted)
    assert error.attempts == len(call.attempts)
    assert (error.last_error, error.__cause__) == (cause, cause)
    if cause is None:
        assert error.response.status_code == 503
    else:
        assert error.response is None


@pytest.mark.parametrize(("body", "closed"), [(b"busy", 0), (None, 1)])
def test__on_exhausted_raise__an_answer_too_long_to_keep_is_let_go(body: bytes | None, closed: int) -> None:
    stage = Stage(only(retry=steady(max_retries=0, on_exhausted="raise")), answer(503, body))
    assert stage.get().reason is Reason.ATTEMPTS
    assert (len(stage.peer.closed), stage.host.in_flight) == (closed, 0)


def test__on_exhausted_raise__an_answer_repeated_by_its_status_is_raised_too() -> None:
    _, result = Scenario(Ending.ATTEMPTS_EXHAUSTED, Reason.ATTEMPTS, retry_on={404}).play("raise", (answer(404),))
    assert word(result) is Reason.ATTEMPTS


SLOW_SERVER = Scenario(Ending.SERVER_DELAY_TOO_LONG, Reason.ATTEMPTS, max_retry_after=5)


def test__server_asks_for_too_long__answer_as_it_is() -> None:
    call, result = SLOW_SERVER.play("return", (answer(503, retry_after="6"),))
    assert (word(result), call.ending) == (503, Ending.SERVER_DELAY_TOO_LONG)


def test__server_asks_for_too_long__raised_with_its_full_delay() -> None:
    call, result = SLOW_SERVER.play("raise", (answer(503, retry_after="86400"),))
    error = dress(call, result)
    assert isinstance(error, MaxRetriesExceeded)
    assert (error.retry_after, error.response.status_code) == (86400, 503)


@pytest.mark.parametrize("on_exhausted", ["return", "raise"])
@pytest.mark.parametrize("status", [200, 404, 501])
def test__answered__is_never_an_error_of_ours(on_exhausted: str, status: int) -> None:
    call, result = Scenario(Ending.ANSWERED, Reason.ATTEMPTS).play(on_exhausted, (answer(status),))
    assert (word(result), call.ending) == (status, Ending.ANSWERED)


def test__retry_off__answer_and_exception_as_they_are() -> None:
    for step, expected in ((answer(503), 503), (fault(), ErrorKind.CONNECTION_RESET)):
        stage = Stage(only(), step)
        call = stage.call()
        assert word(stage.together(run(call, stage.peer))[0]) == expected
        assert call.ending is Ending.RETRY_OFF


def test__deadline_rings__is_ours_and_keeps_the_librarys_timeout_as_cause() -> None:
    for on_exhausted in ("return", "raise"):
        stage = Stage(only(retry=steady(on_exhausted=on_exhausted), timeouts=Timeouts(total=2)), hang())
        call = stage.call()
        (result,) = stage.together(run(call, stage.peer))
        assert (result.reason, call.ending, result.scope) == (Reason.DEADLINE, Ending.DEADLINE, "total")
        assert isinstance(result.cause, Exception)


def test__refused_before_the_first_attempt__is_ours() -> None:
    stage = Stage(only(breaker=brittle()))
    stage.resilience.isolate(HOST)
    call = stage.call()
    (result,) = stage.together(run(call, stage.peer))
    assert (result.reason, call.ending, call.attempts) == (Reason.ISOLATED, Ending.REFUSED, ())


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit])
def test__cancelled__says_so(error: type[BaseException]) -> None:
    stage = Stage(only())
    call = stage.call()
    flow = run(call, stage.peer)
    flow.send(None)
    with pytest.raises(error):
        flow.throw(error())
    assert call.ending is Ending.CANCELLED


def test__hook_interrupted__the_end_is_told_once_and_the_answer_let_go() -> None:
    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    policies = only(retry=steady(when=interrupted)), only(classify=interrupted)
    for policy, step in product(policies, (answer(503), fault())):
        stage = Stage(policy, step)
        heard: list[object] = []
        stage.resilience.subscribe(heard.append, [CallEnded])
        with pytest.raises(KeyboardInterrupt):
            stage.get()
        assert (len(heard), stage.peer.closed, stage.host.in_flight) == (1, stage.peer.opened, 0)


# -- the retry that was refused after sleeping -----------------------------------------------------


def refused_retries(on_exhausted: str, step: Step) -> Iterator[tuple[str, Call, Any]]:
    """A retry refused by each thing that can refuse it once it has slept."""
    retry = steady(on_exhausted=on_exhausted)
    circuit = Stage(only(retry=retry, breaker=brittle(failure_threshold=99)), step)
    call = circuit.call()
    yield (
        "circuit",
        call,
        circuit.together(run(call, circuit.peer), circuit.at(0.5, lambda: circuit.resilience.isolate(HOST)))[0],
    )
    line = Stage(only(retry=retry, bulkhead=one_at_a_time(max_wait=0)), step)
    call = line.call()
    yield "bulkhead", call, line.together(run(call, line.peer), line.at(0.5, line.hold))[0]
    late = Stage(only(retry=retry, bulkhead=one_at_a_time()), step)
    with late.clock.as_process_clock(), deadline(3):
        call = late.call()
    yield "deadline", call, late.together(run(call, late.peer), late.at(0.5, late.hold))[0]
    shut = Stage(only(retry=retry), step)
    call = shut.call()
    yield "close", call, shut.together(run(call, shut.peer), shut.at(0.5, lambda: shut.resilience.close(0)))[0]


def test__retry_refused__gives_the_previous_answer() -> None:
    assert {by: word(got) for by, _, got in refused_retries("return", answer(503, b"busy"))} == dict.fromkeys(
        ("circuit", "bulkhead", "deadline", "close"), 503
    )


def test__retry_refused__ends_by_the_deadline_or_refused() -> None:
    assert {by: call.ending for by, call, _ in refused_retries("return", fault())} == {
        "circuit": Ending.REFUSED,
        "bulkhead": Ending.REFUSED,
        "deadline": Ending.DEADLINE,
        "close": Ending.REFUSED,
    }


def test__retry_refused__gives_the_previous_exception() -> None:
    assert {by: word(got) for by, _, got in refused_retries("return", fault())} == dict.fromkeys(
        ("circuit", "bulkhead", "deadline", "close"), ErrorKind.CONNECTION_RESET
    )


def test__retry_refused__gives_the_refusal_if_the_answer_had_to_be_closed() -> None:
    assert {by: word(got) for by, _, got in refused_retries("return", answer(503, None))} == {
        "circuit": Reason.ISOLATED,
        "bulkhead": Reason.BULKHEAD_FULL,
        "deadline": Reason.DEADLINE,
        "close": Reason.CLOSED,
    }


@pytest.mark.parametrize("step", [answer(503, b"busy"), fault()], ids=["answer", "exception"])
def test__retry_refused__raised_as_out_of_attempts_not_as_unrepeatable(step: Step) -> None:
    for by, call, got in refused_retries("raise", step):
        error = dress(call, got)
        assert isinstance(error, ResilienceError)
        assert not isinstance(error, NonRetryable), by
        assert error.attempts == 1


@pytest.mark.parametrize(("left", "ends"), [(2.9, 503), (3.1, 200)])
def test__deadline__leaves_less_than_the_host_usually_takes__no_attempt_is_started(left: float, ends: int) -> None:
    stage = Stage(only(retry=steady()), answer(after=2))
    for _ in range(20):
        stage.get()
    stage.script(answer(503), answer(200))
    with stage.clock.as_process_clock(), deadline(left):
        call = stage.call()
    assert word(stage.together(run(call, stage.peer))[0]) == ends


def test__servers_delay__is_spread_over_half_of_what_the_deadline_leaves_at_most() -> None:
    stage = Stage(only(retry=steady(max_delay=10)), answer(503, retry_after="2"), answer(200), u=0.5)
    with stage.clock.as_process_clock(), deadline(2.4):
        call = stage.call()
    assert word(stage.together(run(call, stage.peer))[0]) == 200
    assert stage.times == [0, pytest.approx(2.1)]
