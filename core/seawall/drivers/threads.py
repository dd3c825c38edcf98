"""Waiting in plain threads: the sync half of every runtime. `async` by name only, nothing here suspends."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from seawall.runtime import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from seawall.policies.bulkhead import Ticket

_LOOK_EVERY = 0.02


class Threads:
    """The waiting of a sync runtime, and its way to call functions."""

    __slots__ = ()
    blocks = True
    thread = staticmethod(threading.get_ident)

    async def wait(self, ticket: Ticket, seconds: float) -> None:
        woken = threading.Event()
        ticket.on_wake(woken.set)
        try:
            woken.wait(seconds)
        finally:
            ticket.sleep_on()

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return plain(function, *args)

    async def disk(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


def wait_until(done: Callable[[], bool], timeout: float | None) -> bool:
    """Look every few milliseconds; for shutting down, where nobody waits for a microsecond."""
    end = None if timeout is None else time.monotonic() + timeout
    while not done():
        if end is not None and time.monotonic() >= end:
            return False
        time.sleep(_LOOK_EVERY)
    return True


async def pause(seconds: float) -> None:
    time.sleep(seconds)


@contextmanager
def repeating(function: Callable[[], bool], every: float) -> Generator[None]:
    """While the block runs, call `function` every so many seconds, from a thread of its own, until it says False."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(every) and function():
            pass

    threading.Thread(target=repeat, daemon=True).start()
    try:
        yield
    finally:
        over.set()
