"""Header fields by what they say: of the connection, of the body's frame, or nothing about what is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECTION: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Fields of one connection, not of the message it carries (RFC 9110 §7.6.1): whoever sends that on makes them anew."""

FRAMING: Final = ("content-length", "transfer-encoding")
"""Fields that say where a body ends."""

NOISE: Final = frozenset(
    {
        # tracing
        "traceparent",
        "tracestate",
        "baggage",
        "b3",
        "x-b3-traceid",
        "x-b3-spanid",
        "x-b3-parentspanid",
        "x-b3-sampled",
        "x-b3-flags",
        "uber-trace-id",
        "sentry-trace",
        "x-amzn-trace-id",
        "x-cloud-trace-context",
        "x-datadog-trace-id",
        "x-datadog-parent-id",
        "x-datadog-sampling-priority",
        "x-datadog-tags",
        "x-datadog-origin",
        "elastic-apm-traceparent",
        "newrelic",
        # one name per call or attempt
        "idempotency-key",
        "x-idempotency-key",
        "x-request-id",
        "request-id",
        "x-correlation-id",
        "correlation-id",
        "x-client-request-id",
        "x-ms-client-request-id",
        "x-stainless-retry-count",
        "date",
        # the transfer
        "content-length",
        "expect",
        "priority",
        # what the cache itself obeys
        "cache-control",
        "pragma",
        "if-none-match",
        "if-modified-since",
    }
) | (CONNECTION - {"upgrade"})  # with that one a request asks for something else, and nothing is remembered
"""Fields that do not count."""


def framing(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """How a body is framed by its request's headers (of any case), for another request that sends it as it is."""
    return [(name, headers[name]) for name in FRAMING if name in headers]


def text(value: str | bytes) -> str:
    """A field's name or value, which some libraries keep as bytes."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
