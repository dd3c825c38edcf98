"""The loop that runs coroutines in virtual time."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from seawall.policies.bulkhead import Ticket
from seawall.testing import VirtualClock, simulate, sleep
from seawall.testing.loop import Cancelled, Loop, Pause


def test__tasks__go_on_at_their_instants() -> None:
    clock, seen = VirtualClock(), list[tuple[str, float]]()

    async def walk(name: str, *steps: float) -> str:
        for step in steps:
            await sleep(step)
            seen.append((name, clock.now - 1000))
        return name

    assert simulate(clock, walk("a", 3, 3), walk("b", 2, 2)) == ["a", "b"]
    assert seen == [("b", 2), ("a", 3), ("b", 4), ("a", 6)]


def order(chance: Random | None) -> list[int]:
    loop, seen = Loop(VirtualClock(), chance), list[int]()

    async def come(number: int) -> None:
        await sleep(1)
        seen.append(number)

    for number in range(8):
        loop.spawn(come(number))
    loop.run()
    return seen


def test__same_instant__first_come_first_served_or_by_lot() -> None:
    assert order(None) == list(range(8))
    assert order(Random(1)) != list(range(8))
    assert order(Random(1)) == order(Random(1))
    assert sorted(order(Random(2))) == list(range(8))


def test__woken__goes_on_at_once_and_its_timer_does_nothing() -> None:
    clock, ticket = VirtualClock(), Ticket(0)
    times: list[float] = []

    async def wait() -> None:
        await Pause(ticket, 10)
        times.append(clock.now)
        await sleep(100)
        times.append(clock.now)

    async def wake() -> None:
        await sleep(1)
        ticket.wake()

    simulate(clock, wait(), wake())
    assert times == [1001, 1101]


@pytest.mark.parametrize("error", [None, KeyError("why")])
def test__cancelled__hears_of_it_where_it_waits(error: BaseException | None) -> None:
    loop, heard = Loop(VirtualClock()), list[BaseException]()

    async def wait() -> None:
        try:
            await sleep(10)
        except BaseException as thrown:
            heard.append(thrown)
            raise

    task = loop.spawn(wait())
    loop.run(1002)
    task.cancel(error)
    task.cancel(error)
    loop.run()
    assert (task.is_done, len(heard), loop.clock.now) == (True, 1, 1002)
    assert (type(heard[0]), task.error) == ((Cancelled, None) if error is None else (KeyError, error))


def test__cancelled_when_done__nothing_happens() -> None:
    loop = Loop(VirtualClock())

    async def be_quick() -> int:
        return 1

    task = loop.spawn(be_quick())
    loop.run()
    task.cancel()
    loop.run()
    assert (task.result, task.error) == (1, None)


def test__run_until__stops_there_and_goes_on_later() -> None:
    loop = Loop(VirtualClock())

    async def count() -> int:
        await sleep(5)
        await sleep(5)
        return 10

    task = loop.spawn(count())
    loop.run(1007)
    assert (loop.clock.now, task.is_done) == (1007, False)
    loop.run()
    assert (loop.clock.now, task.result) == (1010, 10)


def test__pause_shorter_than_the_clock_can_tell__time_passes_all_the_same() -> None:
    clock = VirtualClock()

    async def wait_for(instant: float) -> int:
        looks = 0
        while clock.now < instant:
            looks += 1
            await sleep((instant - clock.now) / 1e6)
            if looks > 10:
                await sleep(1)
        return looks

    assert simulate(clock, wait_for(1000.0000001))[0] < 20


def test__raises__as_a_value_and_what_is_no_exception_passes() -> None:
    async def fail(error: BaseException) -> Any:
        raise error

    error = ValueError("no")
    assert simulate(VirtualClock(), fail(error)) == [error]
    with pytest.raises(KeyboardInterrupt):
        simulate(VirtualClock(), fail(KeyboardInterrupt()))
