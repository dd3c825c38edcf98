"""What observers get: one frozen record per thing that happened. Loaded when somebody listens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seawall.outcome import Ending, ErrorKind, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at `host` at `at` (monotonic seconds of the Resilience's clock)."""

    host: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(Event):
    """One send is settled: its body ended, or it failed."""

    number: int
    duration: float
    status: int | None
    kind: ErrorKind | None
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled(Event):
    """Another attempt will follow after `delay` seconds."""

    number: int
    delay: float
    kind: ErrorKind | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(Event):
    """We refused a call, or another attempt of it."""

    policy: str
    reason: str
    retry_after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerChanged(Event):
    """The host's circuit changed its phase."""

    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateClosed(Event):
    """The server asked for a pause; calls are held back for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetExhausted(Event):
    """An extra attempt was denied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Degraded(Event):
    """The call is answered from elsewhere: "stale", "fallback" or "simplified"."""

    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded(Event):
    """A call is over: the one terminal event of each call."""

    attempts: int
    duration: float
    ending: Ending
