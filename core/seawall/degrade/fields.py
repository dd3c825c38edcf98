"""Request fields by what they say: who asks, or nothing."""

from __future__ import annotations

from typing import Final

CREDENTIALS: Final = frozenset(
    {
        "authorization",
        "cookie",
        "proxy-authorization",
        "api-key",
        "apikey",
        "x-api-key",
        "x-api-token",
        "x-apikey",
        "x-access-token",
        "x-amz-security-token",
        "x-auth-key",
        "x-auth-token",
        "x-csrf-token",
        "x-functions-key",
        "x-goog-api-key",
        "x-goog-iam-authorization-token",
        "x-rapidapi-key",
        "x-session-token",
        "x-xsrf-token",
        "ocp-apim-subscription-key",
        "private-token",
        "job-token",
        "circle-token",
        "x-vault-token",
        "x-shopify-access-token",
        "x-subscription-token",
    }
)
"""Fields that say who asks: `key=` replaces them. Any other field counts as part of the question, so one that is
missing here keeps callers apart all the same."""

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
        # the connection and the transfer
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "content-length",
        "expect",
        "priority",
        # what the cache itself obeys
        "cache-control",
        "pragma",
        "if-none-match",
        "if-modified-since",
    }
)
"""Fields that do not count."""
