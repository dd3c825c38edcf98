"""What answers and exceptions mean: the default table, row by row."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping

import pytest

from seawall import classification
from seawall.outcome import Again, ErrorKind, Outcome, Sent, Verdict

K, V, A, S = ErrorKind, Verdict, Again, Sent
WALL = 1_700_000_000.0


class Answer:
    """All that classification may look at."""

    def __init__(self, status: int, headers: Mapping[str, object] | None = None) -> None:
        self.status_code = status
        self.headers: Mapping[str, object] = headers or {}


def outcome(status: int, **headers: str) -> Outcome:
    return classification.of_response(Answer(status, {k.replace("_", "-"): v for k, v in headers.items()}), WALL)


ERROR_STATUSES = [
    (400, K.BAD_REQUEST, V.SUCCESS, A.NO),
    (401, K.UNAUTHORIZED, V.SUCCESS, A.NO),
    (403, K.FORBIDDEN, V.SUCCESS, A.NO),
    (404, K.NOT_FOUND, V.SUCCESS, A.NO),
    (408, K.REQUEST_TIMEOUT, V.FAILURE, A.SAFE),
    (409, K.CLIENT_ERROR, V.SUCCESS, A.NO),
    (413, K.CLIENT_ERROR, V.SUCCESS, A.NO),
    (418, K.CLIENT_ERROR, V.SUCCESS, A.NO),
    (422, K.UNPROCESSABLE, V.SUCCESS, A.NO),
    (425, K.TOO_EARLY, V.SUCCESS, A.SAFE),
    (429, K.TOO_MANY_REQUESTS, V.THROTTLED, A.ANY),
    (451, K.CLIENT_ERROR, V.SUCCESS, A.NO),
    (499, K.CLIENT_ERROR, V.SUCCESS, A.NO),
    (500, K.INTERNAL_SERVER_ERROR, V.FAILURE, A.SAFE),
    (501, K.NOT_IMPLEMENTED, V.SUCCESS, A.NO),
    (502, K.BAD_GATEWAY, V.FAILURE, A.SAFE),
    (503, K.SERVICE_UNAVAILABLE, V.FAILURE, A.SAFE),
    (504, K.GATEWAY_TIMEOUT, V.FAILURE, A.SAFE),
    (505, K.NOT_IMPLEMENTED, V.SUCCESS, A.NO),
    (507, K.SERVER_ERROR, V.FAILURE, A.NO),
    (511, K.SERVER_ERROR, V.FAILURE, A.NO),
    (519, K.SERVER_ERROR, V.FAILURE, A.NO),
    (520, K.BAD_GATEWAY, V.FAILURE, A.SAFE),
    (521, K.BAD_GATEWAY, V.FAILURE, A.SAFE),
    (522, K.BAD_GATEWAY, V.FAILURE, A.SAFE),
    (523, K.BAD_GATEWAY, V.FAILURE, A.SAFE),
    (524, K.BAD_GATEWAY, V.FAILURE, A.SAFE),
    (525, K.SERVER_ERROR, V.FAILURE, A.NO),
    (529, K.SERVICE_UNAVAILABLE, V.FAILURE, A.SAFE),
    (599, K.SERVER_ERROR, V.FAILURE, A.NO),
]


@pytest.mark.parametrize(
    ("status", "kind", "verdict", "again"), ERROR_STATUSES, ids=[str(row[0]) for row in ERROR_STATUSES]
)
def test__status__means(status: int, kind: ErrorKind, verdict: Verdict, again: Again) -> None:
    seen = outcome(status)
    assert (seen.status, seen.kind, seen.verdict, seen.again, seen.sent) == (status, kind, verdict, again, S.YES)


def test__status__below_400__is_a_success_without_a_kind() -> None:
    for status in range(100, 400):
        seen = outcome(status)
        assert (seen.kind, seen.verdict, seen.again, seen.retry_after) == (None, V.SUCCESS, A.NO, None), status


def test__status__any_4xx__never_blames_the_host_but_by_its_own_rule() -> None:
    # A client's bug must not open the circuit for everybody.
    blamed = {status for status in range(400, 500) if outcome(status).verdict is not V.SUCCESS}
    assert blamed == {408, 429}


def test__status__any_5xx__blames_the_host_unless_it_merely_cannot_do_that() -> None:
    well = {status for status in range(500, 600) if outcome(status).verdict is not V.FAILURE}
    assert well == {501, 505}


ERRORS = [
    (K.CONNECTION_REFUSED, V.FAILURE, A.ANY, S.NO),
    (K.NAME_RESOLUTION, V.FAILURE, A.ANY, S.NO),
    (K.CONNECTION_TIMEOUT, V.FAILURE, A.ANY, S.NO),
    (K.POOL_TIMEOUT, V.IGNORED, A.ANY, S.NO),
    (K.CONNECTION_RESET, V.FAILURE, A.SAFE, S.MAYBE),
    (K.TIMEOUT, V.FAILURE, A.SAFE, S.MAYBE),
    (K.INVALID_RESPONSE, V.FAILURE, A.SAFE, S.YES),
    (K.PROXY, V.IGNORED, A.SAFE, S.MAYBE),
    (K.CERTIFICATE, V.FAILURE, A.NO, S.NO),
    (K.UNKNOWN, V.FAILURE, A.SAFE, S.MAYBE),
    (K.FOREIGN, V.IGNORED, A.NO, S.MAYBE),
    (K.QUOTA_EXCEEDED, V.THROTTLED, A.NO, S.YES),
    (K.CIRCUIT_OPEN, V.IGNORED, A.NO, S.NO),
    (K.RATE_LIMIT_EXCEEDED, V.IGNORED, A.NO, S.NO),
    (K.BULKHEAD_FULL, V.IGNORED, A.NO, S.NO),
    (K.CLOSED, V.IGNORED, A.NO, S.NO),
]


@pytest.mark.parametrize(("kind", "verdict", "again", "sent"), ERRORS, ids=[row[0].value for row in ERRORS])
def test__exception__means(kind: ErrorKind, verdict: Verdict, again: Again, sent: Sent) -> None:
    error = OSError("gone")
    seen = classification.of_error(error, kind)
    assert (seen.error, seen.status, seen.kind, seen.verdict, seen.again, seen.sent) == (
        error,
        None,
        kind,
        verdict,
        again,
        sent,
    )


def test__exception__surely_not_sent__may_be_repeated_whatever_the_method() -> None:
    refused_stream = classification.of_error(OSError(), K.CONNECTION_RESET, S.NO)
    assert (refused_stream.again, refused_stream.sent) == (A.ANY, S.NO)


def test__exception__surely_not_sent_but_hopeless__is_still_not_repeated() -> None:
    assert classification.of_error(OSError(), K.CERTIFICATE, S.NO).again is A.NO


def test__every_kind__is_produced_by_a_status_an_exception_or_a_body() -> None:
    produced = {outcome(status).kind for status in range(100, 600)} | set(classification.ERRORS)
    assert set(ErrorKind) <= produced


@pytest.mark.parametrize(
    ("status", "wish", "again"),
    [
        pytest.param(503, "false", A.NO, id="503 false: not repeated"),
        pytest.param(429, "false", A.NO, id="429 false: not repeated"),
        pytest.param(409, "true", A.ANY, id="409 true: as if safe"),
        pytest.param(500, "true", A.ANY, id="500 true: as if safe"),
        pytest.param(429, "true", A.ANY, id="429 true: as ever"),
        pytest.param(503, "perhaps", A.SAFE, id="nonsense: as ever"),
    ],
)
def test__x_should_retry__decides_the_repetition_and_leaves_the_verdict(status: int, wish: str, again: Again) -> None:
    seen, plain = outcome(status, x_should_retry=wish), outcome(status)
    assert seen.again is again
    assert (seen.verdict, seen.kind) == (plain.verdict, plain.kind)


def test__timeout_kinds__are_the_clocks_and_the_statuses_that_say_so() -> None:
    assert {K.TIMEOUT, K.CONNECTION_TIMEOUT, K.REQUEST_TIMEOUT, K.GATEWAY_TIMEOUT} == classification.TIMEOUT_KINDS


def wrapped(inner: BaseException, depth: int = 3) -> BaseException:
    for n in range(depth):
        outer = RuntimeError(n)
        outer.__cause__ = inner
        inner = outer
    return inner


class WithReason(Exception):
    """As urllib3 keeps the real error."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__("failed")
        self.reason = reason


CERTIFICATE = ssl.SSLCertVerificationError(1, "self-signed")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(ConnectionRefusedError(111, "no"), K.CONNECTION_REFUSED, id="refused"),
        pytest.param(wrapped(ConnectionRefusedError()), K.CONNECTION_REFUSED, id="refused, three causes deep"),
        pytest.param(WithReason(ConnectionRefusedError()), K.CONNECTION_REFUSED, id="refused, kept as reason"),
        pytest.param(
            RuntimeError("failed", ConnectionRefusedError()), K.CONNECTION_REFUSED, id="refused, kept as argument"
        ),
        pytest.param(ConnectionResetError(), K.CONNECTION_RESET, id="reset"),
        pytest.param(BrokenPipeError(), K.CONNECTION_RESET, id="broken pipe"),
        pytest.param(ConnectionAbortedError(), K.CONNECTION_RESET, id="aborted"),
        pytest.param(socket.gaierror(-2, "unknown"), K.NAME_RESOLUTION, id="no such name"),
        pytest.param(wrapped(CERTIFICATE), K.CERTIFICATE, id="certificate"),
        pytest.param(wrapped(TimeoutError()), K.TIMEOUT, id="timeout"),
        pytest.param(wrapped(ValueError("no cause")), None, id="says nothing"),
    ],
)
def test__cause__names_the_kind(error: BaseException, kind: ErrorKind | None) -> None:
    assert classification.of_cause(error) is kind


def test__cause__every_address_of_the_name_refused__is_refused() -> None:
    # What connecting to a name with two addresses raises (anyio, trio, asyncio): a group behind one OSError.
    error = OSError("All connection attempts failed")
    error.__cause__ = ExceptionGroup("attempts", [ConnectionRefusedError(), ConnectionRefusedError()])
    assert classification.of_cause(error) is K.CONNECTION_REFUSED


def test__cause__a_ring_of_causes__ends() -> None:
    a, b = ValueError("a"), ValueError("b")
    a.__cause__, b.__cause__ = b, a
    assert list(classification.chain(a)) == [a, b]


def test__cause__an_endless_chain__is_cut() -> None:
    assert len(list(classification.chain(wrapped(ValueError(), 1000)))) <= 20


class Counting(dict[str, str]):
    """Headers that note what is asked of them; going through them is an error."""

    asked = 0

    def get(self, key: str, default: object = None) -> str | None:  # type: ignore[override]
        self.asked += 1
        return super().get(key)

    def __iter__(self) -> object:  # type: ignore[override]
        raise AssertionError("all headers were gone through")


@pytest.mark.parametrize("status", [200, 404, 429, 503])
def test__ten_thousand_headers__only_a_few_known_names_are_looked_up(status: int) -> None:
    headers = Counting({f"x-filler-{n}": "x" * 100 for n in range(10_000)})
    headers["retry-after"] = "7"
    seen = classification.of_response(Answer(status, headers), WALL)
    assert headers.asked <= 4
    assert seen.retry_after == (7 if status in (429, 503) else None)


class Hostile(dict[str, str]):
    def get(self, key: str, default: object = None) -> str | None:  # type: ignore[override]
        raise RuntimeError("no headers for you")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(Hostile(), id="raising"),
        pytest.param({"retry-after": b"7", "x-should-retry": b"false"}, id="bytes"),
        pytest.param({"retry-after": 7, "x-should-retry": None}, id="not text"),
        pytest.param(
            {"retry-after": "7" + " " * 1_000_000, "x-should-retry": "false" + " " * 1_000_000}, id="a megabyte"
        ),
    ],
)
def test__hostile_headers__tell_nothing_and_break_nothing(headers: Mapping[str, object]) -> None:
    seen = classification.of_response(Answer(503, headers), WALL)
    assert (seen.again, seen.retry_after) == (A.SAFE, None)
