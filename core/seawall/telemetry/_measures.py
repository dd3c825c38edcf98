"""What is counted and measured of the events, whoever exports it: one table of names, one translation.

Names are OpenTelemetry's, dotted; what a collector makes of them for Prometheus is what `prometheus` exports itself,
so a dashboard fits both. Every label has its values from a closed set: those of an enum, or of the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from seawall.events import (
    AttemptEnded,
    AttemptStarted,
    BreakerChanged,
    BudgetExhausted,
    BulkheadWaited,
    CallEnded,
    Degraded,
    Event,
    GateClosed,
    Rejected,
    RetryScheduled,
)
from seawall.forks import Lock, follow
from seawall.outcome import Ending
from seawall.pattern import Pattern, is_provider

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.outcome import ErrorKind
    from seawall.resilience import Resilience


@dataclass(frozen=True, slots=True, eq=False)
class Instrument:
    """Something measured. `name` is without the unit; the labels come in this order."""

    name: str
    kind: Literal["counter", "histogram", "sum", "least"]
    """"sum" and "least" are levels, that is, absolute; several processes' are added, or the least of them tells."""
    text: str
    labels: tuple[str, ...]
    unit: Literal["", "s"] = ""


REQUESTS: Final = Instrument("seawall.client.requests", "counter", "Calls that ended.", ("host_group", "outcome"))
REQUEST_DURATION: Final = Instrument(
    "seawall.client.request.duration",
    "histogram",
    "Seconds until the caller had headers, exception or refusal: attempts, waits and all.",
    ("host_group", "outcome"),
    "s",
)
ATTEMPTS: Final = Instrument(
    "seawall.client.attempts", "counter", "Attempts that ended.", ("host_group", "verdict", "error_type")
)
ATTEMPT_DURATION: Final = Instrument(
    "seawall.client.attempt.duration",
    "histogram",
    "Seconds an attempt took to its headers, or until it failed without any.",
    ("host_group",),
    "s",
)
RETRIES: Final = Instrument("seawall.client.retries", "counter", "Retries scheduled.", ("host_group", "error_type"))
REJECTIONS: Final = Instrument(
    "seawall.client.rejections", "counter", "Calls and retries we refused.", ("host_group", "policy", "reason")
)
BUDGET: Final = Instrument(
    "seawall.retry.budget", "least", "Tokens the retry budget had left when an attempt ended.", ("host_group",)
)
DENIALS: Final = Instrument("seawall.retry.denials", "counter", "Retries the budget denied.", ("host_group",))
STATE: Final = Instrument(
    "seawall.breaker.state", "sum", "Circuits in this state; those in none are closed.", ("host_group", "state")
)
TRANSITIONS: Final = Instrument(
    "seawall.breaker.transitions", "counter", "Changes of circuits into this state.", ("host_group", "state", "reason")
)
PERMITS_USED: Final = Instrument(
    "seawall.bulkhead.permits.used", "sum", "Attempts in flight, bodies included.", ("host_group",)
)
PERMITS_LIMIT: Final = Instrument(
    "seawall.bulkhead.permits.limit", "sum", "Attempts that may be in flight, where there is a limit.", ("host_group",)
)
BULKHEAD_WAIT: Final = Instrument(
    "seawall.bulkhead.wait", "histogram", "Seconds a call waited for a permit.", ("host_group", "admitted"), "s"
)
GATE: Final = Instrument(
    "seawall.gate.duration", "histogram", "Seconds a server asked everybody to wait.", ("host_group",), "s"
)
FALLBACK: Final = Instrument(
    "seawall.fallback.served", "counter", "Calls answered from elsewhere.", ("host_group", "source", "reason")
)

INSTRUMENTS: Final = (
    REQUESTS,
    REQUEST_DURATION,
    ATTEMPTS,
    ATTEMPT_DURATION,
    RETRIES,
    REJECTIONS,
    BUDGET,
    DENIALS,
    STATE,
    TRANSITIONS,
    PERMITS_USED,
    PERMITS_LIMIT,
    BULKHEAD_WAIT,
    GATE,
    FALLBACK,
)

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Seconds: those of OpenTelemetry's HTTP durations, and up to two minutes for language models."""

NOT_CLOSED: Final = ("open", "half_open", "isolated")

_OUTCOMES: Final = {
    Ending.ANSWERED: "ok",
    Ending.COLLAPSED: "ok",
    Ending.DEGRADED: "fallback",
    Ending.REFUSED: "rejected",
    Ending.DEADLINE: "deadline",
    Ending.CANCELLED: "cancelled",
}

_MOST_HOSTS: Final = 1000
"""Hosts that get a label of their own where each is asked for: nobody forgets a label again."""


def outcome_of(ending: Ending) -> str:
    """How a call ended, in a word of few."""
    return _OUTCOMES.get(ending, "error")


class Export(Protocol):
    """Where figures go. Called in any thread; for levels, in one at a time."""

    def __call__(self, instrument: Instrument, value: float, labels: tuple[str, ...], /) -> None:
        """Add to a counter, record in a histogram, or set a level."""
        ...


class Measures:
    """Turns the events of one Resilience into figures. `each_host`: hosts are labels by themselves."""

    def __init__(self, resilience: Resilience, export: Export, *, each_host: bool) -> None:
        self._export = export
        self._clock = resilience.clock
        self._hosts: set[str] | None = set() if each_host else None
        self._lock = Lock()
        self._states: dict[str, tuple[str, str]] = {}
        """Host → label and state, while its circuit is not closed."""
        self._used: dict[str, int] = {}
        self._since = self._clock.monotonic()
        """Attempts that began before are none of ours: nobody heard them begin."""
        follow(self)
        if not each_host:
            for group in _groups(resilience):
                for state in NOT_CLOSED:
                    export(STATE, 0, (group, state))
        self._meanings: dict[type[Event], Any] = {
            AttemptStarted: self._started,
            AttemptEnded: self._ended,
            CallEnded: self._call_ended,
            RetryScheduled: self._retried,
            Rejected: self._rejected,
            BudgetExhausted: self._denied,
            BulkheadWaited: self._waited,
            BreakerChanged: self._changed,
            GateClosed: self._gate,
            Degraded: self._degraded,
        }

    def begin_afresh(self) -> None:
        """In the child of a fork: attempts in flight are the parent's. Nothing is exported: whose locks are free?"""
        self._used.clear()
        self._since = self._clock.monotonic()

    def hear(self, event: Event) -> None:
        """A listener for every kind of event."""
        self._meanings[type(event)](event, self._label(event))

    def look(self, resilience: Resilience) -> None:
        """Circuits that are not closed already."""
        for snapshot in resilience.snapshots():
            if snapshot.state != "closed":
                self._set_state(snapshot.host, snapshot.host_group, snapshot.state)

    def close(self) -> None:
        """It ends: nothing stays at a level that nobody will change any more."""
        with self._lock:
            for label in list(self._used):  # a list: while one is exported, finalisers may end attempts of others
                self._export(PERMITS_USED, 0, (label,))
            for key in set(self._states.values()):
                self._export(STATE, 0, key)

    def _label(self, event: Event) -> str:
        hosts = self._hosts
        if hosts is None:
            return event.host_group
        if event.host not in hosts:
            if len(hosts) >= _MOST_HOSTS:
                return "other hosts"
            hosts.add(event.host)
        return event.host

    def _started(self, event: AttemptStarted, label: str) -> None:
        if event.limit is not None:
            with self._lock:
                self._export(PERMITS_LIMIT, event.limit, (label,))
        if event.at >= self._since:
            self._use(label, 1)

    def _ended(self, event: AttemptEnded, label: str) -> None:
        if event.at - event.duration >= self._since:
            self._use(label, -1)
        self._export(ATTEMPTS, 1, (label, event.verdict.value, _error_type(event.kind)))
        if event.headers_after is not None or event.kind is not None:
            seconds = event.duration if event.headers_after is None else event.headers_after
            self._export(ATTEMPT_DURATION, seconds, (label,))
        if isfinite(event.budget):
            self._export(BUDGET, event.budget, (label,))

    def _use(self, label: str, change: int) -> None:
        with self._lock:
            used = self._used[label] = self._used.get(label, 0) + change
            self._export(PERMITS_USED, used, (label,))

    def _call_ended(self, event: CallEnded, label: str) -> None:
        outcome = outcome_of(event.ending)
        self._export(REQUESTS, 1, (label, outcome))
        self._export(REQUEST_DURATION, event.duration, (label, outcome))

    def _retried(self, event: RetryScheduled, label: str) -> None:
        self._export(RETRIES, 1, (label, _error_type(event.kind)))

    def _rejected(self, event: Rejected, label: str) -> None:
        self._export(REJECTIONS, 1, (label, event.policy, event.reason))

    def _denied(self, event: BudgetExhausted, label: str) -> None:
        self._export(DENIALS, 1, (label,))
        self._export(BUDGET, 0, (label,))

    def _waited(self, event: BulkheadWaited, label: str) -> None:
        self._export(BULKHEAD_WAIT, event.seconds, (label, "yes" if event.admitted else "no"))

    def _changed(self, event: BreakerChanged, label: str) -> None:
        self._export(TRANSITIONS, 1, (label, event.after, event.reason))
        self._set_state(event.host, label, event.after)

    def _set_state(self, host: str, label: str, state: str) -> None:
        with self._lock:
            before = self._states.pop(host, None)
            if state != "closed":
                self._states[host] = (label, state)
            for now in (before, self._states.get(host)):
                if now is not None:
                    self._export(STATE, list(self._states.values()).count(now), now)

    def _gate(self, event: GateClosed, label: str) -> None:
        self._export(GATE, event.seconds, (label,))

    def _degraded(self, event: Degraded, label: str) -> None:
        reason = "" if event.instead_of is None else event.instead_of.value
        self._export(FALLBACK, 1, (label, event.source, reason))


def _error_type(kind: ErrorKind | None) -> str:
    return "" if kind is None else kind.value


def _groups(resilience: Resilience) -> Iterator[str]:
    """The labels that the configuration names."""
    for text, policy in resilience.policies.items():
        if policy.group:
            yield str(policy.group)
        elif is_provider(text) or Pattern(text).host_only:
            yield text
    yield "all://"
