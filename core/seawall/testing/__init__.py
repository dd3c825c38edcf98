"""For tests, ours and users': time that tests advance, and a check that nothing leaked."""

from __future__ import annotations

from seawall.testing.leaks import assert_no_leaks
from seawall.testing.virtual import VirtualClock, VirtualRuntime, simulate

__all__ = ["VirtualClock", "VirtualRuntime", "assert_no_leaks", "simulate"]
