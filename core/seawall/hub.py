"""Who listens to one Resilience, and what was said before.

Nothing is built when nobody listens. Listeners run outside our locks, in the
thread or task that caused the event; one that raises is reported once through the
`seawall` logger and breaks no call.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from seawall.forks import Lock
from seawall.outcome import WrongValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from seawall.events import CallInfo, Event

    Leave = Callable[[BaseException | None], object]
    """Gets what the call raised, if it raised."""
    Begin = Callable[[CallInfo], Leave | None]


class Hub:
    """Who listens to one Resilience."""

    __slots__ = ("_changing", "_late", "_listeners", "_said", "around", "following", "listening", "living", "looks_at")

    def __init__(self) -> None:
        self._changing = Lock()
        """Held while who listens changes."""
        self._listeners: dict[object, tuple[Callable[[Event], object], tuple[type[Event], ...] | None]] = {}
        self._said: dict[str, object] = {}
        self.looks_at = 0.0
        """When a refusal's headers are looked at again."""
        self.listening = False
        """Does anybody hear of what is out of the ordinary?"""
        self.following = False
        """Does anybody hear of every call and attempt?"""
        self.around: tuple[Begin, ...] = ()
        """What is begun before each call and ended after it."""
        self._late: deque[Event] = deque()
        """What happened in closings: told with the next event."""
        self.living: dict[Any, Any] = {}
        """What steps and adapters keep for this Resilience, by configuration or name."""

    def subscribe(
        self, listener: Callable[[Event], object], kinds: Iterable[type[Event]] | None = None
    ) -> Callable[[], None]:
        from seawall.events import Event

        wanted = None if kinds is None else tuple(kinds)
        for kind in wanted or ():
            if not isinstance(kind, type) or not issubclass(kind, Event):
                raise TypeError(f"subscribe: kinds has {kind!r}: give classes from seawall.events")
        key = object()
        with self._changing:
            self._listeners[key] = (listener, wanted)
            self._count()

        def unsubscribe() -> None:
            self._tell_late()
            with self._changing:
                self._listeners.pop(key, None)
                self._count()

        return unsubscribe

    def _count(self) -> None:
        from seawall.events import FREQUENT

        kinds = [kinds for _, kinds in list(self._listeners.values())]
        self.listening = bool(kinds)
        self.following = any(wanted is None or any(issubclass(often, wanted) for often in FREQUENT) for wanted in kinds)

    def emit(self, event: Event) -> None:
        """Tell everybody who wants to hear of it, but nobody yet if a generator or coroutine is being closed.

        A collection does that, too, and may strike anywhere: inside a lock that a listener needs, say.
        """
        if isinstance(sys.exception(), GeneratorExit):
            self._late.append(event)
            return
        if self._late:
            self._tell_late()
        self._tell(event)

    def _tell_late(self) -> None:
        while True:
            try:
                event = self._late.popleft()
            except IndexError:  # that was the last: other threads tell them too
                return
            self._tell(event)

    def _tell(self, event: Event) -> None:
        # A list, not a tuple: to make a tuple may collect garbage in the midst, whose finalisers unsubscribe.
        for listener, kinds in list(self._listeners.values()):
            if kinds is None or isinstance(event, kinds):
                try:
                    listener(event)
                except Exception as error:
                    self.complain(listener, error)

    def enclose(self, begin: Begin) -> Callable[[], None]:
        """Call `begin` before each call, in its thread or task, and what it returns after it; returns what ends that.

        A function that raises is reported as a listener is.
        """
        with self._changing:
            self.around = (*self.around, begin)

        def end() -> None:
            with self._changing:
                self.around = tuple(one for one in self.around if one is not begin)

        return end

    def enter(self, call: CallInfo) -> list[Leave]:
        """Begin what is wanted around a call."""
        leave: list[Leave] = []
        for begin in self.around:
            try:
                end = begin(call)
                if end is not None:
                    leave.append(end)
            except Exception as error:
                self.complain(begin, error)
        return leave

    def leave(self, ends: list[Leave], raised: BaseException | None) -> None:
        """End it, the last first."""
        while ends:
            end = ends.pop()
            try:
                end(raised)
            except Exception as error:
                self.complain(end, error)

    def is_first(self, what: str) -> bool:
        """Has this not been said before?"""
        if what in self._said or len(self._said) >= 1000:
            return False
        mine = object()
        return self._said.setdefault(what, mine) is mine

    def complain(self, function: object, error: BaseException) -> None:
        """Report a user's function that raised: once per function, by name and class only (texts may hold secrets)."""
        name = (
            f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', type(function).__qualname__)}"
        )
        if self.is_first(name):
            from logging import getLogger

            getLogger("seawall").warning(
                "%s raised %s%s; calls go on without it, and it is not reported again",
                name,
                type(error).__qualname__,
                f" ({error})" if isinstance(error, WrongValue) else "",
            )
