"""The bulkhead against a naive model: a list of names in line, whatever waiters, owners, limits and time do.

The test plays the host: it takes permits back and asks who is to be woken after each step, as a visit does.
"""

from __future__ import annotations

import gc
from collections import Counter
from typing import ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from seawall import Bulkhead
from seawall.policies.bulkhead import BulkheadState, Ticket, Turn

CLAIM = 4
"""Quarters of a second a woken waiter has."""


class Owner:
    """Holds a permit until it gives it back or dies."""


class Waiter:
    def __init__(self, number: int, ticket: Ticket) -> None:
        self.number = number
        self.ticket = ticket
        self.wakes = 0


class BulkheadModel(RuleBasedStateMachine):
    reached: ClassVar[Counter[str]] = Counter()

    @initialize(
        limit=st.integers(1, 3),
        places=st.sampled_from([0, 2, 100, 100]),
        waits=st.sampled_from([True, True, True, False]),
        changes=st.booleans(),
    )
    def begin(self, limit: int, places: int, waits: bool, changes: bool) -> None:
        self.limit, self.places, self.waits, self.limit_may_change = limit, places, waits, changes
        self.state = BulkheadState(self._config())
        self.ticks = self.number = self.refused = self.peak = 0
        self.owners: list[tuple[Owner, object]] = []
        self.line: list[Waiter] = []
        self.granted: dict[Waiter, int] = {}
        self.lapsed: list[Waiter] = []
        self.served: list[int] = []

    def _config(self) -> Bulkhead:
        return Bulkhead(max_concurrent=self.limit, max_queue=self.places, max_wait=5 if self.waits else 0)

    @property
    def now(self) -> float:
        return self.ticks / 4

    def _take(self) -> None:
        owner = Owner()
        self.owners.append((owner, self.state.take(owner)))
        self.peak = max(self.peak, len(self.owners))

    def _visit(self) -> None:
        """What every visit of the host ends with: free permits go to the first in line."""
        if self.granted:
            for waiter, at in list(self.granted.items()):
                if self.ticks - at >= CLAIM:
                    del self.granted[waiter]
                    self.lapsed.append(waiter)
                    self.reached["lapsed"] += 1
        expected: list[Waiter] = []
        while self.line and len(self.owners) + len(self.granted) < self.limit:
            waiter = self.line.pop(0)
            self.granted[waiter] = self.ticks
            expected.append(waiter)
        woken = self.state.grant(self.now)
        assert woken == [waiter.ticket for waiter in expected]
        for ticket in woken:
            ticket.wake()

    @rule(count=st.integers(1, 5))
    def newcomers(self, count: int) -> None:
        for _ in range(count):
            free = len(self.owners) + len(self.granted) < self.limit and not self.line
            turn = self.state.line_up(None, self.now)
            if free:
                assert turn is True
                self._take()
            elif not self.waits or len(self.line) >= self.places:
                assert turn is False
                self.refused += 1
                self.reached["refused"] += 1
            else:
                assert isinstance(turn, Ticket)
                self.number += 1
                waiter = Waiter(self.number, turn)
                self.line.append(waiter)
                self.reached["waits"] += 1

                def wake(waiter: Waiter = waiter) -> None:
                    waiter.wakes += 1

                turn.on_wake(wake)

    @precondition(lambda self: self.owners)
    @rule(which=st.integers(0, 100), dies=st.booleans())
    def a_permit_comes_back(self, which: int, dies: bool) -> None:
        owner, permit = self.owners.pop(which % len(self.owners))
        if dies:
            del owner
            gc.collect(0)
            assert permit in self.state.dead
        del self.state.live[permit]  # type: ignore[arg-type]
        self._visit()

    @precondition(lambda self: self.granted)
    @rule(which=st.integers(0, 100))
    def a_woken_waiter_claims(self, which: int) -> None:
        waiter = list(self.granted)[which % len(self.granted)]
        assert waiter.wakes > 0
        assert self.state.line_up(waiter.ticket, self.now) is True
        del self.granted[waiter]
        self.state.leave(waiter.ticket, self.now)
        self.served.append(waiter.number)
        self._take()
        self._visit()

    @precondition(lambda self: self.lapsed)
    @rule(which=st.integers(0, 100))
    def a_late_waiter_looks_again(self, which: int) -> None:
        waiter = self.lapsed.pop(which % len(self.lapsed))
        assert self.state.line_up(waiter.ticket, self.now) is waiter.ticket
        self.line = sorted([*self.line, waiter], key=lambda waiter: waiter.number)
        self.reached["rejoined"] += 1
        self._visit()

    @precondition(lambda self: self.line)
    @rule(which=st.integers(0, 100))
    def an_impatient_waiter_looks(self, which: int) -> None:
        waiter = self.line[which % len(self.line)]
        assert self.state.line_up(waiter.ticket, self.now) is waiter.ticket
        self._visit()

    @rule(which=st.integers(0, 100))
    def a_waiter_gives_up(self, which: int) -> None:
        everybody = [*self.line, *self.granted, *self.lapsed]
        if everybody:
            waiter = everybody[which % len(everybody)]
            for place in (self.line, self.lapsed):
                if waiter in place:
                    place.remove(waiter)
            self.granted.pop(waiter, None)
            self.state.leave(waiter.ticket, self.now)
            self.reached["gave up"] += 1
            self._visit()

    @rule(quarters=st.sampled_from([1, 3, 4, 5, 100]))
    def time_passes(self, quarters: int) -> None:
        self.ticks += quarters
        self._visit()

    @precondition(lambda self: self.granted)
    @rule(which=st.integers(0, 100))
    def woken_waiters_come_too_late(self, which: int) -> None:
        self.time_passes(CLAIM)
        for n in range(which % 3):
            if self.lapsed:
                self.a_late_waiter_looks_again(which + n)

    @precondition(lambda self: self.limit_may_change)
    @rule(limit=st.integers(1, 4))
    def the_limit_changes(self, limit: int) -> None:
        self.limit = limit
        self.state.configure(self._config())
        self._visit()

    @precondition(lambda self: self.line)
    @rule()
    def everybody_is_sent_away(self) -> None:
        sent = self.state.queue.send_away()
        assert set(sent) == {waiter.ticket for waiter in [*self.line, *self.granted]}
        for ticket in sent:
            ticket.wake()
        assert all(waiter.wakes for waiter in [*self.line, *self.granted])
        self.line, self.granted = [], {}
        self.reached["sent away"] += 1

    @invariant()
    def permits_in_are_permits_out(self) -> None:
        if hasattr(self, "owners"):
            assert {permit for _, permit in self.owners} == set(self.state.live)
            assert (self.state.peak, self.state.refused) == (self.peak, self.refused)

    @invariant()
    def no_waiter_sleeps_while_a_permit_is_free(self) -> None:
        if hasattr(self, "owners"):
            free = self.limit - len(self.owners) - len(self.granted)
            assert free <= 0 or not self.state.queue.waiting

    @invariant()
    def the_line_is_the_line(self) -> None:
        if hasattr(self, "owners"):
            assert list(self.state.queue.waiting) == [waiter.ticket for waiter in self.line]
            assert set(self.state.queue.granted) == {waiter.ticket for waiter in self.granted}
            numbers = [waiter.number for waiter in self.line]
            assert numbers == sorted(numbers), "somebody was overtaken"
            assert all(waiter.ticket.turn is Turn.WAITING for waiter in self.line)

    @invariant()
    def never_more_than_the_limit(self) -> None:
        if hasattr(self, "owners") and not self.limit_may_change:
            assert len(self.state.live) + len(self.state.queue.granted) <= self.limit


def test__bulkhead__any_crowd__is_served_as_by_the_naive_model() -> None:
    BulkheadModel.reached.clear()
    run_state_machine_as_test(BulkheadModel, settings=settings(max_examples=400, stateful_step_count=50, deadline=None))
    assert set(BulkheadModel.reached) == {"lapsed", "refused", "waits", "rejoined", "gave up", "sent away"}
