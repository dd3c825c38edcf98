"""Latency quantiles of the last minute from counts in logarithmic buckets.

Eight buckets an octave: a reading is at most 12.5 % above the truth. Two
generations of half a minute, so that old answers leave without a scan; counts
add up across processes. Sorting samples or a t-digest would cost more than the
request's whole share (HdrHistogram's idea, in a dict).
"""

from __future__ import annotations

GENERATION = 30.0


class Quantiles:
    """Not locked: the owner is."""

    __slots__ = ("_current", "_previous", "until")

    def __init__(self, now: float) -> None:
        self._current: dict[int, int] = {}
        self._previous: dict[int, int] = {}
        self.until = now + GENERATION

    def add(self, seconds: float) -> None:
        microseconds = int(seconds * 1e6)
        octave = microseconds.bit_length()
        bucket = octave << 3 | (microseconds >> octave - 4 & 7) if octave > 3 else microseconds
        counts = self._current
        counts[bucket] = counts.get(bucket, 0) + 1

    def turn(self, now: float) -> None:
        """Drop what is older than two generations."""
        if now >= self.until:
            self._previous = self._current if now < self.until + GENERATION else {}
            self._current = {}
            self.until = now + GENERATION

    def read(self, share: float) -> float | None:
        """Seconds below which `share` (0–1) of the answers stayed; None without samples."""
        merged = dict(self._previous)
        for bucket, count in self._current.items():
            merged[bucket] = merged.get(bucket, 0) + count
        wanted = share * sum(merged.values())
        seen = 0
        for bucket in sorted(merged):
            seen += merged[bucket]
            if seen >= wanted:
                return _upper(bucket) / 1e6
        return None


def _upper(bucket: int) -> int:
    octave, step = bucket >> 3, bucket & 7
    return (step + 9) << octave - 4 if octave > 3 else bucket + 1
