"""How long to wait between attempts: the vectors of the published algorithms, and what must hold for every input."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall import backoff
from seawall.backoff import Growth, Jitter

GROWTHS: list[Growth] = ["exponential", "linear", "fibonacci", "constant"]
JITTERS: list[Jitter] = ["full", "equal", "none"]
CAP = 2.0

chance = st.floats(0, 1, exclude_max=True)
seconds = st.floats(0, 1e6)


@pytest.mark.parametrize(
    ("growth", "multiplier", "expected"),
    [
        pytest.param("exponential", 2, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2], id="exponential: base times two to the n"),
        pytest.param("exponential", 3, [0.1, 0.3, 0.9, 2.7, 8.1, 24.3], id="exponential: base times three to the n"),
        pytest.param("exponential", 1, [0.1] * 6, id="exponential: multiplier one stays"),
        pytest.param("linear", 2, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], id="linear: base times n plus one"),
        pytest.param("fibonacci", 2, [0.1, 0.1, 0.2, 0.3, 0.5, 0.8], id="fibonacci: 1 1 2 3 5 8"),
        pytest.param("constant", 2, [0.1] * 6, id="constant: base"),
    ],
)
def test__growth__below_the_cap__follows_its_sequence(growth: Growth, multiplier: float, expected: list[float]) -> None:
    assert [backoff.grow(growth, 0.1, multiplier, 100, n) for n in range(6)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("growth", "expected"),
    [
        pytest.param("exponential", [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0], id="exponential"),
        pytest.param("linear", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], id="linear"),
        pytest.param("fibonacci", [0.1, 0.1, 0.2, 0.3, 0.5, 0.8, 1.3], id="fibonacci"),
    ],
)
def test__growth__reaching_the_cap__stays_there(growth: Growth, expected: list[float]) -> None:
    assert [backoff.grow(growth, 0.1, 2, CAP, n) for n in range(7)] == pytest.approx(expected)
    assert backoff.grow(growth, 0.1, 2, CAP, 50) == CAP


def test__growth__base_above_the_cap__gives_the_cap() -> None:
    assert {backoff.grow(growth, 5, 2, CAP, n) for growth in GROWTHS for n in range(4)} == {CAP}


@pytest.mark.parametrize("growth", ["exponential", "linear", "fibonacci"])
@pytest.mark.parametrize("multiplier", [1.5, 2, 2.5, 10, 1e300])
@pytest.mark.parametrize("n", [64, 1023, 1024, 5000, 10**6])
def test__growth__numbers_that_overflow__yield_the_cap(growth: Growth, multiplier: float, n: int) -> None:
    assert backoff.grow(growth, 0.5, multiplier, 30, n) == 30


def test__exponential__slow_growth__is_never_cut_short_of_its_power() -> None:
    # A shortcut such as "after a thousand steps only the cap can be meant" is wrong for multipliers near one.
    assert backoff.grow("exponential", 0.1, 1.001, 1e6, 5000) == pytest.approx(0.1 * math.exp(5000 * math.log(1.001)))


@pytest.mark.parametrize("growth", GROWTHS)
@pytest.mark.parametrize("n", [0, 1, 500, 5000])
def test__growth__of_no_delay__is_none_however_often(growth: Growth, n: int) -> None:
    assert backoff.grow(growth, 0, 10, 30, n) == 0


@given(st.sampled_from(GROWTHS), seconds, st.floats(1, 1e3), seconds, st.integers(0, 5000))
def test__growth__any_figures__is_finite_never_negative_never_above_the_cap(
    growth: Growth, base: float, multiplier: float, cap: float, n: int
) -> None:
    delay = backoff.grow(growth, base, multiplier, cap, n)
    assert 0 <= delay <= cap


@given(st.sampled_from(GROWTHS), st.floats(0, 10), st.floats(1, 10), seconds, st.integers(0, 200))
def test__growth__next_step__is_never_shorter(
    growth: Growth, base: float, multiplier: float, cap: float, n: int
) -> None:
    assert backoff.grow(growth, base, multiplier, cap, n + 1) >= backoff.grow(growth, base, multiplier, cap, n)


@pytest.mark.parametrize(
    ("jitter", "u", "expected"),
    [
        pytest.param("full", 0, 0.0, id="full: lowest chance"),
        pytest.param("full", 0.5, 4.0, id="full: middle"),
        pytest.param("full", 0.75, 6.0, id="full: three quarters"),
        pytest.param("equal", 0, 4.0, id="equal: never less than half"),
        pytest.param("equal", 0.5, 6.0, id="equal: middle"),
        pytest.param("equal", 0.75, 7.0, id="equal: three quarters"),
        pytest.param("none", 0, 8.0, id="none: lowest chance"),
        pytest.param("none", 0.75, 8.0, id="none: chance does nothing"),
        pytest.param("decorrelated", 0.75, 8.0, id="decorrelated: has its chance from its sequence"),
    ],
)
def test__jitter__of_eight_seconds(jitter: Jitter, u: float, expected: float) -> None:
    assert backoff.spread(jitter, 8, u) == pytest.approx(expected)


@given(st.sampled_from(JITTERS), seconds, chance)
def test__jitter__any_chance__never_exceeds_the_delay(jitter: Jitter, delay: float, u: float) -> None:
    assert 0 <= backoff.spread(jitter, delay, u) <= delay


@pytest.mark.parametrize("jitter", ["full", "equal"])
def test__jitter__at_the_cap__still_spreads(jitter: Jitter) -> None:
    capped = backoff.grow("exponential", 0.1, 2, CAP, 40)
    delays = {backoff.spread(jitter, capped, u) for u in (0.1, 0.3, 0.5, 0.7, 0.9)}
    assert len(delays) == 5
    assert max(delays) - min(delays) > 0.39 * CAP


def mean_delays(cap: float, count: int) -> list[float]:
    """The delay is linear in chance and in the one before, so chance one half carries the mean along."""
    means, previous = [], 0.1
    for _ in range(count):
        previous = backoff.decorrelated(0.1, cap, previous, 0.5)
        means.append(previous)
    return means


def test__decorrelated__means_of_the_first_delays__grow_as_published() -> None:
    assert mean_delays(math.inf, 5) == pytest.approx([0.20, 0.35, 0.57, 0.91, 1.42], abs=0.006)


def test__decorrelated__lower_bound__stays_the_base_however_long_the_last_delay() -> None:
    # With the previous delay as the lower bound the sequence would be a ratchet: it could only grow.
    assert {backoff.decorrelated(0.1, 20, previous, 0) for previous in (0.1, 1, 5, 20)} == {0.1}


def test__decorrelated__upper_bound__is_three_times_the_last_delay() -> None:
    almost_one = math.nextafter(1, 0)
    assert backoff.decorrelated(0.1, 20, 0.1, almost_one) == pytest.approx(0.3)
    assert backoff.decorrelated(0.1, 20, 2, almost_one) == pytest.approx(6)


def test__decorrelated__at_the_cap__delays_still_differ() -> None:
    delays = [backoff.decorrelated(0.1, CAP, CAP, u) for u in (0.1, 0.3, 0.5, 0.7, 0.9)]
    assert len(set(delays)) == 5
    assert all(0.1 <= delay <= CAP for delay in delays)


@given(seconds, seconds, seconds, chance)
def test__decorrelated__any_figures__stays_between_base_and_cap(
    base: float, cap: float, previous: float, u: float
) -> None:
    delay = backoff.decorrelated(base, cap, previous, u)
    assert min(base, cap) <= delay <= cap or delay == pytest.approx(cap)


def test__decorrelated__ten_thousand_rounds__never_leaves_its_bounds() -> None:
    delay = 0.1
    for n in range(10_000):
        delay = backoff.decorrelated(0.1, CAP, delay, (n * 0.618034) % 1)
        assert 0.1 <= delay <= CAP


@pytest.mark.parametrize(
    ("asked", "u", "expected"),
    [
        pytest.param(1, 0, 1.0, id="never shorter than asked"),
        pytest.param(1, 0.5, 1.25, id="a quarter later on average"),
        pytest.param(4, 0.999999, 6.0, id="at most half later"),
        pytest.param(0, 0.9, 0.0, id="nothing asked is nothing"),
    ],
)
def test__server_delay__is_obeyed_and_spread(asked: float, u: float, expected: float) -> None:
    assert backoff.obey(asked, 30, math.inf, u) == pytest.approx(expected, abs=1e-4)


def test__server_delay__near_a_deadline__leaves_half_the_room_for_the_attempt() -> None:
    assert backoff.obey(4, 30, 1, math.nextafter(1, 0)) == pytest.approx(4.5)
    assert backoff.obey(4, 30, -1, 0.9) == 4


@given(st.floats(0, 1e9), seconds, st.floats(-1e9, math.inf), chance)
def test__server_delay__any_figures__is_never_shortened_and_spread_by_the_cap_at_most(
    asked: float, cap: float, room: float, u: float
) -> None:
    delay = backoff.obey(asked, cap, room, u)
    assert asked <= delay <= asked + min(asked / 2, cap)
    assert delay <= asked + max(0, room / 2)
