"""Did everything come back?"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seawall.resilience import Resilience


def assert_no_leaks(resilience: Resilience) -> None:
    """Fail if a permit is out or a waiter waits, after a collection (dropped responses sit in cycles)."""
    gc.collect()
    left = [
        f"{picture.host}: {picture.in_flight} in flight, {picture.queue_depth} waiting"
        for picture in resilience.snapshots()
        if picture.in_flight or picture.queue_depth
    ]
    assert not left, "leaked: " + "; ".join(left)
