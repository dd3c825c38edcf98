"""Which header fields say who is asking.

Two answers, each the safer one where it is used: what may be a credential is not written down and sent to nobody else;
only what surely is one may be left out of a question.
"""

from __future__ import annotations

import re
from typing import Final

KNOWN: Final = frozenset(
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
"""Fields that surely say who asks: for these a cache may go by what its user's `key=` says instead.

Not for what only `is_credential`: a field that looks like one may name what is asked (`x-sort-key`), and two questions
would have one answer. It counts, which keeps callers apart all the same.
"""

_WORDS: Final = frozenset(
    {
        "apikey",
        "auth",
        "authentication",
        "authorization",
        "cookie",
        "cookie2",
        "credential",
        "credentials",
        "jwt",
        "key",
        "passwd",
        "password",
        "secret",
        "session",
        "sessionid",
        "token",
    }
)
_HARMLESS: Final = frozenset({"idempotency", "partition"})
"""With one of these, a "key" opens nothing."""
_BREAK: Final = re.compile(r"[^a-z0-9]+")


def is_credential(name: str) -> bool:
    """Does a field of this name hold a credential? `Authorization`, `Cookie`, `x-api-key`, `X-Amz-Security-Token` …

    Told by the words in the name, as every vendor has a field of its own. Better one too many than one too few.
    """
    words = set(_BREAK.split(name.lower()))
    if not _HARMLESS.isdisjoint(words):
        words.discard("key")
    return not _WORDS.isdisjoint(words)
