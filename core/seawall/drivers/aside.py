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
    """One piece of work under way; any number may wait for it.

    No lock: the end of the process stops such a thread in its tracks, and who leaves may be a finaliser. Each step may
    be the last before an interrupt.
    """

    def __init__(self, work: Callable[[], Any], unwanted: Callable[[Any], object] | None = None) -> None:
        self._work = work
        self._unwanted = unwanted
        """What to do with a result that everybody has left; then one at a time may wait."""
        self._waiting: list[Ticket] = []
        self._unclaimed = [True]
        """Whoever takes this out has the result: one who waited for it, or nobody."""
        self._is_left = False
        """Somebody waited for it no longer."""
        self._has_thread = True
        self.is_over = False
        self._result: Any = None
        self._error: BaseException | None = None

    def start(self) -> None:
        run = copy_context().run
        try:
            threading.Thread(target=run, args=(self._run,), name="seawall-aside", daemon=True).start()
        except RuntimeError:  # there is none to be had, at the end of the process, say: who waits does it
            self._has_thread = False

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # whatever it is, it is for those who wait
            self._error = error
        finally:
            self.is_over = True
            for ticket in list(self._waiting):  # who leaves meanwhile must not shift the next one out of sight
                ticket.wake()
            if self._is_left:
                self._put_away()

    async def result(self, seconds: float, waiter: Threads | Loops) -> Any:
        """What came of it. Raises what it raised, or OutOfTime after `seconds`."""
        ticket = Ticket(0)
        self._waiting.append(ticket)
        try:
            if not self._has_thread and not self.is_over:
                self._run()
            if not self.is_over:  # set before `_run` looked who waits, or after: one of the two sees the other
                await waiter.wait(ticket, seconds)
            if not self.is_over:
                raise OutOfTime("it did not end in time")
        except BaseException:
            self._waiting.remove(ticket)
            self._is_left = True
            if self.is_over:  # as above: here, or in `_run`
                self._put_away()
            raise
        self._waiting.remove(ticket)
        if not self._claim():
            raise OutOfTime("it did not end in time")
        if self._error is not None:
            raise _another(self._error)
        return self._result

    def _claim(self) -> bool:
        """Is the result for the taking? One that nobody has to put away is for everybody."""
        if self._unwanted is None:
            return True
        try:
            return self._unclaimed.pop()
        except IndexError:
            return False

    def _put_away(self) -> None:
        if self._unwanted is not None and self._claim() and self._error is None:
            self._unwanted(self._result)


def _another(error: BaseException) -> BaseException:
    """Each who waits raises an exception of their own, as far as it can be copied."""
    try:
        return copy(error)
    except Exception:
        return error
