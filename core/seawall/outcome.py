"""The vocabulary: what a call, an attempt and their ends are called everywhere.

An *attempt* is one send, numbered from 1; its *outcome* is what happened; the
*verdict* is what that means for the host; a *rejection* is our own refusal and
never the host's failure; the *ending* is why the call stopped.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class ErrorKind(Enum):
    """What went wrong, in one word, whatever library said it. None of these = nothing went wrong."""

    CONNECTION_REFUSED = "connection refused"
    NAME_RESOLUTION = "name resolution"
    CONNECTION_TIMEOUT = "connection timeout"
    CONNECTION_RESET = "connection reset"
    TIMEOUT = "timeout"
    POOL_TIMEOUT = "pool timeout"
    PROXY = "proxy error"
    CERTIFICATE = "certificate"
    INVALID_RESPONSE = "invalid response"
    BAD_REQUEST = "bad request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not found"
    REQUEST_TIMEOUT = "request timeout"
    UNPROCESSABLE = "unprocessable"
    TOO_EARLY = "too early"
    TOO_MANY_REQUESTS = "too many requests"
    QUOTA_EXCEEDED = "quota exceeded"
    CLIENT_ERROR = "client error"
    INTERNAL_SERVER_ERROR = "internal server error"
    NOT_IMPLEMENTED = "not implemented"
    BAD_GATEWAY = "bad gateway"
    SERVICE_UNAVAILABLE = "service unavailable"
    GATEWAY_TIMEOUT = "gateway timeout"
    SERVER_ERROR = "server error"
    RATE_LIMIT_EXCEEDED = "rate limit exceeded"
    CIRCUIT_OPEN = "circuit open"
    BULKHEAD_FULL = "bulkhead full"
    CLOSED = "closed"
    FOREIGN = "not the host's"
    UNKNOWN = "unknown"


class Verdict(Enum):
    """What an attempt says about its host."""

    SUCCESS = "success"
    FAILURE = "failure"
    THROTTLED = "throttled"
    IGNORED = "ignored"


class Sent(Enum):
    """Did the request reach the server?"""

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"


class Again(Enum):
    """May an outcome be followed by another attempt?"""

    NO = "no"
    SAFE = "if the request is safe to repeat"
    ANY = "whatever the method"


class Ending(Enum):
    """Why a call stopped where it did."""

    ANSWERED = "answered"
    BODY_BROKE = "the body broke off"
    NOT_RETRYABLE = "not retryable"
    NOT_REPEATABLE = "not safe to send again"
    BODY_NOT_REPLAYABLE = "the body cannot be sent again"
    ATTEMPTS_EXHAUSTED = "no attempts left"
    BUDGET_EXHAUSTED = "no retry budget left"
    OUT_OF_TIME = "no time for another attempt"
    SERVER_DELAY_TOO_LONG = "the server asked for a longer wait than allowed"
    RETRY_OFF = "retries are off"
    VETOED = "when= said no"
    REFUSED = "refused locally"
    DEADLINE = "deadline exceeded"
    NOT_WAITED_FOR = "not waited for: there is a way to degrade"
    DEGRADED = "a degraded answer"
    COLLAPSED = "answered with an equal request"
    CANCELLED = "cancelled"


class Attempt(NamedTuple):
    """One send, as `when=` and reports see it. Times are seconds; `started` counts from the start of the call."""

    number: int
    host: str
    started: float
    duration: float
    wait: float
    """Seconds spent before it: backoff, gate, bulkhead."""
    status: int | None
    kind: ErrorKind | None
    verdict: Verdict
    retry_after: float | None = None
    """Seconds the server asked to wait."""


class Outcome:
    """What happened to one attempt: an answer (`status`) or an exception (`error`)."""

    __slots__ = ("again", "error", "kind", "retry_after", "scope", "sent", "status", "verdict")

    def __init__(
        self,
        verdict: Verdict,
        kind: ErrorKind | None,
        again: Again,
        *,
        status: int | None = None,
        error: BaseException | None = None,
        sent: Sent = Sent.YES,
        retry_after: float | None = None,
    ) -> None:
        self.verdict = verdict
        self.kind = kind
        self.again = again
        self.status = status
        self.error = error
        self.sent = sent
        self.retry_after = retry_after
        self.scope: str | None = None
        """The clock of ours that ended it ("attempt", "total" …), if one did."""

    def __repr__(self) -> str:
        what = self.status if self.error is None else type(self.error).__name__
        return f"<Outcome {what}: {self.kind and self.kind.value}, {self.verdict.value}>"


class Reason(Enum):
    """Which part of ours refused, and how."""

    __hash__ = object.__hash__  # an enum's own is written in Python, and refusals must be cheap

    CIRCUIT_OPEN = "circuit open"
    HALF_OPEN_LIMIT = "half-open limit"
    ISOLATED = "isolated"
    BULKHEAD_FULL = "bulkhead full"
    BULKHEAD_TIMEOUT = "bulkhead timeout"
    CLOSED = "closed"
    GATE = "rate limited by the server"
    DEADLINE = "deadline exceeded"
    ATTEMPTS = "attempts exhausted"
    BUDGET = "retry budget exhausted"
    NOT_RETRYABLE = "not retryable"
    DEGRADED = "degraded"
    QUEUED = "queued"
    ALL_FAILED = "all providers failed"


class Rejection:
    """Our refusal, as a value: only mounts and `execute` make exceptions of it. Those of an open circuit are shared."""

    __slots__ = ("cause", "facts", "host", "limit", "reason", "response", "retry_after", "scope", "since", "until")

    def __init__(
        self,
        reason: Reason,
        host: str,
        retry_after: float | None = None,
        *,
        since: float | None = None,
        until: float | None = None,
        limit: float | None = None,
        scope: str | None = None,
        cause: BaseException | None = None,
        response: Any = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        self.reason = reason
        self.host = host
        self.retry_after = retry_after
        self.since = since
        self.until = until
        """The instant of the host's clock from which it is worth trying again, where that is known instead."""
        self.limit = limit
        """The configured figure that was reached: a number of permits or probes, or a duration."""
        self.scope = scope
        self.cause = cause
        self.response = response
        self.facts = facts
        """Further attributes of the exception."""

    def wait(self, now: float) -> float | None:
        """Seconds until it is worth trying again; None if nobody knows."""
        return self.retry_after if self.until is None else max(0.0, self.until - now)


class Headers(Protocol):
    """All we ask of a library's headers."""

    def get(self, key: str, /) -> Any: ...


class Response(Protocol):
    """All we ask of a library's response."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Headers: ...


class WrongValue(TypeError):
    """A user's function gave something else than was asked for. The text is ours and names no value: it may be told."""


def reject_async(function: Callable[..., Any] | None, field: str, cure: str = "give a plain function") -> None:
    """Refuse a coroutine function where the answer is needed at once."""
    if function is None:
        return
    if not callable(function):
        raise TypeError(f"{field}={function!r} is not callable: give a plain function, or leave it out")
    plain: Any = function
    while hasattr(plain, "func"):  # functools.partial
        plain = plain.func
    code = getattr(plain, "__code__", None) or getattr(type(plain).__call__, "__code__", None)
    if getattr(code, "co_flags", 0) & 0x280:  # CO_COROUTINE | CO_ASYNC_GENERATOR, without importing inspect
        raise TypeError(f"{field} is an async function, but its answer is needed at once: {cure}")
