"""Whether another attempt may follow, and after how long."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall import Retry, classification
from seawall.outcome import Again, Ending, ErrorKind, Outcome, Sent, Verdict
from seawall.policies.retry import Repeatable, key_field, may_repeat

GET = Repeatable("GET", body=True, has_key=False)
POST = Repeatable("POST", body=True, has_key=False)
KEYED_POST = Repeatable("POST", body=True, has_key=True)
GENERATOR = Repeatable("GET", body=False, has_key=False)


class Answer:
    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.status_code = status
        self.headers = headers or {}


def answered(status: int, **headers: str) -> Outcome:
    return classification.of_response(Answer(status, {k.replace("_", "-"): v for k, v in headers.items()}), 0.0)


def raised(kind: ErrorKind, error: BaseException | None = None) -> Outcome:
    return classification.of_error(error or OSError(), kind)


E = Ending
TABLE = [
    ("GET, 503", GET, answered(503), None),
    ("POST, 503", POST, answered(503), E.NOT_REPEATABLE),
    ("POST with a key, 503", KEYED_POST, answered(503), None),
    ("GET of a generator, 503", GENERATOR, answered(503), E.BODY_NOT_REPLAYABLE),
    ("GET, 404", GET, answered(404), E.NOT_RETRYABLE),
    ("GET, 400", GET, answered(400), E.NOT_RETRYABLE),
    ("GET, 501", GET, answered(501), E.NOT_RETRYABLE),
    ("GET, 507", GET, answered(507), E.NOT_RETRYABLE),
    ("GET, 425", GET, answered(425), None),
    ("POST, 425", POST, answered(425), E.NOT_REPEATABLE),
    ("GET, 408", GET, answered(408), None),
    ("GET, 429", GET, answered(429), None),
    ("POST, 429", POST, answered(429), None),
    ("generator, 429", GENERATOR, answered(429), E.BODY_NOT_REPLAYABLE),
    ("GET, 503, the server says no", GET, answered(503, x_should_retry="false"), E.NOT_RETRYABLE),
    ("POST, 503, the server says yes", POST, answered(503, x_should_retry="true"), None),
    ("GET, 409, the server says yes", GET, answered(409, x_should_retry="true"), None),
    ("generator, 503, the server says yes", GENERATOR, answered(503, x_should_retry="true"), E.BODY_NOT_REPLAYABLE),
    ("POST, refused", POST, raised(ErrorKind.CONNECTION_REFUSED), None),
    ("POST, no such name", POST, raised(ErrorKind.NAME_RESOLUTION), None),
    ("POST, connect timeout", POST, raised(ErrorKind.CONNECTION_TIMEOUT), None),
    ("POST, pool timeout", POST, raised(ErrorKind.POOL_TIMEOUT), None),
    ("generator, refused", GENERATOR, raised(ErrorKind.CONNECTION_REFUSED), E.BODY_NOT_REPLAYABLE),
    ("GET, reset", GET, raised(ErrorKind.CONNECTION_RESET), None),
    ("POST, reset", POST, raised(ErrorKind.CONNECTION_RESET), E.NOT_REPEATABLE),
    ("POST, timeout", POST, raised(ErrorKind.TIMEOUT), E.NOT_REPEATABLE),
    ("POST with a key, timeout", KEYED_POST, raised(ErrorKind.TIMEOUT), None),
    ("GET, proxy", GET, raised(ErrorKind.PROXY), None),
    ("POST, proxy", POST, raised(ErrorKind.PROXY), E.NOT_REPEATABLE),
    ("GET, certificate", GET, raised(ErrorKind.CERTIFICATE), E.NOT_RETRYABLE),
    ("GET, not the library's error", GET, raised(ErrorKind.FOREIGN), E.NOT_RETRYABLE),
    ("GET, quota used up", GET, raised(ErrorKind.QUOTA_EXCEEDED), E.NOT_RETRYABLE),
    ("GET, circuit open", GET, raised(ErrorKind.CIRCUIT_OPEN), E.NOT_RETRYABLE),
    ("GET, rate limit of our own gate", GET, raised(ErrorKind.RATE_LIMIT_EXCEEDED), E.NOT_RETRYABLE),
]


@pytest.mark.parametrize(("request_", "outcome", "ending"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test__may_repeat(request_: Repeatable, outcome: Outcome, ending: Ending | None) -> None:
    assert may_repeat(Retry(), outcome, 1, request_) is ending


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"])
def test__idempotent_methods__are_safe(method: str) -> None:
    assert may_repeat(Retry(), answered(503), 1, Repeatable(method, body=True, has_key=False)) is None


@pytest.mark.parametrize("method", ["POST", "PATCH", "CONNECT", "PROPFIND", "BREW"])
def test__any_other_method__is_not_safe_without_a_key(method: str) -> None:
    assert may_repeat(Retry(), answered(503), 1, Repeatable(method, body=True, has_key=False)) is E.NOT_REPEATABLE
    assert may_repeat(Retry(), answered(503), 1, Repeatable(method, body=True, has_key=True)) is None


@pytest.mark.parametrize(
    ("method", "headers", "retry", "expected"),
    [
        pytest.param("post", {}, Retry(), ("POST", False), id="a method in small letters"),
        pytest.param(None, {}, Retry(), ("GET", False), id="no method: as requests reads it"),
        pytest.param("POST", {"Idempotency-Key": "7"}, Retry(), ("POST", True), id="a key"),
        pytest.param("POST", {"Idempotency-Key": ""}, Retry(), ("POST", False), id="an empty key"),
        pytest.param("POST", {"Idempotency-Key": "7"}, None, ("POST", True), id="a key, without retries"),
        pytest.param("POST", {"X-Id": "7"}, Retry(idempotency_header="X-Id"), ("POST", True), id="in another field"),
        pytest.param(
            "POST", {"Idempotency-Key": "7"}, Retry(idempotency_header="X-Id"), ("POST", False), id="not that"
        ),
    ],
)
@pytest.mark.parametrize("body", [True, False])
def test__request__method_and_key_are_read_from_it(
    method: str | None, headers: dict[str, str], retry: Retry | None, expected: tuple[str, bool], body: bool
) -> None:
    request_ = Repeatable.of(SimpleNamespace(method=method, headers=headers), retry, body=body)
    assert (request_.method, request_.has_key, request_.body) == (*expected, body)


def test__key_field__is_the_usual_name_unless_another_is_given() -> None:
    assert key_field(None) == key_field(Retry()) == "Idempotency-Key"
    assert key_field(Retry(idempotency_header="X-Id")) == "X-Id"


def test__methods_given__replace_the_defaults_and_body_and_key_rules_still_hold() -> None:
    retry = Retry(methods=frozenset({"POST"}))
    assert may_repeat(retry, answered(503), 1, POST) is None
    assert may_repeat(retry, answered(503), 1, GET) is E.NOT_REPEATABLE
    assert may_repeat(retry, answered(503), 1, Repeatable("GET", body=True, has_key=True)) is None
    assert may_repeat(retry, answered(503), 1, Repeatable("POST", body=False, has_key=False)) is E.BODY_NOT_REPLAYABLE


@pytest.mark.parametrize(("max_retries", "last"), [(0, 1), (1, 2), (3, 4)])
def test__attempts__end_after_max_retries_more_than_the_first(max_retries: int, last: int) -> None:
    retry = Retry(max_retries=max_retries)
    endings = [may_repeat(retry, answered(503), attempt, GET) for attempt in range(1, last + 2)]
    assert endings == [None] * (last - 1) + [E.ATTEMPTS_EXHAUSTED] * 2


def test__limit_reached__is_said_before_any_other_reason() -> None:
    # Else "max retries exceeded" could never be reported: the last failure would count as not retryable.
    for outcome, request_, wanted in product(
        (answered(503), answered(404)), (GET, POST, GENERATOR), (None, True, False)
    ):
        assert may_repeat(Retry(max_retries=1), outcome, 2, request_, wanted) is E.ATTEMPTS_EXHAUSTED


@pytest.mark.parametrize(
    ("outcome", "request_", "wanted", "ending"),
    [
        pytest.param(answered(503), GET, False, E.VETOED, id="no stops what would be repeated"),
        pytest.param(answered(404), GET, False, E.VETOED, id="no is said of anything"),
        pytest.param(answered(404), GET, True, None, id="yes repeats what would not be"),
        pytest.param(answered(503), POST, True, None, id="yes makes a method safe"),
        pytest.param(raised(ErrorKind.CERTIFICATE), GET, True, None, id="yes repeats a hopeless error"),
        pytest.param(answered(503), GENERATOR, True, E.BODY_NOT_REPLAYABLE, id="yes cannot bring a body back"),
        pytest.param(answered(404), GET, None, E.NOT_RETRYABLE, id="none leaves it to the rules"),
    ],
)
def test__when__stops_repeats_or_leaves_it(
    outcome: Outcome, request_: Repeatable, wanted: bool | None, ending: Ending | None
) -> None:
    assert may_repeat(Retry(), outcome, 1, request_, wanted) is ending


@pytest.mark.parametrize(
    ("retry_on", "outcome", "again"),
    [
        pytest.param({503}, answered(503), Again.SAFE, id="a status that is listed"),
        pytest.param({503}, answered(502), Again.NO, id="a status that is not"),
        pytest.param({ErrorKind.BAD_GATEWAY}, answered(502), Again.SAFE, id="a kind"),
        pytest.param({ErrorKind.BAD_GATEWAY}, answered(520), Again.SAFE, id="a kind of several statuses"),
        pytest.param({404}, answered(404), Again.SAFE, id="a status of no retry: as if safe methods only"),
        pytest.param({409, 507}, answered(507), Again.SAFE, id="a failure of no retry"),
        pytest.param({429}, answered(429), Again.ANY, id="a throttle stays whatever the method"),
        pytest.param(
            {OSError},
            raised(ErrorKind.CONNECTION_RESET, ConnectionResetError()),
            Again.SAFE,
            id="an exception's base class",
        ),
        pytest.param(
            {ValueError},
            raised(ErrorKind.CONNECTION_RESET, ConnectionResetError()),
            Again.NO,
            id="another exception class",
        ),
        pytest.param(
            {ErrorKind.CONNECTION_REFUSED},
            raised(ErrorKind.CONNECTION_REFUSED),
            Again.ANY,
            id="not sent: whatever the method",
        ),
        pytest.param({ErrorKind.FOREIGN}, raised(ErrorKind.FOREIGN), Again.SAFE, id="a kind of no retry"),
        pytest.param(set(), answered(503), Again.NO, id="nothing listed, nothing repeated"),
        pytest.param(None, answered(503), Again.SAFE, id="left out: the table"),
    ],
)
def test__retry_on__replaces_the_table(retry_on: Any, outcome: Outcome, again: Again) -> None:
    assert Retry(retry_on=retry_on).repeats(outcome) is again


@pytest.mark.parametrize(
    ("retry", "delays"),
    [
        pytest.param(Retry(jitter="none"), [0.1, 0.2, 0.4, 0.8, 1.6, 2.0], id="exponential up to the cap"),
        pytest.param(Retry(jitter="none", multiplier=3), [0.1, 0.3, 0.9, 2.0, 2.0, 2.0], id="times three"),
        pytest.param(Retry(jitter="none", backoff="linear"), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], id="linear"),
        pytest.param(Retry(jitter="none", backoff="fibonacci"), [0.1, 0.1, 0.2, 0.3, 0.5, 0.8], id="fibonacci"),
        pytest.param(Retry(jitter="none", backoff="constant"), [0.1] * 6, id="constant"),
        pytest.param(Retry(), [0.05, 0.1, 0.2, 0.4, 0.8, 1.0], id="full jitter"),
        pytest.param(Retry(jitter="equal"), [0.075, 0.15, 0.3, 0.6, 1.2, 1.5], id="equal jitter"),
    ],
)
def test__delay__with_chance_one_half(retry: Retry, delays: list[float]) -> None:
    assert [retry.delay(n, 0.1, 0.5) for n in range(6)] == pytest.approx(delays)


def test__delay__decorrelated__follows_the_last_delay_and_no_backoff() -> None:
    for backoff, n in product(("exponential", "linear", "constant"), (0, 5)):
        retry = Retry(jitter="decorrelated", backoff=backoff, multiplier=7)
        assert retry.delay(n, 0.1, 0.5) == pytest.approx(0.2)
        assert retry.delay(n, 0.4, 0.5) == pytest.approx(0.65)


def test__delay__at_the_cap__still_spreads() -> None:
    for jitter in ("full", "equal", "decorrelated"):
        retry = Retry(jitter=jitter, max_delay=2)
        assert len({retry.delay(30, 2, u) for u in (0.1, 0.5, 0.9)}) == 3


retries = st.builds(
    Retry,
    base_delay=st.floats(0, 10), max_delay=st.floats(10, 100), multiplier=st.floats(1, 50),
    backoff=st.sampled_from(["exponential", "linear", "fibonacci", "constant"]),
    jitter=st.sampled_from(["full", "equal", "decorrelated", "none"]),
)  # fmt: skip


@given(retries, st.integers(0, 3000), st.floats(0, 100), st.floats(0, 1, exclude_max=True))
def test__delay__any_retry__never_negative_never_above_the_cap(retry: Retry, n: int, previous: float, u: float) -> None:
    assert 0 <= retry.delay(n, previous, u) <= retry.max_delay


outcomes = st.builds(
    lambda verdict, kind, again, status: Outcome(verdict, kind, again, status=status, sent=Sent.MAYBE),
    st.sampled_from(Verdict),
    st.sampled_from(ErrorKind),
    st.sampled_from(Again),
    st.sampled_from([None, 404, 429, 503]),
)


@given(outcomes, st.booleans(), st.booleans(), st.sampled_from(["GET", "POST"]), st.sampled_from([None, True, False]))
def test__anything__a_body_that_is_gone_and_an_unsafe_request_are_never_sent_twice(
    outcome: Outcome, body: bool, has_key: bool, method: str, wanted: bool | None
) -> None:
    ending = may_repeat(Retry(), outcome, 1, Repeatable(method, body=body, has_key=has_key), wanted)
    if not body or wanted is False:
        assert ending is not None
    if method == "POST" and not has_key and wanted is None and outcome.again is not Again.ANY:
        assert ending is not None
