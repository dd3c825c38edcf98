"""Retry budgets against naive models: accounts kept as a list of entries, in fractions of a token."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from seawall import AdaptiveBudget, RetryBudget, TokenBudget
from seawall.policies.budget import open_budget
from tests.walks import walk

EIGHTHS = 8

deposits = st.builds(
    dict, ratio=st.sampled_from(["0", "0.1", "0.2", "0.25", "1"]), cap=st.sampled_from([1, 2, 10]),
    start=st.sampled_from(["0", "0.5", "1"]), refill_per_minute=st.sampled_from([0, 30, 60]),
)  # fmt: skip
buckets = st.builds(dict, max_tokens=st.sampled_from([1, 3, 20]), refill_rate=st.sampled_from(["0", "0.5", "1", "8"]))


class BudgetModel(RuleBasedStateMachine):
    """The two kinds that do not learn. The model goes through its whole account at every question."""

    reached: ClassVar[Counter[str]] = Counter()

    @initialize(figures=deposits | buckets)
    def begin(self, figures: dict[str, Any]) -> None:
        self.ticks = 0
        given = {name: float(value) for name, value in figures.items()}
        if "ratio" in figures:
            self.budget = open_budget(RetryBudget(**given), 0.0)
            self.share, self.cap = Fraction(figures["ratio"]), Fraction(figures["cap"])
            self.rate, start = Fraction(figures["refill_per_minute"], 60), Fraction(figures["start"])
        else:
            self.budget = open_budget(TokenBudget(**given), 0.0)
            self.share, self.cap = Fraction(0), Fraction(figures["max_tokens"])
            self.rate, start = Fraction(figures["refill_rate"]), self.cap
        self.account: list[tuple[int, Fraction]] = [(0, start)]
        self.out = 0

    def _balance(self) -> Fraction:
        balance, before = Fraction(0), 0
        for at, amount in [*self.account, (self.ticks, Fraction(0))]:
            balance = min(self.cap, balance + self.rate * Fraction(at - before, EIGHTHS))
            balance, before = min(self.cap, balance + amount), at
        return balance

    @rule(ticks=st.sampled_from([1, 2, 8, 16, 80, 8 * 60, 8 * 3600]))
    def wait(self, ticks: int) -> None:
        self.ticks += ticks

    @rule(count=st.integers(1, 30))
    def calls_succeed(self, count: int) -> None:
        for _ in range(count):
            self.account.append((self.ticks, self.share))
            self.budget.deposit(1)

    @rule(count=st.integers(1, 12))
    def extra_attempts(self, count: int) -> None:
        for _ in range(count):
            pays = self._balance() >= 1
            assert self.budget.withdraw(self.ticks / EIGHTHS) is pays
            self.reached["paid" if pays else "denied"] += 1
            if pays:
                self.account.append((self.ticks, Fraction(-1)))
                self.out += 1

    @rule()
    def an_attempt_never_left(self) -> None:
        if self.out:
            self.out -= 1
            self.account.append((self.ticks, Fraction(1)))
            self.budget.give_back()

    @rule(success=st.booleans())
    def an_attempt_ends(self, success: bool) -> None:
        self.budget.sample(success, self.ticks / EIGHTHS)

    @invariant()
    def balances_agree_to_the_last_millionth(self) -> None:
        if hasattr(self, "account"):
            assert Fraction(self.budget.balance(self.ticks / EIGHTHS)) == pytest.approx(self._balance(), abs=1e-9)
            assert 0 <= self.budget.balance(self.ticks / EIGHTHS) <= self.cap
            self.reached["full" if self._balance() == self.cap else "part"] += 1


class AdaptiveModel(RuleBasedStateMachine):
    """The kind that learns: the rate after each sample, from the list of all samples not judged yet."""

    reached: ClassVar[Counter[str]] = Counter()

    @initialize(rate=st.sampled_from([1, 10, 48]), most=st.sampled_from([5, 100]))
    def begin(self, rate: int, most: int) -> None:
        self.now, self.turn = 0.0, 60.0
        self.rate, self.most = Fraction(rate), most
        self.budget = open_budget(AdaptiveBudget(max_tokens=most, refill_rate=rate), 0.0)
        self.samples: list[bool] = []
        self.paid = 0
        self.allowed = Fraction(most)
        """What a full bucket and every rate so far could have paid for at most."""

    @rule(seconds=st.sampled_from([0.5, 5, 30, 59.5, 60, 61, 1000]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.allowed += self.rate * Fraction(seconds)

    @rule(successes=st.integers(0, 12), failures=st.integers(0, 12))
    def retries_settle(self, successes: int, failures: int) -> None:
        for success in [True] * successes + [False] * failures:
            self.samples.append(success)
            if self.now >= self.turn:
                self._judge()
            self.budget.sample(success, self.now)

    def _judge(self) -> None:
        self.turn = self.now + 60
        if len(self.samples) < 10:
            self.reached["too few"] += 1
            return
        share = Fraction(sum(self.samples), len(self.samples))
        self.samples = []
        if share > Fraction(8, 10):
            self.rate = min(Fraction(50), self.rate * Fraction(11, 10))
            self.reached["highest" if self.rate == 50 else "up"] += 1
        elif share < Fraction(1, 2):
            self.rate = max(Fraction(1), self.rate * Fraction(9, 10))
            self.reached["lowest" if self.rate == 1 else "down"] += 1
        else:
            self.reached["stays"] += 1

    @rule(well=st.booleans(), intervals=st.integers(1, 4))
    def intervals_that_go_alike(self, well: bool, intervals: int) -> None:
        for _ in range(intervals):
            self.retries_settle(12 * well, 12 * (not well))
            self.wait(60)
            self.retries_settle(int(well), int(not well))

    @rule(count=st.integers(1, 150))
    def extra_attempts(self, count: int) -> None:
        for _ in range(count):
            self.paid += self.budget.withdraw(self.now)

    @rule()
    def calls_succeed(self) -> None:
        before = self.budget.balance(self.now)
        self.budget.deposit(1)
        assert self.budget.balance(self.now) == before

    @invariant()
    def rate_is_the_models_and_within_its_bounds(self) -> None:
        if hasattr(self, "rate"):
            assert self.budget.refill_rate == pytest.approx(float(self.rate))
            assert 1 <= self.budget.refill_rate <= 50

    @invariant()
    def nothing_is_paid_beyond_bucket_and_refill(self) -> None:
        if hasattr(self, "rate"):
            assert 0 <= self.budget.balance(self.now) <= self.most
            assert self.paid <= self.allowed + Fraction(1, 100)


def test__budget__any_account__is_kept_as_by_the_naive_model() -> None:
    walk(BudgetModel, {"paid", "denied", "full", "part"}, examples=200, steps=40)


def test__adaptive_budget__any_history__follows_the_naive_model() -> None:
    walk(AdaptiveModel, {"too few", "up", "down", "stays", "highest", "lowest"}, examples=200, steps=40)
