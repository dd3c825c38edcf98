"""An answer held until its first content: what is repeated, what is handed over, and what the host is blamed for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from seawall import (
    Ending,
    ErrorKind,
    Outcome,
    Policy,
    Resilience,
    Retry,
    RetryBudget,
    Timeouts,
    Verdict,
    deadline,
    override,
)
from seawall.flow import Failed, run
from seawall.judging import inspect
from seawall.outcome import Reason, Rejection
from tests.core.stage import (
    Answer,
    Fault,
    Request,
    Stage,
    Step,
    answer,
    brittle,
    events,
    fault,
    only,
    statuses,
    steady,
    word,
)
from tests.core.test_inspect_stream import DELTA, HELLO, OVERLOADED, PING, START, data

K = ErrorKind
DEAD = Fault(K.CONNECTION_RESET)
THROTTLED = data({"error": {"type": "rate_limit_exceeded"}})
QUOTA = data({"error": {"code": "insufficient_quota"}})
REFUSED = data({"error": {"type": "invalid_request_error"}})
POST = Request("POST")


def held(*script: Step, **parts: Any) -> Stage:
    """One host whose streams are inspected; a second attempt is allowed."""
    return Stage(only(**({"inspect_streams": True, "retry": steady()} | parts)), *script)


def told(stage: Stage, request: Request | None = None) -> tuple[Any, list[tuple[Any, Any, Any]], Any]:
    """What a call gave, how its attempts were judged, and why it stopped."""
    call = stage.call(request)
    (result,) = stage.together(run(call, stage.peer))
    return word(result), [(a.status, a.kind, a.verdict) for a in call.attempts], call.ending


FAILED = (200, K.SERVICE_UNAVAILABLE, Verdict.FAILURE)
GOOD = (200, None, Verdict.SUCCESS)


def test__error_first__is_repeated() -> None:
    stage = held(events(START, OVERLOADED), events(DELTA))
    assert told(stage) == (200, [FAILED, GOOD], Ending.ANSWERED)
    assert stage.times == [0, 1]
    assert len(stage.peer.closed) == 1


def test__without_inspection__nothing_is_read_and_nothing_repeated() -> None:
    stage = held(events(OVERLOADED), inspect_streams=False)
    assert told(stage) == (200, [GOOD], Ending.ANSWERED)
    assert stage.peer.opened[0].pieces == [OVERLOADED]


def test__held__only_until_the_first_content() -> None:
    stage = held(events(START, 0.25, PING, 0.25, DELTA, 5.0, DELTA))
    result = stage.get()
    assert (word(result), stage.now, result.pieces) == (200, 0.5, [5.0, DELTA])
    assert stage.host.in_flight == 1


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        pytest.param(events(START, DEAD), K.CONNECTION_RESET, id="broken off"),
        pytest.param(events(START), K.INVALID_RESPONSE, id="ended"),
        pytest.param(events(), K.INVALID_RESPONSE, id="empty"),
        pytest.param(events(START, 9.0, DELTA), K.TIMEOUT, id="silent"),
        pytest.param(events(*[PING, 0.5] * 99), K.TIMEOUT, id="nothing but pings"),
    ],
)
def test__dead_before_its_first_content__is_repeated_and_the_hosts_failure(step: Step, kind: ErrorKind) -> None:
    stage = held(step, events(DELTA), timeouts=Timeouts(first_content=2))
    assert told(stage) == (200, [(200, kind, Verdict.FAILURE), GOOD], Ending.ANSWERED)
    assert stage.host.failures == 1


@pytest.mark.parametrize("step", [events(DELTA, DEAD), events(HELLO, OVERLOADED)], ids=["dead", "error"])
def test__after_content__nothing_is_repeated(step: Step) -> None:
    stage = held(step)
    assert told(stage) == (200, [GOOD], Ending.ANSWERED)


@pytest.mark.parametrize(
    ("event", "kind", "verdict", "sent"),
    [
        pytest.param(OVERLOADED, K.SERVICE_UNAVAILABLE, Verdict.FAILURE, 3, id="overloaded"),
        pytest.param(THROTTLED, K.TOO_MANY_REQUESTS, Verdict.THROTTLED, 3, id="throttled"),
        pytest.param(QUOTA, K.QUOTA_EXCEEDED, Verdict.THROTTLED, 1, id="quota"),
        pytest.param(REFUSED, K.BAD_REQUEST, Verdict.SUCCESS, 1, id="our own mistake"),
    ],
)
def test__error_event__means_what_its_status_would(event: bytes, kind: ErrorKind, verdict: Verdict, sent: int) -> None:
    stage = held(events(event))
    status, attempts, _ = told(stage)
    assert (status, attempts) == (200, [(200, kind, verdict)] * sent)


@pytest.mark.parametrize("event", [OVERLOADED, THROTTLED], ids=["overloaded", "throttled"])
def test__post__is_repeated_only_if_the_policy_or_a_key_says_so(event: bytes) -> None:
    assert len(told(held(events(event)), POST)[1]) == 1
    assert len(told(held(events(event)), Request("POST", key=True))[1]) == 3
    assert len(told(held(events(event), retry=steady(methods={"POST"})), POST)[1]) == 3
    assert len(told(held(events(event), retry=steady(methods={"POST"})), Request("POST", replayable=False))[1]) == 1


@pytest.mark.parametrize(
    ("parts", "ending"),
    [
        pytest.param({"retry": None}, Ending.RETRY_OFF, id="retries off"),
        pytest.param({"retry": steady(max_retries=0)}, Ending.ATTEMPTS_EXHAUSTED, id="no attempts left"),
        pytest.param(
            {"budget": RetryBudget(start=0, ratio=0, refill_per_minute=0)}, Ending.BUDGET_EXHAUSTED, id="no budget"
        ),
        pytest.param({"retry": steady(when=lambda attempt, request: False)}, Ending.VETOED, id="vetoed"),
        pytest.param({"retry": steady(max_elapsed=0.5)}, Ending.OUT_OF_TIME, id="no time"),
    ],
)
@pytest.mark.parametrize("pieces", [(START, OVERLOADED), (START, DEAD)], ids=["error", "dead"])
def test__not_repeated__the_caller_gets_the_answer_itself(
    pieces: tuple[Any, ...], parts: dict[str, Any], ending: Ending
) -> None:
    stage = held(events(*pieces), **parts)
    status, (attempt,), why = told(stage)
    assert (status, attempt[2], why) == (200, Verdict.FAILURE, ending)
    assert stage.peer.closed == []
    assert stage.host.in_flight == 1
    stage.peer.opened[0].admission.finish()
    assert (stage.host.in_flight, stage.host.failures, stage.host.successes) == (0, 1, 0)


def test__server_delay_in_an_error_event__is_obeyed_and_closes_the_gate() -> None:
    detail = {"error": {"status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "7s"}]}}
    stage = held(events(data(detail)), events(DELTA))
    assert told(stage)[0] == 200
    assert stage.times == [0, 7]


def test__deadline__passes_while_held__nobody_is_blamed_and_nothing_repeated() -> None:
    stage = held(events(START, 9.0, DELTA))
    with stage.clock.as_process_clock(), deadline(3):
        assert told(stage) == (200, [(200, K.TIMEOUT, Verdict.IGNORED)], Ending.DEADLINE)
    assert stage.now == 3


def test__every_attempt_silent__the_last_one_is_the_callers_to_read() -> None:
    stage = held(events(START, 9.0), timeouts=Timeouts(first_content=2), retry=steady(max_retries=1))
    status, attempts, ending = told(stage)
    assert (status, len(attempts), ending) == (200, 2, Ending.ATTEMPTS_EXHAUSTED)
    assert stage.now == 2 + 1 + 2


def test__on_exhausted_raise__says_so_with_what_broke_it() -> None:
    stage = held(events(START, DEAD), retry=steady(max_retries=1, on_exhausted="raise"))
    rejection = stage.get()
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, rejection.cause) == (Reason.ATTEMPTS, DEAD)
    assert (stage.host.in_flight, stage.host.failures) == (0, 2)


def test__errors_inside_streams__open_the_circuit() -> None:
    stage = held(events(OVERLOADED), retry=None, breaker=brittle())
    for _ in range(2):
        stage.get().admission.finish()
    assert stage.host.state == "open"


def test__good_streams__close_it_again() -> None:
    stage = held(events(OVERLOADED), retry=None, breaker=brittle())
    for _ in range(2):
        stage.get().admission.finish()
    stage.clock.advance(10)
    stage.script(events(START, DELTA))
    assert word(stage.get()) == 200
    assert stage.host.state == "closed"


def test__probe__whose_stream_says_it_is_overloaded__reopens() -> None:
    stage = held(events(OVERLOADED), retry=None, breaker=brittle())
    for _ in range(3):
        result = stage.get()
        result.admission.finish()
        stage.clock.advance(10)
    assert stage.host.open_count == 2


def test__own_failure_opens_the_circuit__the_refusal_is_what_is_left() -> None:
    stage = held(events(OVERLOADED), breaker=brittle(failure_threshold=1))
    assert word(stage.get()) is Reason.CIRCUIT_OPEN
    assert (len(stage.sent), stage.host.in_flight) == (1, 0)


@pytest.mark.parametrize(
    ("step", "request_"),
    [
        pytest.param(answer(200, content_type="application/json"), None, id="no stream"),
        pytest.param(answer(204, content_type="text/event-stream"), None, id="no content"),
        pytest.param(answer(200, content_type="text/event-stream"), Request("HEAD"), id="HEAD"),
        pytest.param(answer(200, content_type="text/event-stream", content_encoding="br"), None, id="brotli"),
    ],
)
def test__others__are_not_held(step: Step, request_: Request | None) -> None:
    stage = held(step)

    async def never(response: Answer, admission: Any) -> None:
        raise AssertionError("held")

    stage.peer.hold = never  # type: ignore[assignment,method-assign]
    assert told(stage, request_)[1] == [(stage.peer.opened[0].status_code, None, Verdict.SUCCESS)]


def test__error_after_content__is_the_verdict_at_the_end_of_the_body() -> None:
    stage = held(events(DELTA, OVERLOADED))
    call = stage.call()
    (result,) = stage.together(run(call, stage.peer))
    admission = result.admission
    inspect(admission, DELTA)
    assert call.ending is Ending.ANSWERED
    inspect(admission, OVERLOADED)
    assert (stage.host.in_flight, stage.host.failures) == (1, 0)
    inspect(admission, OVERLOADED)
    admission.finish()
    assert (stage.host.in_flight, stage.host.failures, stage.host.successes) == (0, 1, 0)
    assert [(a.status, a.kind, a.verdict) for a in call.attempts] == [FAILED]
    assert call.ending is Ending.BODY_BROKE


def test__classify__has_its_say_on_an_error_event() -> None:
    seen: list[tuple[Any, Any]] = []

    def classify(outcome: Outcome, request: Any) -> Verdict | None:
        seen.append((outcome.status, outcome.kind))
        return Verdict.SUCCESS if outcome.kind is K.SERVICE_UNAVAILABLE else None

    stage = held(events(OVERLOADED), classify=classify)
    assert told(stage) == (200, [(200, K.SERVICE_UNAVAILABLE, Verdict.SUCCESS)], Ending.ANSWERED)
    assert seen == [(200, None), (200, K.SERVICE_UNAVAILABLE)]


def test__users_shapes__are_asked_first() -> None:
    stage = held(
        events(b"event: busy\ndata: 1\n\n"),
        events(DELTA),
        inspect_streams=lambda event, data: K.SERVICE_UNAVAILABLE if event == "busy" else None,
    )
    assert told(stage) == (200, [FAILED, GOOD], Ending.ANSWERED)


@pytest.mark.parametrize(
    "shapes", [lambda event, data: 1 / 0, lambda event, data: "overloaded"], ids=["raises", "no answer"]
)
def test__users_shapes__that_go_wrong__are_reported_once_and_the_tables_hold(
    shapes: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    stage = held(events(START, OVERLOADED), events(START, DELTA), inspect_streams=shapes)
    assert told(stage) == (200, [FAILED, GOOD], Ending.ANSWERED)
    assert len(caplog.records) == 1


def test__override__switches_it_on_and_off_for_a_call() -> None:
    stage = held(events(OVERLOADED))
    call = stage.call(override=override(inspect_streams=False))
    stage.together(run(call, stage.peer))
    assert len(stage.sent) == 1
    stage = held(events(OVERLOADED), inspect_streams=False)
    stage.together(stage.start(override=override(inspect_streams=True)))
    assert len(stage.sent) == 3


def test__interrupted_while_held__everything_comes_back_and_nobody_is_blamed() -> None:
    stage = held(events(START, 9.0))
    call = stage.start()
    call.send(None)
    call.send(None)
    assert stage.host.in_flight == 1
    with pytest.raises(KeyboardInterrupt):
        call.throw(KeyboardInterrupt())
    assert (stage.host.in_flight, stage.host.failures) == (0, 0)


def test__llm_preset__repeats_a_post_whose_stream_failed() -> None:
    policy = Resilience(Policy.llm()).policy_for("POST", "https://a.test/")
    assert policy.inspect_streams is True
    assert isinstance(policy.retry, Retry)
    stage = Stage(Policy.llm(), events(START, OVERLOADED), events(DELTA))
    assert told(stage, POST)[1] == [FAILED, GOOD]


def test__failures_of_the_library__and_answers_in_error__are_as_before() -> None:
    stage = held(fault(), answer(503), events(DELTA))
    assert told(stage)[1] == [
        (None, K.CONNECTION_RESET, Verdict.FAILURE),
        (503, K.SERVICE_UNAVAILABLE, Verdict.FAILURE),
        GOOD,
    ]
    assert statuses([held(fault(), retry=None).get()]) == [K.CONNECTION_RESET]
    assert isinstance(held(fault(), retry=None).get(), Failed)
