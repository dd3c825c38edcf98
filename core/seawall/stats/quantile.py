"""Latency quantiles of the last few hundred answers: a ring of samples, sorted when somebody asks.

Adding must be cheap, since every request does; reading is for people, and for
delays that are computed now and then. A logarithmic histogram (HdrHistogram,
DDSketch) costs about twice as much per sample and is less exact at this size.
"""

from __future__ import annotations

from array import array
from typing import Final

SAMPLES: Final = 400


class Quantiles:
    """Not locked: the owner is."""

    __slots__ = ("_ring", "seen")

    def __init__(self) -> None:
        self._ring = array("f", bytes(4 * SAMPLES))
        self.seen = 0

    def add(self, seconds: float) -> None:
        seen = self.seen
        self._ring[seen % SAMPLES] = seconds
        self.seen = seen + 1

    def read(self, share: float) -> float | None:
        """Seconds within which `share` (0–1) of the last answers came; None without any."""
        known = sorted(self._ring[: min(self.seen, SAMPLES)])
        return known[min(len(known) - 1, int(share * len(known)))] if known else None
