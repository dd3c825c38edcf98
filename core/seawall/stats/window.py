"""Counts of the last seconds, in ten buckets that time empties.

A count costs one list increment; sums are made when somebody asks. Buckets
advance by elapsed time on every touch, reads included: an idle gap longer than
the window leaves nothing behind (a window that turns one bucket per call, or on
writes only, shows failures from before lunch). Inter-arrival-weighted averages
were rejected: a dense burst gets almost no weight and hides a total outage.
"""

from __future__ import annotations

from enum import IntEnum

BUCKETS = 10


class Column(IntEnum):
    """What is counted. `LATE_…`: results of calls that began in an earlier phase of the breaker."""

    SUCCESS = 0
    FAILURE = 1
    THROTTLED = 2
    TIMEOUT = 3
    REJECTED = 4
    SLOW = 5
    LATE_SUCCESS = 6
    LATE_FAILURE = 7
    LEFT_OUT = 8


_COLUMNS = len(Column)


class Window:
    """Ten buckets over `duration` seconds. Not locked: the owner is."""

    __slots__ = ("_base", "_counts", "_retired", "_width", "end")

    def __init__(self, duration: float, now: float) -> None:
        self._width = duration / BUCKETS
        self._counts = [0] * (_COLUMNS * BUCKETS)
        self._retired: list[int] | None = None
        self._base = 0
        self.end = now + self._width
        """When the current bucket is full: before that instant `count` need not look at time."""

    def count(self, column: int, now: float) -> None:
        if now >= self.end:
            self.advance(now)
        self._counts[self._base + column] += 1

    def advance(self, now: float) -> None:
        """Forget what is older than the window."""
        late = now - self.end
        if late < 0:
            return
        steps = int(late / self._width) + 1
        for _ in range(min(steps, BUCKETS)):
            self._base = (self._base + _COLUMNS) % len(self._counts)
            self._retire(self._base)
        self.end += steps * self._width
        if self.end <= now:  # a rounding error of a long gap
            self.end = now + self._width

    def sum(self, column: int) -> int:
        """Call `advance` first: this does not know the time."""
        return sum(self._counts[column::_COLUMNS])

    def lifetime(self, column: int) -> int:
        """All that was ever counted, cleared or expired."""
        return self.sum(column) + (self._retired[column] if self._retired else 0)

    def clear(self) -> None:
        """Empty the window; lifetime counts stay."""
        for base in range(0, len(self._counts), _COLUMNS):
            self._retire(base)

    def resize(self, duration: float, now: float) -> None:
        """Change the length; a different one starts empty."""
        if duration / BUCKETS != self._width:
            self.clear()
            self._width = duration / BUCKETS
            self.end = now + self._width

    @property
    def is_empty(self) -> bool:
        return not any(self._counts)

    def _retire(self, base: int) -> None:
        bucket = self._counts[base : base + _COLUMNS]
        if any(bucket):
            if self._retired is None:
                self._retired = [0] * _COLUMNS
            for column, count in enumerate(bucket):
                self._retired[column] += count
            self._counts[base : base + _COLUMNS] = [0] * _COLUMNS
