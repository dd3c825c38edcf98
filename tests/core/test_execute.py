"""`execute` and `aexecute`: operations that are no client's request, under breaker, bulkhead, retries and deadline."""

from __future__ import annotations

from typing import Any

import pytest

import seawall
from seawall import (
    Bulkhead,
    BulkheadFull,
    CircuitOpen,
    DeadlineExceeded,
    ErrorKind,
    MaxRetriesExceeded,
    NonRetryable,
    RetryBudgetExhausted,
    SimplifiedResponse,
    Timeouts,
    Verdict,
)
from seawall._story import attach
from seawall.flow import run
from seawall.testing import simulate
from tests.core.operations import (
    URL,
    Operation,
    StatusError,
    Way,
    at_once,
    both,
    caused_by,
    fetch,
    gateway,
    snapshot,
)
from tests.core.stage import Peer, answer, brittle, call_to, fault, one_at_a_time, only, purse

K = ErrorKind


# -- values and errors -----------------------------------------------------------------------------


@both
def test__value__is_returned_and_counts_as_success(way: Way) -> None:
    resilience = gateway()
    assert way(resilience, "primary", lambda a, b: a + b, 1, 2) == 3
    assert (snapshot(resilience).successes, snapshot(resilience).in_flight) == (1, 0)


@both
@pytest.mark.parametrize("value", [None, False, 0, ValueError("a value, not raised")], ids=repr)
def test__value__of_any_kind_is_a_success(way: Way, value: Any) -> None:
    resilience = gateway(only(retry=at_once()))
    assert way(resilience, "primary", lambda: value) is value
    assert (snapshot(resilience).successes, snapshot(resilience).failures) == (1, 0)


@both
def test__exception__is_a_failure_and_repeated(way: Way) -> None:
    resilience = gateway(only(retry=at_once()))
    operation = Operation(ValueError("no"), KeyError("no"), "yes")
    assert way(resilience, "primary", operation) == "yes"
    assert (snapshot(resilience).failures, snapshot(resilience).successes) == (2, 1)


@both
@pytest.mark.parametrize(
    ("parts", "times", "kind", "policy"),
    [
        ({"retry": at_once()}, 3, MaxRetriesExceeded, "retry"),
        ({"retry": at_once(), "budget": purse(1)}, 2, RetryBudgetExhausted, "budget"),
        ({"retry": None}, 1, NonRetryable, "retry"),
        ({"retry": at_once(retry_on={K.TIMEOUT})}, 1, NonRetryable, "retry"),
        ({"retry": at_once(when=lambda attempt, request: False)}, 1, NonRetryable, "retry"),
        ({"retry": at_once(on_exhausted="raise")}, 3, MaxRetriesExceeded, "retry"),
    ],
    ids=["out of attempts", "out of budget", "no retry", "not listed", "vetoed", "raise"],
)
def test__failed_to_the_end__says_why_and_keeps_the_last(
    way: Way, parts: dict[str, Any], times: int, kind: type[seawall.ResilienceError], policy: str
) -> None:
    last = ValueError("no")
    operation = Operation(last)
    with pytest.raises(kind) as caught:
        way(gateway(only(**parts)), "primary", operation)
    error: Any = caught.value
    assert (error.host, error.policy, error.attempts, operation.times) == ("primary", policy, times, times)
    assert error.last_error is error.__cause__ is last
    assert error.report is not None
    assert len(error.report.attempts) == times
    assert seawall.report(error) is error.report


@both
def test__not_waited_for__while_there_is_a_way_to_degrade__is_out_of_retries(way: Way) -> None:
    nothing = SimplifiedResponse(lambda request, error: None)
    policy = only(retry=at_once(base_delay=5, max_delay=5), degrade=[nothing], degrade_after=0)
    with pytest.raises(MaxRetriesExceeded, match="not waited for"):
        way(gateway(policy), "primary", Operation(ValueError("no")))


@both
def test__step_that_asks_for_a_request__is_told_what_an_operation_has_not(way: Way) -> None:
    told: list[str] = []

    class Curious(SimplifiedResponse):
        async def answer(self, trouble: Any) -> Any:
            runtime, call = trouble.runtime, trouble.call
            asks = (
                lambda: runtime.fields(call),
                lambda: runtime.identity(call),
                lambda: runtime.content(call),
                lambda: runtime.forward(call, None).send(None),
                lambda: runtime.read(None).send(None),
                lambda: runtime.hold(None, None).send(None),
            )
            for ask in asks:
                try:
                    ask()
                except TypeError as error:
                    told.append(str(error))

    policy = only(degrade=[Curious(lambda request, error: None)])
    with pytest.raises(NonRetryable):
        way(gateway(policy), "primary", Operation(ValueError("no")))
    assert told == [
        "what is remembered of an operation has the user's key",
        "what is remembered of an operation has the user's key",
        "an operation has no body",
        "an operation has no origin: execute_with_fallback is its other provider",
        "nothing is forwarded, so nothing of another origin's is read",
        "no value is a stream",
    ]


@both
def test__last_error__tells_the_story_by_itself(way: Way) -> None:
    last = ValueError("no")
    with pytest.raises(NonRetryable) as caught:
        way(gateway(), "primary", Operation(last))
    assert seawall.report(last) is caught.value.report


@both
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test__interrupted__passes_untouched_and_blames_nobody(way: Way, error: type[BaseException]) -> None:
    resilience = gateway(only(retry=at_once()))
    operation = Operation(error())
    with pytest.raises(error):
        way(resilience, "primary", operation)
    assert (operation.times, snapshot(resilience).requests, snapshot(resilience).in_flight) == (1, 0, 0)


@both
def test__open_circuit__refuses_without_running(way: Way) -> None:
    resilience = gateway(only(breaker=brittle()))
    operation = Operation(ValueError("no"))
    for _ in range(2):
        with pytest.raises(NonRetryable):
            way(resilience, "primary", operation)
    with pytest.raises(CircuitOpen) as caught:
        way(resilience, "primary", operation)
    assert (operation.times, caught.value.retry_after, caught.value.attempts) == (2, 10, 0)


@both
def test__full_bulkhead__refuses_without_running(way: Way) -> None:
    resilience = gateway(only(bulkhead=one_at_a_time(max_wait=0)))
    inner = Operation("never")

    def outer() -> Any:
        return resilience.execute("primary", inner)

    with pytest.raises(BulkheadFull):
        way(resilience, "primary", outer)
    assert inner.times == 0
    assert snapshot(resilience).in_flight == 0


# -- the six variants, and what is read from an exception ------------------------------------------


VARIANTS = [
    ("timeout", TimeoutError(), K.TIMEOUT, Verdict.FAILURE, 3),
    ("timeout of ours", DeadlineExceeded(), K.TIMEOUT, Verdict.FAILURE, 3),
    ("timeout, wrapped", caused_by(TimeoutError()), K.TIMEOUT, Verdict.FAILURE, 3),
    ("connection failed", ConnectionRefusedError(), K.CONNECTION_REFUSED, Verdict.FAILURE, 3),
    ("connection lost", ConnectionResetError(), K.CONNECTION_RESET, Verdict.FAILURE, 3),
    ("connection failed, wrapped", caused_by(ConnectionRefusedError()), K.CONNECTION_REFUSED, Verdict.FAILURE, 3),
    ("status 503", StatusError(503), K.SERVICE_UNAVAILABLE, Verdict.FAILURE, 3),
    ("status 503 on the error", StatusError(503, on_response=False), K.SERVICE_UNAVAILABLE, Verdict.FAILURE, 3),
    ("status 429", StatusError(429), K.TOO_MANY_REQUESTS, Verdict.THROTTLED, 3),
    ("status 302", StatusError(302), K.UNKNOWN, Verdict.FAILURE, 3),
    ("status 404", StatusError(404), K.NOT_FOUND, Verdict.SUCCESS, 1),
    ("status 401, wrapped", caused_by(StatusError(401)), K.UNAUTHORIZED, Verdict.SUCCESS, 1),
    ("rate limit exceeded", seawall.RateLimited(), K.RATE_LIMIT_EXCEEDED, Verdict.IGNORED, 1),
    ("circuit open", CircuitOpen(), K.CIRCUIT_OPEN, Verdict.IGNORED, 1),
    ("half-open limit", seawall.HalfOpenLimit(), K.CIRCUIT_OPEN, Verdict.IGNORED, 1),
    ("bulkhead full", BulkheadFull(), K.BULKHEAD_FULL, Verdict.IGNORED, 1),
    ("closed", seawall.BulkheadClosed(), K.CLOSED, Verdict.IGNORED, 1),
    ("anything else", ValueError("no"), K.UNKNOWN, Verdict.FAILURE, 3),
]


@both
@pytest.mark.parametrize(
    ("error", "kind", "verdict", "times"), [row[1:] for row in VARIANTS], ids=[row[0] for row in VARIANTS]
)
def test__variant__has_its_kind_and_verdict(
    way: Way, error: Exception, kind: ErrorKind, verdict: Verdict, times: int
) -> None:
    seen: list[tuple[ErrorKind | None, Verdict]] = []

    def classify(outcome: seawall.Outcome, request: Any) -> None:
        seen.append((outcome.kind, outcome.verdict))

    operation = Operation(error)
    with pytest.raises(seawall.ResilienceError):
        way(gateway(only(retry=at_once(), classify=classify)), "primary", operation)
    assert seen == [(kind, verdict)] * times


@both
def test__invalid_response__of_a_mounted_client_inside_is_recognised(way: Way) -> None:
    resilience = gateway(only(retry=at_once()))
    with pytest.raises(MaxRetriesExceeded) as caught:
        way(resilience, "primary", lambda: fetch(resilience, fault(K.INVALID_RESPONSE)))
    assert caught.value.report is not None
    assert [attempt.kind for attempt in caught.value.report.attempts] == [K.INVALID_RESPONSE] * 3


@both
def test__status_4xx__is_the_callers_mistake_not_the_providers(way: Way) -> None:
    resilience = gateway(only(breaker=brittle(), retry=at_once()))
    for _ in range(5):
        with pytest.raises(NonRetryable) as caught:
            way(resilience, "primary", Operation(StatusError(422)))
    assert isinstance(caught.value.last_error, StatusError)
    assert (snapshot(resilience).state, snapshot(resilience).failures, snapshot(resilience).successes) == (
        "closed",
        0,
        5,
    )


@both
def test__classify__has_the_last_word(way: Way) -> None:
    resilience = gateway(only(retry=at_once(), classify=lambda outcome, request: Verdict.IGNORED))
    with pytest.raises(seawall.ResilienceError):
        way(resilience, "primary", Operation(ValueError("no")))
    assert (snapshot(resilience).requests, snapshot(resilience).failures) == (0, 0)


@both
def test__classify__blames_the_provider_for_a_value__it_is_asked_again(way: Way) -> None:
    verdicts = iter((Verdict.FAILURE, None))
    resilience = gateway(only(retry=at_once(), classify=lambda outcome, request: next(verdicts)))
    assert way(resilience, "primary", Operation("poor", "good")) == "good"
    assert (snapshot(resilience).failures, snapshot(resilience).successes) == (1, 1)


@both
def test__classify__interrupted_with_a_value_at_hand__everything_comes_back(way: Way) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    resilience = gateway(only(classify=interrupted))
    with pytest.raises(KeyboardInterrupt):
        way(resilience, "primary", Operation("value"))
    assert (snapshot(resilience).in_flight, snapshot(resilience).requests) == (0, 0)


@both
def test__when_and_classify__see_the_operation(way: Way) -> None:
    seen: list[tuple[str, str, str, tuple[Any, ...]]] = []

    def when(attempt: seawall.Attempt, request: Any) -> bool:
        seen.append((request.name, request.url, request.method, request.args))
        return False

    with pytest.raises(NonRetryable):
        way(gateway(only(retry=at_once(when=when))), "primary", Operation(ValueError("no")), 1, 2)
    assert seen == [("primary", "primary", "EXECUTE", (1, 2))]


@both
def test__late_by_the_total__is_refused_as_such(way: Way) -> None:
    resilience = gateway(only(timeouts=Timeouts(total=5)))
    clock: Any = resilience.clock
    with pytest.raises(DeadlineExceeded) as caught:
        way(resilience, "primary", lambda: clock.advance(6))
    assert (caught.value.scope, caught.value.duration) == ("total", 5)
    assert isinstance(caught.value.__cause__, TimeoutError)


# -- clients used inside ---------------------------------------------------------------------------


@both
def test__mounted_client_inside__does_not_retry_again(way: Way) -> None:
    resilience = gateway(only(retry=at_once()))
    with pytest.raises(MaxRetriesExceeded):
        way(resilience, "primary", lambda: fetch(resilience, fault()))
    assert (snapshot(resilience).failures, snapshot(resilience, URL).failures) == (3, 3)


@both
def test__mounted_client_inside__keeps_its_hosts_breaker_and_bulkhead(way: Way) -> None:
    resilience = gateway(only(breaker=brittle(), bulkhead=Bulkhead(max_concurrent=5)))
    resilience.isolate(URL)
    with pytest.raises(CircuitOpen) as caught:
        way(resilience, "primary", lambda: fetch(resilience))
    assert caught.value.host == "https://inside.test"
    assert (snapshot(resilience).failures, snapshot(resilience).requests) == (0, 0)


@both
def test__answer_below_400_inside__is_just_a_value(way: Way) -> None:
    resilience = gateway()
    assert way(resilience, "primary", lambda: fetch(resilience, answer(204))).status_code == 204


@both
def test__hopeless_inside__is_not_repeated(way: Way) -> None:
    resilience = gateway(only(retry=at_once()))
    times: list[int] = []

    def operation() -> Any:
        times.append(1)
        return fetch(resilience, fault(K.CERTIFICATE))

    with pytest.raises(NonRetryable):
        way(resilience, "primary", operation)
    assert (len(times), snapshot(resilience).failures) == (1, 1)


@both
def test__good_answer_inside_that_is_complained_of__is_a_failure_of_its_own(way: Way) -> None:
    resilience = gateway()

    def operation() -> Any:
        call = call_to(resilience, URL)
        simulate(resilience.clock, run(call, Peer(answer(200))))  # type: ignore[arg-type]
        complaint = ValueError("not what was asked for")
        attach(complaint, call)  # as an SDK's, with the answer on it
        raise complaint

    with pytest.raises(seawall.ResilienceError) as caught:
        way(resilience, "primary", operation)
    assert caught.value.report is not None
    assert [attempt.kind for attempt in caught.value.report.attempts] == [K.UNKNOWN]
    assert (snapshot(resilience).failures, snapshot(resilience, URL).successes) == (1, 1)


@both
def test__execute_inside_execute__retries_in_one_layer_only(way: Way) -> None:
    resilience = gateway(only(retry=at_once()))
    inner = Operation(ValueError("no"))
    with pytest.raises(seawall.ResilienceError):
        way(resilience, "outer", lambda: resilience.execute("inner", inner))
    assert inner.times == 3
