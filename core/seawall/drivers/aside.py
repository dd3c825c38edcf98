"""Blocking work in a daemon thread of its own, that can be waited for, and left.

`getaddrinfo` knows no timeout and cannot be interrupted, and neither can a connection
class of somebody else's be told to hurry. An executor would do worse: its threads are
few, so that what hangs for one host starves the others, and are joined when the loop,
or the process, ends.
"""

from __future__ import annotations

import threading
from contextvars import copy_context
from copy import copy
from typing import TYPE_CHECKING, Any

from seawall.policies.bulkhead import Ticket
from seawall.runtime import OutOfTime

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.drivers.aio import Loops
    from seawall.drivers.threads import Threads


class Aside:
    """One piece of work under way; any number may wait for it."""

    def __init__(self, work: Callable[[], Any], unwanted: Callable[[Any], object] | None = None) -> None:
        self._work = work
        self._unwanted = unwanted
        """What to do with a result that everybody has left."""
        self._lock = threading.Lock()
        self._waiting: list[Ticket] = []
        self._is_left = self.is_over = False
        self._result: Any = None
        self._error: BaseException | None = None

    def start(self) -> None:
        run = copy_context().run
        threading.Thread(target=run, args=(self._run,), name="seawall-aside", daemon=True).start()

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # whatever it is, it is for those who wait
            self._error = error
        with self._lock:
            self.is_over = True
            waiting, self._waiting = self._waiting, []
            is_left = self._is_left
        for ticket in waiting:
            ticket.wake()
        if is_left:
            self._put_away()

    def _put_away(self) -> None:
        if self._unwanted is not None and self._error is None:
            self._unwanted(self._result)

    async def result(self, seconds: float, waiter: Threads | Loops) -> Any:
        """What came of it. Raises what it raised, or OutOfTime after `seconds`."""
        ticket = Ticket(0)
        with self._lock:
            if not self.is_over:
                self._waiting.append(ticket)
        try:
            if not self.is_over:
                await waiter.wait(ticket, seconds)
        except BaseException:
            if self._leave(ticket):
                self._put_away()
            raise
        if not self._leave(ticket):
            raise OutOfTime("it did not end in time")
        if self._error is not None:
            raise _another(self._error)
        return self._result

    def _leave(self, ticket: Ticket) -> bool:
        """Wait no longer. Is it over?"""
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            if not self.is_over and not self._waiting:
                self._is_left = True
            return self.is_over


def _another(error: BaseException) -> BaseException:
    """Each who waits raises an exception of their own, as far as it can be copied."""
    try:
        return copy(error)
    except Exception:
        return error
