"""Two threads anywhere in the core: what they do happens one after the other, and nothing is left in between.

Here the operations that every call makes are paired; `make prove ARGS=interleavings` pairs all, with two switches.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from tests.core.interrupting import quick_collections
from tests.interleave.exploring import Scene, explore, explore_inside
from tests.interleave.others import only_errors
from tests.interleave.scenes import SCENES
from tests.interleave.switching import Deadlock, TurnLock

__all__ = ["quick_collections"]

pytestmark = pytest.mark.usefixtures("quick_collections")


@pytest.mark.parametrize("name", SCENES)
def test__two_threads__do_one_after_the_other(name: str) -> None:
    scene = SCENES[name]
    operations = scene.core or tuple(scene.operations)
    count = 0
    for first, second in product(operations, repeat=2):
        for schedule, wrong in explore(scene, first, second):
            assert not wrong, schedule
            count += 1
    assert count > len(operations) ** 2, "there was nothing to switch in"


@pytest.mark.parametrize("name", ["a host, half open", "a host, granted", "store", "flights", "values", "listeners"])
def test__finaliser_in_the_midst_of_a_visit__leaves_nothing_behind(name: str) -> None:
    scene = SCENES[name]
    operations = scene.core or tuple(scene.operations)
    for first, second in product(operations, set(scene.finalisers) & set(operations)):
        for schedule, wrong in explore_inside(scene, first, second):
            assert not wrong, schedule


@pytest.mark.parametrize("first", ["budget left", "usual time"])
def test__attempt_that_a_finaliser_ends_while_figures_are_read__is_counted_at_once(first: str) -> None:
    for schedule, wrong in explore_inside(SCENES["a host, full"], first, "finish"):
        assert not wrong, schedule


@pytest.mark.parametrize("first", ["visit a new one", "remove the idle one"])
def test__finaliser_that_calls_while_hosts_change__is_led_to_hosts_that_are_known(first: str) -> None:
    for schedule, wrong in explore_inside(SCENES["hosts"], first, "visit the idle one"):
        assert not wrong, schedule


def test__provider_met_while_it_is_configured__has_the_new_figures() -> None:
    for schedule, wrong in explore(SCENES["hosts"], "provider", "configure"):
        assert not wrong, schedule


@pytest.mark.parametrize("look", ["picture of the busy one", "how many"])
def test__room_made_for_a_newcomer__others_stay_known(look: str) -> None:
    for schedule, wrong in explore(SCENES["hosts"], "visit a new one", look):
        assert not wrong, schedule


# -- the explorer itself -----------------------------------------------------------------------------------------------


class Tally:
    """Counts without care."""

    def __init__(self) -> None:
        self.count = 0
        self.locks = TurnLock(), TurnLock()

    def add(self, _: int) -> None:
        before = int(self.count)
        self.count = before + 1

    def add_with_care(self, who: int) -> None:
        with self.locks[0]:
            self.add(who)

    def take_both(self, who: int) -> None:
        with self.locks[who]:
            str(who)
            with self.locks[1 - who]:
                str(who)


def tallies() -> Scene:
    operations: dict[str, Callable[[Tally, int], object]] = {
        "add": Tally.add,
        "add with care": Tally.add_with_care,
        "take both": Tally.take_both,
    }
    return Scene(
        Tally,
        operations,
        only_errors,
        lambda tally: tally.count,
        lambda tally: [],
        rooms=(__file__,),
    )


def test__count_that_two_threads_lose__is_found() -> None:
    assert any(wrong for _, wrong in explore(tallies(), "add", "add"))
    assert not any(wrong for _, wrong in explore(tallies(), "add with care", "add with care"))


def test__lost_between_any_two_instructions__is_found_there_too() -> None:
    schedules = list(explore(tallies(), "add", "add", every=True))
    assert any(wrong for _, wrong in schedules)
    assert len(schedules) > len(list(explore(tallies(), "add", "add")))


def test__locks_taken_in_different_orders__are_found() -> None:
    found = [wrong for _, wrong in explore(tallies(), "take both", "take both") if wrong]
    assert found
    assert all(Deadlock.__name__ in text for wrong in found for text in wrong)


def test__two_switches__see_more_than_one() -> None:
    once, twice = (len(list(explore(tallies(), "add", "add", twice=twice))) for twice in (False, True))
    assert twice > once
