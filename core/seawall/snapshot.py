"""A picture of one host at one instant, for people, health pages and tests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from seawall.policies.breaker import Closed, HalfOpen
from seawall.stats.window import Column

if TYPE_CHECKING:
    from seawall.host import HostState
    from seawall.policies.breaker import Change
    from seawall.stats.window import Window

State = Literal["closed", "open", "half_open", "isolated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A change of a circuit's phase."""

    at: float
    before: State
    after: State
    reason: str
    """In words, as in the event `BreakerChanged`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSnapshot:
    """Counts without `total_` are of the breaker's window; times are seconds; instants are since the epoch."""

    host: str
    host_group: str
    """What was configured for it: group, pattern or provider name; "all://" if nothing names it."""
    state: State
    retry_after: float | None
    """Until calls are let in again; None: not before `restore()`; 0: now."""
    gate: float
    """Seconds the server asked everybody to wait from now."""

    requests: int
    successes: int
    failures: int
    throttled: int
    timeouts: int
    """Attempts that timed out; those that count are failures too."""
    rejections: int
    degraded: int
    """Calls answered from elsewhere."""
    denied: int
    """Extra attempts the budget refused."""
    slow: int
    failure_rate: float
    """Share of failures, 0–1; 0 without requests."""
    sampling_window: float
    """Seconds the window looks back."""
    timeline: tuple[tuple[int, int, int], ...]
    """Successes, failures and rejections in each tenth of the window, oldest first; the last is under way."""
    consecutive_failures: int
    consecutive_successes: int
    """Of the current half-open phase."""

    total_requests: int
    total_successes: int
    total_failures: int
    total_throttled: int
    total_timeouts: int
    total_rejections: int
    total_degraded: int
    """Calls answered from elsewhere: a stale answer, a fallback, a simplified one."""

    state_change_count: int
    open_count: int
    half_open_count: int
    last_change: float | None
    transitions: tuple[Transition, ...]
    """The last 20 changes of phase, oldest first."""

    in_flight: int
    limit: int | None
    utilization: float
    """Permits out as a share (0–1) of the limit; 0 without one."""
    peak_in_flight: int
    peak_utilization: float
    queue_depth: int
    acquire_attempts: int
    acquire_successes: int
    acquire_failures: int
    mean_wait: float
    mean_hold: float

    budget: float
    """Tokens at hand."""
    budget_max: float | None
    budget_refill_rate: float
    """Tokens per second time brings; the adaptive kind changes it."""
    budget_denials: int

    latency_p50: float | None
    latency_p90: float | None
    latency_p99: float | None
    """To the headers, of the last 400 good answers."""


def take(host: HostState, now: float) -> HostSnapshot:
    """The picture of a host that is tidy, with its lock held."""
    breaker, window, bulkhead, budget, quantiles = host.breaker, host.window, host.bulkhead, host.budget, host.quantiles
    phase = breaker.phase
    state: State = phase.name
    ok = window.sum(Column.SUCCESS) + window.sum(Column.LATE_SUCCESS)
    failed = window.sum(Column.FAILURE) + window.sum(Column.LATE_FAILURE)
    total_ok = window.lifetime(Column.SUCCESS) + window.lifetime(Column.LATE_SUCCESS)
    total_failed = window.lifetime(Column.FAILURE) + window.lifetime(Column.LATE_FAILURE)
    total_throttled = window.lifetime(Column.THROTTLED)
    out, limit = len(bulkhead.live), bulkhead.config.max_concurrent
    admitted = bulkhead.returned + out
    tried = admitted + bulkhead.refused
    epoch = host.clock.wall() - now
    transitions = tuple(_dated(change, epoch) for change in breaker.recent)
    p50, p90, p99 = (None, None, None) if quantiles is None else quantiles.read_each(0.5, 0.9, 0.99)
    return HostSnapshot(
        host=host.name,
        host_group=host.group,
        state=state,
        retry_after=breaker.retry_after(now),
        gate=max(0.0, host.gate - now),
        requests=ok + failed + window.sum(Column.LEFT_OUT),
        successes=ok,
        failures=failed,
        throttled=window.sum(Column.THROTTLED),
        timeouts=window.sum(Column.TIMEOUT),
        rejections=window.sum(Column.REJECTED),
        degraded=window.sum(Column.DEGRADED),
        denied=window.sum(Column.DENIED),
        slow=window.sum(Column.SLOW) + (len(phase.slow or ()) if isinstance(phase, Closed) else 0),
        failure_rate=failed / (ok + failed) if failed else 0.0,
        sampling_window=breaker.config.sampling_window,
        timeline=_timeline(window),
        consecutive_failures=phase.run if isinstance(phase, Closed) else 0,
        consecutive_successes=phase.successes if isinstance(phase, HalfOpen) else 0,
        total_requests=total_ok + total_failed + window.lifetime(Column.LEFT_OUT),
        total_successes=total_ok,
        total_failures=total_failed,
        total_throttled=total_throttled,
        total_timeouts=window.lifetime(Column.TIMEOUT),
        total_rejections=window.lifetime(Column.REJECTED),
        total_degraded=window.lifetime(Column.DEGRADED),
        state_change_count=breaker.change_count,
        open_count=breaker.open_count,
        half_open_count=breaker.half_open_count,
        last_change=transitions[-1].at if transitions else None,
        transitions=transitions,
        in_flight=out,
        limit=limit,
        utilization=min(1.0, out / limit) if limit else 0.0,
        peak_in_flight=bulkhead.peak,
        peak_utilization=min(1.0, bulkhead.peak / limit) if limit else 0.0,
        queue_depth=len(bulkhead.queue),
        acquire_attempts=tried,
        acquire_successes=admitted,
        acquire_failures=bulkhead.refused,
        mean_wait=bulkhead.waited / tried if tried else 0.0,
        mean_hold=bulkhead.held / bulkhead.returned if bulkhead.returned else 0.0,
        budget=budget.balance(now),
        budget_max=None if math.isinf(budget.cap) else budget.cap,
        budget_refill_rate=budget.refill_rate,
        budget_denials=window.lifetime(Column.DENIED),
        latency_p50=p50,
        latency_p90=p90,
        latency_p99=p99,
    )


def _timeline(window: Window) -> tuple[tuple[int, int, int], ...]:
    columns = (Column.SUCCESS, Column.LATE_SUCCESS, Column.FAILURE, Column.LATE_FAILURE, Column.REJECTED)
    tenths = zip(*(window.tenths(column) for column in columns), strict=True)
    return tuple((ok + late_ok, bad + late_bad, rejected) for ok, late_ok, bad, late_bad, rejected in tenths)


def _dated(change: Change, epoch: float) -> Transition:
    """`epoch`: what the wall clock, as it goes now, says of zero of the clock that never goes back."""
    return Transition(
        at=epoch + change.at, before=change.before.name, after=change.after.name, reason=change.trigger.value
    )
