"""What a server says about waiting: Retry-After, retry-after-ms, and the 429 that no waiting cures."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seawall import classification

NOW = datetime(2026, 1, 15, 12, 0, 0, tzinfo=UTC)
WALL = NOW.timestamp()
LONGEST = 1e9


class Answer:
    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.status_code = status
        self.headers = headers


def delay(value: str, name: str = "retry-after", status: int = 429) -> float | None:
    return classification.of_response(Answer(status, {name: value}), WALL).retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("0", 0, id="zero"),
        pytest.param("7", 7, id="seconds"),
        pytest.param("  7\t", 7, id="seconds with space around"),
        pytest.param("007", 7, id="leading zeros"),
        pytest.param("86400", 86_400, id="a day is given in full"),
        pytest.param("9999999999", LONGEST, id="ten digits are clamped"),
        pytest.param("Thu, 15 Jan 2026 12:01:30 GMT", 90, id="IMF-fixdate"),
        pytest.param("Thursday, 15-Jan-26 12:01:30 GMT", 90, id="RFC 850"),
        pytest.param("Thu Jan 15 12:01:30 2026", 90, id="asctime"),
        pytest.param("15 Jan 2026 12:01:30", 90, id="naive means UTC"),
        pytest.param("Thu, 15 Jan 2026 12:01:30 -0000", 90, id="unknown zone means UTC"),
        pytest.param("Thu, 15 Jan 2026 07:01:30 -0500", 90, id="negative zone"),
        pytest.param("Thu, 15 Jan 2026 17:31:30 +0530", 90, id="half-hour zone"),
        pytest.param("Thu, 15 Jan 2026 11:59:59 GMT", 0, id="a second ago"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 GMT", 0, id="long ago"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST, id="the last date there is"),
    ],
)
def test__retry_after__well_formed__is_so_many_seconds(value: str, seconds: float) -> None:
    assert delay(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param("   ", id="blank"),
        pytest.param("-5", id="negative"),
        pytest.param("+5", id="plus sign"),
        pytest.param("1.5", id="fraction"),
        pytest.param("1e9", id="exponent"),
        pytest.param("0x10", id="hexadecimal"),
        pytest.param("1_0", id="underscore"),
        pytest.param("1,000", id="thousands"),
        pytest.param("5, 10", id="two values"),
        pytest.param("5;5", id="semicolon"),
        pytest.param("1m0s", id="minutes and seconds"),
        pytest.param("٣", id="Arabic digit"),
        pytest.param("５", id="full-width digit"),
        pytest.param("²", id="superscript"),
        pytest.param("nan", id="nan"),
        pytest.param("inf", id="inf"),
        pytest.param("soon", id="a word"),
        pytest.param("99999999999", id="eleven digits"),
        pytest.param("1" * 5_000, id="5,000 digits"),
        pytest.param("Thu, 15 Jan 99999 12:01:30 GMT", id="year 99999"),
        pytest.param(f"Thu, 15 Jan {10**20} 12:01:30 GMT", id="a year of 21 digits"),
        pytest.param("Thu, 15 Jan 2026 12:01:30 +9999", id="a zone beyond a day"),
        pytest.param(f"Thu, 15 Jan 2026 12:01:30 +{10**20}", id="a zone of 21 digits"),
        pytest.param("Thu, 32 Jan 2026 12:01:30 GMT", id="the 32nd"),
        pytest.param("Thu, 15 Jan 2026 25:61:61 GMT", id="hour 25"),
        pytest.param("Thu, 15 Jan 2026", id="no time of day"),
        pytest.param("2026-01-15T12:01:30Z", id="ISO 8601"),
    ],
)
def test__retry_after__malformed__is_as_good_as_none(value: str) -> None:
    assert delay(value) is None


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose own zone is not UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("new_york")
@pytest.mark.parametrize(
    "value", ["15 Jan 2026 12:01:30", "Thu Jan 15 12:01:30 2026", "Thu, 15 Jan 2026 12:01:30 -0000"]
)
def test__retry_after__naive_date__is_utc_whatever_the_zone_of_this_machine(value: str) -> None:
    assert delay(value) == pytest.approx(90)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("0", 0, id="zero"),
        pytest.param("1500", 1.5, id="milliseconds"),
        pytest.param("1500.5", 1.5005, id="with a fraction"),
        pytest.param("999999999999", 999_999_999.999, id="twelve digits"),
        pytest.param("-1", None, id="negative"),
        pytest.param("1_000", None, id="underscore"),
        pytest.param("٣", None, id="Arabic digit"),
        pytest.param("1" * 5_000, None, id="5,000 digits"),
        pytest.param("1.", None, id="point without digits"),
        pytest.param("nan", None, id="nan"),
    ],
)
def test__retry_after_ms__is_a_thousandth_of_it(value: str, seconds: float | None) -> None:
    assert delay(value, "retry-after-ms") == (None if seconds is None else pytest.approx(seconds))


def test__retry_after_ms__beside_retry_after__wins() -> None:
    answer = Answer(429, {"retry-after": "7", "retry-after-ms": "250"})
    assert classification.of_response(answer, WALL).retry_after == 0.25


def test__retry_after_ms__malformed__leaves_it_to_retry_after() -> None:
    answer = Answer(429, {"retry-after": "7", "retry-after-ms": "soon"})
    assert classification.of_response(answer, WALL).retry_after == 7


@pytest.mark.parametrize("status", [429, 503, 500, 502, 504, 529, 408])
def test__retry_after__on_an_answer_that_asks_to_wait__is_read(status: int) -> None:
    assert delay("7", status=status) == 7


@pytest.mark.parametrize("status", [200, 201, 301, 400, 401, 403, 404, 422])
def test__retry_after__elsewhere__cannot_slow_us_down(status: int) -> None:
    assert delay("7", status=status) is None


@given(st.text(max_size=250), st.sampled_from(["retry-after", "retry-after-ms"]))
@example("Thu, 15 Jan 0000 12:01:30 GMT", "retry-after")
@example("0 0 0 0 0", "retry-after")
@example("1 1 1 1:1:1 " + "9" * 100, "retry-after")
def test__any_text__never_raises_and_stays_in_range(value: str, name: str) -> None:
    seconds = delay(value, name)
    assert seconds is None or 0 <= seconds <= LONGEST


date_like = st.builds(
    "{}{} {} {} {}:{}:{} {}".format,
    st.sampled_from(["", "Thu, ", "Thursday, "]), st.integers(-5, 10**6), st.sampled_from(["Jan", "Foo", "12"]),
    st.integers(-5, 10**20), st.integers(-5, 10**3), st.integers(-5, 10**3), st.integers(-5, 10**3),
    st.sampled_from(["GMT", "", "+0000", "-9999", "+99999999", "EST", "Z"]),
)  # fmt: skip


@given(date_like)
def test__anything_like_a_date__never_raises_and_stays_in_range(value: str) -> None:
    seconds = delay(value)
    assert seconds is None or 0 <= seconds <= LONGEST


@given(st.integers(0, 10**9 - 1))
def test__any_number_of_seconds__is_read_exactly(seconds: int) -> None:
    assert delay(str(seconds)) == seconds


@given(st.integers(-(10**8), 10**8), st.integers(-23, 23))
def test__any_date_in_any_zone__counts_from_now(offset: int, hours: int) -> None:
    then = (NOW + timedelta(seconds=offset)).astimezone(timezone(timedelta(hours=hours)))
    assert delay(format_datetime(then)) == max(0, offset)


def body(**error: object) -> bytes:
    return json.dumps({"error": error}).encode()


QUOTA_USED_UP = {
    "OpenAI": body(
        message="You exceeded your current quota, please check your plan and billing details.",
        type="insufficient_quota", param=None, code="insufficient_quota",
    ),
    "OpenAI, code only": body(message="", type="insufficient_quota", code="insufficient_quota"),
    "Gemini, per day": body(
        code=429, message="You exceeded your current quota, please check your plan and billing details.",
        status="RESOURCE_EXHAUSTED",
        details=[{"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}],
    ),
    "Anthropic": body(type="invalid_request_error", message="Your credit balance is too low to access the API."),
    "a plain sentence": body(message="Monthly quota exceeded."),
}  # fmt: skip

RATE_TOO_HIGH = {
    "OpenAI": body(
        message="Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29000, "
        "Requested 2000. Please try again in 2s. Visit https://platform.openai.com/account/rate-limits to learn more.",
        type="tokens", param=None, code="rate_limit_exceeded",
    ),
    "OpenAI, account without a card": body(
        message="Rate limit reached for default in organization org-x on requests per min. Limit: 3 / min. Please try "
        "again in 20s. Visit https://platform.openai.com/account/billing to add a payment method.",
        type="requests", param=None, code="rate_limit_exceeded",
    ),
    "Groq": body(
        message="Rate limit reached for model `llama` in organization `org_x` on tokens per minute (TPM): Limit 12000, "
        "Used 4437. Please try again in 1.9s. Need more tokens? Upgrade at https://console.groq.com/settings/billing",
        type="tokens", code="rate_limit_exceeded",
    ),
    "Anthropic": body(
        type="rate_limit_error",
        message="This request would exceed your organization's rate limit of 30,000 tokens per minute",
    ),
    "Azure": body(
        code="429",
        message="Requests have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 60 "
        "seconds. Please go here: https://aka.ms/oai/quotaincrease",
    ),
    "Gemini, per minute": body(
        code=429, message="You exceeded your current quota, please check your plan and billing details.",
        status="RESOURCE_EXHAUSTED",
        details=[{"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]}],
    ),
    "Google, per minute": body(
        code=429, status="RESOURCE_EXHAUSTED",
        message="Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of service 'x'",
        details=[{"reason": "RATE_LIMIT_EXCEEDED"}],
    ),
    "a plain sentence": body(message="Too many requests"),
}  # fmt: skip


@pytest.mark.parametrize("vendor", QUOTA_USED_UP)
def test__body_of_a_429__that_says_the_quota_is_used_up__is_told_apart(vendor: str) -> None:
    assert classification.is_quota(QUOTA_USED_UP[vendor])


@pytest.mark.parametrize("vendor", RATE_TOO_HIGH)
def test__body_of_a_429__that_names_a_passing_rate__is_worth_waiting_for(vendor: str) -> None:
    assert not classification.is_quota(RATE_TOO_HIGH[vendor])


@given(st.binary(max_size=2000))
def test__any_body__never_raises(data: bytes) -> None:
    assert classification.is_quota(data) in (True, False)
