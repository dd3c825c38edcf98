"""Work in a thread of its own: its result is for who waits, and is put away if nobody does."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from seawall.drivers.aside import Aside
from seawall.drivers.threads import Threads
from seawall.runtime import OutOfTime, run_sync


def wait_for(work: Aside, seconds: float) -> Any:
    return run_sync(work.result(seconds, Threads()))


def test__result__is_given_and_not_put_away() -> None:
    unwanted: list[Any] = []
    work = Aside(lambda: "made", unwanted.append)
    work.start()
    assert wait_for(work, 5) == "made"
    assert unwanted == []


def test__over_before_anybody_waits__is_kept_for_who_will() -> None:
    unwanted: list[Any] = []
    work = Aside(lambda: "made", unwanted.append)
    work.start()
    while not work.is_over:
        time.sleep(0.001)
    time.sleep(0.01)
    assert wait_for(work, 5) == "made"
    assert unwanted == []


def test__no_thread_to_be_had__is_done_by_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        work = Aside(lambda: "made")
        work.start()
    assert not work.is_over
    assert wait_for(work, 5) == "made"


def test__left__its_result_is_put_away_when_it_comes() -> None:
    gate, put_away = threading.Event(), threading.Event()
    unwanted: list[Any] = []

    def put(result: Any) -> None:
        unwanted.append(result)
        put_away.set()

    def make() -> str:
        gate.wait(5)
        return "made"

    work = Aside(make, put)
    work.start()
    with pytest.raises(OutOfTime):
        wait_for(work, 0.02)
    assert unwanted == []
    gate.set()
    assert put_away.wait(5)
    assert unwanted == ["made"]


def test__interrupted_while_waiting__its_result_is_put_away() -> None:
    gate, put_away = threading.Event(), threading.Event()
    work = Aside(lambda: gate.wait(5), lambda result: put_away.set())
    work.start()

    class Interrupted(Threads):
        async def wait(self, ticket: Any, seconds: float) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sync(work.result(5, Interrupted()))
    gate.set()
    assert put_away.wait(5)


def test__over_before_anybody_waits__is_not_waited_for() -> None:
    work = Aside(lambda: 1)
    work.start()
    while not work.is_over:
        time.sleep(0.001)
    assert wait_for(work, 0.0) == 1


def test__error_that_cannot_be_copied__is_raised_as_it_is() -> None:
    class Odd(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(one)

    work = Aside(lambda: (_ for _ in ()).throw(Odd(1, 2)))
    work.start()
    with pytest.raises(Odd):
        wait_for(work, 5)


def test__two_wait_for_what_is_to_be_put_away__one_has_it() -> None:
    unwanted: list[Any] = []
    work = Aside(lambda: "made", unwanted.append)
    work.start()
    assert wait_for(work, 5) == "made"
    with pytest.raises(OutOfTime):
        wait_for(work, 5)
    assert unwanted == []
