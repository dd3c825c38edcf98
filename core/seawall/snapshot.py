"""A picture of one host at one instant, for people, health pages and tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSnapshot:
    """Counts without `total_` are of the breaker's window; times are seconds; instants are since the epoch."""

    host: str
    state: Literal["closed", "open", "half_open", "isolated"]
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
    slow: int
    failure_rate: float
    """Share of failures, 0–1; 0 without requests."""
    consecutive_failures: int
    consecutive_successes: int
    """Of the current half-open phase."""

    total_requests: int
    total_successes: int
    total_failures: int
    total_throttled: int
    total_timeouts: int
    total_rejections: int

    state_change_count: int
    open_count: int
    half_open_count: int
    last_change: float | None

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
    """To the headers, successful answers of the last minute."""
