"""How late a thread that asked to be woken is woken: what no library can do anything about."""

from __future__ import annotations

import threading
import time
from typing import Self

OVERSHOOT = 0.05
"""Seconds a call may end after its deadline, on a machine that wakes its threads in time."""
NAP = 0.005


class Machine:
    """Naps in a thread, beside what is measured, and keeps the longest that one nap took too long.

    On an idle machine that is a millisecond or less. On a shared one, a call whose thread did not get the processor
    would be reported as a deadline missed, so exactly this much is granted on top.
    """

    def __enter__(self) -> Self:
        self._ended = threading.Event()
        self._naps: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            time.sleep(NAP)
            self._naps.append((began, time.monotonic() - began - NAP))

    def late(self, since: float, until: float) -> float:
        """The longest delay of a nap that began or ended in this time."""
        time.sleep(2 * NAP)  # the nap under way at `until` has ended
        return max((late for began, late in self._naps if began + NAP + late >= since and began <= until), default=0.0)
