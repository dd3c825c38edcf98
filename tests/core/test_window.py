"""Counts of the last seconds: time empties the buckets, on reads too."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.stats.window import BUCKETS, Column, Window

OK, BAD = Column.SUCCESS, Column.FAILURE


def seen(window: Window, column: int, now: float) -> int:
    window.advance(now)
    return window.sum(column)


def test__ten_buckets__as_specified() -> None:
    assert BUCKETS == 10


def test__new__is_empty() -> None:
    window = Window(10, 0)
    assert window.is_empty
    assert (window.sum(OK), window.lifetime(OK)) == (0, 0)


def test__counts__keep_to_their_columns() -> None:
    window = Window(10, 0)
    for column in range(11):
        for _ in range(column + 1):
            window.count(column, 0)
    assert [window.sum(column) for column in range(11)] == list(range(1, 12))


def test__tenths__oldest_first_wherever_the_ring_stands() -> None:
    window = Window(10, 0)
    assert window.tenths(OK) == (0,) * 10
    for second in range(14):
        for _ in range(second):
            window.count(OK, second)
    assert window.tenths(OK) == tuple(range(4, 14))
    assert window.tenths(BAD) == (0,) * 10
    window.advance(15.5)
    assert window.tenths(OK) == (*range(6, 14), 0, 0)


def test__counts__across_buckets__add_up() -> None:
    window = Window(10, 0)
    for second in range(10):
        window.count(BAD, second)
    assert seen(window, BAD, 9.999) == 10


def test__a_tenth__of_a_very_long_window__holds_counts_by_the_thousand_million() -> None:
    window = Window(1e11, 0)
    window.count_all(OK, range(1 << 31))  # 21 calls a second for three years
    assert window.sum(OK) == 1 << 31


def test__a_count__stays_nine_buckets_and_leaves_with_the_tenth() -> None:
    window = Window(10, 0)
    window.count(BAD, 0.5)
    assert seen(window, BAD, 9.999) == 1
    assert seen(window, BAD, 10) == 0


def test__buckets__leave_one_by_one() -> None:
    window = Window(10, 0)
    for second in range(10):
        window.count(BAD, second)
    assert [seen(window, BAD, now) for now in (10, 11, 12.5, 15, 19)] == [9, 8, 7, 4, 0]


@pytest.mark.parametrize("gap", [20, 21.5, 60, 3600, 1e7, 1e12])
def test__idle_gap_longer_than_the_window__leaves_nothing(gap: float) -> None:
    window = Window(10, 0)
    for second in range(10):
        window.count(BAD, second)
    assert seen(window, BAD, gap) == 0
    assert window.is_empty


@pytest.mark.parametrize("gap", [20, 21.5, 3600, 1e7])
def test__after_an_idle_gap__counting_goes_on_for_a_whole_window(gap: float) -> None:
    window = Window(10, 0)
    window.count(BAD, gap)
    assert seen(window, BAD, gap + 8.9) == 1
    assert seen(window, BAD, gap + 10.1) == 0


def test__end__is_when_the_current_bucket_is_full() -> None:
    window = Window(10, 100)
    assert window.end == 101
    window.advance(103.5)
    assert window.end == 104
    window.resize(100, 104)
    assert window.end == 114


@pytest.mark.parametrize(("duration", "gap"), [(2, 300_000.0), (0.5, 20_000_000.0), (2, 70_000_000.0)])
def test__end__after_a_gap_whose_tenths_do_not_add_up_exactly__is_still_to_come(duration: float, gap: float) -> None:
    window = Window(duration, 0)
    window.advance(gap)
    assert window.end == gap + duration / 10


def test__reads__forget_without_a_write() -> None:
    window = Window(10, 0)
    window.count(BAD, 0)
    window.advance(5)
    window.advance(10)
    assert window.sum(BAD) == 0


def test__a_step_of_several_buckets__empties_each_it_passes() -> None:
    window = Window(10, 0)
    for second in range(10):
        window.count(BAD, second)
    window.count(OK, 14)
    assert (window.sum(BAD), window.sum(OK)) == (5, 1)


def test__a_clock_that_stands_or_goes_back__loses_nothing() -> None:
    window = Window(10, 100)
    for now in (105, 105, 101, 99):
        window.count(BAD, now)
    assert seen(window, BAD, 100) == 4
    assert seen(window, BAD, 105) == 4


def test__lifetime__outlives_expiry_clearing_and_resizing() -> None:
    window = Window(10, 0)
    window.count(BAD, 0)
    window.advance(100)
    window.count(BAD, 100)
    window.clear()
    window.count(BAD, 101)
    window.resize(20, 102)
    window.count(BAD, 103)
    assert (window.sum(BAD), window.lifetime(BAD), window.lifetime(OK)) == (1, 4, 0)


def test__clear__empties_every_bucket() -> None:
    window = Window(10, 0)
    for second in range(10):
        window.count(BAD, second)
        window.count(OK, second)
    window.clear()
    assert window.is_empty


def test__resize__to_another_length__starts_empty() -> None:
    window = Window(10, 0)
    window.count(BAD, 0)
    window.resize(100, 5)
    assert window.is_empty
    window.count(BAD, 5)
    assert seen(window, BAD, 100) == 1
    assert seen(window, BAD, 106) == 0


def test__resize__to_the_same_length__keeps_what_was_counted() -> None:
    window = Window(10, 0)
    window.count(BAD, 0)
    window.resize(10, 5)
    assert seen(window, BAD, 5) == 1


@given(
    st.sampled_from([1, 2, 5, 10, 16, 60]),
    st.lists(st.tuples(st.integers(0, 2000), st.sampled_from([OK, BAD])), max_size=60),
    st.integers(0, 2000),
)
def test__any_history__sums_what_a_list_of_moments_would(width: int, steps: list[tuple[int, int]], last: int) -> None:
    # Sixty-fourths of a second, so that the arithmetic of both sides is exact.
    window, moments, now = Window(width * 10, 0.0), list[tuple[Fraction, int]](), Fraction(0)
    for step, column in steps:
        now += Fraction(step, 64)
        window.count(column, float(now))
        moments.append((now, column))
    now += Fraction(last, 64)
    oldest = (now // width - 9) * width
    for column in (OK, BAD):
        assert seen(window, column, float(now)) == sum(1 for at, c in moments if c == column and at >= oldest)
        assert window.lifetime(column) == sum(1 for _, c in moments if c == column)
