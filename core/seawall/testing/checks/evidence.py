"""What checkers know: the history sorted by client and host, and what outcomes mean, by a table of their own.

The table repeats what docs/classification.md promises, in other words and on purpose: a
checker that asked the product what an outcome means would agree with any mistake.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from seawall import Policy
from seawall.testing.sim.delays import meaning_of as asked_by
from seawall.testing.sim.messages import Headers

if TYPE_CHECKING:
    from seawall.policy import EffectivePolicy
    from seawall.testing.sim.client import Client
    from seawall.testing.sim.history import CallSeen, Entry, History, Sending

IGNORED, SUCCESS, FAILURE, THROTTLED = "ignored", "success", "failure", "throttled"
NO, SAFE, ANY = "no", "if safe", "any"
EPSILON: Final = 1e-6
LONGEST_GATE: Final = 300.0
SHARED: Final = "other hosts"
"""What the hosts are called that have no state of their own."""
EARLY: Final = 0.01
"""A timer may ring so many seconds early."""
_FILLED_IN: Final = 90.0

_STATUSES: Final = {
    **dict.fromkeys((500, 502, 503, 504, 520, 521, 522, 523, 524, 529, 408), (FAILURE, SAFE)),
    425: (SUCCESS, SAFE),
    429: (THROTTLED, ANY),
    501: (SUCCESS, NO),
    505: (SUCCESS, NO),
}
_ERRORS: Final = {
    "connection refused": (FAILURE, ANY),
    "name resolution": (FAILURE, ANY),
    "connection timeout": (FAILURE, ANY),
    "connection reset": (FAILURE, SAFE),
    "timeout": (FAILURE, SAFE),
    "invalid response": (FAILURE, SAFE),
}
IDEMPOTENT: Final = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"}


class Meaning(NamedTuple):
    """What an outcome says about the host, and whether the request may be sent again."""

    verdict: str
    again: str
    asked: float | None
    """Seconds the server asked to wait."""
    is_timeout: bool = False
    is_5xx: bool = False


def share_of(call: CallSeen, policy: Policy) -> float:
    """Seconds an attempt may have: a deadline that ends it sooner does not blame the host."""
    clocks: Any = policy.timeouts
    attempt, total = getattr(clocks, "attempt", None), getattr(clocks, "total", None)
    share = attempt if isinstance(attempt, float) else max(_FILLED_IN, call.client.read or 0.0)
    return min(share, total) if isinstance(total, float) else share


def _rang_before(sending: Sending, policy: Policy, deadline: float) -> bool:
    """Was it a clock of the attempt's own, a little before the deadline?"""
    names = ("attempt", "connect") if "connect" in sending.error else ("attempt", "first_byte")
    clocks = [getattr(policy.timeouts, name, None) for name in names]
    return any(isinstance(clock, float) and sending.at + clock < deadline for clock in clocks)


def asked_of(sending: Sending) -> float | None:
    """Seconds the answer asks to wait; None if it does not say so in a way that may be believed."""
    status, headers = sending.status, sending.exchange.headers if sending.exchange else Headers()
    if status is None or not (status in (408, 425, 429) or status >= 500):
        return None
    return asked_by(headers)


def meaning_of(sending: Sending, call: CallSeen, policy: Policy, deadline: float | None) -> Meaning:
    """What came of a sending that ended."""
    if sending.end == "cancelled" and sending.headers_at is None:
        return Meaning(IGNORED, NO, None)
    error, status = sending.error, sending.status
    if status is None:
        verdict, again = _ERRORS.get(error, (IGNORED, NO))
        is_timeout = "timeout" in error
        at = sending.judged_at or 0.0
        if (
            is_timeout
            and deadline is not None
            and at >= deadline - EARLY
            and not _rang_before(sending, policy, deadline)
        ):
            if at - sending.at < share_of(call, policy) - EARLY:
                verdict = IGNORED
        return Meaning(verdict, again, None, is_timeout)
    if status < 400:
        return Meaning(SUCCESS, NO, None)
    default = (FAILURE, NO) if status >= 500 else (SUCCESS, NO)
    verdict, again = _STATUSES.get(status, default)
    headers = sending.exchange.headers if sending.exchange else Headers()
    wish = headers.get("x-should-retry")
    if wish == "false":
        again = NO
    elif wish == "true":
        again = ANY
    if status == 429 and "json" in headers.get("content-type", "") and sending.exchange is not None:
        if b"insufficient_quota" in sending.exchange.body:
            again = NO
    return Meaning(verdict, again, asked_of(sending), status in (408, 504), status >= 500)


def verdict_at_end(sending: Sending, call: CallSeen, policy: Policy, deadline: float | None) -> Meaning:
    """What counts when it is over: a body that broke outweighs the headers."""
    meaning = meaning_of(sending, call, policy, deadline)
    if sending.end in ("cancelled", "dropped"):
        return Meaning(IGNORED, NO, None)
    if sending.end == "broke":
        is_timeout = sending.error in ("timeout", "OutOfTime")
        ended = sending.ended_at or 0.0
        if is_timeout and deadline is not None and ended >= deadline - EARLY:
            return Meaning(IGNORED, NO, None, is_timeout=True)
        return Meaning(FAILURE, NO, None, is_timeout, meaning.is_5xx)
    return meaning


class Evidence:
    """The history, by client and host, with each call's policy."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.threads: dict[tuple[Client, str], list[Entry]] = defaultdict(list)
        """What happened between one client and one host."""
        self.asked: set[tuple[Client, str]] = set()
        """Where a server asked a client for a pause."""
        self.answers: dict[tuple[Client, bytes], list[float]] = defaultdict(list)
        """When the headers of answers with such a body came."""
        self._policies: dict[tuple[Client, Any], EffectivePolicy] = {}
        self._deadlines: dict[CallSeen, float | None] = {}
        self._meanings: dict[Sending, Meaning] = {}
        self._verdicts: dict[Sending, Meaning] = {}
        self._plain: dict[Client, bool] = {}
        self.roused: dict[Client, list[float]] = defaultdict(list)
        """When an operator's act woke who slept out a pause."""
        self._slowest: dict[Client, float] = {}
        for entry in history.log:
            kind, _, what = entry
            if kind == "picture":
                for host in what.hosts:
                    if host.host == SHARED:
                        continue
                    self.threads[what.client, host.host].append((kind, entry[1], (what, host)))
            elif kind == "act":
                client, act, origin = what
                self.roused[client].append(entry[1])
                if act in ("isolate", "restore"):
                    self.threads[client, origin].append(entry)
                else:  # what nobody has called yet is not known, so there is nothing to reset
                    for key, thread in self.threads.items():
                        if key[0] is client and (key[1] == origin or act == "reset_all"):
                            thread.append(entry)
            elif kind in ("call", "returned"):
                self.threads[what.client, what.origin].append(entry)
            else:
                self.threads[what.call.client, what.origin].append(entry)
                if kind == "headers":
                    self.answers[what.call.client, what.exchange.body].append(entry[1])
                    if asked_of(what):
                        self.asked.add((what.call.client, what.origin))

    def policy(self, call: CallSeen) -> EffectivePolicy:
        """The policy in force for a call, what an override changed included."""
        key = call.client, call.override
        known = self._policies.get(key)
        if known is None:
            known = call.client.resilience.policy_for("GET", call.origin)
            if call.override is not None:
                known = call.override.policy.over(known)
            self._policies[key] = known
        return known

    def exempt(self, call: CallSeen, part: str) -> bool:
        """Did an override switch this part off for the call?"""
        return call.override is not None and getattr(call.override.policy, part) is None

    def deadline(self, call: CallSeen) -> float | None:
        """The instant by which the call has to be over."""
        if call in self._deadlines:
            return self._deadlines[call]
        clocks: Any = self.policy(call).timeouts
        total = getattr(clocks, "total", None)
        ends = call.deadline
        if isinstance(total, float) and (ends is None or call.began + total < ends):
            ends = call.began + total
        self._deadlines[call] = ends
        return ends

    def meaning(self, sending: Sending) -> Meaning:
        """What the client knew when it had to decide whether to send again."""
        known = self._meanings.get(sending)
        if known is None:
            call = sending.call
            known = self._meanings[sending] = meaning_of(sending, call, self.policy(call), self.deadline(call))
        return known

    def verdict(self, sending: Sending) -> Meaning:
        """What counted when it was over."""
        known = self._verdicts.get(sending)
        if known is None:
            call = sending.call
            known = self._verdicts[sending] = verdict_at_end(sending, call, self.policy(call), self.deadline(call))
        return known

    def slowest(self, client: Client) -> float:
        """Seconds the slowest answer of this client took to its headers."""
        known = self._slowest.get(client)
        if known is None:
            mine = (s for s in self.history.sendings if s.call.client is client and s.headers_at is not None)
            known = self._slowest[client] = max(((s.headers_at or 0.0) - s.at for s in mine), default=0.0)
        return known

    def is_plain(self, client: Client) -> bool:
        """No way to degrade: what is refused is refused at that instant, and no attempt is anybody else's. And it
        forgets no host."""
        known = self._plain.get(client)
        if known is None:
            policy = client.resilience.policies.get("all://")
            known = self._plain[client] = (policy is None or not policy.degrade) and self.knows_all(client)
        return known

    def knows_all(self, client: Client) -> bool:
        """Has each host that it called a state of its own, from the first call on?"""
        return sum(one is client for one, _ in self.threads) <= client.resilience.max_hosts
