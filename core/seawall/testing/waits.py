"""Waits that pass at once, under real clients: backoff, gate and queue cost a test no time."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from seawall.drivers.aio import Loops
from seawall.drivers.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Generator

    from seawall.testing.virtual import VirtualClock

_MOMENT: Final = 0.001
"""Real seconds of each wait, so that other threads and tasks get their turn."""


@contextmanager
def no_waits(clock: VirtualClock) -> Generator[None]:
    """Inside, whatever waits for seawall (a retry, a `Retry-After`, a turn in a bulkhead) waits on `clock` alone.

    For clients mounted on a `Resilience(clock=clock)`; `seawall.deadline()` counts on that clock too. The servers'
    own time stays real.
    """
    originals: dict[Any, Any] = {Threads: Threads.wait, Loops: Loops.wait}

    def passing(original: Any) -> Any:
        async def wait(self: Any, ticket: Any, seconds: float) -> None:
            over, began = clock.now + seconds, time.monotonic()
            await original(self, ticket, min(seconds, _MOMENT))
            if time.monotonic() - began >= _MOMENT:  # else somebody woke it
                clock.now = max(clock.now, over)

        return wait

    for runtime, original in originals.items():
        runtime.wait = passing(original)
    try:
        with clock.as_process_clock():
            yield
    finally:
        for runtime, original in originals.items():
            runtime.wait = original
