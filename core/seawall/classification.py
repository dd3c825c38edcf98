"""What an answer or an exception means: kind, verdict on the host, and whether one may send again.

One table for statuses and one for kinds of exceptions (docs/classification.md
prints them). 4xx are successes of the *host*: counting a client's bug against it
would open the circuit for everybody. What the server says about delays is parsed
here too, with the distrust due to outside data (RFC 9110 §10.2.3).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from seawall.outcome import Again, ErrorKind, Outcome, Sent, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.outcome import Response

K, V, A = ErrorKind, Verdict, Again

Row = tuple[ErrorKind, Verdict, Again]

STATUSES: Final[dict[int, Row]] = {
    400: (K.BAD_REQUEST, V.SUCCESS, A.NO),
    401: (K.UNAUTHORIZED, V.SUCCESS, A.NO),
    403: (K.FORBIDDEN, V.SUCCESS, A.NO),
    404: (K.NOT_FOUND, V.SUCCESS, A.NO),
    408: (K.REQUEST_TIMEOUT, V.FAILURE, A.SAFE),
    422: (K.UNPROCESSABLE, V.SUCCESS, A.NO),
    425: (K.TOO_EARLY, V.SUCCESS, A.SAFE),
    429: (K.TOO_MANY_REQUESTS, V.THROTTLED, A.ANY),
    500: (K.INTERNAL_SERVER_ERROR, V.FAILURE, A.SAFE),
    501: (K.NOT_IMPLEMENTED, V.SUCCESS, A.NO),
    502: (K.BAD_GATEWAY, V.FAILURE, A.SAFE),
    503: (K.SERVICE_UNAVAILABLE, V.FAILURE, A.SAFE),
    504: (K.GATEWAY_TIMEOUT, V.FAILURE, A.SAFE),
    505: (K.NOT_IMPLEMENTED, V.SUCCESS, A.NO),
    **dict.fromkeys((520, 521, 522, 523, 524), (K.BAD_GATEWAY, V.FAILURE, A.SAFE)),
    529: (K.SERVICE_UNAVAILABLE, V.FAILURE, A.SAFE),
}
"""Statuses with a rule of their own; other 4xx: success, no retry; other 5xx: failure, no retry."""

ERRORS: Final[dict[ErrorKind, tuple[Verdict, Again, Sent]]] = {
    K.CONNECTION_REFUSED: (V.FAILURE, A.ANY, Sent.NO),
    K.NAME_RESOLUTION: (V.FAILURE, A.ANY, Sent.NO),
    K.CONNECTION_TIMEOUT: (V.FAILURE, A.ANY, Sent.NO),
    K.POOL_TIMEOUT: (V.IGNORED, A.ANY, Sent.NO),
    K.CONNECTION_RESET: (V.FAILURE, A.SAFE, Sent.MAYBE),
    K.TIMEOUT: (V.FAILURE, A.SAFE, Sent.MAYBE),
    K.INVALID_RESPONSE: (V.FAILURE, A.SAFE, Sent.YES),
    K.PROXY: (V.IGNORED, A.SAFE, Sent.MAYBE),
    K.CERTIFICATE: (V.FAILURE, A.NO, Sent.NO),
    K.UNKNOWN: (V.FAILURE, A.SAFE, Sent.MAYBE),
    K.FOREIGN: (V.IGNORED, A.NO, Sent.MAYBE),
    K.CIRCUIT_OPEN: (V.IGNORED, A.NO, Sent.NO),
    K.RATE_LIMIT_EXCEEDED: (V.IGNORED, A.NO, Sent.NO),
    K.BULKHEAD_FULL: (V.IGNORED, A.NO, Sent.NO),
    K.CLOSED: (V.IGNORED, A.NO, Sent.NO),
    K.QUOTA_EXCEEDED: (V.THROTTLED, A.NO, Sent.YES),
}

TIMEOUT_KINDS: Final = frozenset({K.TIMEOUT, K.CONNECTION_TIMEOUT, K.REQUEST_TIMEOUT, K.GATEWAY_TIMEOUT})

_SECONDS = re.compile(r"[0-9]{1,10}\Z")
_MILLISECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?\Z")
_LONGEST = 1_000_000_000.0
_QUOTA = re.compile(
    rb"insufficient_quota|exceeded your (?:current )?quota|credit balance|out of credits?"
    rb"|(?:daily|weekly|monthly|annual) (?:quota|limit|cap)",
    re.IGNORECASE,
)
_RATE = re.compile(rb"rate_limit_exceeded|per[ _-]?(?:sec|min)|/ ?min\b", re.IGNORECASE)


def of_status(status: int) -> Row | None:
    """The row of an error status; None below 400."""
    if status < 400:
        return None
    row = STATUSES.get(status)
    if row is None:
        row = (K.CLIENT_ERROR, V.SUCCESS, A.NO) if status < 500 else (K.SERVER_ERROR, V.FAILURE, A.NO)
    return row


def of_response(response: Response, wall: float) -> Outcome:
    """The outcome of an answer with the default table. `wall`: seconds since the epoch, for HTTP dates."""
    status = response.status_code
    row = of_status(status)
    if row is None:
        return Outcome(V.SUCCESS, None, A.NO, status=status)
    kind, verdict, again = row
    wish = text(response, "x-should-retry")
    if wish == "false":
        again = A.NO
    elif wish == "true" and again is not A.ANY:
        again = A.ANY
    delay = server_delay(response, wall) if status in (408, 425, 429) or status >= 500 else None
    return Outcome(verdict, kind, again, status=status, retry_after=delay)


def of_event(kind: ErrorKind, delay: float | None) -> Outcome:
    """The outcome of an answer that says inside its 200 what went wrong: as the status of that kind would be judged.

    But a server that began to answer may have begun to act: a 429's likeness too is repeated only if that is safe.
    """
    rows = (of_status(status) for status in (*STATUSES, 418, 599))
    verdict, again = next(
        ((row[1], row[2]) for row in rows if row is not None and row[0] is kind),
        ERRORS.get(kind, (V.FAILURE, A.SAFE))[:2],
    )
    return Outcome(verdict, kind, A.NO if again is A.NO else A.SAFE, status=200, retry_after=delay)


def of_error(error: BaseException, kind: ErrorKind, sent: Sent | None = None) -> Outcome:
    """The outcome of an exception the mount has named."""
    verdict, again, usually_sent = ERRORS[kind]
    if sent is Sent.NO and again is A.SAFE:
        again = A.ANY
    return Outcome(verdict, kind, again, error=error, sent=sent or usually_sent)


def chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from, outermost first; bounded, whatever the links say.

    Not its `__context__`: that is also whatever the caller was handling when it made this call, another host's refused
    connection, say, and a POST believed unsent for that would go out twice.
    """
    seen: set[int] = set()
    pending = [error]
    while pending and len(seen) < 20:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        # urllib3 keeps the real error in `reason` or as an argument.
        arguments = [a for a in (*current.args, getattr(current, "reason", None)) if isinstance(a, BaseException)]
        members: tuple[BaseException, ...] = getattr(current, "exceptions", ())  # of an exception group
        links = (current.__cause__, *arguments, *members)
        pending.extend(link for link in links if link is not None)


def of_cause(error: BaseException) -> ErrorKind | None:
    """The kind the operating system gave, from the exception's causes; None if they don't tell."""
    for cause in chain(error):
        if isinstance(cause, ConnectionRefusedError):
            return K.CONNECTION_REFUSED
        if isinstance(cause, ConnectionError):
            return K.CONNECTION_RESET
        name = type(cause).__name__
        if name in ("gaierror", "NameResolutionError"):
            return K.NAME_RESOLUTION
        if name in ("SSLCertVerificationError", "CertificateError"):
            return K.CERTIFICATE
        if isinstance(cause, TimeoutError):
            return K.TIMEOUT
    return None


def is_quota(body: bytes) -> bool:
    """Does the body of a 429 say that the quota or the credit is used up? Waiting does not help then."""
    return _QUOTA.search(body) is not None and _RATE.search(body) is None


STREAMS: Final = frozenset({"text/event-stream", "application/x-ndjson", "application/ndjson", "application/jsonl"})
"""Media types of answers that come piece by piece."""


def streams(response: Response) -> bool:
    """Do the headers say that the answer comes piece by piece?"""
    return media_type(response) in STREAMS


def media_type(response: Response) -> str:
    return text(response, "content-type").partition(";")[0].rstrip().lower()


def text(response: Response, name: str) -> str:
    """A header, bounded in length, or the empty string. Never raises."""
    try:
        value = response.headers.get(name)
    except Exception:
        return ""
    return value.strip() if isinstance(value, str) and len(value) <= 200 else ""


def server_delay(response: Response, wall: float) -> float | None:
    """Seconds the server asks to wait (`retry-after-ms`, `Retry-After` as seconds or HTTP date); None if it does not.

    Malformed values are as good as none; a past date is 0. The full value is given, however long: the caller decides
    what is too long.
    """
    milliseconds = text(response, "retry-after-ms")
    if _MILLISECONDS.match(milliseconds):
        return min(float(milliseconds) / 1000, _LONGEST)
    value = text(response, "retry-after")
    if not value:
        return None
    if _SECONDS.match(value):
        return min(float(value), _LONGEST)
    return _until_date(value, wall)


def _until_date(value: str, wall: float) -> float | None:
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(value)
        if date.tzinfo is None:
            from datetime import UTC

            date = date.replace(tzinfo=UTC)
        return min(max(0.0, date.timestamp() - wall), _LONGEST)
    except Exception:
        # A legal-looking date may overflow on conversion; whatever the parser raises, the header told us nothing.
        return None
