"""Figures as people read them, at every size."""

from __future__ import annotations

import pytest

from seawall.health.markup import moment
from seawall.health.page import render
from seawall.health.words import count, number, share, span, tokens
from tests.core.stage import Stage, answer, brittle, fault, only, steady


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"),
        (0.0004, "0 ms"),
        (0.0042, "4 ms"),
        (0.0999, "100 ms"),
        (0.1, "0.1 s"),
        (0.349, "0.35 s"),
        (1, "1 s"),
        (9.94, "9.9 s"),
        (10, "10 s"),
        (119.4, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (172_800, "2 d"),
        (1e9, "11574 d"),
    ],
)
def test__span__in_its_largest_unit(seconds: float, said: str) -> None:
    assert span(seconds) == said


@pytest.mark.parametrize(
    ("ratio", "said"),
    [(0, "0 %"), (0.0001, "< 1 %"), (0.305, "30 %"), (0.5, "50 %"), (0.9999, "> 99 %"), (1, "100 %")],
)
def test__share__is_never_nothing_for_something_nor_all_for_less(ratio: float, said: str) -> None:
    assert share(ratio) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (0.04, "0.04"),
        (0.1, "0.1"),
        (1, "1"),
        (3.25, "3.2"),
        (90.0000001, "90"),
        (99.96, "100"),
        (12_345.6, "12,346"),
    ],
)
def test__number__has_no_more_places_than_matter(value: float, said: str) -> None:
    assert number(value) == said


@pytest.mark.parametrize(("amount", "said"), [(0, "0"), (0.999, "0.9"), (9.96, "9.9"), (10, "10"), (1e6, "1,000,000")])
def test__tokens__one_that_is_not_whole_is_not_counted_as_one(amount: float, said: str) -> None:
    assert tokens(amount) == said


def test__count__of_one_and_of_many() -> None:
    assert [count(amount, "call") for amount in (0, 1, 2, 1000)] == ["0 calls", "1 call", "2 calls", "1,000 calls"]


def test__clock_beyond_the_calendar__is_shown_as_a_number() -> None:
    assert moment(1e300) == "1e+300"
    assert "2023-11-14 22:13:20 UTC" in moment(1_700_000_000)


def rendered(stage: Stage) -> str:
    return render(stage.resilience.health(), data="health.json").decode()


def test__page__in_words__what_is_waited_for() -> None:
    stage = Stage(only(breaker=brittle(success_threshold=2), retry=steady(max_retries=0)), fault())
    stage.get()
    stage.get()
    assert "next try in 10&nbsp;s" in rendered(stage)
    stage.clock.advance(10)
    stage.script(answer(200))
    stage.get()
    page = rendered(stage)
    assert "1 probe succeeded" in page
    assert "1 host should be looked at." in page
    stage.get()
    stage.close_gate(7)
    assert "told to wait 7&nbsp;s" in rendered(stage)
