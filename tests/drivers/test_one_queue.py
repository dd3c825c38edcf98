"""One bulkhead, one line: threads, two asyncio loops and trio wait in it together, first come, first served."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio
import pytest
import trio

from seawall import Bulkhead, Resilience
from tests.drivers.quick import HOST, aget, get, hold, only, until, was_refused

Start = Callable[[Callable[[], Any], Callable[[], Awaitable[Any]]], None]
"""Starts one call in its world, given the call as a plain function and as an async one."""


@contextmanager
def asyncio_world() -> Iterator[Start]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    pending: list[Any] = []
    yield lambda _, call: pending.append(asyncio.run_coroutine_threadsafe(as_coroutine(call), loop))
    for future in pending:
        future.result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


async def as_coroutine(call: Callable[[], Awaitable[Any]]) -> None:
    await call()


@contextmanager
def trio_world() -> Iterator[Start]:
    ready = threading.Event()
    world: dict[str, Any] = {}

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            world["token"] = trio.lowlevel.current_trio_token()
            world["nursery"] = nursery
            world["end"] = trio.Event()
            ready.set()
            await world["end"].wait()

    thread = threading.Thread(target=lambda: trio.run(main), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield lambda _, call: world["token"].run_sync_soon(world["nursery"].start_soon, call)
    world["token"].run_sync_soon(world["end"].set)
    thread.join(20)
    assert not thread.is_alive()


@contextmanager
def thread_world() -> Iterator[Start]:
    started: list[threading.Thread] = []

    def start(call: Callable[[], Any], _: Callable[[], Awaitable[Any]]) -> None:
        started.append(threading.Thread(target=call, daemon=True))
        started[-1].start()

    yield start
    for thread in started:
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def worlds() -> Iterator[list[Start]]:
    """Threads, two asyncio loops, trio."""
    with ExitStack() as stack:
        yield [stack.enter_context(world()) for world in (thread_world, asyncio_world, asyncio_world, trio_world)]


def picture(resilience: Resilience) -> Any:
    return resilience.snapshot(HOST)


def test__one_line__is_served_in_the_order_of_joining(worlds: list[Start]) -> None:
    resilience = Resilience(only(bulkhead=Bulkhead(max_concurrent=1, max_wait=30)))
    holder = hold(resilience)
    order: list[int] = []
    for number in range(40):

        def call(number: int = number) -> None:
            get(resilience, lambda: order.append(number))

        async def acall(number: int = number) -> None:
            async def serve() -> None:
                order.append(number)

            await aget(resilience, serve)

        worlds[number % len(worlds)](call, acall)
        until(lambda number=number: picture(resilience).queue_depth == number + 1)  # type: ignore[misc]
    holder.abandon()
    until(lambda: len(order) == 40)
    assert order == list(range(40))
    until(lambda: picture(resilience).in_flight == 0)
    assert picture(resilience).peak_in_flight == 1


def test__crowd_of_all_kinds__nobody_is_lost_and_the_limit_holds(worlds: list[Start]) -> None:
    resilience = Resilience(only(bulkhead=Bulkhead(max_concurrent=3, max_wait=30)))
    inside = Inside()
    chance = random.Random(7)
    count = 200
    for _ in range(count):
        nap = chance.random() / 1000

        def call(nap: float = nap) -> None:
            inside.ended(get(resilience, lambda: inside.during(lambda: time.sleep(nap))))

        async def acall(nap: float = nap) -> None:
            async def serve() -> None:
                await inside.aduring(nap)

            inside.ended(await aget(resilience, serve))

        worlds[chance.randrange(len(worlds))](call, acall)
    until(lambda: len(inside.results) == count, 30)
    assert not any(was_refused(result) for result in inside.results)
    assert inside.most <= 3
    end = picture(resilience)
    assert (end.in_flight, end.queue_depth, end.successes, end.acquire_successes) == (0, 0, count, count)
    assert end.peak_in_flight <= 3


def test__crowd_with_cancellations__all_the_others_are_served(worlds: list[Start]) -> None:
    resilience = Resilience(only(bulkhead=Bulkhead(max_concurrent=2, max_wait=30)))
    chance = random.Random(11)
    done: list[str] = []
    count = 200
    for _ in range(count):
        patience = chance.choice([None, None, chance.random() / 50])

        def call() -> None:
            get(resilience, lambda: time.sleep(0.0005))
            done.append("served")

        async def acall(patience: float | None = patience) -> None:
            with anyio.move_on_after(patience) as scope:
                await aget(resilience, lambda: anyio.sleep(0.0005))
            done.append("cancelled" if scope.cancelled_caught else "served")

        worlds[chance.randrange(len(worlds))](call, acall)
    until(lambda: len(done) == count, 30)
    assert done.count("served") > count / 3
    until(lambda: (picture(resilience).in_flight, picture(resilience).queue_depth) == (0, 0))
    assert picture(resilience).successes >= done.count("served")


class Inside:
    """Counts who is inside at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0
        self.results: list[Any] = []

    def _move(self, step: int) -> None:
        with self._lock:
            self._now += step
            self.most = max(self.most, self._now)

    def during(self, act: Callable[[], object]) -> None:
        self._move(1)
        act()
        self._move(-1)

    async def aduring(self, nap: float) -> None:
        self._move(1)
        await anyio.sleep(nap)
        self._move(-1)

    def ended(self, result: Any) -> None:
        self.results.append(result)
