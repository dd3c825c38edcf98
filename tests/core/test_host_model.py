"""The whole HostState against a deliberately naive model: permits, line, phase, budget and totals, step by step."""

from __future__ import annotations

import gc
from fractions import Fraction
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from seawall import Breaker, Bulkhead, Policy, Retry, RetryBudget, Verdict, override
from seawall.admission import Admission
from seawall.outcome import Again, Outcome, Reason, Rejection
from seawall.policies.bulkhead import CLAIM_WITHIN, Ticket
from tests.core.stage import HOST, Stage

THRESHOLD, OPEN, PROBES, NEEDED, LEASE = 2, 4.0, 2, 3, 6.0
NOTHING: frozenset[str] = frozenset()
RATIO, CAP, START = Fraction(1, 5), 5, 2

limits = st.sampled_from([None, 1, 2, 2, 3, 4])

BREAKER = Breaker(
    failure_threshold=THRESHOLD,
    min_failure_span=0,
    min_requests=1_000_000,
    open_duration=OPEN,
    max_open_duration=OPEN,
    open_multiplier=1,
    open_jitter=0,
    half_open_max_requests=PROBES,
    success_threshold=NEEDED,
    half_open_timeout=LEASE,
)
BUDGET = RetryBudget(ratio=float(RATIO), cap=CAP, start=START, refill_per_minute=0)


def policy(limit: int | None, queue: int) -> Policy:
    bulkhead = Bulkhead(max_concurrent=limit, max_queue=queue)
    return Policy(breaker=BREAKER, budget=BUDGET, bulkhead=bulkhead, retry=Retry())


class Model:
    """What must hold, said with lists."""

    def __init__(self, now: float, limit: int | None, queue: int) -> None:
        self.limit, self.max_queue = limit, queue
        self.live: dict[int, object] = {}
        """Attempt → the phase it was let in by; None: it does not concern the circuit."""
        self.waiting: list[Ticket] = []
        self.granted: list[tuple[Ticket, float]] = []
        self.aside: list[tuple[Ticket, float]] = []
        """Waiters at the gate, whose places are kept, and until when."""
        self.stubborn: list[Ticket] = []
        """Of calls that an open circuit does not stop."""
        self.gate = now
        self.state = "closed"
        self.phase: object = object()
        self.run = self.successes = 0
        self.until = 0.0
        self.probes: list[tuple[int, float]] = []
        self.tokens = Fraction(START)
        self.ok = self.failed = self.throttled = self.refused = 0

    # -- time and phases

    def enter(self, state: str, until: float = 0.0) -> None:
        self.state, self.phase, self.until = state, object(), until
        self.run = self.successes = 0
        self.probes = []

    def look(self, now: float) -> None:
        if self.state == "open" and now >= self.until:
            self.enter("half_open")
        elif self.state == "half_open" and self.probes and now >= self.probes[0][1]:
            self.enter("open", now + OPEN)

    def vetoed(self, now: float) -> Reason | None:
        self.look(now)
        if self.state == "open":
            return Reason.CIRCUIT_OPEN
        if self.state == "isolated":
            return Reason.ISOLATED
        return Reason.HALF_OPEN_LIMIT if self.state == "half_open" and len(self.probes) >= PROBES else None

    # -- the line

    def room(self) -> bool:
        return self.limit is None or len(self.live) + len(self.granted) < self.limit

    def serve(self, now: float) -> None:
        """Whoever may go is granted a permit; while the circuit is open, that is who does not heed it."""
        if self.state in ("open", "isolated"):
            self.waiting = [ticket for ticket in self.waiting if ticket in self.stubborn]
            self.granted = [(ticket, at) for ticket, at in self.granted if ticket in self.stubborn]
        if self.waiting or self.granted:
            self.granted = [(ticket, at) for ticket, at in self.granted if now - at < CLAIM_WITHIN]
            while self.waiting and self.room():
                self.granted.append((self.waiting.pop(0), now))

    def forget(self, ticket: Ticket | None) -> None:
        self.waiting = [one for one in self.waiting if one is not ticket]
        self.granted = [(one, at) for one, at in self.granted if one is not ticket]
        self.aside = [(one, until) for one, until in self.aside if one is not ticket]

    def has_grant(self, ticket: Ticket | None) -> bool:
        return any(one is ticket for one, _ in self.granted)

    def ask(self, now: float, ticket: Ticket | None, lapsed: bool, exempt: frozenset[str]) -> str:
        """admitted, waits, refused or gate: what an attempt that wants in must hear."""
        veto = None if "breaker" in exempt else self.vetoed(now)
        if veto is not None:
            self.forget(ticket)
            self.refused += 1
            return veto.value
        if now < self.gate:
            self.forget(ticket)
            self.aside += [] if ticket is None else [(ticket, self.gate + (self.gate - now) / 2 + CLAIM_WITHIN)]
            return "gate"
        if "bulkhead" in exempt or self.has_grant(ticket):
            self.forget(ticket)
            return "admitted"
        if lapsed and ticket is not None:
            self.forget(ticket)
            self.waiting = sorted([*self.waiting, ticket], key=lambda one: one.number)
        if any(one is ticket for one in self.waiting):
            return "waits"
        if self.room() and not self.waiting:
            return "admitted"
        if len(self.waiting) + sum(now < until for _, until in self.aside) >= self.max_queue:
            self.refused += 1
            return Reason.BULKHEAD_FULL.value
        return "joins"

    def admit(self, attempt: int, now: float, exempt: frozenset[str]) -> None:
        self.live[attempt] = None if "breaker" in exempt else self.phase
        if self.state == "half_open" and "breaker" not in exempt:
            self.probes.append((attempt, now + LEASE))

    # -- the end of an attempt

    def end(self, attempt: int, verdict: Verdict | None, asked: float, now: float) -> None:
        """`verdict` None: it died without a word."""
        phase = self.live.pop(attempt)
        was_probe = any(probe == attempt for probe, _ in self.probes)
        self.probes = [(probe, lease) for probe, lease in self.probes if probe != attempt]
        if verdict is Verdict.SUCCESS:
            self.ok += 1
            self.tokens = min(Fraction(CAP), self.tokens + RATIO)
        self.failed += verdict is Verdict.FAILURE
        self.throttled += verdict is Verdict.THROTTLED
        if asked and verdict in (Verdict.FAILURE, Verdict.THROTTLED):
            self.gate = max(self.gate, now + asked)
        if phase is not self.phase:
            return
        if self.state == "closed":
            if verdict is Verdict.SUCCESS:
                self.run = 0
            elif verdict is Verdict.FAILURE:
                self.run += 1
                if self.run >= THRESHOLD:
                    self.enter("open", max(now + OPEN, self.gate))
        elif was_probe:
            if verdict is Verdict.SUCCESS:
                self.successes += 1
                if self.successes >= NEEDED:
                    self.enter("closed")
            elif verdict is Verdict.FAILURE:
                self.enter("open", max(now + OPEN, self.gate))
            elif verdict is Verdict.THROTTLED and asked:
                self.enter("open", now + asked)


class HostMachine(RuleBasedStateMachine):
    """Attempts come, wait, end well or badly, die; time passes; operators meddle."""

    @initialize(limit=limits, queue=st.integers(0, 3))
    def begin(self, limit: int | None, queue: int) -> None:
        self.stage = Stage(policy(limit, queue))
        self.stage.client = (1, 1)  # less patient than a probe's lease
        self.state = self.stage.call().state
        self.model = Model(self.now, limit, queue)
        self.live: dict[int, Admission] = {}
        self.lined_up: list[tuple[int, Admission, Ticket]] = []
        self.number = 0

    @property
    def now(self) -> float:
        return self.stage.clock.now

    def admission(self, exempt: frozenset[str]) -> Admission:
        with override(**dict.fromkeys(exempt)):  # type: ignore[misc]
            return Admission(self.stage.call(), 1, self.now)

    def hear(
        self, number: int, admission: Admission, said: Any, expected: str, exempt: frozenset[str] = NOTHING
    ) -> None:
        """What the host said must be what the model expects."""
        if said is None:
            assert expected == "admitted"
            self.model.admit(number, self.now, exempt)
            self.live[number] = admission
        elif isinstance(said, Rejection):
            assert said.reason.value == expected
        elif isinstance(said, Ticket):
            assert expected in ("waits", "joins")
            if expected == "joins":
                self.model.waiting.append(said)
                self.model.stubborn += [said] if "breaker" in exempt else []
            self.lined_up.append((number, admission, said))
        else:
            assert (expected, said) == ("gate", self.model.gate)

    @rule(
        count=st.integers(1, 4),
        exempt=st.sampled_from([NOTHING] * 8 + [frozenset({"breaker"}), frozenset({"bulkhead"})]),
    )
    def arrive(self, count: int, exempt: frozenset[str]) -> None:
        self.arrive_now(count, exempt)

    def arrive_now(self, count: int, exempt: frozenset[str]) -> None:
        for _ in range(count):
            self.number += 1
            admission = self.admission(exempt)
            expected = self.model.ask(self.now, None, False, exempt)
            said = self.state.admit(admission, self.now)
            self.hear(self.number, admission, said, expected, exempt)
            if isinstance(said, Rejection):
                self.model.serve(self.now)
            if said is None and "bulkhead" not in exempt and self.model.limit is not None:
                assert len(self.live) <= self.model.limit

    @precondition(lambda self: self.lined_up)
    @rule(data=st.data())
    def look_again(self, data: st.DataObject) -> None:
        self.look(data.draw(st.integers(0, len(self.lined_up) - 1)))

    def look(self, place: int) -> None:
        number, admission, ticket = self.lined_up.pop(place)
        lapsed = ticket.turn.name in ("LAPSED", "SENT_AWAY")
        expected = self.model.ask(self.now, ticket, lapsed, admission.call.exempt)
        said = self.state.enter(admission, ticket, self.now)
        self.hear(number, admission, said, expected, admission.call.exempt)
        if isinstance(said, float):  # it waits at the gate, and keeps its place
            self.lined_up.append((number, admission, ticket))
        self.model.serve(self.now)

    @precondition(lambda self: self.lined_up)
    @rule(data=st.data(), refused=st.booleans())
    def give_up(self, data: st.DataObject, refused: bool) -> None:
        _, _, ticket = self.lined_up.pop(data.draw(st.integers(0, len(self.lined_up) - 1)))
        self.state.leave(ticket, self.now, refused=refused)
        self.model.forget(ticket)
        self.model.refused += refused
        self.model.serve(self.now)

    def finish(self, number: int, verdict: Verdict, asked: float = 0.0) -> None:
        admission = self.live.pop(number)
        admission.headers_at = self.now
        if verdict is not Verdict.SUCCESS:
            admission.outcome = Outcome(verdict, None, Again.NO, retry_after=asked or None)
        self.state.settle(admission, verdict, self.now)
        self.model.end(number, verdict, asked, self.now)
        self.model.serve(self.now)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), verdict=st.sampled_from(Verdict), asked=st.sampled_from([0.0] * 5 + [1.0, 5.0]))
    def end(self, data: st.DataObject, verdict: Verdict, asked: float) -> None:
        self.finish(data.draw(st.sampled_from(sorted(self.live))), verdict, asked)

    @precondition(lambda self: self.live)
    @rule(verdict=st.sampled_from([Verdict.SUCCESS, Verdict.FAILURE, Verdict.FAILURE]))
    def all_end(self, verdict: Verdict) -> None:
        for number in sorted(self.live):
            self.finish(number, verdict)

    @precondition(lambda self: self.lined_up)
    @rule()
    def all_look_again(self) -> None:
        for _ in range(len(self.lined_up)):
            self.look(0)

    @precondition(lambda self: self.model.state == "open")
    @rule()
    def sit_it_out(self) -> None:
        self.stage.clock.now = max(self.now, self.model.until)
        self.arrive_now(3, NOTHING)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.live)))
        del self.live[number]
        gc.collect(0)
        self.model.end(number, None, 0, self.now)

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.stage.clock.advance(seconds)

    @rule()
    def retry(self) -> None:
        paid = self.state.withdraw(self.now)
        assert paid == (self.model.tokens >= 1)
        self.model.tokens -= paid

    @precondition(lambda self: self.model.tokens < CAP - 1)
    @rule()
    def never_left(self) -> None:
        self.state.give_back()
        self.model.tokens += 1

    @precondition(lambda self: self.number % 3 == 0)
    @rule(act=st.sampled_from(["isolate", "restore", "restore", "reset"]))
    def meddle(self, act: str) -> None:
        getattr(self.state, act)()
        model = self.model
        if act == "isolate" and model.state != "isolated":
            model.enter("isolated")
        elif act == "restore" and model.state == "isolated":
            model.enter("closed")
        elif act == "reset":
            model.enter("closed")
            model.gate, model.tokens = self.now, Fraction(START)
        model.serve(self.now)

    @precondition(lambda self: self.number % 3 == 0)
    @rule(limit=limits, queue=st.integers(0, 3))
    def configure(self, limit: int | None, queue: int) -> None:
        self.stage.resilience.configure("all://", policy(limit, queue))
        self.model.limit, self.model.max_queue = limit, queue
        self.model.serve(self.now)

    # -- what must hold after every step

    @invariant()
    def shows_what_the_model_says(self) -> None:
        if not hasattr(self, "model"):
            return
        model, picture = self.model, self.state.snapshot()
        model.look(self.now)
        assert picture.state == model.state
        assert (picture.in_flight, picture.queue_depth) == (len(model.live), len(model.waiting))
        assert (picture.consecutive_failures, picture.consecutive_successes) == (model.run, model.successes)
        assert (picture.total_successes, picture.total_failures) == (model.ok, model.failed)
        assert (picture.total_throttled, picture.total_rejections) == (model.throttled, model.refused)
        assert abs(Fraction(picture.budget) - model.tokens) < Fraction(1, 1000)
        assert picture.gate == max(0.0, model.gate - self.now)

    @invariant()
    def probes_are_few(self) -> None:
        assert not hasattr(self, "model") or len(self.model.probes) <= PROBES

    def teardown(self) -> None:
        """Everything comes back when everybody is gone."""
        if not hasattr(self, "model"):
            return
        for _, _, ticket in self.lined_up:
            self.state.leave(ticket, self.now, refused=False)
        self.live.clear()
        self.lined_up.clear()
        gc.collect(0)
        picture = self.state.snapshot()
        assert (picture.in_flight, picture.queue_depth) == (0, 0)
        assert picture.host == HOST


TestHost = HostMachine.TestCase
TestHost.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
