"""The `Idempotency-Key` a policy may put on unsafe requests (IETF draft-ietf-httpapi-idempotency-key-header).

One key per call, the same on all its attempts: the server then acts once, however often it
is asked. Two calls under one key would be one payment instead of two, and a call whose
key changes under way two instead of one; so a request object that is sent by two calls
at the same time is two objects from there on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from seawall.policies.retry import IDEMPOTENT_METHODS

if TYPE_CHECKING:
    from seawall._story import Call
    from seawall.policies.retry import Retry

_OURS: Final = "_seawall_keys"
_VISIBLE: Final = re.compile(r"[\x21-\x7e]{1,255}\Z")


def add_key(call: Call) -> None:
    """Give the request a key of its own, unless it needs none or has one."""
    retry = call.policy.retry
    request: Any = call.request
    if retry is None or request.method.upper() in IDEMPOTENT_METHODS:
        return
    name = retry.idempotency_header
    present = request.headers.get(name)
    keys: _Keys = request.__dict__.setdefault(_OURS, _Keys())  # one, whatever threads come together
    if present and present not in keys.known:
        return
    key = _make(call, retry)
    if keys.are_free_for(call):
        keys.known = (*keys.known[-1:], key)  # before the header: it must not look like the user's
    else:
        request = call.request = _twin(request)
    if key is not None:
        request.headers[name] = key
    elif name in request.headers:  # the last call's
        del request.headers[name]


def _make(call: Call, retry: Retry) -> str | None:
    """A key; None: the user's function failed to give one, and the request goes without."""
    source = retry.idempotency_key
    if not callable(source):
        from uuid import uuid4

        return uuid4().hex
    try:
        key: object = source(call.request)
        if not isinstance(key, str) or not _VISIBLE.match(key):
            raise ValueError("not a header value")
    except Exception as error:
        call.state.hub.complain(source, error)
        return None
    return key


class _Keys:
    """What calls have put on one request object: which keys are ours, and who is using it."""

    __slots__ = ("_claims", "known")

    def __init__(self, known: tuple[str | None, ...] = ()) -> None:
        self.known = known
        """The last two."""
        self._claims: list[ref[Call]] = []

    def are_free_for(self, call: Call) -> bool:
        """May `call` write its key into the request? Not while an earlier one may still send it.

        Without a lock: to append is atomic, and of calls that come together only the first in the list is let in.
        """
        claims, mine = self._claims, ref(call)
        claims.append(mine)
        for claim in claims[: claims.index(mine)]:
            earlier = claim()
            if earlier is not None and earlier.ending is None:
                return False
        self._claims = [mine]
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        return _Keys, (self.known,)


def _twin(request: Any) -> Any:
    """The same request with headers of its own."""
    twin: Any = object.__new__(request.__class__)
    twin.__dict__.update(request.__dict__)
    del twin.__dict__[_OURS]
    twin.headers = request.headers.copy()
    return twin
