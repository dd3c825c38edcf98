"""Retry budgets: what extra attempts cost, who pays, and the rate that follows the success of retries."""

from __future__ import annotations

import math

import pytest

from seawall import AdaptiveBudget, RetryBudget, TokenBudget
from seawall.policies.budget import Budget, BudgetState, open_budget


def opened(config: Budget | None, now: float = 0.0) -> BudgetState:
    return open_budget(config, now)


def withdrawals(budget: BudgetState, now: float, most: int = 1000) -> int:
    """How many extra attempts it pays for at this instant."""
    for n in range(most):
        if not budget.withdraw(now):
            return n
    return most


def deposits(budget: BudgetState, count: int) -> None:
    for _ in range(count):
        budget.deposit(1)


NO_TIME = {"refill_per_minute": 0.0}


def test__default__starts_with_three_and_then_denies() -> None:
    assert withdrawals(opened(RetryBudget()), 0) == 3


@pytest.mark.parametrize(
    ("ratio", "successes", "extra"),
    [
        pytest.param(0.2, 4, 0, id="four fifths are none"),
        pytest.param(0.2, 5, 1, id="five fifths are one"),
        pytest.param(0.2, 50, 10, id="a fifth of fifty"),
        pytest.param(0.1, 10, 1, id="ten tenths are one"),
        pytest.param(0.3, 10, 3, id="three tenths, ten times"),
        pytest.param(0.01, 100, 1, id="a hundred hundredths are one"),
        pytest.param(0.001, 1000, 1, id="a thousand thousandths are one"),
        pytest.param(1, 7, 7, id="one for one"),
        pytest.param(0, 1000, 0, id="nothing"),
    ],
)
def test__deposits__pay_for_exactly_their_share(ratio: float, successes: int, extra: int) -> None:
    budget = opened(RetryBudget(ratio=ratio, start=0, cap=1000, **NO_TIME))
    deposits(budget, successes)
    assert withdrawals(budget, 0) == extra


def test__law__extra_attempts_never_exceed_start_plus_share_of_successes() -> None:
    # Time stands still; whatever the order, the share holds at every moment.
    for ratio in (0.05, 0.1, 0.2, 0.5):
        budget = opened(RetryBudget(ratio=ratio, start=3, cap=10, **NO_TIME))
        successes = extra = 0
        for n in range(5000):
            if n * 7919 % 10 < 8:
                budget.deposit(1)
                successes += 1
            extra += budget.withdraw(0)
            assert extra <= 3 + ratio * successes + 1e-9
        assert extra >= ratio * successes


def test__cap__bounds_what_good_times_save() -> None:
    budget = opened(RetryBudget(cap=10, **NO_TIME))
    deposits(budget, 10_000)
    assert budget.balance(0) == 10
    assert withdrawals(budget, 0) == 10


def test__dead_host__brings_no_deposits_and_so_hardly_any_retries() -> None:
    budget = opened(RetryBudget())
    hour = sum(budget.withdraw(now) for now in range(3600))
    assert hour <= 3 + 60


def test__denied_withdrawal__costs_nothing() -> None:
    budget = opened(RetryBudget(start=0, **NO_TIME))
    deposits(budget, 4)
    assert withdrawals(budget, 0) == 0
    assert budget.balance(0) == pytest.approx(0.8)
    budget.deposit(1)
    assert budget.withdraw(0)


def test__give_back__returns_the_token_of_an_attempt_that_never_left() -> None:
    budget = opened(RetryBudget(**NO_TIME))
    assert withdrawals(budget, 0) == 3
    budget.give_back()
    assert withdrawals(budget, 0) == 1


@pytest.mark.parametrize(
    "config", [RetryBudget(start=10), TokenBudget(), AdaptiveBudget()], ids=lambda c: type(c).__name__
)
def test__give_back__never_exceeds_the_cap(config: Budget) -> None:
    budget = opened(config)
    budget.withdraw(0)
    deposits(budget, 100)
    budget.give_back()
    budget.give_back()
    assert budget.balance(0) == budget.cap


@pytest.mark.parametrize("config", [TokenBudget(), AdaptiveBudget()], ids=lambda c: type(c).__name__)
def test__bucket__a_retry_that_succeeds_is_not_free(config: Budget) -> None:
    budget = opened(config)
    for _ in range(60):
        budget.withdraw(0)
        budget.deposit(1)
    assert budget.balance(0) == 40


def test__refill__a_minute_brings_one_token_by_default() -> None:
    budget = opened(RetryBudget())
    assert withdrawals(budget, 0) == 3
    assert withdrawals(budget, 59.9) == 0
    assert withdrawals(budget, 60.001) == 1


def test__refill__stops_at_the_cap() -> None:
    budget = opened(RetryBudget())
    assert budget.balance(1e9) == 10


def test__token_bucket__starts_full_and_refills_by_the_second() -> None:
    budget = opened(TokenBudget(max_tokens=100, refill_rate=10))
    assert withdrawals(budget, 0) == 100
    assert withdrawals(budget, 0.099) == 0
    assert withdrawals(budget, 0.5) == 5
    assert budget.balance(1000) == 100


@pytest.mark.parametrize("rate", [1 / 60, 0.3, 1, 7, 10, 50], ids=lambda rate: f"{rate:.3g} a second")
@pytest.mark.parametrize("step", [1e-5, 1e-4, 1e-3, 0.013], ids=lambda step: f"looked at every {step:g} s")
def test__busy_bucket__loses_no_fraction_however_often_it_is_looked_at(rate: float, step: float) -> None:
    budget = opened(TokenBudget(max_tokens=1000, refill_rate=rate), now=12345.0)
    assert withdrawals(budget, 12345.0) == 1000
    looks = 50_000
    for n in range(1, looks + 1):
        budget.balance(12345.0 + n * step)
    assert budget.balance(12345.0 + looks * step) == pytest.approx(min(1000, rate * looks * step), rel=1e-3, abs=2e-5)


def test__clock_that_stands_or_goes_back__refills_nothing() -> None:
    budget = opened(TokenBudget(), now=100)
    assert withdrawals(budget, 100) == 100
    assert budget.balance(50) == 0
    assert budget.balance(100) == 0


def test__balance__is_in_tokens_and_never_above_the_cap() -> None:
    budget = opened(RetryBudget(start=2.5, cap=2.7))
    assert budget.balance(0) == 2.5
    deposits(budget, 3)
    assert budget.balance(0) == 2.7


def adaptive(**fields: float) -> BudgetState:
    return opened(AdaptiveBudget(**fields))


def settle(budget: BudgetState, successes: int, failures: int, now: float) -> None:
    for _ in range(successes):
        budget.sample(True, now)
    for _ in range(failures):
        budget.sample(False, now)


def look(budget: BudgetState, now: float) -> float:
    """The refill rate once somebody has used the budget at that time."""
    budget.withdraw(now)
    return budget.refill_rate


@pytest.mark.parametrize(
    ("successes", "failures", "rate"),
    [
        pytest.param(10, 0, 11, id="all succeed: up by a tenth"),
        pytest.param(81, 19, 11, id="81 %: up"),
        pytest.param(8, 2, 10, id="exactly 80 %: stays"),
        pytest.param(65, 35, 10, id="65 %: stays"),
        pytest.param(5, 5, 10, id="exactly 50 %: stays"),
        pytest.param(49, 51, 9, id="49 %: down"),
        pytest.param(0, 10, 9, id="all fail: down by a tenth"),
    ],
)
def test__adaptive__after_an_interval__follows_the_success_of_retries(
    successes: int, failures: int, rate: float
) -> None:
    budget = adaptive()
    settle(budget, successes - (successes > 0), failures - (successes == 0), now=30)
    assert budget.refill_rate == 10
    settle(budget, int(successes > 0), int(successes == 0), now=60)
    assert look(budget, 60) == pytest.approx(rate)


def test__adaptive__within_an_interval__does_not_move() -> None:
    budget = adaptive()
    settle(budget, 0, 1000, now=59.9)
    assert look(budget, 59.9) == 10


def test__adaptive__fewer_than_ten_samples__are_kept_for_the_next_interval() -> None:
    budget = adaptive()
    settle(budget, 0, 5, now=61)
    assert look(budget, 61) == 10
    settle(budget, 0, 4, now=119)
    assert look(budget, 119) == 10
    settle(budget, 0, 1, now=125)
    assert look(budget, 125) == pytest.approx(9)


def test__adaptive__samples_that_were_judged__are_not_judged_again() -> None:
    budget = adaptive()
    assert run(budget, False, 1) == [pytest.approx(9)]
    assert run(budget, True, 1, start=60) == [pytest.approx(9.9)]
    settle(budget, 0, 8, now=150)
    settle(budget, 0, 1, now=200)  # with one left over they would be ten
    assert look(budget, 200) == pytest.approx(9.9)


def test__adaptive__many_intervals_at_once__move_one_step() -> None:
    budget = adaptive()
    settle(budget, 0, 50, now=30)
    settle(budget, 0, 1, now=10_000)
    assert look(budget, 10_000) == pytest.approx(9)


def run(budget: BudgetState, success: bool, intervals: int, start: float = 0) -> list[float]:
    """The rate after each of so many intervals in which all retries ended alike."""
    rates = []
    for n in range(intervals):
        settle(budget, 20 * success, 20 * (not success), now=start + 60 * n + 30)
        settle(budget, int(success), int(not success), now=start + 60 * n + 60)
        rates.append(look(budget, start + 60 * n + 60))
    return rates


def test__adaptive__keeps_within_its_bounds() -> None:
    up = run(adaptive(), True, 30)
    down = run(adaptive(), False, 40)
    assert (max(up), up[-1]) == (50, 50)
    assert (min(down), down[-1]) == (1, 1)
    assert sum(rate < 50 for rate in up) == 16  # 10 × 1.1^n reaches 50 at n = 17
    assert sum(rate > 1 for rate in down) == 21  # 10 × 0.9^n reaches 1 at n = 22


def test__adaptive__can_fall_and_rise_again() -> None:
    budget = adaptive()
    low = run(budget, False, 5)[-1]
    assert run(budget, True, 3, start=300)[-1] > low


def test__adaptive__the_new_rate_is_really_applied_and_the_past_is_paid_at_the_old() -> None:
    budget = adaptive(max_tokens=100, refill_rate=1, min_refill_rate=0.1, max_refill_rate=2)
    assert withdrawals(budget, 0) == 100
    settle(budget, 0, 10, now=30)
    settle(budget, 0, 1, now=60)
    assert budget.balance(60) == pytest.approx(60, abs=1e-4)
    assert budget.balance(70) == pytest.approx(60 + 0.9 * 10, abs=1e-4)


def test__adaptive__starts_full() -> None:
    assert withdrawals(adaptive(), 0) == 100


def test__plain_kinds__learn_nothing_from_samples() -> None:
    for config in (RetryBudget(), TokenBudget()):
        budget = opened(config)
        before = budget.refill_rate
        settle(budget, 0, 100, now=1000)
        assert budget.refill_rate == before


def test__no_budget__pays_for_everything() -> None:
    budget = opened(None)
    assert withdrawals(budget, 0) == 1000
    budget.deposit(1)
    budget.give_back()
    budget.sample(False, 1000)
    assert math.isinf(budget.balance(0))
    assert math.isinf(budget.cap)
    assert budget.refill_rate == 0
