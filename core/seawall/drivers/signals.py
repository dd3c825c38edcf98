"""Ending a worker that runs in the foreground."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType

_LOOK_EVERY = 0.1


class StopSignal:
    """Inside `with`, the first SIGTERM or SIGINT is only noted, so that what is under way can be finished; a second
    one does what it always does. Main thread only."""

    def __init__(self) -> None:
        self.came = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def wait(self, seconds: float) -> None:
        """Sleep so long, or until the signal comes."""  # an Event, set by a handler, could lock itself up
        ends = time.monotonic() + seconds
        while not self.came and (left := ends - time.monotonic()) > 0:
            time.sleep(min(_LOOK_EVERY, left))
