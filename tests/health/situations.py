"""A minute of a shop's outgoing calls on a bad day, in virtual time: hosts in every state that health knows.

Played for the pictures in docs/ and for the tests of the page.
"""

from __future__ import annotations

import random
from typing import Any, Final

from seawall import AdaptiveBudget, Answer, Breaker, Bulkhead, Policy, Resilience, SimplifiedResponse, Verdict
from seawall.admission import Admission
from seawall.host import HostState
from seawall.testing import VirtualClock
from tests.core.stage import call_to, outcome


def nothing_special(request: object, error: BaseException) -> Answer:
    return Answer(200, json={})


TWENTY: Final = Breaker(min_failure_span=0, open_duration=20, max_open_duration=20, open_jitter=0)
FIVE: Final = Breaker(min_failure_span=0, open_duration=5, max_open_duration=5, open_jitter=0)
POLICIES: Final = {
    "https://payments.example.com": Policy(breaker=TWENTY),
    "https://llm.example.com": Policy(
        breaker=TWENTY, bulkhead=Bulkhead(max_concurrent=50), degrade=[SimplifiedResponse(nothing_special)]
    ),
    "https://images.example.net": Policy(bulkhead=Bulkhead(max_concurrent=40)),
    "https://embeddings.example.com": Policy(bulkhead=Bulkhead(max_concurrent=20), budget=AdaptiveBudget()),
    "https://maps.example.com": Policy(breaker=FIVE),
}


class Play:
    """A Resilience whose hosts are made to have seen something. `kept` holds attempts in flight and waiters."""

    def __init__(self, policies: dict[str, Policy] | Policy | None = None, **options: Any) -> None:
        self.clock = VirtualClock(1_140.0)
        self.resilience = Resilience(policies, clock=self.clock, **options)
        self.kept: list[object] = []
        self._chance = random.Random(7)

    def state(self, host: str) -> HostState:
        return call_to(self.resilience, f"https://{host}/").state

    def begin(self, host: str, latency: float = 0.0) -> Admission:
        """An attempt begins, or joins the line for a permit."""
        now = self.clock.now
        admission = Admission(call_to(self.resilience, f"https://{host}/"), 1, now - latency)
        self.kept.append((admission, admission.call.state.admit(admission, now)))
        return admission

    def attempt(self, host: str, verdict: Verdict = Verdict.SUCCESS, latency: float = 0.1) -> None:
        """One attempt from start to end."""
        admission = self.begin(host, latency * self._chance.lognormvariate(0, 0.6))
        self.kept.pop()
        admission.headers_at = self.clock.now
        if verdict is not Verdict.SUCCESS:
            admission.outcome = outcome(verdict)
        admission.call.state.settle(admission, verdict, self.clock.now)

    def traffic(self, host: str, rate: int, latency: float, failing: float = 0.0) -> None:
        """One second of it."""
        for _ in range(rate + self._chance.randint(0, 1 + rate // 8)):
            call = call_to(self.resilience, f"https://{host}/")
            if not call.state.is_calm and call.state.turn_away(call, self.clock.now):
                if call.policy.degrade:
                    call.state.count_degraded("simplified")
            else:
                fails = self._chance.random() < failing
                self.attempt(host, Verdict.FAILURE if fails else Verdict.SUCCESS, latency)

    def deny(self, host: str, times: int) -> None:
        """Ask for more extra attempts than the budget has."""
        state = self.state(host)
        while times:
            times -= not state.withdraw(self.clock.now)

    def wait(self, host: str, seconds: float) -> None:
        """Somebody waited so long for a permit, in the past."""
        self.state(host).bulkhead.waited += seconds


def bad_day() -> Play:
    play = Play(POLICIES, name="checkout")
    for second in range(60):
        play.clock.advance(1)
        play.traffic("api.example.com", 34, 0.045, failing=0.004)
        play.traffic("auth.internal", 21, 0.012)
        play.traffic("embeddings.example.com", 18, 0.32)
        play.traffic("images.example.net", 11, 0.6)
        play.traffic("llm.example.com", 9, 1.4, failing=float(second >= 47))
        play.traffic("mail.example.org", 3, 0.15, failing=0.25 * (second >= 52))
        play.traffic("maps.example.com", 4, 0.09, failing=float(44 <= second < 53))
        play.traffic("payments.example.com", 6, 0.21, failing=1.0 if second >= 55 else 0.02)
        play.traffic("search.internal", 12, 0.08, failing=0.5 * (second >= 52))
        play.wait("images.example.net", 4.4)
    play.deny("mail.example.org", 15)
    for host, out in (("images.example.net", 52), ("embeddings.example.com", 9), ("api.example.com", 6)):
        for _ in range(out):
            play.begin(host)
    return play
