"""For tests, ours and users': time that tests advance, a network that fails, a simulator, and what checks it."""

from __future__ import annotations

from seawall.testing.chaos import chaos
from seawall.testing.checks import violations
from seawall.testing.defaults import default_is
from seawall.testing.leaks import assert_no_leaks
from seawall.testing.loop import simulate, sleep
from seawall.testing.proxy import FaultProxy
from seawall.testing.script import Answer, Received, ScriptedServer
from seawall.testing.sim.figures import Figures
from seawall.testing.sim.messages import NetworkError, Request
from seawall.testing.sim.server import Condition, Server
from seawall.testing.sim.simulation import Simulation
from seawall.testing.stores import check_store
from seawall.testing.toxics import Bandwidth, Down, Latency, LimitData, ResetPeer, Slicer, SlowClose, Timeout, Toxic
from seawall.testing.virtual import VirtualClock, VirtualRuntime
from seawall.testing.waits import no_waits

__all__ = [
    "Answer",
    "Bandwidth",
    "Condition",
    "Down",
    "FaultProxy",
    "Figures",
    "Latency",
    "LimitData",
    "NetworkError",
    "Received",
    "Request",
    "ResetPeer",
    "ScriptedServer",
    "Server",
    "Simulation",
    "Slicer",
    "SlowClose",
    "Timeout",
    "Toxic",
    "VirtualClock",
    "VirtualRuntime",
    "assert_no_leaks",
    "chaos",
    "check_store",
    "default_is",
    "no_waits",
    "simulate",
    "sleep",
    "violations",
]
