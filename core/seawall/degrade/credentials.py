"""Which header fields say who is asking."""

from __future__ import annotations

import re
from typing import Final

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
