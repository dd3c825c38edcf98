"""Latency quantiles against the sorted truth."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.stats.quantile import SAMPLES, Quantiles

STEP = 2.0**-23
"""How far apart two readings can be, as a share: samples are kept in single precision."""


def filled(samples: list[float]) -> Quantiles:
    quantiles = Quantiles()
    for seconds in samples:
        quantiles.add([seconds])
    return quantiles


def test__no_samples__no_reading() -> None:
    assert Quantiles().read(0.5) is None


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 1.0])
def test__one_sample__is_every_quantile(share: float) -> None:
    assert filled([0.25]).read(share) == 0.25


def test__all_equal__are_every_quantile() -> None:
    quantiles = filled([0.5] * 50)
    assert {quantiles.read(share) for share in (0.0, 0.5, 0.9, 0.99, 1.0)} == {0.5}


def test__a_hundred_even_steps__read_as_they_should() -> None:
    quantiles = filled([n / 64 for n in range(1, 101)])
    near = {share: round((quantiles.read(share) or 0) * 64) for share in (0.5, 0.9, 0.99, 1.0)}
    assert near == {0.5: 51, 0.9: 91, 0.99: 100, 1.0: 100}


def test__order_of_arrival__does_not_matter() -> None:
    samples = [n / 64 for n in range(100)]
    assert filled(samples).read(0.9) == filled(samples[::-1]).read(0.9)


def test__old_answers__make_room_for_new_ones() -> None:
    quantiles = filled([8.0] * SAMPLES + [0.125] * (SAMPLES - 1))
    assert quantiles.read(1.0) == 8.0
    quantiles.add([0.125])
    assert quantiles.read(1.0) == 0.125


def test__memory__is_bounded_by_the_last_few_hundred() -> None:
    quantiles = filled([1.0] * SAMPLES * 3 + [2.0] * (SAMPLES // 2))
    assert quantiles.read(0.25) == 1.0
    assert quantiles.read(0.75) == 2.0


@pytest.mark.parametrize("answers", [SAMPLES - 1, SAMPLES, SAMPLES + 1, 3 * SAMPLES + 7])
@pytest.mark.parametrize("at_once", [False, True])
def test__many_answers__the_last_few_hundred_are_kept_and_not_one_less(answers: int, at_once: bool) -> None:
    samples = [float(n) for n in range(answers)]
    quantiles = Quantiles() if at_once else filled(samples)
    if at_once:
        quantiles.add(samples)
    kept = min(answers, SAMPLES)
    assert len(quantiles) == kept
    assert quantiles.read_each(0, 1) == (answers - kept, answers - 1)


shares = st.sampled_from(["0", "0.01", "0.25", "0.5", "0.9", "0.95", "0.97", "0.99", "0.999", "1"])


@given(st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=600), shares)
def test__any_samples__the_reading_is_the_true_quantile_or_the_next_answer(samples: list[float], share: str) -> None:
    reading = filled(samples).read(float(share))
    assert reading is not None
    truth = sorted(samples[-SAMPLES:])
    rank = max(1, math.ceil(Fraction(share) * len(truth)))
    low, high = truth[rank - 1], truth[min(rank, len(truth) - 1)]
    assert low * (1 - STEP) <= reading <= high * (1 + STEP)
