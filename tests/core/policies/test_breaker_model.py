"""The breaker against a naive model: any interleaving of calls, probes, late results, time and operators.

The model keeps every moment in a list and counts by going through it; time is in whole eighths of a second and rates
are fractions, so that its arithmetic is exact. It shares no code with the breaker.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from seawall import Breaker
from seawall.outcome import Reason
from seawall.policies.breaker import BreakerState, Result
from seawall.stats.window import Column, Window
from tests.walks import walk

EIGHTHS = 8
RESULTS = {"ok": Result.SUCCESS, "bad": Result.FAILURE, "ignored": Result.NEUTRAL}

configs = st.builds(
    dict,
    failure_threshold=st.sampled_from([1, 2, 4, 6, 1000]),
    min_failure_span=st.sampled_from([0, 0.5, 1]),
    failure_rate_threshold=st.sampled_from([0.25, 0.5, 1]), min_requests=st.sampled_from([2, 4, 8, 1000]),
    sampling_window=st.sampled_from([10, 20]), slow_call_duration=st.sampled_from([1, 1, None]),
    slow_call_rate_threshold=st.sampled_from([0.5, 0.75, 1]), open_duration=st.sampled_from([1, 2]),
    open_multiplier=st.sampled_from([1, 2]), max_open_duration=st.sampled_from([2, 4]),
    open_jitter=st.sampled_from([0, 0.5]), success_threshold=st.integers(1, 4),
    half_open_max_requests=st.integers(1, 3), half_open_timeout=st.sampled_from([1, 4]),
)  # fmt: skip


class Call:
    """A permit, as both sides know it."""

    def __init__(self, phase: object, era: int) -> None:
        self.phase: Any = phase
        self.era = era
        self.slow = False


class BreakerModel(RuleBasedStateMachine):
    calls = Bundle("calls")
    reached: ClassVar[Counter[str]] = Counter()

    @initialize(figures=configs)
    def begin(self, figures: dict[str, Any]) -> None:
        self.f = figures
        self.ticks = 0
        self.window = Window(figures["sampling_window"], 0.0)
        self.machine = BreakerState(Breaker(**figures), self.window, 0.0)
        self.changes = self.openings = 0
        self.late = Counter[str]()
        self.growth, self.era, self.until = 0, 0, Fraction(0)
        self._enter("closed", "new")
        self.changes = 0

    # What the model believes.

    @property
    def now(self) -> float:
        return self.ticks / EIGHTHS

    def _enter(self, phase: str, why: str) -> None:
        self.reached[why] += 1
        self.phase, self.entered = phase, self.ticks
        self.era += 1
        self.changes += 1
        self.run: list[int] = []
        self.probes: dict[Call, int] = {}
        self.successes = 0
        self.hanging = 0
        if phase == "closed":
            self.moments: list[tuple[int, str]] = []

    def _open(self, why: str, u: float, not_before: float = 0) -> None:
        if why == "PROBE_THROTTLED":
            self.until = Fraction(not_before)
        else:
            if self.phase == "closed":
                healthy = (self.ticks - self.entered) // (self.f["sampling_window"] * EIGHTHS)
                self.growth = max(0, self.growth - healthy)
            length = Fraction(self.f["open_duration"])
            for _ in range(self.growth):
                length *= self.f["open_multiplier"]
            length = min(length, max(self.f["max_open_duration"], self.f["open_duration"]))
            length *= 1 + Fraction(self.f["open_jitter"]) * (2 * Fraction(u) - 1)
            self.until = max(Fraction(self.ticks, EIGHTHS) + length, Fraction(not_before))
            self.growth += 1
        self.openings += 1
        self._enter("open", why)

    def _time(self, u: float) -> None:
        if self.phase == "open" and Fraction(self.ticks, EIGHTHS) >= self.until:
            self._enter("half_open", "TIME")
        elif self.phase == "half_open" and self.probes and self.ticks >= min(self.probes.values()):
            self._open("PROBE_EXPIRED", u)

    def _seen(self, what: str) -> int:
        """Moments in this bucket of the window and the nine before, going through all there ever were."""
        bucket = self.f["sampling_window"] * EIGHTHS // 10
        return sum(1 for at, kind in self.moments if kind == what and self.ticks // bucket - at // bucket < 10)

    def _judge(self, u: float, not_before: float = 0) -> None:
        bad, ended = self._seen("bad"), self._seen("bad") + self._seen("ok")
        slow, known = self._seen("slow") + self.hanging, ended + self.hanging
        if ended >= self.f["min_requests"] and Fraction(bad, ended) >= Fraction(self.f["failure_rate_threshold"]):
            self._open("RATE", u, not_before)
        elif (
            self.f["slow_call_duration"] and slow and known >= self.f["min_requests"]
            and Fraction(slow, known) >= Fraction(self.f["slow_call_rate_threshold"])
        ):  # fmt: skip
            self._open("SLOW", u, not_before)

    def _probe_ok(self) -> None:
        self.successes += 1
        if self.successes >= self.f["success_threshold"]:
            self._enter("closed", "RECOVERED")

    def _ended(self, call: Call, result: str, u: float, not_before: float) -> None:
        if call.era != self.era:
            self.late[result] += 1
            return
        was_probe = self.probes.pop(call, None) is not None
        if self.phase == "closed" and result != "ignored":
            self.moments.append((self.ticks, result))
            if result == "ok":
                self.run = []
                return
            self.run.append(self.ticks)
            spans = Fraction(self.run[-1] - self.run[0], EIGHTHS) >= Fraction(self.f["min_failure_span"])
            if len(self.run) >= self.f["failure_threshold"] and spans:
                self._open("RUN", u, not_before)
            else:
                self._judge(u, not_before)
        elif self.phase == "half_open":
            if result != "ignored":
                self.moments.append((self.ticks, result))
            if was_probe and result == "ok":
                self._probe_ok()
            elif was_probe and result == "bad":
                self._open("PROBE_FAILED", u, not_before)

    # What happens, on both sides.

    def _look(self, u: float) -> None:
        """Somebody looks: transitions of time are lazy, and this test does not care who notices them first."""
        self._time(u)
        assert self.machine.look(self.now, u).name == self.phase

    def _admit(self, u: float) -> Call | None:
        self._look(u)
        refusal = {"open": Reason.CIRCUIT_OPEN, "isolated": Reason.ISOLATED}.get(self.phase)
        if self.phase == "half_open" and len(self.probes) >= self.f["half_open_max_requests"]:
            refusal = Reason.HALF_OPEN_LIMIT
        call = Call(self.machine.phase, self.era)
        assert self.machine.admit(call, self.now, u, 0) is refusal
        if refusal is not None:
            return None
        if self.phase == "half_open":
            self.probes[call] = self.ticks + self.f["half_open_timeout"] * EIGHTHS
        return call

    def _settle(self, call: Call, result: str, u: float, delay: float = 0) -> None:
        self._look(u)
        not_before = self.now + delay if delay else 0
        if call.slow:
            if call.era == self.era and self.phase == "closed":
                self.hanging -= 1
                if result != "ignored":
                    self.moments.append((self.ticks, "slow"))
            self.machine.slow_ended(call, call.phase, RESULTS[result], self.now)
        self._ended(call, result, u, not_before)
        self.machine.settle(call, call.phase, RESULTS[result], self.now, u, not_before)

    chance = st.sampled_from([0, 0.25, 0.5, 0.75])
    delays = st.sampled_from([0, 0.5, 8])

    @rule(ticks=st.sampled_from([1, 2, 4, 8, 16, 32, 80, 81, 500]))
    def wait(self, ticks: int) -> None:
        self.ticks += ticks

    @rule(target=calls, u=chance)
    def a_call_hangs(self, u: float) -> Any:
        """As long as the circuit lets it, if it is a probe."""
        call = self._admit(u)
        if call is not None:
            self._wait_for_the_end_of_the_phase(0, u)
        return multiple(*([call] if call is not None else []))

    @rule(short=st.integers(0, 1), u=chance)
    def wait_until_time_itself_ends_the_phase(self, short: int, u: float) -> None:
        self._wait_for_the_end_of_the_phase(short, u)

    def _wait_for_the_end_of_the_phase(self, short: int, u: float) -> None:
        if self.phase == "open":
            self.ticks = max(self.ticks, -int(-self.until * EIGHTHS // 1) - short)
        elif self.probes:
            self.ticks = max(self.ticks, min(self.probes.values()) - short)
        self._look(u)

    @rule(count=st.integers(1, 6), result=st.sampled_from(sorted(RESULTS)), gap=st.sampled_from([0, 0, 1, 4]), u=chance)
    def calls_that_end_alike(self, count: int, result: str, gap: int, u: float) -> None:
        for _ in range(count):
            call = self._admit(u)
            if call is not None:
                self._settle(call, result, u)
            self.ticks += gap

    @rule(target=calls, count=st.integers(1, 4), hang=st.booleans(), u=chance)
    def calls_begin(self, count: int, hang: bool, u: float) -> Any:
        begun = [call for call in [self._admit(u) for _ in range(count)] if call is not None]
        for call in begun if hang else ():
            self._slow(call, u)
        return multiple(*begun)

    @rule(delay=delays, u=chance)
    def a_probe_is_told_to_come_back_later(self, delay: float, u: float) -> None:
        call = self._admit(u)
        if call is not None:
            self._throttled(call, delay, u)

    @rule(call=consumes(calls), result=st.sampled_from(sorted(RESULTS)), u=chance, delay=delays)
    def a_call_ends(self, call: Call, result: str, u: float, delay: float) -> None:
        self._settle(call, result, u, delay)

    @rule(call=calls, u=chance)
    def good_headers(self, call: Call, u: float) -> None:
        self._look(u)
        if call.era == self.era and self.probes.pop(call, None) is not None:
            self._probe_ok()
        self.machine.headers(call, call.phase, self.now, u)

    @rule(call=consumes(calls), delay=delays, u=chance)
    def a_call_is_throttled(self, call: Call, delay: float, u: float) -> None:
        self._throttled(call, delay, u)

    def _throttled(self, call: Call, delay: float, u: float) -> None:
        self._look(u)
        if call.era == self.era and self.probes.pop(call, None) is not None and delay:
            self._open("PROBE_THROTTLED", u, self.now + delay)
        self.machine.throttled(call, call.phase, self.now, u, self.now + delay if delay else 0)

    @rule(call=consumes(calls), u=chance)
    def dropped_without_a_word(self, call: Call, u: float) -> None:
        self._look(u)
        if call.slow:
            self._settle(call, "ignored", u)
        self.probes.pop(call, None)
        self.machine.forget(call)

    @rule(call=calls, u=chance)
    def a_call_is_slow_while_in_flight(self, call: Call, u: float) -> None:
        self._slow(call, u)

    def _slow(self, call: Call, u: float) -> None:
        if self.f["slow_call_duration"] and not call.slow:
            self._look(u)
            call.slow = True
            if call.era == self.era and self.phase == "closed":
                self.hanging += 1
                self._judge(u)
            self.machine.slow(call, call.phase, self.now, u, in_flight=True)

    @rule(act=st.sampled_from(["isolate", "restore", "restore", "restore", "reset"]))
    def operator(self, act: str) -> None:
        before = self.phase
        getattr(self.machine, act)(self.now)
        if act == "isolate" and before != "isolated":
            self._enter("isolated", "ISOLATE")
            self.growth = 0
        elif act == "reset" or (act == "restore" and before == "isolated"):
            self._enter("closed", act.upper())
            self.growth = 0
            self.changes -= before == "closed"

    # What must hold after every step.

    @invariant()
    def both_are_in_the_same_phase(self) -> None:
        assert (self.machine.phase.name, self.machine.change_count) == (self.phase, self.changes)
        assert self.machine.phase.growth == self.growth
        assert self.machine.open_count == self.openings

    @invariant()
    def probes_out_are_the_probes_given(self) -> None:
        out = set(getattr(self.machine.phase, "probes", ()))
        assert out == set(self.probes)
        assert len(out) <= self.f["half_open_max_requests"]

    @invariant()
    def the_window_saw_what_happened(self) -> None:
        self.window.advance(self.now)
        assert (self.window.sum(Column.SUCCESS), self.window.sum(Column.FAILURE)) == (
            self._seen("ok"),
            self._seen("bad"),
        )
        late = (self.window.lifetime(Column.LATE_SUCCESS), self.window.lifetime(Column.LATE_FAILURE))
        assert late == (self.late["ok"], self.late["bad"])

    @invariant()
    def open_says_how_long(self) -> None:
        if self.phase == "open":
            assert self.machine.retry_after(self.now) == max(0, self.until - Fraction(self.ticks, EIGHTHS))


def test__breaker__any_interleaving__behaves_as_the_naive_model() -> None:
    rare = {
        "RUN", "RATE", "SLOW", "TIME", "RECOVERED", "PROBE_FAILED", "PROBE_THROTTLED", "PROBE_EXPIRED", "ISOLATE",
        "RESTORE", "RESET",
    }  # fmt: skip
    walk(BreakerModel, rare, examples=250, steps=50)
