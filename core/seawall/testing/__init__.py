"""For tests, ours and users': time that tests advance, a network that fails, checks of leaks and of stores."""

from __future__ import annotations

from seawall.testing.defaults import default_is
from seawall.testing.leaks import assert_no_leaks
from seawall.testing.proxy import FaultProxy
from seawall.testing.stores import check_store
from seawall.testing.toxics import Bandwidth, Down, Latency, LimitData, ResetPeer, Slicer, SlowClose, Timeout, Toxic
from seawall.testing.virtual import VirtualClock, VirtualRuntime, simulate
from seawall.testing.waits import no_waits

__all__ = [
    "Bandwidth",
    "Down",
    "FaultProxy",
    "Latency",
    "LimitData",
    "ResetPeer",
    "Slicer",
    "SlowClose",
    "Timeout",
    "Toxic",
    "VirtualClock",
    "VirtualRuntime",
    "assert_no_leaks",
    "check_store",
    "default_is",
    "no_waits",
    "simulate",
]
