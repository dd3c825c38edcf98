"""What health is made of: plain values, made by `rules`, shown by the page and the command, kept by whoever asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from seawall.snapshot import State, Transition

VERSION: Final = 1
"""Of `to_dict()` and /health.json (schema.json). Names may be added within a version; none goes or changes meaning."""

Status = Literal["healthy", "warning", "degraded", "critical"]
Severity = Literal["info", "warning", "critical"]
Component = Literal["breaker", "bulkhead", "budget"]

STATUSES: Final[tuple[Status, ...]] = ("healthy", "warning", "degraded", "critical")
"""From well to bad. Degraded: a circuit is open, but nobody goes without an answer: it comes from elsewhere."""
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What a person should look at, with the figures that say so and the setting that would change them."""

    severity: Severity
    component: Component
    host: str
    message: str
    """What is the case, in figures."""
    action: str
    """What to do about it."""
    setting: str
    """The field or method that decides it, such as `Policy.bulkhead.max_concurrent`."""
    numbers: Mapping[str, float]
    """The figures of the message, and the limits they were held against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerHealth:
    """One host's circuit and its traffic. Counts are of the last `sampling_window` seconds, rates are 0–1."""

    host: str
    status: Status
    state: State
    retry_after: float | None
    """Seconds until calls are let in again; None: not before `restore()`."""
    gate: float
    """Seconds the server asked everybody to wait from now."""
    sampling_window: float
    requests: int
    """Attempts that ended."""
    request_rate: float
    """Of those, a second."""
    failures: int
    failure_rate: float
    throttled: int
    timeouts: int
    rejections: int
    """Calls we refused."""
    degraded: int
    """Calls answered from elsewhere."""
    timeline: tuple[tuple[int, int, int], ...]
    """Successes, failures and rejections in each tenth of the window, oldest first."""
    consecutive_failures: int
    consecutive_successes: int
    """Of the current half-open phase."""
    last_change: float | None
    """Seconds since the epoch."""
    transitions: tuple[Transition, ...]
    """The last 20 changes of state, oldest first."""
    latency_p50: float | None
    latency_p90: float | None
    latency_p99: float | None
    """Seconds to the headers, of the last 400 good answers."""
    recommendation: Recommendation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkheadHealth:
    """One host's permits. Means are over all attempts since the beginning, in seconds."""

    host: str
    status: Status
    limit: int | None
    """None: it measures and never refuses."""
    in_flight: int
    utilization: float
    """Share of the permits that are out, 0–1; 0 without a limit."""
    peak_utilization: float
    queue_depth: int
    """Calls waiting for a permit just now."""
    mean_wait: float
    mean_hold: float
    refused: int
    """Calls that got no permit, since the beginning."""
    recommendation: Recommendation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetHealth:
    """What one host's extra attempts are paid from, in tokens."""

    host: str
    status: Status
    available: float | None
    """None: unlimited."""
    max: float | None
    utilization: float
    """Share that is used up, 0–1."""
    refill_rate: float
    """Tokens time brings, a second: as configured, or as the adaptive budget has it now."""
    deposit_ratio: float
    """Tokens each successful call brings."""
    denied: int
    """Extra attempts denied in the last `sampling_window` seconds."""
    recommendation: Recommendation | None


Part = BreakerHealth | BulkheadHealth | BudgetHealth


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How all hosts of a Resilience are at one instant: computed from live state, and then it stands still.

    `breakers`, `bulkheads` and `budgets` have one entry per host, in the same order: the worst first, then the busiest.
    """

    timestamp: float
    """Seconds since the epoch."""
    name: str | None
    """Of the Resilience."""
    breakers: tuple[BreakerHealth, ...]
    bulkheads: tuple[BulkheadHealth, ...]
    budgets: tuple[BudgetHealth, ...]

    @property
    def status(self) -> Status:
        """The worst of any host."""
        return worst(part for host in self.hosts() for part in host)

    @property
    def recommendations(self) -> tuple[Recommendation, ...]:
        """Of all hosts: the most severe first."""
        found = [part.recommendation for host in self.hosts() for part in host if part.recommendation is not None]
        return tuple(sorted(found, key=lambda one: -SEVERITIES.index(one.severity)))

    @property
    def open_circuit_count(self) -> int:
        """Hosts that get no calls: their circuit opened, or is held open by hand."""
        return sum(breaker.state in ("open", "isolated") for breaker in self.breakers)

    @property
    def degraded_provider_count(self) -> int:
        """Of those, the ones whose callers are answered from elsewhere: their status is degraded."""
        return sum(breaker.status == "degraded" for breaker in self.breakers)

    def hosts(self) -> Iterator[tuple[BreakerHealth, BulkheadHealth, BudgetHealth]]:
        """The three parts of each host together."""
        return zip(self.breakers, self.bulkheads, self.budgets, strict=True)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, by the schema in seawall/health/schema.json: no NaN, no infinity, only lists and strings."""
        return {
            "version": VERSION,
            "timestamp": self.timestamp,
            "name": self.name,
            "status": self.status,
            "open_circuit_count": self.open_circuit_count,
            "degraded_provider_count": self.degraded_provider_count,
            "recommendations": [_plain(one) for one in self.recommendations],
            "breakers": [_plain(one) for one in self.breakers],
            "bulkheads": [_plain(one) for one in self.bulkheads],
            "budgets": [_plain(one) for one in self.budgets],
        }


def worst(parts: Iterable[Part]) -> Status:
    """The worst status among them; healthy if there are none."""
    statuses: list[Status] = [part.status for part in parts]
    return max(statuses, key=STATUSES.index) if statuses else "healthy"


def _plain(one: Any) -> dict[str, Any]:
    """A dataclass as a dictionary, with those inside it; not `asdict`, which copies every number deeply."""
    names: tuple[str, ...] = one.__slots__
    found: dict[str, Any] = {name: getattr(one, name) for name in names}
    if "recommendation" in found and found["recommendation"] is not None:
        found["recommendation"] = _plain(found["recommendation"])
    if "transitions" in found:
        found["transitions"] = [_plain(change) for change in one.transitions]
        found["timeline"] = [list(tenth) for tenth in one.timeline]
    if "numbers" in found:
        found["numbers"] = dict(one.numbers)
    return found
