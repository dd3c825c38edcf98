"""What observers get: one frozen record per thing that happened. Loaded when somebody listens.

Nothing here tells of a path, a query, a header or a body: what is in an event may be logged as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from seawall._story import Source
    from seawall.outcome import Ending, ErrorKind, Verdict


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class CallInfo:
    """Which call an event belongs to: one object for each call, made when somebody listens. Equal only to itself."""

    id: int
    """A number of its own in this process."""
    method: str
    """GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE, CONNECT, QUERY; EXECUTE for `execute()`; else "_OTHER"."""
    address: str | None
    """The host of the URL, for spans (`server.address`); None for `execute()`."""
    port: int | None
    """Its port, the scheme's own if the URL names none."""
    pattern: str
    """The pattern or provider name whose policy holds for it, as configured; "all://" if none names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at `host` at `at` (monotonic seconds of the Resilience's clock)."""

    host: str
    """scheme://host:port, a group, or a provider name."""
    host_group: str
    """What was configured for it: its group, or the pattern without method and path, or the provider name; "all://" if
    nothing names it. There are no more of them than entries in the policies, so it fits a label of a metric."""
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(Event):
    """An attempt was let in and is sent."""

    call: CallInfo
    number: int
    wait: float
    """Seconds spent before it: backoff, gate, bulkhead."""
    limit: int | None
    """Most attempts at once at this host; None: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(Event):
    """One send is settled: its body ended, or it failed."""

    call: CallInfo
    number: int
    duration: float
    """Seconds from its start to the end of the body."""
    headers_after: float | None
    """Seconds from its start to the headers; None: none came."""
    status: int | None
    kind: ErrorKind | None
    verdict: Verdict
    budget: float
    """Tokens the host's retry budget has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled(Event):
    """Another attempt will follow after `delay` seconds."""

    call: CallInfo
    number: int
    """Of the attempt that follows."""
    delay: float
    status: int | None
    """What the attempt before it ended in."""
    kind: ErrorKind | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkheadWaited(Event):
    """A call waited `seconds` for a permit, and was let in or not."""

    call: CallInfo
    seconds: float
    admitted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(Event):
    """We refused a call, or another attempt of it."""

    call: CallInfo
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

    call: CallInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Degraded(Event):
    """The call is answered from elsewhere: "stale", "fallback" or "simplified"."""

    call: CallInfo | None
    """None: by `execute_with_fallback`, when the call of its primary was over."""
    source: Source
    instead_of: Ending | None
    """Why the host itself gave no answer; None as above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded(Event):
    """A call is over: the one terminal event of each call."""

    call: CallInfo
    attempts: int
    duration: float
    """Seconds until the caller got headers, exception or refusal."""
    ending: Ending
    reason: str
    """What refused it, if we did; else empty."""
    status: int | None
    """Of the last attempt's answer."""
    kind: ErrorKind | None
    """What was wrong with the last attempt."""
    served_from: Source


FREQUENT: Final = (AttemptStarted, AttemptEnded, CallEnded)
"""What every call brings; the others come when something is out of the ordinary."""
