"""Circuit breaker: stop sending to a host that keeps failing, and find out cheaply when it is well.

Two rules open it: a run of failures that also spans some time, and a failure (or
slow-call) rate over a window. The span matters more than the count: a burst of
parallel failures within a few milliseconds is one event, and without the span
half-broken hosts are cut off altogether. Sources: Nygard, "Release It!"; Polly v8
(window rule), linkerd2-proxy (two signals), resilience4j (permits given back).

Each phase is an object with only its own counters. A permit remembers the phase
it was given in; if that is no longer the current one, its result moves nothing.
Rejected: states as strings with shared counters, which is where leaked probes,
shared streaks and late results come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from seawall import _check
from seawall.backoff import grow
from seawall.outcome import Reason
from seawall.stats.window import Column, Window


class Result(Enum):
    """What the end of a permit means to the breaker."""

    SUCCESS = Column.SUCCESS
    FAILURE = Column.FAILURE
    NEUTRAL = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """When a host's circuit opens, for how long, and what closes it again."""

    failure_threshold: int = 10
    """Failures in a row that open it, once they span `min_failure_span`."""
    min_failure_span: float = 0.5
    """Seconds from the first to the last failure of such a run. 0: the count alone decides."""
    failure_rate_threshold: float = 0.8
    """Share of failures (0–1) in the window that opens it, once `min_requests` ended there."""
    min_requests: int = 20
    """Ended calls in the window before a rate counts."""
    sampling_window: float = 10.0
    """Seconds the rates look back, in ten buckets."""
    slow_call_duration: float | None = None
    """Seconds to the headers from which a call is slow; None: slowness opens nothing."""
    slow_call_rate_threshold: float = 1.0
    """Share of slow calls (0–1) that opens it, once `min_requests` ended in the window."""
    open_duration: float = 1.0
    """Seconds the first opening lasts. Short: probing one host costs less than staying away from a well one."""
    open_multiplier: float = 1.5
    """Growth of each further opening; forgotten one step per window spent closed."""
    max_open_duration: float = 3.0
    """Cap of that growth, before jitter. A longer time named by the server still counts."""
    open_jitter: float = 0.5
    """Spread of an opening (0–1): times 1 ± this, after the cap, so that clients do not probe together."""
    success_threshold: int = 3
    """Successes in half-open that close it."""
    half_open_max_requests: int = 3
    """Probes at a time."""
    half_open_timeout: float = 30.0
    """Seconds a probe may take to good headers before the circuit opens again; never less than its attempt may take."""
    count_timeouts_as_failures: bool = True
    """False leaves timeouts out of streak and rate."""
    count_5xx_as_failures: bool = True
    """False leaves 5xx answers out of streak and rate."""
    count_429_as_failures: bool = False
    """True makes a 429 a failure; the default lets the server's own delay do the work."""

    def __post_init__(self) -> None:
        for field in ("failure_threshold", "min_requests", "success_threshold", "half_open_max_requests"):
            _check.count(self, field, 1)
        _check.duration(self, "min_failure_span")
        for field in ("sampling_window", "open_duration", "max_open_duration", "half_open_timeout"):
            _check.span(self, field)
        _check.duration(self, "slow_call_duration", zero=False, optional=True)
        for field in ("failure_rate_threshold", "slow_call_rate_threshold"):
            _check.number(self, field, 0, 1, open_below=True)
        _check.number(self, "open_multiplier", 1)
        _check.number(self, "open_jitter", 0, 1)
        _check.ordered(self, "open_duration", "max_open_duration")
        for field in ("count_timeouts_as_failures", "count_5xx_as_failures", "count_429_as_failures"):
            _check.flag(self, field)

    def opening(self, growth: int, u: float) -> float:
        """Seconds the opening number `growth` (from 0) lasts."""
        length = grow("exponential", self.open_duration, self.open_multiplier, self.max_open_duration, growth)
        return length * (1 + self.open_jitter * (2 * u - 1))

    def weigh(self, result: Result, *, timeout: bool, status_5xx: bool, status_429: bool) -> Result:
        """What a failure of such a kind counts for, by the `count_…` fields."""
        if result is not Result.FAILURE:
            return result
        counts = (
            (self.count_timeouts_as_failures or not timeout)
            and (self.count_5xx_as_failures or not status_5xx)
            and (self.count_429_as_failures or not status_429)
        )
        return result if counts else Result.NEUTRAL


class Trigger(Enum):
    """Why a phase ends."""

    RUN = "failures in a row"
    RATE = "failure rate"
    SLOW = "slow-call rate"
    TIME = "open duration over"
    RECOVERED = "enough probes succeeded"
    PROBE_FAILED = "a probe failed"
    PROBE_THROTTLED = "a probe was told to come back later"
    PROBE_EXPIRED = "a probe took longer than half_open_timeout"
    ISOLATE = "isolate()"
    RESTORE = "restore()"
    RESET = "reset()"


class Closed:
    """Everything passes; failures are counted."""

    __slots__ = ("entered", "growth", "run", "run_began", "slow")
    name: Final = "closed"

    def __init__(self, now: float, growth: int = 0) -> None:
        self.entered = now
        self.growth = growth
        """Openings lately: how long the next one lasts."""
        self.run = 0
        self.run_began = now
        self.slow: set[object] | None = None
        """Permits of calls seen to be slow that have not ended."""


class Open:
    """Nothing passes until `until`."""

    __slots__ = ("entered", "growth", "until")
    name: Final = "open"
    reason: Final = Reason.CIRCUIT_OPEN

    def __init__(self, now: float, growth: int, until: float) -> None:
        self.entered = now
        self.growth = growth
        self.until = until


class HalfOpen:
    """A few probes pass; the first failure reopens, enough successes close."""

    __slots__ = ("entered", "growth", "probes", "successes")
    name: Final = "half_open"
    reason: Final = Reason.HALF_OPEN_LIMIT

    def __init__(self, now: float, growth: int) -> None:
        self.entered = now
        self.growth = growth
        self.probes: dict[object, float] = {}
        """Permit → end of its lease."""
        self.successes = 0


class Isolated:
    """Held open by hand."""

    __slots__ = ("entered", "growth")
    name: Final = "isolated"
    reason: Final = Reason.ISOLATED

    def __init__(self, now: float) -> None:
        self.entered = now
        self.growth = 0


Phase = Closed | Open | HalfOpen | Isolated

TRANSITIONS: Final[dict[tuple[type[Phase], Trigger], type[Phase]]] = {
    (Closed, Trigger.RUN): Open,
    (Closed, Trigger.RATE): Open,
    (Closed, Trigger.SLOW): Open,
    (Open, Trigger.TIME): HalfOpen,
    (HalfOpen, Trigger.RECOVERED): Closed,
    (HalfOpen, Trigger.PROBE_FAILED): Open,
    (HalfOpen, Trigger.PROBE_THROTTLED): Open,
    (HalfOpen, Trigger.PROBE_EXPIRED): Open,
    (Closed, Trigger.ISOLATE): Isolated,
    (Open, Trigger.ISOLATE): Isolated,
    (HalfOpen, Trigger.ISOLATE): Isolated,
    (Isolated, Trigger.RESTORE): Closed,
    (Closed, Trigger.RESET): Closed,
    (Open, Trigger.RESET): Closed,
    (HalfOpen, Trigger.RESET): Closed,
    (Isolated, Trigger.RESET): Closed,
}
"""Every legal change of phase; nothing else happens. The docs print this table."""


KEPT: Final = 20
"""Changes of phase that are remembered for people."""

NEVER: Final = Breaker(failure_threshold=1 << 60, min_requests=1 << 60)
"""For a host without a breaker: it measures and never opens."""


class Change:
    """A change of phase that happened. It names the phases and does not hold them: they hold permits."""

    __slots__ = ("after", "at", "before", "trigger")

    def __init__(self, before: type[Phase], after: type[Phase], trigger: Trigger, at: float) -> None:
        self.before = before
        self.after = after
        self.trigger = trigger
        self.at = at


class BreakerState:
    """The circuit of one host. Not locked: the host is. Takes `now` (monotonic seconds) and chance `u` in [0, 1)."""

    __slots__ = ("change_count", "changes", "config", "half_open_count", "open_count", "phase", "recent", "window")

    def __init__(self, config: Breaker, window: Window, now: float) -> None:
        self.config = config
        self.window = window
        self.phase: Phase = Closed(now)
        self.change_count = self.open_count = self.half_open_count = 0
        self.changes: tuple[Change, ...] = ()
        """Not yet reported; the host takes them."""
        self.recent: tuple[Change, ...] = ()
        """The last of all, oldest first."""

    def look(self, now: float, u: float) -> Phase:
        """The phase at `now`: time alone may have ended the last one."""
        phase = self.phase
        if type(phase) is Open:
            if now >= phase.until:
                return self._enter(Trigger.TIME, now)
        elif type(phase) is HalfOpen and phase.probes and now >= min(phase.probes.values()):
            return self._enter(Trigger.PROBE_EXPIRED, now, u)
        return phase

    def growth(self, now: float) -> int:
        """Openings that still lengthen the next one: a window spent closed takes one off."""
        phase = self.phase
        if type(phase) is not Closed:
            return phase.growth
        return max(0, phase.growth - int((now - phase.entered) / self.config.sampling_window))

    def refuses(self, now: float, u: float) -> Reason | None:
        """Why `admit` would refuse; None: it would not. Takes no permit."""
        phase = self.look(now, u)
        if isinstance(phase, Closed):
            return None
        if type(phase) is HalfOpen and len(phase.probes) < self.config.half_open_max_requests:
            return None
        return phase.reason

    def admit(self, permit: object, now: float, u: float, patience: float) -> Reason | None:
        """Give `permit` a place in the current phase, or say why not. `patience`: a probe's lease is no shorter."""
        refusal = self.refuses(now, u)
        phase = self.phase
        if refusal is None and type(phase) is HalfOpen:
            phase.probes[permit] = now + max(self.config.half_open_timeout, patience)
        return refusal

    def retry_after(self, now: float) -> float | None:
        """Seconds until it is worth asking again; None if only a person knows."""
        phase = self.phase
        if type(phase) is Open:
            return max(0.0, phase.until - now)
        if type(phase) is HalfOpen and len(phase.probes) >= self.config.half_open_max_requests:
            return max(0.0, min(phase.probes.values()) - now)
        return None if type(phase) is Isolated else 0.0

    def headers(self, permit: object, phase: Phase | None, now: float, u: float) -> None:
        """Good headers on a probe: it has shown what it was for, whatever becomes of its body."""
        if phase is self.phase and type(phase) is HalfOpen and phase.probes.pop(permit, None) is not None:
            self._probe_succeeded(phase, now, u)

    def settle(self, permit: object, phase: Phase, result: Result, now: float, u: float, not_before: float) -> None:
        """Count the end of a permit and draw the consequence. `not_before`: an instant the server named."""
        if phase is not self.phase:
            if result is not Result.NEUTRAL:
                late = Column.LATE_SUCCESS if result is Result.SUCCESS else Column.LATE_FAILURE
                self.window.count(late, now)
            return
        if result is not Result.NEUTRAL:
            self.window.count(result.value, now)
        if type(phase) is Closed:
            self._settle_closed(phase, result, now, u, not_before)
        elif type(phase) is HalfOpen and phase.probes.pop(permit, None) is not None:
            if result is Result.SUCCESS:
                self._probe_succeeded(phase, now, u)
            elif result is Result.FAILURE:
                self._enter(Trigger.PROBE_FAILED, now, u, not_before)

    def throttled(self, permit: object, phase: Phase, now: float, u: float, not_before: float) -> None:
        """A 429 that is no failure: a probe reopens for the server's delay, without growth, or gives its slot back."""
        if phase is self.phase and type(phase) is HalfOpen and phase.probes.pop(permit, None) is not None:
            if not_before > now:
                self._enter(Trigger.PROBE_THROTTLED, now, u, not_before)

    def slow(self, permit: object, phase: Phase, now: float, u: float, *, in_flight: bool) -> None:
        """A call of this phase is slow. `in_flight`: it has not ended yet, and `slow_ended` will be told."""
        if phase is self.phase and type(phase) is Closed:
            if in_flight:
                phase.slow = phase.slow or set()
                phase.slow.add(permit)
            else:
                self.window.count(Column.SLOW, now)
            self._judge_rates(phase, now, u, 0)

    def slow_ended(self, permit: object, phase: Phase, result: Result, now: float) -> None:
        """A call seen to be slow while in flight is about to be settled; a cancelled one was no call."""
        if type(phase) is Closed and phase.slow and permit in phase.slow:
            phase.slow.discard(permit)
            if phase is self.phase and result is not Result.NEUTRAL:
                self.window.count(Column.SLOW, now)

    def forget(self, permit: object) -> None:
        """The permit's owner died without a word: its slot is free again."""
        phase = self.phase
        if type(phase) is HalfOpen:
            phase.probes.pop(permit, None)
        elif type(phase) is Closed and phase.slow:
            phase.slow.discard(permit)

    def isolate(self, now: float) -> None:
        if type(self.phase) is not Isolated:
            self._enter(Trigger.ISOLATE, now)

    def restore(self, now: float) -> None:
        if type(self.phase) is Isolated:
            self._enter(Trigger.RESTORE, now)

    def reset(self, now: float) -> None:
        """Closed, with an empty window, streak and growth. Lifetime counts stay."""
        self._enter(Trigger.RESET, now)

    def _settle_closed(self, phase: Closed, result: Result, now: float, u: float, not_before: float) -> None:
        if result is Result.SUCCESS:
            phase.run = 0
        elif result is Result.FAILURE:
            if phase.run == 0:
                phase.run_began = now
            phase.run += 1
            config = self.config
            if phase.run >= config.failure_threshold and now - phase.run_began >= config.min_failure_span:
                self._enter(Trigger.RUN, now, u, not_before)
            else:
                self._judge_rates(phase, now, u, not_before)

    def _judge_rates(self, phase: Closed, now: float, u: float, not_before: float) -> None:
        window, config = self.window, self.config
        window.advance(now)
        failures = window.sum(Column.FAILURE)
        ended = failures + window.sum(Column.SUCCESS)
        if ended >= config.min_requests and failures / ended >= config.failure_rate_threshold:
            self._enter(Trigger.RATE, now, u, not_before)
        elif config.slow_call_duration is not None:
            hanging = len(phase.slow or ())
            known = ended + hanging
            slow = window.sum(Column.SLOW) + hanging
            if slow and known >= config.min_requests and slow / known >= config.slow_call_rate_threshold:
                self._enter(Trigger.SLOW, now, u, not_before)

    def _probe_succeeded(self, phase: HalfOpen, now: float, u: float) -> None:
        phase.successes += 1
        if phase.successes >= self.config.success_threshold:
            self._enter(Trigger.RECOVERED, now, u)

    def _enter(self, trigger: Trigger, now: float, u: float = 0, not_before: float = 0) -> Phase:
        """The only place where a phase begins. Only openings take chance."""
        before = self.phase
        after: Phase
        kind = TRANSITIONS[type(before), trigger]
        if kind is Open:
            after = self._open(before, trigger, now, u, not_before)
            self.open_count += 1
        elif kind is HalfOpen:
            after = HalfOpen(now, before.growth)
            self.half_open_count += 1
        elif kind is Closed:
            after = Closed(now, before.growth if trigger is Trigger.RECOVERED else 0)
            # What the window saw before would open the circuit again at the first failure.
            self.window.clear()
        else:
            after = Isolated(now)
        if trigger is Trigger.SLOW and type(before) is Closed:  # those in flight were the evidence: leave it on record
            for _ in before.slow or ():
                self.window.count(Column.SLOW, now)
        self.phase = after
        if trigger is not Trigger.RESET or type(before) is not Closed:
            self.change_count += 1
            change = Change(type(before), kind, trigger, now)
            self.changes += (change,)
            self.recent = (*self.recent[1 - KEPT :], change)
        return after

    def _open(self, before: Phase, trigger: Trigger, now: float, u: float, not_before: float) -> Open:
        if trigger is Trigger.PROBE_THROTTLED:
            return Open(now, before.growth, not_before)
        growth = self.growth(now)
        return Open(now, growth + 1, max(now + self.config.opening(growth, u), not_before))
