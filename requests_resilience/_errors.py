"""Our errors as requests' own, and how requests' errors read."""

from __future__ import annotations

from typing import Final

from requests import exceptions as theirs
from urllib3 import exceptions as below

from seawall import classification, errors
from seawall.outcome import ErrorKind, Outcome, Sent


class ResilienceError(errors.ResilienceError, theirs.RequestException):
    pass


class CircuitOpen(errors.CircuitOpen, ResilienceError):
    pass


class HalfOpenLimit(errors.HalfOpenLimit, CircuitOpen):
    pass


class BulkheadFull(errors.BulkheadFull, ResilienceError):
    pass


class BulkheadClosed(errors.BulkheadClosed, ResilienceError):
    pass


class RateLimited(errors.RateLimited, ResilienceError):
    pass


class DeadlineExceeded(errors.DeadlineExceeded, ResilienceError, theirs.Timeout):
    pass


class RetryBudgetExhausted(errors.RetryBudgetExhausted, ResilienceError):
    pass


class MaxRetriesExceeded(errors.MaxRetriesExceeded, ResilienceError):
    pass


class NonRetryable(errors.NonRetryable, ResilienceError):
    pass


class AllProvidersFailed(errors.AllProvidersFailed, ResilienceError):
    pass


class ServiceDegraded(errors.ServiceDegraded, ResilienceError):
    pass


class Queued(errors.Queued, ResilienceError):
    pass


LEAVES: Final[dict[type[errors.ResilienceError], type[errors.ResilienceError]]] = {
    errors.CircuitOpen: CircuitOpen,
    errors.HalfOpenLimit: HalfOpenLimit,
    errors.BulkheadFull: BulkheadFull,
    errors.BulkheadClosed: BulkheadClosed,
    errors.RateLimited: RateLimited,
    errors.DeadlineExceeded: DeadlineExceeded,
    errors.RetryBudgetExhausted: RetryBudgetExhausted,
    errors.MaxRetriesExceeded: MaxRetriesExceeded,
    errors.NonRetryable: NonRetryable,
    errors.AllProvidersFailed: AllProvidersFailed,
    errors.ServiceDegraded: ServiceDegraded,
    errors.Queued: Queued,
}

_KINDS: Final[tuple[tuple[type[Exception], ErrorKind], ...]] = (
    # The first that fits. What is left of ConnectionError is told by its cause.
    (theirs.ConnectTimeout, ErrorKind.CONNECTION_TIMEOUT),
    (theirs.Timeout, ErrorKind.TIMEOUT),
    (theirs.ProxyError, ErrorKind.PROXY),
    (theirs.ChunkedEncodingError, ErrorKind.INVALID_RESPONSE),
    (below.ReadTimeoutError, ErrorKind.TIMEOUT),
    (below.DecodeError, ErrorKind.FOREIGN),
    (below.IncompleteRead, ErrorKind.INVALID_RESPONSE),
    (below.InvalidChunkLength, ErrorKind.INVALID_RESPONSE),
)

_FOREIGN: Final = (ValueError, theirs.ContentDecodingError, theirs.TooManyRedirects, theirs.StreamConsumedError)


def outcome(error: Exception) -> Outcome:
    """What an exception of an adapter, or of a body below it, means."""
    for kind, name in _KINDS:
        if isinstance(error, kind):
            return classification.of_error(error, name)
    if isinstance(error, _FOREIGN) or not isinstance(error, theirs.RequestException | below.HTTPError):
        return classification.of_error(error, ErrorKind.FOREIGN)
    never_sent = False
    for cause in classification.chain(error):
        if isinstance(cause, below.EmptyPoolError | below.ClosedPoolError):
            return classification.of_error(error, ErrorKind.POOL_TIMEOUT)
        never_sent = never_sent or isinstance(cause, below.NewConnectionError)
    found = classification.of_cause(error)
    if never_sent:
        return classification.of_error(error, found or ErrorKind.CONNECTION_REFUSED, Sent.NO)
    if isinstance(error, theirs.SSLError) and found is not ErrorKind.CERTIFICATE:
        return classification.of_error(error, ErrorKind.CONNECTION_RESET)
    if found is None:
        found = (
            ErrorKind.INVALID_RESPONSE
            if isinstance(error, theirs.ConnectionError | below.ProtocolError)
            else ErrorKind.UNKNOWN
        )
    return classification.of_error(error, found)
