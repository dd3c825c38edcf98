"""A signal between any two bytecodes: what it interrupts may be lost, but no permit, no waiter and no lock with it."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from seawall import HostSnapshot
from tests.core.interrupting import quick_collections, strikes
from tests.core.stage import Stage, answer, brittle, fault, one_at_a_time, only, purse, statuses, steady

__all__ = ["quick_collections"]

pytestmark = [
    # A call interrupted between making a coroutine and awaiting it.
    pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("quick_collections"),
]


def look(stage: Stage) -> HostSnapshot:
    """The host's picture, unless its lock is held for ever."""
    seen: list[HostSnapshot] = []
    thread = threading.Thread(target=lambda: seen.append(stage.host), daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive(), "the lock was never released"
    return seen[0]


def forget(stage: Stage) -> None:
    """Nobody has the answers that were not handed out."""
    for kept in (stage.held, stage.waiting, stage.peer.opened, stage.peer.read, stage.peer.closed):
        kept.clear()
    gc.collect()


Scene = Callable[[], tuple[Stage, list[Coroutine[Any, Any, Any]]]]
"""A stage, and the calls to run on it together."""


def calm() -> tuple[Stage, list[Coroutine[Any, Any, Any]]]:
    stage = Stage(only())
    return stage, [stage.start()]


def retried() -> tuple[Stage, list[Coroutine[Any, Any, Any]]]:
    stage = Stage(only(retry=steady(), budget=purse(), breaker=brittle(failure_threshold=9)), answer(503), answer(200))
    return stage, [stage.start()]


def limited() -> tuple[Stage, list[Coroutine[Any, Any, Any]]]:
    stage = Stage(only(bulkhead=one_at_a_time()))
    return stage, [stage.start()]


def probe() -> tuple[Stage, list[Coroutine[Any, Any, Any]]]:
    stage = Stage(only(breaker=brittle(success_threshold=2)), fault())
    stage.together(stage.start(), stage.start())
    stage.clock.advance(10)
    stage.script(answer(200))
    return stage, [stage.start()]


def waiting() -> tuple[Stage, list[Coroutine[Any, Any, Any]]]:
    stage = Stage(only(bulkhead=one_at_a_time()))
    return stage, [stage.start(), stage.at(2, stage.hold().abandon)]


Prepared = tuple[Stage, Callable[[], object]]


@pytest.mark.parametrize("scene", [calm, retried, limited, probe, waiting])
def test__interrupted_anywhere__no_permit_is_lost(scene: Scene) -> None:
    def prepare() -> Prepared:
        stage, calls = scene()
        stage.waiting = calls
        return stage, lambda: stage.together(*calls)

    for where, stage in strikes(prepare):
        while stage.waiting:
            stage.waiting.pop().close()
        forget(stage)
        host = look(stage)
        assert host.in_flight == 0, where
        assert host.state != "half_open" or host.retry_after == 0, f"{where}: a probe slot is taken"
        stage.clock.advance(20)
        stage.script(answer(200))
        assert statuses([stage.get()]) == [200], where


def test__holder_interrupted_while_giving_back__the_waiter_is_served_all_the_same() -> None:
    def prepare() -> Prepared:
        stage = Stage(only(bulkhead=one_at_a_time(max_wait=60)))
        stage.hold()
        stage.line_up()
        return stage, lambda: stage.held.pop().abandon()

    for where, stage in strikes(prepare):
        stage.held.clear()
        gc.collect()
        assert statuses(stage.together(*stage.waiting)) == [200], where
        host = look(stage)
        assert (host.in_flight, host.queue_depth) == (0, 0), where
        assert stage.now <= 5, f"{where}: it waited {stage.now:g} s for a free permit"


def resume(call: Coroutine[Any, Any, Any]) -> None:
    try:
        call.send(None)
    except StopIteration:
        pass


def test__waiter_interrupted__the_next_in_line_is_served() -> None:
    def prepare() -> Prepared:
        stage = Stage(only(bulkhead=one_at_a_time(max_wait=60)))
        holder = stage.hold()
        stage.line_up()
        stage.line_up()
        stage.clock.advance(0.5)
        holder.abandon()
        return stage, lambda: resume(stage.waiting[0])

    for where, stage in strikes(prepare):
        second = stage.waiting.pop()
        stage.waiting.clear()
        gc.collect()
        assert statuses(stage.together(second)) == [200], where
        assert look(stage).in_flight == 0, where
