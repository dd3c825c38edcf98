"""One circuit, followed naively: what a breaker's figures make of what was sent, and of what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seawall.testing.checks.evidence import EPSILON, FAILURE, IGNORED, LONGEST_GATE, SUCCESS, THROTTLED

if TYPE_CHECKING:
    from seawall import Breaker
    from seawall.testing.checks.evidence import Meaning
    from seawall.testing.sim.history import Sending


class Circuit:
    """What one breaker must do. An opening's length is chance: it is bounded, and learned from refusals."""

    def __init__(self, config: Breaker, now: float) -> None:
        self.config = config
        self.born = now
        self.state = "closed"
        self.phase = 0
        """Counts phases: what began in another moves nothing."""
        self.entered = now
        self.growth = 0
        self.run: list[float] = []
        """When the failures in a row were."""
        self.ends: list[tuple[float, bool]] = []
        """When calls ended in this phase, and whether they failed."""
        self.earliest = self.latest = 0.0
        """When an opening may, and must, be over."""
        self.successes = 0
        self.probes: dict[Sending, float] = {}
        """Who is out, and until when it may be."""
        self.phases: dict[Sending, int] = {}

    def enter(self, state: str, now: float) -> None:
        self.state, self.entered = state, now
        self.phase += 1
        self.run, self.ends, self.probes, self.successes = [], [], {}, 0

    def open(self, now: float, not_before: float, growth: int) -> None:
        c = self.config
        length = min(c.max_open_duration, c.open_duration * c.open_multiplier**growth)
        self.growth = growth + 1
        self.enter("open", now)
        self.earliest = max(now + length * (1 - c.open_jitter), not_before)
        self.latest = max(now + length * (1 + c.open_jitter), not_before)

    def grown(self, now: float) -> int:
        if self.state != "closed":
            return self.growth
        return max(0, self.growth - int((now - self.entered) / self.config.sampling_window))

    def look(self, now: float) -> None:
        """What time alone has changed, as far as that is certain."""
        if self.state == "open" and now >= self.latest - EPSILON:
            self.enter("half_open", now)
        elif self.state == "half_open" and self.probes and now >= min(self.probes.values()):
            self.open(now, 0.0, self.growth)

    def admit(self, sending: Sending, now: float, lease: float) -> str | None:
        """Something was sent; what is wrong with that."""
        self.look(now)
        wrong = None
        if self.state == "open":
            if now < self.earliest - EPSILON:
                wrong = f"sent while open: not before {self.earliest:.3f}"
            self.enter("half_open", now)
        if self.state == "isolated":
            return "sent while isolated"
        if self.state == "half_open":
            if len(self.probes) >= self.config.half_open_max_requests:
                wrong = f"a probe more than {self.config.half_open_max_requests}"
            self.probes[sending] = now + lease
        self.phases[sending] = self.phase
        return wrong

    def refused(self, reason: str, now: float) -> str | None:
        """Somebody was refused; what is wrong with that."""
        self.look(now)
        if reason == "half-open limit":
            if self.state == "open" and now >= self.earliest - EPSILON:
                return "all probes out, but none was sent"
            if self.state != "half_open" or len(self.probes) < self.config.half_open_max_requests:
                return f"refused for probes that are not out ({self.state}, {len(self.probes)})"
        elif reason == "isolated":
            return None if self.state == "isolated" else f"refused as isolated while {self.state}"
        elif self.state != "open":
            return f"refused as open while {self.state}"
        return None

    def learn(self, until: float) -> str | None:
        """An opening's end was told."""
        if self.state != "open":
            return None
        if not self.earliest - EPSILON <= until <= self.latest + EPSILON:
            return f"open until {until:.3f}, not within {self.earliest:.3f} and {self.latest:.3f}"
        self.earliest = self.latest = until
        return None

    def headers(self, sending: Sending, now: float) -> None:
        """A probe has good headers: it has shown what it was for."""
        if self.probes.pop(sending, None) is not None:
            self.succeeded(now)

    def succeeded(self, now: float) -> None:
        self.successes += 1
        if self.successes >= self.config.success_threshold:
            growth = self.growth
            self.enter("closed", now)
            self.growth = growth

    def end(self, sending: Sending, meaning: Meaning, now: float, gate: float) -> None:
        """A sending is over."""
        phase = self.phases.pop(sending, None)
        if phase != self.phase:
            return
        result = self.weigh(meaning)
        if self.state == "half_open":
            if self.probes.pop(sending, None) is None:
                return
            if result == SUCCESS:
                self.succeeded(now)
            elif result == FAILURE:
                self.open(now, gate, self.growth)
            elif result == THROTTLED and meaning.asked:
                growth = self.growth
                self.open(now, 0.0, growth)
                self.growth = growth
                self.earliest = self.latest = now + min(meaning.asked, LONGEST_GATE)
        elif self.state == "closed":
            if result == SUCCESS:
                self.run = []
                self.ends.append((now, False))
            elif result == FAILURE:
                self.run.append(now)
                self.ends.append((now, True))
                if self.opens(now):
                    self.open(now, gate, self.grown(now))

    def weigh(self, meaning: Meaning) -> str:
        """The verdict, less what the figures leave out."""
        c, result = self.config, meaning.verdict
        if result == THROTTLED:
            return FAILURE if c.count_429_as_failures else THROTTLED
        is_left_out = (meaning.is_timeout and not c.count_timeouts_as_failures) or (
            meaning.is_5xx and not c.count_5xx_as_failures
        )
        return IGNORED if result == FAILURE and is_left_out else result

    def would_open(self, failures: int, now: float) -> bool:
        """Would so many more failures open it?"""
        kept = self.run, self.ends
        self.run, self.ends = [*self.run, *[now] * failures], [*self.ends, *[(now, True)] * failures]
        opens = self.opens(now)
        self.run, self.ends = kept
        return opens

    def opens(self, now: float) -> bool:
        """Do the failures open it?"""
        c = self.config
        if len(self.run) >= c.failure_threshold and now - self.run[0] >= c.min_failure_span:
            return True
        bucket = c.sampling_window / 10
        here = int((now - self.born) / bucket)
        self.ends = [end for end in self.ends if here - int((end[0] - self.born) / bucket) < 10]
        failed = sum(failed for _, failed in self.ends)
        return len(self.ends) >= c.min_requests and failed / len(self.ends) >= c.failure_rate_threshold
