"""Waiting in event loops: asyncio, or trio where the task runs in it. Imported by async use only.

Nothing is kept between calls, so any number of loops in any threads may share one
Resilience, one after the other or at once. The libraries are imported when a task
of theirs waits: sync programs never load an event loop.
"""

from __future__ import annotations

import sys
import time
from threading import get_ident
from typing import TYPE_CHECKING, Any

from seawall.runtime import OutOfTime

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from seawall.policies.bulkhead import Ticket

_LOOK_EVERY = 0.02


class Loops:
    """The waiting of an async runtime, and its way to call functions."""

    __slots__ = ()
    blocks = False
    thread = staticmethod(get_ident)

    async def wait(self, ticket: Ticket, seconds: float) -> None:
        try:
            if _in_trio():
                await _wait_in_trio(ticket, seconds)
            else:
                await _wait_in_asyncio(ticket, seconds)
        finally:
            ticket.sleep_on()

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        value = function(*args)
        return await value if hasattr(value, "__await__") else value

    async def disk(self, function: Callable[..., Any], *args: Any) -> Any:
        return await in_thread(function, *args)


async def within(seconds: float | None, awaitable: Awaitable[Any]) -> Any:
    """The result of `awaitable`, which is cancelled after `seconds`: then OutOfTime."""
    if seconds is None:
        return await awaitable
    # What is built on anyio shields what may not be cut off (a pool's accounts, say); asyncio's timeout cuts it off.
    scopes: Any = sys.modules.get("anyio") or (sys.modules["trio"] if _in_trio() else None)
    if scopes is not None:
        with scopes.move_on_after(seconds):
            return await awaitable
        raise OutOfTime
    import asyncio

    timeout = asyncio.timeout(seconds)
    try:
        async with timeout:
            return await awaitable
    except TimeoutError as error:
        if timeout.expired():
            raise OutOfTime from error
        raise


def runner() -> Any:
    """An asyncio loop that is kept between the coroutines it runs."""
    import asyncio

    return asyncio.Runner()


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """The result of a plain function that may block, on the disk say; the loop goes on meanwhile."""
    if _in_trio():
        import trio

        return await trio.to_thread.run_sync(function, *args)
    import asyncio

    return await asyncio.to_thread(function, *args)


async def sleep(seconds: float) -> None:
    if _in_trio():
        import trio

        await trio.sleep(seconds)
    else:
        import asyncio

        await asyncio.sleep(seconds)


async def wait_until(done: Callable[[], bool], timeout: float | None) -> bool:
    """Look every few milliseconds; for shutting down."""
    end = None if timeout is None else time.monotonic() + timeout
    while not done():
        if end is not None and time.monotonic() >= end:
            return False
        await sleep(_LOOK_EVERY)
    return True


def _in_trio() -> bool:
    trio = sys.modules.get("trio")  # not imported: then no task of it runs
    return trio is not None and trio.lowlevel.in_trio_task()


async def _wait_in_asyncio(ticket: Ticket, seconds: float) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def finish() -> None:
        if not woken.done():
            woken.set_result(None)

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(finish)
        except RuntimeError:  # the loop is closed: nobody waits there any more, the grant lapses
            pass

    ticket.on_wake(wake)
    timer = loop.call_later(seconds, finish)
    try:
        await woken
    finally:
        timer.cancel()


async def _wait_in_trio(ticket: Ticket, seconds: float) -> None:
    import trio

    woken = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def wake() -> None:
        try:
            token.run_sync_soon(woken.set)
        except trio.RunFinishedError:
            pass

    ticket.on_wake(wake)
    with trio.move_on_after(seconds):
        await woken.wait()
