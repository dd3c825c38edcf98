"""Results of operations that `execute` ran: the objects themselves, in memory only, never written or copied.

Nothing is known of an operation but its name, so the user's `key=` says what it asks,
and for whom: results under one key, of one provider, stand for each other. Not locked:
each step is one operation of a dictionary.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from seawall.outcome import Verdict

if TYPE_CHECKING:
    from seawall.degrade.stale import StaleResponse
    from seawall.outcome import Outcome

Key = tuple[str, str]
"""Provider, and what `key=` said."""


class Value:
    """A result, which may be None."""

    __slots__ = ("since", "value", "wall")

    def __init__(self, value: Any, since: float, wall: float) -> None:
        self.value = value
        self.since = since
        """When it came, by a clock that never goes back."""
        self.wall = wall
        """The same, in seconds since the epoch."""


class Values:
    """What is remembered under one `StaleResponse`. Safe from any thread."""

    __slots__ = ("_config", "_kept")

    def __init__(self, config: StaleResponse) -> None:
        self._config = config
        self._kept: OrderedDict[Key, Value] = OrderedDict()
        """The one used longest ago comes first."""

    def get(self, key: Key, now: float, wall: float) -> Value | None:
        found = self._kept.get(key)
        # The clock that never goes back may stand still while the machine sleeps; the wall's does not.
        if found is None or max(now - found.since, wall - found.wall) >= self._config.max_age:
            return None
        self._use(key)
        return found

    def put(self, key: Key, value: Value) -> None:
        self._kept[key] = value
        self._use(key)
        while len(self._kept) > self._config.max_entries:
            try:
                self._kept.popitem(last=False)
            except KeyError:  # other threads were quicker
                break

    def forget(self, key: Key) -> None:
        self._kept.pop(key, None)

    def _use(self, key: Key) -> None:
        try:
            self._kept.move_to_end(key)
        except KeyError:  # another thread made room
            pass


class Place:
    """One operation's place among them."""

    __slots__ = ("_came", "_key", "_values")
    coalesces = False

    def __init__(self, values: Values, key: Key) -> None:
        self._values = values
        self._key = key
        self._came: Value | None = None

    def came(self, value: Any, now: float, wall: float) -> Place:
        """The operation returned; `keep` follows, if that was good."""
        self._came = Value(value, now, wall)
        return self

    def keep(self, outcome: Outcome | None) -> None:
        came, self._came = self._came, None
        if came is not None and (outcome is None or outcome.verdict is Verdict.SUCCESS):
            self._values.put(self._key, came)

    def forget(self) -> None:
        """The provider answers in another way now: it is gone, say, or not the caller's to see."""
        self._values.forget(self._key)

    def find(self, now: float, wall: float, **_: object) -> Value | None:
        """What stands for the result that the provider does not give."""
        return self._values.get(self._key, now, wall)

    def over(self) -> None:
        """The call has ended."""
