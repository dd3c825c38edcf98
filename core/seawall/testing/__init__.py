"""For tests, ours and users': time that tests advance, checks that nothing leaked and of stores."""

from __future__ import annotations

from seawall.testing.leaks import assert_no_leaks
from seawall.testing.stores import check_store
from seawall.testing.virtual import VirtualClock, VirtualRuntime, simulate

__all__ = ["VirtualClock", "VirtualRuntime", "assert_no_leaks", "check_store", "simulate"]
