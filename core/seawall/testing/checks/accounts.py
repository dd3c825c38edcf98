"""I4: the retry budget of each host, kept a second time: what was earned, what was paid, what had to be refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from seawall import AdaptiveBudget, RetryBudget
from seawall.testing.checks.evidence import IGNORED, NO, SUCCESS, Evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.policies.budget import Budget
    from seawall.testing.sim.history import CallSeen, Sending

_CLOSE: Final = 1e-4
"""Balances differ by rounding, no more."""
_PAID: Final = ("REFUSED", "DEADLINE")
"""A call that was refused an attempt it had paid for."""


class Account:
    """One budget, in plain numbers."""

    def __init__(self, budget: Budget, now: float) -> None:
        self.budget = budget
        self.since = now
        self.samples: list[bool] = []
        if isinstance(budget, RetryBudget):
            self.most, self.tokens, self.rate = budget.cap, budget.start, budget.refill_per_minute / 60
        else:
            self.most, self.tokens, self.rate = budget.max_tokens, budget.max_tokens, budget.refill_rate
        self.turn = now + budget.interval if isinstance(budget, AdaptiveBudget) else 0.0

    def at(self, now: float) -> float:
        self.add((now - self.since) * self.rate)
        self.since = now
        return self.tokens

    def add(self, tokens: float) -> None:
        self.tokens = min(self.most, self.tokens + tokens)

    def earn(self, now: float) -> None:
        if isinstance(self.budget, RetryBudget):
            self.at(now)
            self.add(self.budget.ratio)

    def sample(self, good: bool, now: float) -> None:
        """A paid attempt is over: the adaptive kind learns from it."""
        budget = self.budget
        if not isinstance(budget, AdaptiveBudget):
            return
        self.samples.append(good)
        if now < self.turn:
            return
        self.turn = now + budget.interval
        if len(self.samples) < 10:
            return
        self.at(now)
        share = sum(self.samples) / len(self.samples)
        self.samples = []
        if share > 0.8:
            self.rate = min(budget.max_refill_rate, self.rate * 1.1)
        elif share < 0.5:
            self.rate = max(budget.min_refill_rate, self.rate * 0.9)


def check(evidence: Evidence) -> Iterator[str]:
    """Each extra attempt was paid for, each denial was due, and the balance shown is the one that remains."""
    for (client, origin), entries in evidence.threads.items():
        policy = client.resilience.policy_for("GET", origin)
        if policy.budget is not None and evidence.is_plain(client):
            for wrong in _Auditor(evidence, policy.budget).audit(entries):
                yield f"I4: {client} {origin}: {wrong}"


class _Auditor:
    """Walks through what happened at one host."""

    def __init__(self, evidence: Evidence, budget: Budget) -> None:
        self.evidence = evidence
        self.budget = budget
        self.account: Account | None = None
        self.denied = 0
        self.unsure = 0
        """Last answers that broke afterwards: their reports do not tell any more whether a retry was denied."""
        self.paid: set[CallSeen] = set()
        """Who paid for an attempt that has not left."""
        self.paid_for: set[Sending] = set()

    def audit(self, entries: list[Any]) -> Iterator[str]:
        for kind, now, what in entries:
            if self.account is None:
                self.account = Account(self.budget, now)
            act = getattr(self, f"_{kind}", None)
            wrong = act(self.account, now, what) if act is not None else None
            if wrong is not None:
                yield f"{wrong}, at {now:.6f}"
                return

    def _judged(self, account: Account, now: float, sending: Sending) -> str | None:
        call = sending.call
        if self.evidence.exempt(call, "budget"):
            return None
        if self.follows(sending):
            if account.at(now) < 1 - _CLOSE:
                return f"a retry for {account.tokens:.6f} tokens: {call}"
            account.tokens -= 1
            self.paid.add(call)
        elif call.report is not None and call.report.ending is not None:
            if call.report.ending.name == "BODY_BROKE" and self.evidence.meaning(sending).again != NO:
                self.unsure += account.at(now) < 1 + _CLOSE
            if call.report.ending.name == "BUDGET_EXHAUSTED" and sending is call.sendings[-1]:
                self.denied += 1
                if account.at(now) >= 1 + _CLOSE:
                    return f"a retry denied with {account.tokens:.6f} tokens left: {call}"
        return None

    def follows(self, sending: Sending) -> bool:
        """Was another attempt decided on when this one had failed?"""
        call = sending.call
        if sending is not call.sendings[-1]:
            return True
        if call.report is None or call.report.ending is None or call.ended is None:
            return False
        ending = call.report.ending.name
        # Cancelled after it was judged: while it read ahead, slept, or waited for a permit. A good one was handed over.
        cancelled = ending == "CANCELLED" and (sending.status is None or sending.status >= 400)
        return cancelled or (ending in _PAID and call.report.reason != "")

    def _sent(self, account: Account, now: float, sending: Sending) -> None:
        if sending.call in self.paid:
            self.paid.discard(sending.call)
            self.paid_for.add(sending)

    def _ended(self, account: Account, now: float, sending: Sending) -> None:
        verdict = self.evidence.verdict(sending).verdict
        if verdict == SUCCESS:
            account.earn(now)
        if sending in self.paid_for and verdict != IGNORED:
            account.sample(verdict == SUCCESS, now)

    def _returned(self, account: Account, now: float, call: CallSeen) -> None:
        if call in self.paid:  # the attempt never left
            self.paid.discard(call)
            account.at(now)
            account.add(1)

    def _act(self, account: Account, now: float, what: Any) -> None:
        if what[1] in ("reset", "reset_all"):
            self.account = Account(self.budget, now)

    def _picture(self, account: Account, now: float, what: Any) -> str | None:
        _, host = what
        account.at(now)
        if abs(host.budget - account.tokens) > _CLOSE:
            return f"it shows {host.budget:.6f} tokens, and has {account.tokens:.6f}"
        if abs(host.budget_refill_rate - account.rate) > _CLOSE:
            return f"it shows a refill of {host.budget_refill_rate:.6f}, and has {account.rate:.6f}"
        if not self.denied <= host.budget_denials <= self.denied + self.unsure:
            return f"it shows {host.budget_denials} denials, and made {self.denied}"
        return None
