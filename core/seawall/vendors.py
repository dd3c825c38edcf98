"""What LLM servers write into the events of a stream: errors, announcements, content. From what the vendors send and
their SDKs look for.
"""

from __future__ import annotations

import re
from typing import Any, Final

from seawall.classification import of_status
from seawall.outcome import ErrorKind

K = ErrorKind

WORDS: Final[dict[str, ErrorKind]] = {
    # OpenAI and those that speak like it: `type` and `code`
    "server_error": K.INTERNAL_SERVER_ERROR,
    "internal_error": K.INTERNAL_SERVER_ERROR,
    "internal_server_error": K.INTERNAL_SERVER_ERROR,
    "service_unavailable": K.SERVICE_UNAVAILABLE,
    "service_unavailable_error": K.SERVICE_UNAVAILABLE,
    "engine_overloaded": K.SERVICE_UNAVAILABLE,
    "server_overloaded": K.SERVICE_UNAVAILABLE,
    "overloaded": K.SERVICE_UNAVAILABLE,
    "rate_limit_exceeded": K.TOO_MANY_REQUESTS,
    "insufficient_quota": K.QUOTA_EXCEEDED,
    "billing_hard_limit_reached": K.QUOTA_EXCEEDED,
    "invalid_api_key": K.UNAUTHORIZED,
    "model_not_found": K.NOT_FOUND,
    "context_length_exceeded": K.BAD_REQUEST,
    "invalid_prompt": K.BAD_REQUEST,
    # Anthropic: `type`
    "overloaded_error": K.SERVICE_UNAVAILABLE,
    "api_error": K.INTERNAL_SERVER_ERROR,
    "timeout_error": K.GATEWAY_TIMEOUT,
    "rate_limit_error": K.TOO_MANY_REQUESTS,
    "billing_error": K.QUOTA_EXCEEDED,
    "invalid_request_error": K.BAD_REQUEST,
    "authentication_error": K.UNAUTHORIZED,
    "permission_error": K.FORBIDDEN,
    "not_found_error": K.NOT_FOUND,
    "request_too_large": K.CLIENT_ERROR,
    # Gemini, and everything behind google.rpc: `status`
    "unavailable": K.SERVICE_UNAVAILABLE,
    "internal": K.INTERNAL_SERVER_ERROR,
    "unknown": K.INTERNAL_SERVER_ERROR,
    "deadline_exceeded": K.GATEWAY_TIMEOUT,
    "resource_exhausted": K.TOO_MANY_REQUESTS,
    "invalid_argument": K.BAD_REQUEST,
    "failed_precondition": K.BAD_REQUEST,
    "out_of_range": K.BAD_REQUEST,
    "unauthenticated": K.UNAUTHORIZED,
    "permission_denied": K.FORBIDDEN,
    "not_found": K.NOT_FOUND,
}
"""What an error calls itself → its kind. A number is the status it stands for; a word not listed is a server error:
the request was good enough for a 200."""

ANNOUNCEMENTS: Final = frozenset({
    "ping", "message_start", "content_block_start",
    "response.created", "response.queued", "response.in_progress",
    "response.output_item.added", "response.content_part.added",
})  # fmt: skip
"""Events (by name, or the `type` in their data) that carry nothing of the answer yet."""

ERROR: Final = b"error"
"""In every event that may be one of these errors; the others need no second look once there was content."""
_DELAY: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s\Z")
_STATUS: Final = re.compile(r"[45][0-9]{2}\Z")


def meaning_of(name: str, data: Any) -> ErrorKind | bool:
    """What an event means, by the tables: an error of this kind; content (True); nothing of the answer yet (False).

    `data` is its JSON read, or its text where that is none.
    """
    told = _mapping(_first(data))
    if told is None:
        return K.INTERNAL_SERVER_ERROR if name == "error" else name not in ANNOUNCEMENTS and data != ""
    kind, error = told.get("type"), told.get("error")
    if kind == "response.failed":
        error = (_mapping(told.get("response")) or {}).get("error") or kind
    elif not error and (name == "error" or kind == "error"):
        error = told
    if error and isinstance(error, dict | str):
        return _kind_of(error)
    if name in ANNOUNCEMENTS or (isinstance(kind, str) and kind in ANNOUNCEMENTS):
        return False
    choices: Any = told.get("choices")
    return not isinstance(choices, list) or any(map(_says_something, choices))  # pyright: ignore[reportUnknownArgumentType]


def _first(data: Any) -> Any:
    """Gemini gives arrays of one."""
    return data[0] if isinstance(data, list) and data else data  # pyright: ignore[reportUnknownVariableType]


def _mapping(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType]


def _kind_of(error: Any) -> ErrorKind:
    """The kind of an error, by what it calls itself."""
    words = [error] if isinstance(error, str) else [error.get(key) for key in ("code", "type", "status")]
    for word in words:
        known = WORDS.get(word.lower()) if isinstance(word, str) else None
        if known is not None:
            return known
        status = int(word) if isinstance(word, str) and _STATUS.match(word) else word
        if isinstance(status, int):
            row = of_status(status) if status < 600 else None
            if row is not None:
                return row[0]
    return K.INTERNAL_SERVER_ERROR


def _says_something(choice: Any) -> bool:
    """A choice of a chat completion: more than the role it is spoken in?"""
    told = _mapping(choice) or {}
    delta = _mapping(told.get("delta"))
    if delta is None or told.get("finish_reason") is not None:
        return True
    return any(value for key, value in delta.items() if key != "role")


def delay_of(data: Any) -> float | None:
    """Seconds to wait, as google.rpc.RetryInfo says them: `"retryDelay": "38s"`."""
    try:
        for detail in _first(data)["error"]["details"]:
            found = _DELAY.match(detail.get("retryDelay", ""))
            if found:
                return float(found[1])
    except (TypeError, KeyError, IndexError, AttributeError):
        pass
    return None
