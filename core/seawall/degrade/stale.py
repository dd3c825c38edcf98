"""StaleResponse: a remembered answer is better than none while the host is down.

A private cache, bound to who asked (RFC 9111 §1; RFC 5861 §4, stale-if-error). It
is asked only when the host failed or we refused: it saves no request, so it may be
far stricter than a cache that does. Rejected: method and URL as the key, as caches
in front of one user have it (one user's answer then comes back to another), and
revalidation (a validator helps nobody while the host is down).

Only the configuration lives here; what it does is in cache.py, loaded on first use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from seawall import _check
from seawall.degrade.credentials import KNOWN
from seawall.outcome import reject_async

if TYPE_CHECKING:
    from seawall._story import Call, Source
    from seawall.degrade.answer import Answer
    from seawall.degrade.slot import Slot
    from seawall.degrade.step import Trouble
    from seawall.degrade.values import Place, Value
    from seawall.runtime import Runtime
    from seawall.stores import Store

_METHOD: Final = re.compile(r"[A-Za-z]+\Z")
_FIELD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleResponse:
    """Remembers good answers, and gives one to the same caller for the same request when the host has none."""

    max_age: float = 300.0
    """Seconds an answer is remembered, whatever its server allows. What the server forbids holds too."""
    max_entries: int = 1000
    """Answers remembered at a time; the one used longest ago goes first."""
    max_bytes: int = 64 * 1024 * 1024
    """Bytes of all of them, headers and bookkeeping included."""
    max_body: int = 1024 * 1024
    """Bytes of one body, as it came over the wire; a longer one passes and is not remembered."""
    methods: Collection[str] = frozenset({"GET", "HEAD"})
    """Methods whose answers are remembered. The body is part of the question: POST may be among them."""
    key: Callable[[Any], str | None] | None = None
    """`key(request)`: who asks, in place of credentials and certificate (tokens that change). None: don't remember.
    For `execute`, `key(operation)`: what is asked, and who asks."""
    ignore: Collection[str] = frozenset()
    """Request fields that change from call to call and say neither who asks nor for what, such as an id of your own."""
    store: Store | None = None
    """Where answers are kept. Left out: in memory. `SqliteStore(path)`: several processes share them."""
    coalesce: bool = False
    """Equal safe requests of one caller at one time are sent once, and everybody gets the answer, if it may be kept."""

    def __post_init__(self) -> None:
        _check.duration(self, "max_age", zero=False)
        _check.count(self, "max_entries", 1)
        _check.count(self, "max_bytes", 1)
        _check.count(self, "max_body", 0)
        methods = _names(self, "methods", "method", _METHOD, '{"GET", "HEAD"}')
        object.__setattr__(self, "methods", frozenset(method.upper() for method in methods))
        ignore = _names(self, "ignore", "field", _FIELD, '{"x-my-request-id"}')
        object.__setattr__(self, "ignore", frozenset(name.lower() for name in ignore))
        if told := sorted(KNOWN & frozenset(self.ignore)):
            raise ValueError(f"StaleResponse: ignore has {told[0]!r}, which says who asks: give key= instead")
        _check.flag(self, "coalesce")
        reject_async(self.key, "StaleResponse: key")
        if self.store is not None and not hasattr(self.store, "survives"):
            raise TypeError(f"StaleResponse: store={self.store!r}: give a store, such as SqliteStore(path), or None")

    @property
    def source(self) -> Source:
        return "stale"

    @property
    def reserve(self) -> float:
        return 0.0

    def begin(self, call: Call, runtime: Runtime) -> None:
        """Find the place of the request, before it is sent."""
        is_operation = not hasattr(call.request, "headers")  # of `execute`
        if is_operation and self.key is None:
            return
        living, hub = call.state.hub.living, call.state.hub
        state = living.get(self)
        if state is None:
            from seawall.degrade.cache import StaleState

            state = living.setdefault(self, StaleState(self, hub.complain))
        if is_operation:
            call.slot = state.place(call.request)
            return
        remembers = str(call.request.method).upper() in self.methods
        body = runtime.content(call) if remembers else b""  # else not part of any key: an upload stays unread
        call.slot = state.slot(call.request, runtime.fields(call), body, runtime.identity(call))

    def could_answer(self, call: Call) -> bool:
        return self._find(call) is not None

    async def answer(self, trouble: Trouble) -> Any:
        return self._find(trouble.call)

    def _find(self, call: Call) -> Answer | Value | None:
        slot: Slot | Place | None = call.slot
        if slot is None:
            return None
        last = call.attempts[-1:]
        status = last[0].status if last else None
        kind = last[0].kind if last else None
        clock = call.state.clock
        why = kind.value if kind is not None else call.reason
        return slot.find(clock.monotonic(), clock.wall(), sent=bool(last), status=status, why=why)


def _names(owner: StaleResponse, field: str, what: str, form: re.Pattern[str], example: str) -> list[str]:
    given: Any = getattr(owner, field)
    if isinstance(given, str) or not isinstance(given, frozenset | set | list | tuple):
        raise TypeError(f"StaleResponse: {field}={given!r}: give a set of {what} names, such as {example}")
    for name in given:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(name, str) or not form.match(name):
            raise ValueError(f"StaleResponse: {field} has {name!r}: give {what} names, such as {example}")
    return list(given)  # pyright: ignore[reportUnknownArgumentType]
