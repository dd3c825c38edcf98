"""Who is who: name → HostState, bounded.

Hosts may be chosen by an attacker (links, redirects), so the number is capped.
Evicted is only what is like new: closed, idle, nothing counted, nothing owed; a
tripped breaker is never forgotten to make room. When nothing may go, strangers
share one overflow entry that measures and budgets, but never opens: one sick
stranger must not cut off the others.
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING

from seawall.host import HostState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seawall.effective import Effective
    from seawall.hub import Hub
    from seawall.runtime import Clock

Key = tuple[str, str]
"""("host" | "group" | "provider" | "key", name)"""

_LOOKS = 8
"""Entries examined per newcomer when full: amortised constant work."""


class Registry:
    """Every method is safe from any thread. Only newcomers and operators come here, never a known host's request."""

    __slots__ = ("__weakref__", "_clock", "_hub", "_max", "_overflow", "_states", "is_closed", "lock")

    def __init__(self, max_hosts: int, clock: Clock, hub: Hub) -> None:
        self.lock = RLock()
        self.is_closed = False
        self._max = max_hosts
        self._clock = clock
        self._hub = hub
        self._states: dict[Key, HostState] = {}
        self._overflow: HostState | None = None

    def get_or_create(
        self, key: Key, effective: Effective, evicted: Callable[[HostState], None], *, by_hand: bool = False
    ) -> HostState:
        """The state of that name. `evicted` is told whom it replaced. An operator's wish is not bound by the cap."""
        state = self._states.get(key)
        if state is not None:
            return state
        with self.lock:
            state = self._states.get(key)
            if state is None:
                if len(self._states) >= self._max and not self._make_room(evicted) and not by_hand:
                    return self._strangers(effective)
                made = HostState(key[1], effective, self._clock, self._hub)
                state = self._states.setdefault(key, made)  # a finaliser's call may have made it meanwhile
                if self.is_closed:
                    state.shut()
            return state

    def get(self, key: Key) -> HostState | None:
        state = self._states.get(key)
        if state is None:
            with self.lock:  # while room is made, one that stays may not be in its place
                state = self._states.get(key)
        return state

    def remove(self, key: Key) -> None:
        with self.lock:
            self._states.pop(key, None)

    def items(self) -> list[tuple[Key, HostState]]:
        with self.lock:
            return list(self._states.copy().items())  # a finaliser's call may make a host while pairs are made

    def everybody(self) -> Iterator[HostState]:
        """All states, the strangers' included."""
        yield from (state for _, state in self.items())
        if self._overflow is not None:
            yield self._overflow

    def begin_afresh(self) -> None:
        """In the child of a fork."""
        self.lock = RLock()
        for state in self.everybody():
            state.begin_afresh()

    def __len__(self) -> int:
        with self.lock:  # as in `get`
            return len(self._states)

    def is_overflow(self, state: HostState) -> bool:
        return state is self._overflow

    def _make_room(self, evicted: Callable[[HostState], None]) -> bool:
        """Forget who is like new until there is a place: more than one, where operators took places beyond the cap."""
        now = self._clock.monotonic()
        for _ in range(min(_LOOKS, len(self._states))):
            oldest = self._oldest()
            if oldest is None:  # finalisers took them all
                return True
            key, state = oldest
            is_like_new = state.is_like_new(now)
            if self._states.pop(key, None) is not state:  # a finaliser came in between
                continue
            if not is_like_new:
                self._states[key] = state  # to the end: looked at again when the others were
                continue
            evicted(state)
            if len(self._states) < self._max:
                return True
        return False

    def _oldest(self) -> tuple[Key, HostState] | None:
        # Not next(iter(…)), nor a loop over several: a finaliser between two steps may make a host.
        for key in self._states:
            return key, self._states[key]
        return None

    def _strangers(self, effective: Effective) -> HostState:
        if self._overflow is None:
            self._overflow = HostState("other hosts", effective, self._clock, self._hub, opens=False)
            if self.is_closed:
                self._overflow.shut()
        return self._overflow
