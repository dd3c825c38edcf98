"""What we raise: the tree, the attributes, one line of text without secrets, and pickles."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import seawall
from seawall import Verdict, errors
from seawall.errors import BY_REASON, ResilienceError, dress
from seawall.flow import run
from seawall.outcome import Reason, Rejection
from tests.core.stage import Request, Stage, answer, fault, only, steady

TREE = {
    "CircuitOpen": "ResilienceError",
    "HalfOpenLimit": "CircuitOpen",
    "BulkheadFull": "ResilienceError",
    "BulkheadClosed": "ResilienceError",
    "RateLimited": "ResilienceError",
    "DeadlineExceeded": "ResilienceError",
    "RetryBudgetExhausted": "ResilienceError",
    "MaxRetriesExceeded": "ResilienceError",
    "NonRetryable": "ResilienceError",
    "AllProvidersFailed": "ResilienceError",
    "ServiceDegraded": "ResilienceError",
    "Queued": "ResilienceError",
}
everyone = pytest.mark.parametrize("kind", [getattr(seawall, name) for name in TREE], ids=list(TREE))


def test__tree__is_the_one_promised() -> None:
    for name, parent in TREE.items():
        assert getattr(seawall, name).__bases__ == (getattr(seawall, parent),)
    assert ResilienceError.__bases__ == (Exception,)
    ours = {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, ResilienceError)
    }
    assert ours == {*TREE, "ResilienceError"}


def test__tree__is_drawn_in_the_modules_docstring() -> None:
    assert errors.__doc__ is not None
    assert all(name in errors.__doc__ for name in TREE)


@everyone
def test__attributes__are_there_on_a_bare_one(kind: type[ResilienceError]) -> None:
    error = kind()
    assert (error.host, error.policy, error.retry_after, error.attempts, error.request, error.report) == (
        "",
        "",
        None,
        0,
        None,
        None,
    )


CAUSE = KeyError("x")
OWN = {
    Reason.CIRCUIT_OPEN: (
        Rejection(Reason.CIRCUIT_OPEN, "h", 2.5, since=123.0),
        {"opened_at": 123.0, "retry_after": 2.5},
    ),
    Reason.ISOLATED: (Rejection(Reason.ISOLATED, "h", since=123.0), {"opened_at": 123.0, "retry_after": None}),
    Reason.HALF_OPEN_LIMIT: (
        Rejection(Reason.HALF_OPEN_LIMIT, "h", 1.0, limit=3, since=123.0),
        {"opened_at": 123.0, "max_requests": 3},
    ),
    Reason.BULKHEAD_FULL: (Rejection(Reason.BULKHEAD_FULL, "h", limit=5.0), {"max_wait": 5.0}),
    Reason.BULKHEAD_TIMEOUT: (Rejection(Reason.BULKHEAD_TIMEOUT, "h", limit=5.0), {"max_wait": 5.0}),
    Reason.CLOSED: (Rejection(Reason.CLOSED, "h"), {}),
    Reason.GATE: (Rejection(Reason.GATE, "h", 30.0), {"retry_after": 30.0}),
    Reason.DEADLINE: (
        Rejection(Reason.DEADLINE, "h", scope="attempt", limit=2.0),
        {"scope": "attempt", "duration": 2.0},
    ),
    Reason.ATTEMPTS: (
        Rejection(Reason.ATTEMPTS, "h", cause=CAUSE, response="r"),
        {"response": "r", "last_error": CAUSE},
    ),
    Reason.BUDGET: (Rejection(Reason.BUDGET, "h", response="r"), {"last_error": None, "response": "r"}),
    Reason.NOT_RETRYABLE: (Rejection(Reason.NOT_RETRYABLE, "h", response="r"), {"response": "r"}),
    Reason.DEGRADED: (
        Rejection(Reason.DEGRADED, "h", 3.0, cause=CAUSE, facts={"alternatives": ("a",)}),
        {"alternatives": ("a",), "retry_after": 3.0, "__cause__": CAUSE},
    ),
    Reason.QUEUED: (Rejection(Reason.QUEUED, "h", facts={"receipt": 7}), {"receipt": 7}),
    Reason.ALL_FAILED: (
        Rejection(Reason.ALL_FAILED, "h", facts={"primary": CAUSE, "fallback": None, "errors": (CAUSE,)}),
        {"primary": CAUSE, "errors": (CAUSE,)},
    ),
}
POLICIES = {
    Reason.CIRCUIT_OPEN: "breaker",
    Reason.ISOLATED: "breaker",
    Reason.HALF_OPEN_LIMIT: "breaker",
    Reason.BULKHEAD_FULL: "bulkhead",
    Reason.BULKHEAD_TIMEOUT: "bulkhead",
    Reason.CLOSED: "bulkhead",
    Reason.GATE: "gate",
    Reason.DEADLINE: "timeouts",
    Reason.ATTEMPTS: "retry",
    Reason.BUDGET: "budget",
    Reason.NOT_RETRYABLE: "retry",
    Reason.DEGRADED: "degrade",
    Reason.QUEUED: "degrade",
    Reason.ALL_FAILED: "degrade",
}


def dressed(rejection: Rejection) -> ResilienceError:
    """The error of a call that this rejection ended, after two attempts and 1.5 seconds."""
    stage = Stage(only())
    call = stage.call()
    for number in (1, 2):
        call.note(number, stage.clock.now, stage.clock.now, 503, None, Verdict.FAILURE)
    stage.clock.advance(1.5)
    return dress(call, rejection)


@pytest.mark.parametrize("reason", Reason)
def test__rejection__becomes_its_error_with_its_attributes(reason: Reason) -> None:
    rejection, expected = OWN[reason]
    error = dressed(rejection)
    assert type(error) is BY_REASON[reason][0]
    assert (error.host, error.policy, error.attempts, error.elapsed) == ("h", POLICIES[reason], 2, 1.5)
    assert (error.request.method, error.report.attempts[0].status) == ("GET", 503)  # type: ignore[union-attr]
    for name, value in expected.items():
        assert getattr(error, name) == value, name


@pytest.mark.parametrize("reason", Reason)
def test__text__one_line_with_host_reason_and_when_to_try_again(reason: Reason) -> None:
    rejection, _ = OWN[reason]
    text = str(dressed(rejection))
    assert text.startswith("h: ")
    assert "\n" not in text
    assert "after 2 attempts in 1.5 s" in text
    assert ("try again in" in text) == (rejection.retry_after is not None)


@pytest.mark.parametrize("reason", Reason)
def test__text__names_the_policy(reason: Reason) -> None:
    assert POLICIES[reason].rstrip("s") in str(dressed(OWN[reason][0]))


def test__text__says_which_clock_and_how_long() -> None:
    assert str(dressed(OWN[Reason.DEADLINE][0])).startswith("h: attempt timeout of 2 s")


# -- secrets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps", [(answer(503, b"CANARY"),), (fault(),), (answer(429, b"CANARY", retry_after="9999"),)]
)
def test__text__never_holds_query_header_or_body(steps: Any) -> None:
    stage = Stage(only(retry=steady(on_exhausted="raise")), *steps)
    request = Request("GET", "/path?key=CANARY#CANARY", authorization="CANARY")
    request.url = "https://user:CANARY@api.test/path?key=CANARY"
    call = stage.call(request)
    (rejection,) = stage.together(run(call, stage.peer))
    error = dress(call, rejection)
    shown = [str(error), repr(error), str(error.report), repr(error.report), repr(stage.resilience), repr(stage.host)]
    assert not any("CANARY" in text for text in shown)


def test__text__of_a_users_exception_is_not_shown() -> None:
    def operation() -> None:
        raise RuntimeError("CANARY")

    with pytest.raises(seawall.NonRetryable) as caught:
        seawall.Resilience(only()).execute("primary", operation)
    assert "CANARY" not in str(caught.value) + repr(caught.value) + str(caught.value.report)


# -- pickles ---------------------------------------------------------------------------------------


class Unpicklable(Exception):
    """As httpx's status errors: its constructor wants more than `args` holds."""

    def __init__(self, message: str, *, response: object) -> None:
        super().__init__(message)
        self.response = response


def through_a_pickle(error: ResilienceError) -> Any:
    return pickle.loads(pickle.dumps(error))


def raised() -> ResilienceError:
    """One with everything on it: a story, a request, a response, a last error."""
    stage = Stage(only(retry=steady(on_exhausted="raise")), answer(503, retry_after="1"), fault())
    call = stage.call()
    (rejection,) = stage.together(run(call, stage.peer))
    return dress(call, rejection)


@pytest.mark.parametrize("duplicate", [through_a_pickle, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
def test__pickle__keeps_attributes_text_and_story(duplicate: Any) -> None:
    error = raised()
    twin = duplicate(error)
    assert type(twin) is type(error)
    assert (str(twin), twin.host, twin.policy, twin.attempts) == (str(error), error.host, error.policy, error.attempts)
    assert twin.report.attempts == error.report.attempts  # type: ignore[union-attr]
    assert str(twin.report) == str(error.report)


def test__pickle__leaves_request_and_response_behind() -> None:
    error = raised()
    assert error.request is not None
    twin = through_a_pickle(error)
    assert (twin.request, twin.response) == (None, None)


@everyone
def test__pickle__every_kind(kind: type[ResilienceError]) -> None:
    twin = through_a_pickle(kind(host="h", reason="r", retry_after=1.5, opened_at=3.0))
    assert (type(twin), twin.host, twin.reason, twin.retry_after, twin.opened_at) == (kind, "h", "r", 1.5, 3.0)


def test__pickle__cause_that_can_be_pickled_survives() -> None:
    error = seawall.NonRetryable(last_error=KeyError("x"))
    assert repr(through_a_pickle(error).last_error) == "KeyError('x')"


@pytest.mark.parametrize(
    "cause",
    [Unpicklable("x", response=1), type("Local", (Exception,), {})("x"), ValueError(lambda: 1)],
    ids=["wants more arguments", "class of a function", "holds a function"],
)
def test__pickle__cause_that_cannot_leaves_its_name(cause: Exception) -> None:
    error = seawall.AllProvidersFailed(primary=cause, fallback=KeyError("x"), errors=(cause, KeyError("x")))
    twin = through_a_pickle(error)
    assert type(cause).__name__ in str(twin.primary)
    assert (type(twin.fallback), type(twin.errors[1])) == (KeyError, KeyError)
    assert type(cause).__name__ in str(twin.errors[0])


class Carrying(Exception):
    """As a library's own that pickles with all it carries, openly or behind a property."""

    def __init__(self, message: str, **carried: object) -> None:
        super().__init__(message)
        self.__dict__.update(carried)


@pytest.mark.parametrize("under", ["request", "response", "_request", "_response"])
def test__pickle__cause_leaves_its_request_and_response_behind(under: str) -> None:
    data = pickle.dumps(seawall.NonRetryable(last_error=Carrying("x", **{under: "CANARY"})))
    assert b"CANARY" not in data
    assert repr(pickle.loads(data).last_error) == "Carrying('x')"


def test__pickle__with_a_note__still_pickles() -> None:
    error = raised()
    error.add_note("a note")
    assert str(through_a_pickle(error)) == str(error)
