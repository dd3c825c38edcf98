"""Latency quantiles of the last few hundred answers: a ring of samples, sorted when somebody asks.

Adding must be cheap, since every request does; reading is for people, and for
delays that are computed now and then. A logarithmic histogram (HdrHistogram,
DDSketch) costs about twice as much per sample and is less exact at this size.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLES: Final = 400


class Quantiles:
    """Not locked: the owner is."""

    __slots__ = ("_next", "_ring")

    def __init__(self) -> None:
        self._ring = array("f")
        self._next = 0
        """Where in the ring the next sample goes: at its end until it is full."""

    def add(self, samples: Sequence[float]) -> None:
        """Seconds, oldest first."""
        end = self._next + len(samples)
        if end < SAMPLES:
            self._ring[self._next : end] = array("f", samples)
            self._next = end
            return
        for seconds in samples:
            self._ring[self._next : self._next + 1] = array("f", (seconds,))
            self._next = (self._next + 1) % SAMPLES

    def __len__(self) -> int:
        """Samples kept."""
        return len(self._ring)

    def read(self, share: float) -> float | None:
        """Seconds within which `share` (0–1) of the last answers came; None without any."""
        return self.read_each(share)[0]

    def read_each(self, *shares: float) -> tuple[float | None, ...]:
        """`read` for several shares of the same answers, sorted once."""
        known = sorted(self._ring)
        if not known:
            return (None,) * len(shares)
        return tuple(known[min(len(known) - 1, int(share * len(known)))] for share in shares)
