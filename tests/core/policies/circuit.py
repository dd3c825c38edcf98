"""A circuit with a clock one can turn by hand, for the tests of the breaker."""

from __future__ import annotations

from typing import Any

from seawall import Breaker
from seawall.outcome import Reason
from seawall.policies.breaker import BreakerState, Phase, Result
from seawall.stats.window import Column, Window

CHANCE = 0.5
"""The middle: jitter moves nothing."""


class Permit:
    """What an attempt holds: the phase it was let in by."""

    def __init__(self, phase: Phase) -> None:
        self.phase = phase


class Circuit:
    def __init__(self, start: float = 1000.0, **figures: Any) -> None:
        self.now = start
        self.u = CHANCE
        self.window = Window(figures.get("sampling_window", 10.0), self.now)
        self.state = BreakerState(Breaker(**figures), self.window, self.now)

    @property
    def phase(self) -> str:
        return self.state.phase.name

    @property
    def changes(self) -> list[tuple[str, str, str]]:
        return [(c.before.name, c.trigger.name, c.after.name) for c in self.state.changes]

    def wait(self, seconds: float) -> Circuit:
        self.now += seconds
        return self

    def look(self) -> str:
        return self.state.look(self.now, self.u).name

    def try_admit(self) -> Permit | Reason:
        permit = Permit(self.state.phase)
        refusal = self.state.admit(permit, self.now, self.u, 0)
        permit.phase = self.state.phase
        return permit if refusal is None else refusal

    def admit(self) -> Permit:
        permit = self.try_admit()
        assert isinstance(permit, Permit), permit
        return permit

    def settle(self, permit: Permit, result: Result, not_before: float = 0) -> None:
        self.state.settle(permit, permit.phase, result, self.now, self.u, not_before)

    def call(self, result: Result, count: int = 1, every: float = 0) -> Circuit:
        """So many calls, one after the other; the first at once, then `every` so many seconds."""
        for n in range(count):
            self.now += every if n else 0
            self.settle(self.admit(), result)
        return self

    def ok(self, count: int = 1, every: float = 0) -> Circuit:
        return self.call(Result.SUCCESS, count, every)

    def fail(self, count: int = 1, every: float = 0) -> Circuit:
        return self.call(Result.FAILURE, count, every)

    def ignore(self, count: int = 1) -> Circuit:
        return self.call(Result.NEUTRAL, count)

    def trip(self) -> Circuit:
        """Open it by a run of failures that spans enough time."""
        config = self.state.config
        self.fail(config.failure_threshold, every=max(0.001, config.min_failure_span))
        assert self.phase == "open"
        return self

    def half_open(self) -> Circuit:
        """Open it, and wait until it may be probed."""
        self.trip()
        self.now = self.open_until
        assert self.look() == "half_open"
        return self

    @property
    def open_until(self) -> float:
        after = self.state.retry_after(self.now)
        assert after is not None
        return self.now + after

    @property
    def opening(self) -> float:
        """Seconds the opening that has just begun lasts."""
        assert self.phase == "open"
        return self.open_until - self.now

    def seen(self, column: int) -> int:
        self.window.advance(self.now)
        return self.window.sum(column)

    @property
    def counts(self) -> tuple[int, int]:
        """Successes and failures that the window's rates see."""
        return self.seen(Column.SUCCESS), self.seen(Column.FAILURE)
