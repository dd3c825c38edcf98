"""I2: the circuit of each host, followed naively from what was sent, what came of it, and who was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from seawall import Breaker, CircuitOpen
from seawall.testing.checks.circuit import Circuit
from seawall.testing.checks.evidence import EPSILON, FAILURE, LONGEST_GATE, SUCCESS, THROTTLED, Evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.testing.sim.history import CallSeen, Sending


_BY_HAND: Final = Breaker(failure_threshold=1 << 60, min_requests=1 << 60)
"""A host without a breaker: only an operator opens it."""


def check(evidence: Evidence) -> Iterator[str]:
    """Each host's circuit does what its figures say: no sooner, no later, for no other reason."""
    for (client, origin), entries in evidence.threads.items():
        policy = client.resilience.policy_for("GET", origin)
        breaker = policy.breaker or _BY_HAND
        if breaker.slow_call_duration is not None or not evidence.is_plain(client):
            continue
        for wrong in _Follower(evidence, breaker).follow(entries):
            yield f"I2: {client} {origin}: {wrong}"


class _Follower:
    """Walks through what happened at one host."""

    def __init__(self, evidence: Evidence, config: Breaker) -> None:
        self.evidence = evidence
        self.config = config
        self.circuit: Circuit | None = None
        self.gate = 0.0

    def follow(self, entries: list[Any]) -> Iterator[str]:
        for kind, now, what in entries:
            if self.circuit is None:
                self.circuit = Circuit(self.config, now)
            wrong = getattr(self, f"_{kind}")(self.circuit, now, what)
            if wrong is not None:
                yield f"{wrong}, at {now:.6f}"
                return  # one mistake makes others

    def _call(self, circuit: Circuit, now: float, call: CallSeen) -> None:
        if not self.evidence.exempt(call, "breaker"):
            circuit.look(now)

    def _sent(self, circuit: Circuit, now: float, sending: Sending) -> str | None:
        call = sending.call
        if self.evidence.exempt(call, "breaker"):
            return None
        wrong = circuit.admit(sending, now, max(self.config.half_open_timeout, self._patience(call)))
        return None if wrong is None else f"{wrong}: {sending}"

    def _headers(self, circuit: Circuit, now: float, sending: Sending) -> None:
        if (sending.status or 0) < 400:
            circuit.headers(sending, now)

    def _judged(self, circuit: Circuit, now: float, sending: Sending) -> str | None:
        call = sending.call
        is_last = sending is call.sendings[-1]
        stopped = is_last and call.report is not None and call.report.reason == "" and call.ended == now
        ending = call.report.ending if stopped and call.report is not None else None
        wrong = None
        if ending is not None and ending.name == "REFUSED" and not self.evidence.exempt(call, "breaker"):
            wrong = self._lets_in(circuit, now)
        if stopped and sending.status is not None and sending.status >= 400:
            if self.evidence.meaning(sending).verdict == SUCCESS:
                circuit.headers(sending, now)
        return None if wrong is None else f"no retry since the circuit refuses, but it {wrong}: {call}"

    def _lets_in(self, circuit: Circuit, now: float) -> str | None:
        """Why the circuit would not refuse a retry at this instant; None: it would."""
        circuit.look(now)
        if circuit.state == "closed" and not self._opens(circuit, now):
            return "is closed"
        if circuit.state == "half_open" and len(circuit.probes) < self.config.half_open_max_requests:
            if self._rung(circuit, now):  # it is open again
                return None
            return f"has {len(circuit.probes)} probes out"
        return None

    def _opens(self, circuit: Circuit, now: float) -> bool:
        """Do attempts open it whose own clock rings at this instant?"""
        return circuit.would_open(self._rung(circuit, now), now)

    def _rung(self, circuit: Circuit, now: float) -> int:
        """Failures by attempts of this phase whose own clock rings at this instant: they count before they end."""
        rung = 0
        for sending, phase in circuit.phases.items():
            attempt = getattr(self.evidence.policy(sending.call).timeouts, "attempt", None)
            if phase == circuit.phase and sending.headers_at is None and isinstance(attempt, float):
                is_over = now >= sending.at + attempt - EPSILON
                rung += is_over and circuit.weigh(self.evidence.verdict(sending)) == FAILURE
        return rung

    def _ended(self, circuit: Circuit, now: float, sending: Sending) -> None:
        meaning = self.evidence.verdict(sending)
        policy = self.evidence.policy(sending.call)
        if meaning.asked and meaning.verdict in (FAILURE, THROTTLED):
            if policy.retry is not None and policy.retry.share_retry_after:
                self.gate = max(self.gate, now + min(meaning.asked, LONGEST_GATE))
        circuit.end(sending, meaning, now, self.gate)

    def _returned(self, circuit: Circuit, now: float, call: CallSeen) -> str | None:
        reason = "" if call.report is None else call.report.reason
        if reason not in ("circuit open", "half-open limit", "isolated"):
            return None
        wrong = circuit.refused(reason, now)
        if wrong is not None and reason == "circuit open":
            if self._opens(circuit, now) if circuit.state == "closed" else self._rung(circuit, now):
                wrong = None
        told = call.error.retry_after if isinstance(call.error, CircuitOpen) else None
        if wrong is None and reason == "circuit open" and told is not None:  # another error tells the server's delay
            wrong = circuit.learn(now + told)
        return None if wrong is None else f"{wrong}: {call}"

    def _act(self, circuit: Circuit, now: float, what: Any) -> None:
        _, act, _ = what
        if act == "isolate" and circuit.state != "isolated":
            circuit.enter("isolated", now)
            circuit.growth = 0
        elif act in ("reset", "reset_all") or (act == "restore" and circuit.state == "isolated"):
            circuit.enter("closed", now)
            circuit.growth = 0
        if act in ("reset", "reset_all"):
            self.gate = now

    def _picture(self, circuit: Circuit, now: float, what: Any) -> str | None:
        _, host = what
        if host.state == "open" and host.retry_after is not None:
            wrong = circuit.learn(now + host.retry_after)
            if wrong is not None:
                return wrong
        circuit.look(now)
        if host.state == "half_open" and circuit.state == "open" and now >= circuit.earliest - EPSILON:
            circuit.enter("half_open", now)
        if host.state != circuit.state:
            return f"it is {host.state} and should be {circuit.state} since {circuit.entered:.6f}"
        return None

    def _patience(self, call: CallSeen) -> float:
        """How long the client waits for headers, by whoever's clock: a probe may be out as long."""
        clocks: Any = self.evidence.policy(call).timeouts
        attempt, total = getattr(clocks, "attempt", None), getattr(clocks, "total", None)
        first_byte, idle, read = getattr(clocks, "first_byte", None), getattr(clocks, "idle", None), call.client.read
        numbers = [clock for clock in (attempt, total) if isinstance(clock, float)]
        if numbers or read is None:
            return min(numbers or [90.0])
        if isinstance(first_byte, float):
            return first_byte
        return min(clock for clock in (idle, read) if isinstance(clock, float))
