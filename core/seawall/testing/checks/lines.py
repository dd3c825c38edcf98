"""I1, I14: permits and the line for them, counted by who was on the way at each instant."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from seawall.testing.checks.evidence import EPSILON, Evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall import Bulkhead
    from seawall.testing.sim.history import CallSeen, Sending

_NOTICED_WITHIN: Final = 1.0
"""Seconds until somebody looks again: that long a permit whose holder died without a word may lie about."""


def check(evidence: Evidence) -> Iterator[str]:
    """As many attempts are on the way as the client says, no more than it may, and nobody waits for nothing."""
    for (client, origin), entries in evidence.threads.items():
        policy = client.resilience.policy_for("GET", origin)
        bulkhead = policy.bulkhead
        if bulkhead is not None and evidence.is_plain(client):
            has_pauses = (client, origin) in evidence.asked
            for wrong in _Usher(evidence, bulkhead, has_pauses).watch(entries):
                yield f"I1: {client} {origin}: {wrong}"


class _Usher:
    """Walks through what happened at one host."""

    def __init__(self, evidence: Evidence, bulkhead: Bulkhead, has_pauses: bool) -> None:
        self.evidence = evidence
        self.limit = bulkhead.max_concurrent
        self.bulkhead = bulkhead
        self.has_pauses = has_pauses
        """A server asked for one: then not everybody who waits waits for a permit."""
        self.out: dict[Sending, None] = {}
        self.waiting: OrderedDict[CallSeen, None] = OrderedDict()
        """Calls whose first attempt has not left, in the order they began."""
        self.passed: dict[CallSeen, float] = {}
        """Who was overtaken, and when."""
        self.freed_at = 0.0
        """When a permit came back last: it may be granted to somebody who has not taken it within the instant."""
        self.unnoticed = 0.0
        """Until when a free permit may lie about."""
        self.before = 0.0

    def watch(self, entries: list[Any]) -> Iterator[str]:
        for kind, now, what in entries:
            wrong = self.idle(now) if now > self.before + EPSILON else None
            self.before = now
            act = getattr(self, f"_{kind}", None)
            wrong = wrong or (act(now, what) if act is not None else None)
            if wrong is not None:
                yield f"{wrong}, at {now:.6f}"
                return

    def idle(self, now: float) -> str | None:
        """Time has passed: did somebody wait while there was room?"""
        if self.limit is None or self.has_pauses or self.before < self.unnoticed:
            return None
        if self.waiting and len(self.out) < self.limit:
            call = next(iter(self.waiting))
            return f"waits from {self.before:.6f} on while {len(self.out)} of {self.limit} permits are out: {call}"
        return None

    def _call(self, now: float, call: CallSeen) -> None:
        if not self.evidence.exempt(call, "bulkhead"):
            self.waiting[call] = None

    def _sent(self, now: float, sending: Sending) -> str | None:
        call = sending.call
        wrong = None
        if not self.evidence.exempt(call, "bulkhead"):
            if self.limit is not None and len(self.out) - self.just_passed(now) >= self.limit:
                wrong = f"more than {self.limit} on the way: {sending}"
            elif call in self.waiting:
                wrong = self.served(call, now)
        self.out[sending] = None
        return wrong

    def just_passed(self, now: float) -> int:
        """Attempts that asked nobody for a permit, at an instant when it may have been granted to somebody."""
        return sum(sending.at == now and self.evidence.exempt(sending.call, "bulkhead") for sending in self.out)

    def served(self, call: CallSeen, now: float) -> str | None:
        """The first attempt of a call leaves."""
        del self.waiting[call]
        overtaken = self.passed.pop(call, None)
        if overtaken is not None and now > overtaken + EPSILON and not self.has_pauses:
            return f"overtaken at {overtaken:.6f}: {call}"
        waited = now - call.began
        if self.limit is not None and not self.has_pauses and waited > self.bulkhead.max_wait + EPSILON:
            return f"served after {waited:.6f} s, and {self.bulkhead.max_wait} may be waited: {call}"
        for other in self.waiting:
            if other.began >= call.began:
                break
            self.passed.setdefault(other, now)
        return None

    def _ended(self, now: float, sending: Sending) -> None:
        self.out.pop(sending, None)
        self.freed_at = now
        if sending.end == "dropped":
            self.unnoticed = now + _NOTICED_WITHIN + EPSILON

    def _returned(self, now: float, call: CallSeen) -> str | None:
        was_waiting = call in self.waiting
        self.waiting.pop(call, None)
        self.passed.pop(call, None)
        reason = "" if call.report is None else call.report.reason
        if not reason.startswith("bulkhead"):
            return None
        if self.limit is None:
            return f"refused by a bulkhead without a limit: {call}"
        if not was_waiting or self.has_pauses:
            return None
        waited, most = now - call.began, self.bulkhead.max_wait
        if reason == "bulkhead timeout" and abs(waited - most) > EPSILON:
            return f"gave up after {waited:.6f} s of {most}: {call}"
        if reason == "bulkhead full" and waited > EPSILON:
            return f"refused as full after {waited:.6f} s: {call}"
        if len(self.out) < self.limit and now > max(self.unnoticed, self.freed_at + EPSILON):
            return f"refused ({reason}) while {len(self.out)} of {self.limit} permits are out: {call}"
        return None

    def _picture(self, now: float, what: Any) -> str | None:
        _, host = what
        if host.in_flight != len(self.out):
            return f"it shows {host.in_flight} in flight, and {len(self.out)} are: {list(self.out)[:3]}"
        if host.limit is not None and host.queue_depth > self.bulkhead.max_queue:
            return f"{host.queue_depth} wait, and {self.bulkhead.max_queue} may"
        return None
