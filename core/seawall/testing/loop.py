"""A loop that runs coroutines in virtual time: whoever comes next is taken, and the clock stands at its instant.

No sleep, no socket, no event loop: hours pass in milliseconds. Tasks that are due at
the same instant run in the order they became so, or, given a source of chance, in a
random one: asyncio's order is an accident of its implementation, and trio has none.
"""

from __future__ import annotations

import heapq
from functools import partial
from itertools import count
from math import nextafter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from random import Random

    from seawall.policies.bulkhead import Ticket
    from seawall.testing.virtual import VirtualClock

_NEVER: Final = float("inf")


class Pause:
    """Awaited: the task stops until its ticket is woken or the seconds are over."""

    __slots__ = ("seconds", "ticket")

    def __init__(self, ticket: Ticket | None, seconds: float) -> None:
        self.ticket = ticket
        self.seconds = seconds

    def __await__(self) -> Generator[Pause]:
        yield self


def sleep(seconds: float) -> Pause:
    """Await it in a task of the loop to let virtual time pass; `inf`: until the task is cancelled."""
    return Pause(None, seconds)


class Cancelled(BaseException):
    """What `Task.cancel` throws into a task. No `Exception`, as in event loops: nobody is to take it for a failure."""


class Task:
    """A coroutine on its way."""

    __slots__ = ("_coroutine", "_loop", "_thrown", "_turn", "error", "is_done", "result")

    def __init__(self, loop: Loop, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._loop = loop
        self._coroutine = coroutine
        self._turn = 0
        """Steps so far: a timer or a wake that was meant for an earlier one is late, and does nothing."""
        self._thrown: BaseException | None = None
        self.is_done = False
        self.result: Any = None
        self.error: Exception | None = None
        """What it raised, instead of a result."""

    def cancel(self, error: BaseException | None = None) -> None:
        """Throw `Cancelled`, or another error, into it where it waits; nothing if it is done."""
        if not self.is_done:
            self._thrown = error or Cancelled()
            self._loop.push(self._loop.clock.now, self, self._turn)

    def step(self, turn: int) -> None:
        """Go on to the next pause, if `turn` is still to come."""
        if turn != self._turn or self.is_done:
            return
        self._turn = turn = turn + 1
        thrown = self._thrown
        try:
            if thrown is None:
                pause: Pause = self._coroutine.send(None)
            else:
                self._thrown = None
                pause = self._coroutine.throw(thrown)
        except StopIteration as end:
            self.is_done, self.result = True, end.value
            return
        except Exception as error:
            self.is_done, self.error = True, error
            self._loop.errors.append(error)
            return
        except Cancelled:
            self.is_done = True
            return
        except BaseException:
            self.is_done = True
            raise
        loop = self._loop
        seconds = pause.seconds
        if seconds < _NEVER:
            now = loop.clock.now
            when = now + seconds
            if when == now and seconds > 0:  # less than the clock can tell: time passes all the same
                when = nextafter(now, _NEVER)
            loop.push(when, self, turn)
        if pause.ticket is not None:
            pause.ticket.on_wake(partial(self._wake, turn))

    def _wake(self, turn: int) -> None:
        self._loop.push(self._loop.clock.now, self, turn)


class Loop:
    """Runs tasks in the time of `clock`, which it alone moves."""

    def __init__(self, clock: VirtualClock, chance: Random | None = None) -> None:
        """`chance`: shuffles what is due at the same instant; left out: first come, first served."""
        self.clock = clock
        self._due: list[tuple[float, float, int, Task, int]] = []
        """When, lot, tie-break, task, the turn it was due for."""
        self._numbers = count()
        self.errors: list[Exception] = []
        """What tasks raised."""
        self._lot: Callable[[], float] = chance.random if chance is not None else float

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Task:
        """Start it at this instant, beside what else is due."""
        task = Task(self, coroutine)
        self.push(self.clock.now, task, 0)
        return task

    def push(self, when: float, task: Task, turn: int) -> None:
        """Let `task` go on at that instant, unless it went on before."""
        heapq.heappush(self._due, (when, self._lot(), next(self._numbers), task, turn))

    def run(self, until: float = _NEVER) -> None:
        """Until nothing is due any more, or the clock would pass `until` (it then stands there)."""
        due, clock, pop = self._due, self.clock, heapq.heappop
        while due and due[0][0] <= until:
            when, _, _, task, turn = pop(due)
            if turn == task._turn:  # pyright: ignore[reportPrivateUsage] - late timers are many, and must cost little
                if when > clock.now:
                    clock.now = when
                task.step(turn)
        if until < _NEVER and clock.now < until:
            clock.now = until


def simulate(clock: VirtualClock, *coroutines: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run the coroutines together in the clock's time; returns their results, exceptions as values."""
    loop = Loop(clock)
    tasks = [loop.spawn(coroutine) for coroutine in coroutines]
    loop.run()
    return [task.result if task.error is None else task.error for task in tasks]
