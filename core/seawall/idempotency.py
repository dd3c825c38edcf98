"""The `Idempotency-Key` a policy may put on unsafe requests (IETF draft-ietf-httpapi-idempotency-key-header)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from seawall.policies.retry import SAFE_METHODS

if TYPE_CHECKING:
    from seawall._story import Call

_OURS: Final = "_seawall_idempotency_key"
_VISIBLE: Final = re.compile(r"[\x21-\x7e]{1,255}\Z")


def add_key(call: Call) -> None:
    """Give the request a key of its own, unless it needs none or has one. It stays the same on every attempt."""
    retry = call.policy.retry
    request: Any = call.request
    if retry is None or request.method.upper() in SAFE_METHODS:
        return
    present = request.headers.get(retry.idempotency_header)
    if present is not None and present != getattr(request, _OURS, None):
        return
    source = retry.idempotency_key
    if callable(source):
        try:
            key = source(request)
            if not isinstance(key, str) or not _VISIBLE.match(key):
                raise ValueError("not a header value")
        except Exception as error:
            call.state.hub.complain(source, error)
            return
    else:
        from uuid import uuid4

        key = uuid4().hex
    request.headers[retry.idempotency_header] = key
    setattr(request, _OURS, key)  # the same request object sent again is another call, with another key
