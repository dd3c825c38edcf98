"""The concrete classes httpx2 insists on: it asserts the class of a body, and its users catch its own exceptions."""

from __future__ import annotations

import httpx2

from httpx_resilience._library import Library
from httpx_resilience._stream import AsyncBodyLogic, BodyLogic
from seawall import bodies, errors


class Body(BodyLogic, httpx2.SyncByteStream):
    pass


class AsyncBody(AsyncBodyLogic, httpx2.AsyncByteStream):
    pass


class Upload(bodies.Upload, httpx2.SyncByteStream):
    pass


class AsyncUpload(bodies.AsyncUpload, httpx2.AsyncByteStream):
    pass


class ResilienceError(errors.ResilienceError, httpx2.TransportError):  # pyright: ignore[reportIncompatibleMethodOverride]
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


class DeadlineExceeded(errors.DeadlineExceeded, ResilienceError, httpx2.TimeoutException):  # pyright: ignore[reportIncompatibleMethodOverride]
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


LIBRARY = Library(
    httpx2,
    Body,
    AsyncBody,
    Upload,
    AsyncUpload,
    {
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
    },
)
