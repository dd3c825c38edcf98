"""Every row of the outcome table: what it says about the host, and whether a GET or a POST is sent again."""

from __future__ import annotations

from typing import Any

import pytest

from seawall import Attempt, Ending, ErrorKind, Outcome, Verdict
from seawall.flow import run
from seawall.outcome import Again, Sent
from tests.core.stage import HOST, Request, Stage, Step, answer, brittle, fault, only, statuses, steady, word

K = ErrorKind
NO, SAFE, ANY = (1, 1), (2, 1), (2, 2)
"""How often a GET and a POST are sent, one retry being allowed."""


def counted(stage: Stage) -> dict[str, int]:
    """What the host's totals say, zeroes left out."""
    host = stage.host
    totals = {
        "success": host.total_successes,
        "failure": host.total_failures,
        "throttled": host.total_throttled,
        "timeout": host.total_timeouts,
    }
    return {name: count for name, count in totals.items() if count}


def row(*cells: Any, named: str = "") -> Any:
    return pytest.param(*cells, id=named or str(cells[0]))


STATUSES = [
    *[row(status, "success", NO) for status in (101, 200, 204, 206, 301, 304, 307)],
    *[row(status, "success", NO) for status in (400, 401, 403, 404, 405, 409, 410, 413, 422, 431, 451)],
    row(408, "failure", SAFE),
    row(425, "success", SAFE),
    row(429, "throttled", ANY),
    *[row(status, "failure", SAFE) for status in (500, 502, 503, 504, 520, 521, 522, 523, 524, 529)],
    *[row(status, "success", NO) for status in (501, 505)],
    *[row(status, "failure", NO) for status in (506, 507, 511, 599)],
]


@pytest.mark.parametrize(("status", "verdict", "sent"), STATUSES)
def test__status(status: int, verdict: str, sent: tuple[int, int]) -> None:
    for method, times in zip(("GET", "POST"), sent, strict=True):
        stage = Stage(only(retry=steady(max_retries=1)), answer(status))
        assert word(stage.get(Request(method))) == status
        totals = counted(stage)
        totals.pop("timeout", None)
        assert (len(stage.sent), totals) == (times, {verdict: times})


@pytest.mark.parametrize(("status", "kind"), [(399, None), (400, K.BAD_REQUEST)])
def test__status__from_400_on_is_an_error_of_a_kind(status: int, kind: ErrorKind | None) -> None:
    stage = Stage(only(), answer(status))
    call = stage.call()
    stage.together(run(call, stage.peer))
    assert [(attempt.status, attempt.kind) for attempt in call.attempts] == [(status, kind)]


ERRORS = [
    row(K.CONNECTION_REFUSED, None, "failure", ANY),
    row(K.NAME_RESOLUTION, None, "failure", ANY),
    row(K.CONNECTION_TIMEOUT, None, "failure", ANY),
    row(K.CONNECTION_RESET, Sent.NO, "failure", ANY, named="refused h2 stream"),
    row(K.POOL_TIMEOUT, None, None, ANY),
    row(K.CONNECTION_RESET, None, "failure", SAFE),
    row(K.TIMEOUT, None, "failure", SAFE),
    row(K.INVALID_RESPONSE, None, "failure", SAFE),
    row(K.PROXY, None, None, SAFE),
    row(K.CERTIFICATE, None, "failure", NO),
    row(K.FOREIGN, None, None, NO),
]


@pytest.mark.parametrize(("kind", "sent", "verdict", "times"), ERRORS)
def test__error(kind: ErrorKind, sent: Sent | None, verdict: str | None, times: tuple[int, int]) -> None:
    for method, often in zip(("GET", "POST"), times, strict=True):
        stage = Stage(only(retry=steady(max_retries=1)), fault(kind, sent=sent))
        assert word(stage.get(Request(method))) is kind
        totals = counted(stage)
        totals.pop("timeout", None)
        assert (len(stage.sent), totals) == (often, {verdict: often} if verdict else {})


@pytest.mark.parametrize("kind", [K.TIMEOUT, K.CONNECTION_TIMEOUT])
def test__timeout__is_counted_once_as_failure_and_once_as_timeout(kind: ErrorKind) -> None:
    stage = Stage(only(), fault(kind))
    stage.get()
    assert counted(stage) == {"failure": 1, "timeout": 1}
    assert stage.host.total_requests == 1


# -- who may be sent again -------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"])
def test__safe_method__is_sent_again(method: str) -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(200))
    assert word(stage.get(Request(method))) == 200


@pytest.mark.parametrize("method", ["POST", "PATCH", "CONNECT", "LOCK"])
def test__other_method__is_not(method: str) -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(200))
    assert word(stage.get(Request(method))) == 503


def test__key_on_the_request__makes_it_safe() -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(200))
    assert word(stage.get(Request("POST", key=True))) == 200


def test__methods_given__replace_the_safe_ones() -> None:
    retry = steady(methods={"POST"})
    for method, status in (("POST", 200), ("GET", 503)):
        stage = Stage(only(retry=retry), answer(503), answer(200))
        assert word(stage.get(Request(method))) == status


@pytest.mark.parametrize(
    "step", [answer(503), answer(429), fault(K.CONNECTION_REFUSED), fault()], ids=["503", "429", "refused", "reset"]
)
def test__body_gone__is_never_sent_again(step: Step) -> None:
    stage = Stage(only(retry=steady(methods={"POST"}, when=lambda attempt, request: True)), step)
    call = stage.call(Request("POST", key=True, replayable=False))
    stage.together(run(call, stage.peer))
    assert (len(stage.sent), call.ending) == (1, Ending.BODY_NOT_REPLAYABLE)


@pytest.mark.parametrize(
    ("status", "wish", "verdict", "sent"),
    [
        row(503, "false", "failure", NO, named="503 false"),
        row(429, "false", "throttled", NO, named="429 false"),
        row(404, "true", "success", ANY, named="404 true"),
        row(501, "true", "success", ANY, named="501 true"),
        row(503, "true", "failure", ANY, named="503 true"),
        row(503, "perhaps", "failure", SAFE, named="503 nonsense"),
    ],
)
def test__x_should_retry(status: int, wish: str, verdict: str, sent: tuple[int, int]) -> None:
    for method, times in zip(("GET", "POST"), sent, strict=True):
        stage = Stage(only(retry=steady(max_retries=1)), answer(status, x_should_retry=wish))
        stage.get(Request(method))
        assert (len(stage.sent), counted(stage)) == (times, {verdict: times})


def test__retry_on__replaces_the_table() -> None:
    class Odd(Exception):
        pass

    retry = steady(max_retries=1, retry_on={404, K.TIMEOUT, Odd})

    async def odd(call: Any) -> Any:
        raise Odd

    for step, times in ((answer(404), 2), (answer(503), 1), (fault(K.TIMEOUT), 2), (fault(), 1), (odd, 2)):
        stage = Stage(only(retry=retry), step)
        stage.get()
        assert len(stage.sent) == times


# -- a 429 that means the credit is used up --------------------------------------------------------

QUOTA = b'{"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}'


@pytest.mark.parametrize(
    ("body", "kind", "times"),
    [
        row(QUOTA, "application/json", 1, named="quota in JSON"),
        row(QUOTA, "application/problem+json; charset=utf-8", 1, named="quota in a problem document"),
        row(QUOTA, "text/html", 2, named="quota, but not JSON"),
        row(b'{"error": "slow down"}', "application/json", 2, named="a rate limit in JSON"),
        row(None, "application/json", 2, named="too long to look at"),
    ],
)
def test__429__body_tells_quota_from_rate(body: bytes | None, kind: str, times: int) -> None:
    stage = Stage(only(retry=steady(max_retries=1)), answer(429, body, content_type=kind))
    call = stage.call()
    (response,) = stage.together(run(call, stage.peer))
    assert (word(response), len(stage.sent), counted(stage)) == (429, times, {"throttled": times})
    assert (call.attempts[-1].kind is K.QUOTA_EXCEEDED) == (times == 1)


# -- the gate a server closes ----------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 520, 524, 529])
def test__retry_after__closes_the_gate(status: int) -> None:
    stage = Stage(only(retry=steady()), answer(status, retry_after="7"))
    stage.get(Request(replayable=False))
    assert stage.host.gate == 7


@pytest.mark.parametrize("status", [200, 301, 404, 413, 425])
def test__retry_after_of_an_answer_about_one_request__closes_nothing(status: int) -> None:
    stage = Stage(only(retry=steady()), answer(status, retry_after="7"))
    stage.get(Request(replayable=False))
    assert stage.host.gate == 0


def test__share_retry_after_off__closes_nothing() -> None:
    stage = Stage(only(retry=steady(share_retry_after=False)), answer(503, retry_after="7"))
    stage.get(Request(replayable=False))
    assert stage.host.gate == 0


# -- after the headers -----------------------------------------------------------------------------


def test__stream__verdict_falls_at_its_end() -> None:
    stage = Stage(only(), answer(200, stream=True))
    response = stage.get()
    assert (counted(stage), stage.host.in_flight) == ({}, 1)
    response.admission.finish()
    assert (counted(stage), stage.host.in_flight) == ({"success": 1}, 0)


def test__body_breaks__is_a_failure_and_is_told() -> None:
    stage = Stage(only(breaker=brittle()), answer(200, stream=True))
    call = stage.call()
    (response,) = stage.together(run(call, stage.peer))
    stage.clock.advance(3)
    response.admission.broke(Outcome(Verdict.FAILURE, K.CONNECTION_RESET, Again.SAFE))
    (attempt,) = call.attempts
    assert (counted(stage), attempt.kind, attempt.verdict, attempt.status, attempt.duration) == (
        {"failure": 1},
        K.CONNECTION_RESET,
        Verdict.FAILURE,
        200,
        3,
    )
    assert (len(stage.sent), stage.host.in_flight) == (1, 0)


def test__error_answer_streamed__counts_as_its_status_said() -> None:
    stage = Stage(only(), answer(503, stream=True))
    response = stage.get()
    response.admission.finish()
    assert counted(stage) == {"failure": 1}


def test__given_up_by_the_caller__praises_and_blames_nobody() -> None:
    stage = Stage(only(), answer(200, stream=True))
    response = stage.get()
    response.admission.abandon()
    assert (counted(stage), stage.host.in_flight) == ({}, 0)


# -- the user's own opinion ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "opinion", "expected", "times"),
    [
        row(answer(200), Verdict.FAILURE, "failure", 2, named="200 is a failure: repeated"),
        row(answer(404), Verdict.FAILURE, "failure", 2, named="404 is a failure: repeated"),
        row(answer(503), Verdict.SUCCESS, "success", 1, named="503 is fine: not repeated"),
        row(answer(503), Verdict.IGNORED, None, 2, named="503 is not the host's: repeated all the same"),
        row(answer(503), Verdict.THROTTLED, "throttled", 2, named="503 is a rate limit"),
        row(answer(503), None, "failure", 2, named="no opinion: the table"),
        row(fault(), Verdict.IGNORED, None, 2, named="reset is not the host's"),
        row(fault(), "nonsense", "failure", 2, named="not a verdict: the table"),
    ],
)
def test__classify(step: Step, opinion: Any, expected: str | None, times: int) -> None:
    stage = Stage(only(retry=steady(max_retries=1), classify=lambda outcome, request: opinion), step)
    stage.get()
    assert (len(stage.sent), counted(stage)) == (times, {expected: times} if expected else {})


def test__classify__sees_outcome_and_request() -> None:
    seen: list[tuple[int | None, ErrorKind | None, str]] = []

    def classify(outcome: Outcome, request: Request) -> None:
        seen.append((outcome.status, outcome.kind, request.method))

    stage = Stage(only(retry=steady(max_retries=1), classify=classify), answer(503), fault())
    stage.get(Request("PUT"))
    assert seen == [(503, K.SERVICE_UNAVAILABLE, "PUT"), (None, K.CONNECTION_RESET, "PUT")]


def test__when__true_repeats_what_the_table_would_not() -> None:
    stage = Stage(only(retry=steady(max_retries=1, when=lambda attempt, request: True)), answer(404), answer(200))
    assert word(stage.get(Request("POST"))) == 200


def test__when__false_stops_anything() -> None:
    stage = Stage(only(retry=steady(when=lambda attempt, request: False)), answer(503), answer(200))
    assert word(stage.get()) == 503


def test__when__sees_each_attempt_and_the_request() -> None:
    seen: list[Attempt] = []

    def when(attempt: Attempt, request: Request) -> None:
        seen.append(attempt)

    stage = Stage(only(retry=steady(when=when)), answer(503, after=0.5), answer(429, retry_after="2"), answer(200))
    assert statuses([stage.get()]) == [200]
    assert {attempt.host for attempt in seen} == {HOST}
    assert [(a.number, a.started, a.duration, a.wait, a.status, a.kind, a.verdict, a.retry_after) for a in seen] == [
        (1, 0, 0.5, 0, 503, K.SERVICE_UNAVAILABLE, Verdict.FAILURE, None),
        (2, 1.5, 0, 1, 429, K.TOO_MANY_REQUESTS, Verdict.THROTTLED, 2),
    ]


@pytest.mark.parametrize(
    ("outcome", "shown"),
    [
        (Outcome(Verdict.SUCCESS, None, Again.NO, status=204), "<Outcome 204: None, success>"),
        (
            Outcome(Verdict.FAILURE, K.TIMEOUT, Again.SAFE, error=OSError("a secret")),
            "<Outcome OSError: timeout, failure>",
        ),
    ],
    ids=["an answer", "an exception"],
)
def test__repr__says_what_happened_and_no_text_of_an_exception(outcome: Outcome, shown: str) -> None:
    assert repr(outcome) == shown


def test__outcome__is_told_without_what_it_carries() -> None:
    seen: list[str] = []

    def classify(outcome: Outcome, request: Any) -> None:
        seen.append(repr(outcome))

    Stage(only(classify=classify), answer(503, CANARY="CANARY")).get()
    Stage(only(classify=classify), fault(K.TIMEOUT)).get()
    assert seen == ["<Outcome 503: service unavailable, failure>", "<Outcome Fault: timeout, failure>"]
