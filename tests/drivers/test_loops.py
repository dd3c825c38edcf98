"""The async driver: asyncio and trio, several loops after and beside each other, loops that stop or close."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import trio

import seawall
from seawall import Bulkhead, DeadlineExceeded, MaxRetriesExceeded, Resilience, Retry, Timeouts
from seawall.drivers.aio import Loops, wait_until, within
from seawall.policies.bulkhead import Ticket
from seawall.runtime import OutOfTime
from tests.drivers.quick import HOST, aget, get, hold, only, until, was_refused

everywhere = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def go(backend: str, scenario: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        with anyio.fail_after(20):
            return await scenario()

    return anyio.run(bounded, backend=backend)


def depth(resilience: Resilience) -> int:
    picture = resilience.snapshot(HOST)
    return 0 if picture is None else picture.queue_depth


def in_flight(resilience: Resilience) -> int:
    picture = resilience.snapshot(HOST)
    return 0 if picture is None else picture.in_flight


def one_permit(**changes: Any) -> Resilience:
    return Resilience(only(bulkhead=Bulkhead(max_concurrent=1, **({"max_wait": 20} | changes))))


# -- waiting ---------------------------------------------------------------------------------------


@everywhere
def test__wait__ends_when_another_thread_wakes_it(backend: str) -> None:
    async def scenario() -> float:
        ticket = Ticket(0)
        threading.Timer(0.02, ticket.wake).start()
        started = time.monotonic()
        await Loops().wait(ticket, 10)
        return time.monotonic() - started

    assert go(backend, scenario) < 5


@everywhere
def test__wait__woken_before_it_began__ends_at_once(backend: str) -> None:
    async def scenario() -> float:
        ticket = Ticket(0)
        ticket.wake()
        started = time.monotonic()
        await Loops().wait(ticket, 10)
        return time.monotonic() - started

    assert go(backend, scenario) < 1


@everywhere
def test__wait__ends_when_its_time_is_over(backend: str) -> None:
    async def scenario() -> float:
        started = time.monotonic()
        await Loops().wait(Ticket(0), 0.02)
        return time.monotonic() - started

    assert 0.015 <= go(backend, scenario) < 5


def test__wait__woken_early__leaves_no_timer_in_the_loop() -> None:
    async def scenario() -> list[Any]:
        ticket = Ticket(0)
        ticket.wake()
        await Loops().wait(ticket, 10_000)
        later = asyncio.get_running_loop().time() + 5_000
        timers = [one for one in gc.get_objects() if isinstance(one, asyncio.TimerHandle)]
        return [one for one in timers if one.when() > later and not one.cancelled()]

    assert go("asyncio", scenario) == []


@everywhere
def test__wait__woken_by_a_thread_that_comes_after_the_end_of_the_loop__nothing_happens(backend: str) -> None:
    kept: list[Callable[[], None]] = []

    class Kept(Ticket):
        def on_wake(self, wake: Callable[[], None]) -> None:
            kept.append(wake)
            super().on_wake(wake)

    go(backend, lambda: Loops().wait(Kept(0), 0.01))
    assert [wake() for wake in kept] == [None]  # type: ignore[func-returns-value]


@everywhere
def test__wait__many_tasks_of_one_loop_go_on_meanwhile(backend: str) -> None:
    async def scenario() -> float:
        started = time.monotonic()
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(Loops().wait, Ticket(0), 0.05)
        return time.monotonic() - started

    assert go(backend, scenario) < 2


@everywhere
def test__wait_until__looks_until_its_time_is_over(backend: str) -> None:
    async def scenario() -> tuple[bool, bool]:
        return await wait_until(lambda: True, 10), await wait_until(lambda: False, 0.03)

    assert go(backend, scenario) == (True, False)


# -- cancelled -------------------------------------------------------------------------------------


@everywhere
def test__cancelled_in_line__the_next_gets_the_permit(backend: str) -> None:
    async def scenario() -> tuple[bool, Any]:
        resilience = one_permit()
        holder = hold(resilience)
        results: list[Any] = []

        async def second() -> None:
            results.append(await aget(resilience))

        async with anyio.create_task_group() as group:
            with anyio.move_on_after(0.02) as cancelled:
                await aget(resilience)
            group.start_soon(second)
            while depth(resilience) != 1:
                await anyio.sleep(0.001)
            holder.abandon()
        return cancelled.cancelled_caught, (was_refused(results[0]), in_flight(resilience), depth(resilience))

    assert go(backend, scenario) == (True, (False, 0, 0))


@everywhere
def test__cancelled_with_a_grant_in_hand__the_next_gets_it_at_once(backend: str) -> None:
    async def scenario() -> float:
        resilience = one_permit()
        holder = hold(resilience)
        done = anyio.Event()

        async def second() -> None:
            await aget(resilience)
            done.set()

        async with anyio.create_task_group() as group:
            async with anyio.create_task_group() as first:
                first.start_soon(aget, resilience)
                while depth(resilience) != 1:
                    await anyio.sleep(0.001)
                group.start_soon(second)
                while depth(resilience) != 2:
                    await anyio.sleep(0.001)
                holder.abandon()  # granted to the first, which is cancelled before it runs again
                first.cancel_scope.cancel()
            started = time.monotonic()
            await done.wait()
        return time.monotonic() - started

    assert go(backend, scenario) < 0.8


@everywhere
def test__cancelled_while_sending__blames_nobody(backend: str) -> None:
    async def scenario() -> tuple[int, int]:
        resilience = Resilience(only())
        with anyio.move_on_after(0.02):
            await aget(resilience, anyio.sleep_forever)
        picture = resilience.snapshot(HOST)
        assert picture is not None
        return picture.in_flight, picture.total_requests

    assert go(backend, scenario) == (0, 0)


@everywhere
def test__within__what_is_shielded_comes_to_its_end(backend: str) -> None:
    done: list[str] = []

    async def operation() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.03)
            done.append("shielded")
        await anyio.sleep(10)
        done.append("all")

    async def scenario() -> None:
        with pytest.raises(OutOfTime):
            await within(0.005, operation())

    go(backend, scenario)
    assert done == ["shielded"]


@pytest.mark.parametrize("without_anyio", [False, True])
@everywhere
def test__within__ends_in_time_and_only_its_own_limit_is_ours(
    backend: str, without_anyio: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def theirs() -> None:
        raise TimeoutError("mine")

    async def scenario() -> None:
        with monkeypatch.context() as patch:
            if without_anyio:
                patch.delitem(sys.modules, "anyio")
            assert await within(10, as_coroutine(lambda: 1)) == 1
            with pytest.raises(TimeoutError, match="mine"):
                await within(10, theirs())
            with pytest.raises(OutOfTime):
                await within(0.01, Loops().wait(Ticket(0), 10))

    go(backend, scenario)


async def as_coroutine(value: Callable[[], Any]) -> Any:
    return value()


# -- operations with limits ------------------------------------------------------------------------


@everywhere
def test__aexecute__hanging_operation_is_cancelled_by_the_attempt_clock_and_repeated(backend: str) -> None:
    cancelled: list[None] = []

    async def hang() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(None)

    async def scenario() -> None:
        retry = Retry(max_retries=1, base_delay=0, max_delay=0)
        resilience = Resilience(only(timeouts=Timeouts(attempt=0.02), retry=retry))
        with pytest.raises((MaxRetriesExceeded, DeadlineExceeded)):
            await resilience.aexecute("primary", hang)
        picture = resilience.snapshot("primary")
        assert picture is not None
        assert (picture.failures, picture.timeouts, picture.in_flight) == (2, 2, 0)

    go(backend, scenario)
    assert len(cancelled) == 2


@everywhere
def test__aexecute__hanging_operation_ends_by_the_deadline(backend: str) -> None:
    async def scenario() -> float:
        resilience = Resilience(only())
        started = time.monotonic()
        with seawall.deadline(0.03), pytest.raises(DeadlineExceeded) as caught:
            await resilience.aexecute("primary", anyio.sleep_forever)
        assert caught.value.scope == "total"
        return time.monotonic() - started

    assert go(backend, scenario) < 5


@everywhere
def test__aexecute__a_timeout_of_the_operations_own_is_its_failure(backend: str) -> None:
    async def own() -> None:
        raise TimeoutError("mine")

    async def scenario() -> None:
        resilience = Resilience(only(timeouts=Timeouts(attempt=10)))
        with pytest.raises(seawall.NonRetryable) as caught:
            await resilience.aexecute("primary", own)
        assert str(caught.value.last_error) == "mine"

    go(backend, scenario)


@everywhere
def test__aexecute__cancelled_from_outside_passes_and_blames_nobody(backend: str) -> None:
    async def scenario() -> tuple[bool, int, int]:
        resilience = Resilience(only(retry=Retry(base_delay=0, max_delay=0), timeouts=Timeouts(attempt=10)))
        with anyio.move_on_after(0.02) as scope:
            await resilience.aexecute("primary", anyio.sleep_forever)
        picture = resilience.snapshot("primary")
        assert picture is not None
        return scope.cancelled_caught, picture.total_requests, picture.in_flight

    assert go(backend, scenario) == (True, 0, 0)


@everywhere
def test__aclose__wakes_waiters_and_waits_for_calls_in_flight(backend: str) -> None:
    async def scenario() -> tuple[bool, bool]:
        resilience = one_permit()
        holder = hold(resilience)
        refused: list[bool] = []

        async def wait() -> None:
            refused.append(was_refused(await aget(resilience)))

        async def end() -> None:
            await anyio.sleep(0.03)
            holder.abandon()

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            while depth(resilience) != 1:
                await anyio.sleep(0.001)
            group.start_soon(end)
            closed = await resilience.aclose(10)
        return closed, refused[0]

    assert go(backend, scenario) == (True, True)


# -- several loops ---------------------------------------------------------------------------------


def test__loops_one_after_another__share_one_resilience() -> None:
    resilience = one_permit()

    async def crowd() -> list[bool]:
        results: list[Any] = []

        async def one() -> None:
            results.append(await aget(resilience, lambda: anyio.sleep(0.001)))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(one)
        return [was_refused(result) for result in results]

    for backend in ("asyncio", "trio", "asyncio", "trio", "asyncio"):
        assert go(backend, crowd) == [False] * 5
    assert not was_refused(get(resilience))
    picture = resilience.snapshot(HOST)
    assert picture is not None
    assert (picture.successes, picture.in_flight, picture.queue_depth) == (26, 0, 0)


@pytest.fixture
def short_claims(monkeypatch: pytest.MonkeyPatch) -> float:
    """A twentieth of the time that a woken waiter has to take its permit."""
    for name, module in list(sys.modules.items()):
        if name.startswith("seawall.") and hasattr(module, "CLAIM_WITHIN"):
            monkeypatch.setattr(module, "CLAIM_WITHIN", 0.05)
    return 0.05


def dead_waiter(resilience: Resilience, *, close: bool) -> asyncio.AbstractEventLoop:
    """A loop that stopped, or was closed, while a task of it is first in line."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(aget(resilience))

    async def joined() -> None:
        while depth(resilience) != 1:
            await asyncio.sleep(0.001)

    loop.run_until_complete(joined())
    if close:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()
    loop.keep = task  # type: ignore[attr-defined]
    return loop


@pytest.mark.parametrize("close", [False, True], ids=["stopped", "closed"])
def test__loop_gone_while_its_waiter_is_first__the_grant_passes_on_within_the_claim_time(
    close: bool, short_claims: float
) -> None:
    resilience = one_permit()
    holder = hold(resilience)
    loop = dead_waiter(resilience, close=close)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(get(resilience)), daemon=True)
    thread.start()
    until(lambda: depth(resilience) == 2)
    started = time.monotonic()
    holder.abandon()
    thread.join(10)
    took = time.monotonic() - started
    assert not was_refused(results[0])
    assert took < 1
    if not close:
        loop.keep.cancel()  # type: ignore[attr-defined]
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
    del loop
    gc.collect()
    until(lambda: (in_flight(resilience), depth(resilience)) == (0, 0))


def test__loop_gone_with_nobody_else_in_line__the_next_call_is_served(short_claims: float) -> None:
    resilience = one_permit()
    holder = hold(resilience)
    loop = dead_waiter(resilience, close=False)
    holder.abandon()
    time.sleep(2 * short_claims)
    assert not was_refused(get(resilience))
    loop.keep.cancel()  # type: ignore[attr-defined]
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()


def test__trio_run_that_ended__its_waiter_stands_in_nobodys_way() -> None:
    resilience = one_permit()
    holder = hold(resilience)

    async def scenario() -> None:
        with trio.move_on_after(0.02):
            await aget(resilience)

    trio.run(scenario)
    holder.abandon()
    assert not was_refused(get(resilience))
