"""A signal between any two bytecodes of a call that leads or follows: the others are answered all the same."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from tests.core.degrade.test_coalescing import Hall, bodies, hall
from tests.core.interrupting import quick_collections, strikes
from tests.core.stage import answer

__all__ = ["quick_collections"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("quick_collections"),
]

Prepared = tuple[Hall, Callable[[], object]]


def is_over(stage: Hall, where: str) -> None:
    """Nothing is held any more, and nobody is expected."""
    stage.calls.clear()
    stage.waiting.clear()
    stage.peer.opened.clear()
    stage.peer.copies.clear()
    gc.collect()
    assert stage.host.in_flight == 0, where
    (state,) = stage.resilience.hub.living.values()
    assert not any(entry() for entry in state._flights.values()), where


def go_on(stage: Hall, where: str, *waiting: Any, anew: int = 0) -> None:
    """Whoever was struck is gone; those who wait, and so many who come now, are answered within seconds."""
    stage.waiting.clear()
    gc.collect(0)
    began = stage.now
    calls = [*waiting, *(stage.start() for _ in range(anew))]
    assert bodies(stage.together(*calls)) == [b"one"] * 2, where
    assert stage.now - began <= 4, where
    is_over(stage, where)


def finish(call: object) -> Callable[[], object]:
    """Play what was driven to where it waits by hand, to its end."""

    def play() -> None:
        try:
            while True:
                call.send(None)  # type: ignore[attr-defined]
        except StopIteration:
            pass

    return play


def test__leader_interrupted_anywhere__the_others_are_answered_within_seconds() -> None:
    def prepare() -> Prepared:
        stage = hall(answer(body=b"one", after=1))
        leader = stage.start()
        stage.waiting = [leader]
        return stage, finish(leader)

    for where, stage in strikes(prepare, finalisers=True):  # a flight is forgotten where it dies
        go_on(stage, where, anew=2)


def test__leader_interrupted_anywhere_while_others_wait__they_are_answered_within_seconds() -> None:
    def prepare() -> Prepared:
        stage = hall(answer(body=b"one", after=1))
        leader = stage.line_up()
        stage.line_up()
        stage.line_up()
        return stage, finish(leader)

    for where, stage in strikes(prepare, finalisers=True):
        _, first, second = stage.waiting
        go_on(stage, where, first, second)


def test__follower_interrupted_anywhere__nobody_notices() -> None:
    def prepare() -> Prepared:
        stage = hall(answer(body=b"one", after=1))
        stage.line_up()
        follower = stage.line_up()
        stage.line_up()
        stage.clock.advance(1)

        def look_once() -> None:
            try:
                follower.send(None)
            except StopIteration:
                pass

        return stage, look_once

    for where, stage in strikes(prepare):
        leader, _, other = stage.waiting
        go_on(stage, where, leader, other)


def test__heir_interrupted_anywhere__the_next_one_leads() -> None:
    def prepare() -> Prepared:
        stage = hall(answer(body=b"one", after=1))
        leader, heir = stage.line_up(), stage.line_up()
        stage.line_up()
        leader.close()
        return stage, finish(heir)

    for where, stage in strikes(prepare, finalisers=True):
        go_on(stage, where, stage.waiting[2], anew=1)
