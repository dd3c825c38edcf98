"""The process's clock, and the deadline users read from it."""

from __future__ import annotations

import random
import time
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from seawall.scope import Scope, ScopeBlock, earliest

if TYPE_CHECKING:
    from seawall.runtime import Clock


class SystemClock:
    """Real time; chance from the module's generator, which Python reseeds after a fork."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    random = staticmethod(random.random)


SYSTEM_CLOCK: Final = SystemClock()

replaced: Final[ContextVar[Clock | None]] = ContextVar("seawall_clock", default=None)
"""What `deadline()` reads instead of the system's clock: a virtual one, in tests."""


def process_now() -> float:
    """Now, on the clock `deadline()` reads."""
    clock = replaced.get()
    return time.monotonic() if clock is None else clock.monotonic()


class deadline(ScopeBlock):  # noqa: N801 - reads as the statement it is
    """`with seawall.deadline(1.5):` everything inside ends within that many seconds: waits, retries, bodies.

    Nested, the earliest holds. `deadline(None)` detaches what is inside (a background task) from those around.
    The time counts from entering the block. Raises ValueError for a negative or not finite time.
    """

    __slots__ = ("_seconds",)

    def __init__(self, seconds: float | timedelta | None) -> None:
        value = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"deadline({seconds!r}): give seconds as a number, a timedelta, or None")
            if not 0 <= value < float("inf"):
                raise ValueError(f"deadline({seconds!r}): give 0 or more seconds, finite")
        self._seconds = value

    def _scope(self, outer: Scope | None) -> Scope:
        scope = Scope(outer)
        scope.deadline = None if self._seconds is None else earliest(scope.deadline, process_now() + self._seconds)
        return scope
