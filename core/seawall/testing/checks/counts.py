"""I8: one call, one end, one terminal event; and the sums that are shown agree with what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from seawall.events import AttemptEnded, AttemptStarted, BreakerChanged, CallEnded
from seawall.testing.checks.evidence import EPSILON, FAILURE, SUCCESS, THROTTLED, Evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall import Breaker
    from seawall.events import Event
    from seawall.snapshot import HostSnapshot
    from seawall.testing.sim.history import CallSeen, Sending

_EDGES: Final = {
    ("closed", "open"),
    ("open", "half_open"),
    ("half_open", "open"),
    ("half_open", "closed"),
    ("closed", "isolated"),
    ("open", "isolated"),
    ("half_open", "isolated"),
    ("isolated", "closed"),
    ("open", "closed"),
}
"""The last one by hand."""
_SAMPLES: Final = 400


def check(evidence: Evidence) -> Iterator[str]:
    yield from sums(evidence)
    yield from events(evidence)
    yield from ends(evidence)


def ends(evidence: Evidence) -> Iterator[str]:
    """Every call came to an end, and its report knows which."""
    for call in evidence.history.calls:
        if call.ended is None or (call.response is None) == (call.error is None):
            yield f"I8: no end, or two: {call}"
        elif call.report is not None:
            if call.report.ending is None:
                yield f"I8: its report does not know why it ended: {call}"
            elif evidence.is_plain(call.client):
                told = [(a.status, a.number) for a in call.report.attempts]
                seen = [(s.status, n) for n, s in enumerate(call.sendings, 1) if s.end != "cancelled"]
                if told[: len(seen)] != seen:
                    yield f"I8: its report tells of {told}, and there were {seen}: {call}"


def sums(evidence: Evidence) -> Iterator[str]:
    for (client, origin), entries in evidence.threads.items():
        breaker = client.resilience.policy_for("GET", origin).breaker
        if not evidence.is_plain(client):
            continue
        tally = _Tally(evidence, breaker)
        for kind, now, what in entries:
            if kind == "picture":
                wrong = tally.compare(what[1])
                if wrong:
                    yield f"I8 sums: {client} {origin}: {wrong}, at {now:.6f}"
                    break
            elif kind == "ended":
                tally.ended(what)
            elif kind == "returned":
                tally.refused += bool(what.report is not None and what.report.reason)
            elif kind == "sent":
                tally.sent += 1
            elif kind == "act" and what[1] in ("reset", "reset_all"):
                tally.times = []


class _Tally:
    """The lifetime totals of one host, and the times of its good answers."""

    def __init__(self, evidence: Evidence, breaker: Breaker | None) -> None:
        self.evidence = evidence
        self.breaker = breaker
        self.good = self.bad = self.throttled = self.timeouts = self.left_out = self.refused = 0
        self.sent = self.dropped = 0
        self.times: list[float] = []

    def ended(self, sending: Sending) -> None:
        meaning, breaker = self.evidence.verdict(sending), self.breaker
        self.dropped += sending.end == "dropped"
        if meaning.verdict == SUCCESS:
            self.good += 1
            if sending.headers_at is not None:
                self.times.append(sending.headers_at - sending.at)
        if meaning.verdict not in (FAILURE, THROTTLED):
            return
        counts = True
        if breaker is not None:
            counts = breaker.count_timeouts_as_failures or not meaning.is_timeout
            counts = counts and (breaker.count_5xx_as_failures or not meaning.is_5xx)
        if meaning.verdict == THROTTLED:
            self.throttled += 1
            counts = breaker is not None and breaker.count_429_as_failures
        self.timeouts += meaning.is_timeout
        self.bad += counts
        self.left_out += not counts

    def compare(self, host: HostSnapshot) -> str:
        shown = {
            "successes": (host.total_successes, self.good),
            "failures": (host.total_failures, self.bad),
            "throttled": (host.total_throttled, self.throttled),
            "timeouts": (host.total_timeouts, self.timeouts),
            "requests": (host.total_requests, self.good + self.bad + self.left_out),
            "rejections": (host.total_rejections, self.refused),
            "permits": (host.acquire_successes, self.sent - self.dropped),
        }
        for name, (told, true) in shown.items():
            if told != true:
                return f"{told} {name}, and there were {true}"
        if self.times and len(self.times) <= _SAMPLES:
            times = sorted(self.times)
            for share, told_time in ((0.5, host.latency_p50), (0.99, host.latency_p99)):
                true_time = times[min(len(times) - 1, int(share * len(times)))]
                if told_time is None or abs(told_time - true_time) > 1e-5 * (1 + true_time):
                    return f"quantile {share}: {told_time}, and it is {true_time}"
        return ""


def events(evidence: Evidence) -> Iterator[str]:
    """What listeners were told is what happened, in that order."""
    told: dict[tuple[Any, str], list[Event]] = {}
    for client, event in evidence.history.events:
        told.setdefault((client, event.host), []).append(event)
    listening = {client for client, _ in told}
    for (client, origin), entries in evidence.threads.items():
        if client not in listening or not evidence.is_plain(client):
            continue
        heard = told.get((client, origin), [])
        returned: list[CallSeen] = [what for kind, _, what in entries if kind == "returned"]
        ended = [event for event in heard if isinstance(event, CallEnded)]
        wrong = _compare_calls(ended, returned)
        by_id = {event.call.id: call for event, call in zip(ended, returned, strict=False)}
        wrong = wrong or _compare_attempts(evidence, [e for e in heard if isinstance(e, AttemptEnded)], by_id)
        started = sum(isinstance(event, AttemptStarted) for event in heard)
        sent = sum(kind == "sent" for kind, _, _ in entries)
        if not wrong and started != sent:
            wrong = f"{started} attempts told to begin, and {sent} did"
        wrong = wrong or _compare_changes([e for e in heard if isinstance(e, BreakerChanged)])
        if wrong:
            yield f"I8 events: {client} {origin}: {wrong}"


def _compare_calls(heard: list[CallEnded], returned: list[CallSeen]) -> str:
    if len(heard) != len(returned):
        return f"{len(heard)} calls told to end, and {len(returned)} did"
    for event, call in zip(heard, returned, strict=True):
        assert call.report is not None
        ending = call.report.ending
        if ending is not event.ending and (ending is None or ending.name != "BODY_BROKE"):
            return f"told {event.ending}, and it was {ending}: {call}"
        if event.attempts > len(call.sendings) or event.reason != call.report.reason:
            return f"told of {event.attempts} attempts, {event.reason!r}: {call}"
    return ""


def _compare_attempts(evidence: Evidence, heard: list[AttemptEnded], calls: dict[int, CallSeen]) -> str:
    told: set[Sending] = set()
    for event in heard:
        call = calls.get(event.call.id)
        if call is None or event.number > len(call.sendings):
            return f"told of the end of an attempt that never was: {event}"
        sending = call.sendings[event.number - 1]
        if sending in told:
            return f"told twice of the end of {sending}"
        told.add(sending)
        verdict = evidence.verdict(sending).verdict
        if event.verdict.value != verdict:
            return f"told {event.verdict.value}, and it is {verdict}: {sending}"
        takes = (sending.ended_at or 0.0) - sending.at
        if sending.end != "dropped" and abs(event.duration - takes) > EPSILON:  # what was dropped is noticed later
            return f"told it took {event.duration:.6f} s: {sending}"
    untold = [sending for call in calls.values() for sending in call.sendings if sending not in told]
    return f"not told of the end of {untold[0]}" if untold else ""


def _compare_changes(heard: list[BreakerChanged]) -> str:
    state = "closed"
    for event in heard:
        if event.before != state or (event.before, event.after) not in _EDGES:
            return f"a circuit that went from {event.before} to {event.after} while it was {state}"
        if (event.before, event.after) == ("open", "closed") and event.reason != "reset()":
            return f"a circuit that closed without a probe: {event.reason}"
        state = event.after
    return ""
