"""Counts of the last seconds, in ten buckets that time empties.

A count costs one list increment; sums are made when somebody asks. Buckets
advance by elapsed time on every touch, reads included: an idle gap longer than
the window leaves nothing behind (a window that turns one bucket per call, or on
writes only, shows failures from before lunch). Inter-arrival-weighted averages
were rejected: a dense burst gets almost no weight and hides a total outage.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

BUCKETS = 10


class Column:
    """What is counted. `LATE_…`: results of calls that began in an earlier phase of the breaker.

    Plain integers: adding to a member of an IntEnum costs three times as much, on every request.
    """

    SUCCESS: Final = 0
    FAILURE: Final = 1
    THROTTLED: Final = 2
    TIMEOUT: Final = 3
    REJECTED: Final = 4
    SLOW: Final = 5
    LATE_SUCCESS: Final = 6
    LATE_FAILURE: Final = 7
    LEFT_OUT: Final = 8
    DEGRADED: Final = 9
    DENIED: Final = 10


_COLUMNS: Final = 11


class Window:
    """Ten buckets over `duration` seconds. Not locked: the owner is."""

    __slots__ = ("_bucket", "_columns", "_retired", "_width", "end")

    def __init__(self, duration: float, now: float) -> None:
        self._width = duration / BUCKETS
        self._columns: list[array[int] | None] | None = None
        """Column → its count in each bucket; made when first needed: most hosts only ever see successes."""
        self._bucket = 0
        """The current one."""
        self._retired: list[int] | None = None
        self.end = now + self._width
        """When the current bucket is full: before that instant `count` need not look at time."""

    def count(self, column: int, now: float) -> None:
        if now >= self.end:
            self.advance(now)
        self._counts(column)[self._bucket] += 1

    def count_all(self, column: int, instants: Sequence[float]) -> None:
        """`count` at each of them, oldest first."""
        if instants and instants[-1] < self.end:
            self._counts(column)[self._bucket] += len(instants)
            return
        for now in instants:
            self.count(column, now)

    def advance(self, now: float) -> None:
        """Forget what is older than the window."""
        late = now - self.end
        if late < 0:
            return
        steps = int(late / self._width) + 1
        for _ in range(min(steps, BUCKETS)):
            self._bucket = (self._bucket + 1) % BUCKETS
            self._retire(self._bucket)
        self.end += steps * self._width
        if self.end <= now:  # a rounding error of a long gap
            self.end = now + self._width

    def sum(self, column: int) -> int:
        """Call `advance` first: this does not know the time."""
        counts = self._columns[column] if self._columns is not None else None
        return sum(counts) if counts is not None else 0

    def tenths(self, column: int) -> tuple[int, ...]:
        """The count in each bucket, oldest first; the last is the current one. As with `sum`, call `advance` first."""
        counts = self._columns[column] if self._columns is not None else None
        if counts is None:
            return (0,) * BUCKETS
        oldest = self._bucket + 1
        return (*counts[oldest:], *counts[:oldest])

    def lifetime(self, column: int) -> int:
        """All that was ever counted, cleared or expired."""
        return self.sum(column) + (self._retired[column] if self._retired else 0)

    def clear(self) -> None:
        """Empty the window; lifetime counts stay."""
        for bucket in range(BUCKETS):
            self._retire(bucket)

    def resize(self, duration: float, now: float) -> None:
        """Change the length; a different one starts empty."""
        if duration / BUCKETS != self._width:
            self.clear()
            self._width = duration / BUCKETS
            self.end = now + self._width

    @property
    def is_empty(self) -> bool:
        return not any(any(counts) for counts in self._columns or () if counts is not None)

    def _counts(self, column: int) -> array[int]:
        if self._columns is None:
            self._columns = [None for _ in range(_COLUMNS)]
        columns = self._columns
        counts = columns[column]
        if counts is None:
            counts = columns[column] = array("I", bytes(4 * BUCKETS))
        return counts

    def _retire(self, bucket: int) -> None:
        for column, counts in enumerate(self._columns or ()):
            if counts is not None and counts[bucket]:
                if self._retired is None:
                    self._retired = [0] * _COLUMNS
                self._retired[column] += counts[bucket]
                counts[bucket] = 0
