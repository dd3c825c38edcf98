"""Bulkhead: at most so many attempts at one host at a time, and a bounded queue for the rest.

One slow host must not take every thread, task and connection of the process.
The name is Nygard's ("Release It!"). Permits out are not counted up and down: they
are the set of live admissions, so that an interrupt between two bytecodes cannot lose
one. When an admission dies unsettled, the callback of its weak reference appends to a
list, and the next visit tidies up. (Such a callback can run inside any allocation,
also while this thread holds the lock, so it may do no more.)

Waiters are threads, asyncio tasks (of any loop) and trio tasks in one FIFO queue.
A free permit is *granted* to the first; the woken waiter *claims* it under the
host's lock. A grant nobody claims (its loop was stopped, its task is dead)
lapses and goes to the next: `asyncio.Semaphore` and its like serve one loop and
have lost waiters on cancellation for years.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from seawall import _check

if TYPE_CHECKING:
    from collections.abc import Callable

CLAIM_WITHIN = 1.0
"""Seconds a woken waiter has to claim its permit; also how often a waiter looks by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulkhead:
    """How many attempts run at a time, and how many may wait how long for their turn."""

    max_concurrent: int | None = None
    """Attempts at a time, bodies included. None measures and never refuses: the client's pool stays the only limit."""
    max_wait: float = 5.0
    """Seconds a call waits for its turn; 0 refuses at once. The deadline ends the wait too."""
    max_queue: int = 1000
    """Calls that may wait at a time; a further one is refused at once."""

    def __post_init__(self) -> None:
        _check.count(self, "max_concurrent", 1, optional=True)
        _check.duration(self, "max_wait")
        _check.count(self, "max_queue", 0)


class Turn(Enum):
    """Where a waiter stands."""

    WAITING = "waiting"
    GRANTED = "granted"
    LAPSED = "lapsed"
    SENT_AWAY = "sent away"
    GONE = "gone"


class Ticket:
    """One waiter. `wake` may be called from any thread, more than once, before or after `on_wake`."""

    __slots__ = ("_awake", "_wake", "heeds_circuit", "joined_at", "number", "turn")

    def __init__(self, now: float, number: int = 0) -> None:
        self.turn = Turn.WAITING
        self.number = number
        """Place in the order of arrival."""
        self.joined_at = now
        self.heeds_circuit = True
        """False: its call goes whether the circuit is open or not, so it waits on."""
        self._wake: Callable[[], object] | None = None
        self._awake = False

    def on_wake(self, wake: Callable[[], object]) -> None:
        """Register what ends the wait; called at once if the ticket was woken before."""
        self._wake = wake
        if self._awake:  # set before the waker looked for `_wake`, or after: one of the two sees the other
            wake()

    def wake(self) -> None:
        """End the wait. A waiter whose loop is gone cannot be told: its grant lapses."""
        self._awake = True
        wake = self._wake
        if wake is not None:
            wake()

    def sleep_on(self) -> None:
        """Forget the last wake, before waiting again and looking once more."""
        self._wake = None
        self._awake = False


class Queue:
    """Waiters in line. Not locked: the host is. Methods that free waiters return them, to be woken unlocked.

    Each step may be the last before an interrupt: a waiter is granted before it leaves the line, and removing what is
    not there is no error, so that none is ever in neither place.
    """

    __slots__ = ("_last", "aside", "granted", "waiting")

    def __init__(self) -> None:
        self._last = 0
        self.waiting: list[Ticket] = []
        self.granted: dict[Ticket, float] = {}
        """Ticket → when it was granted."""
        self.aside: dict[Ticket, float] = {}
        """Who stepped aside → when it is back at the latest."""

    def __len__(self) -> int:
        return len(self.waiting)

    def join(self, now: float) -> Ticket:
        self._last += 1
        ticket = Ticket(now, self._last)
        self.waiting.append(ticket)
        return ticket

    def grant(self, free: int, now: float) -> list[Ticket]:
        """Give free permits, less those granted and unclaimed, to the first in line."""
        for ticket, since in self.granted.copy().items():  # a copy: a finaliser's call may claim one meanwhile
            if now - since < CLAIM_WITHIN:
                break  # the oldest come first
            if self.granted.pop(ticket, None) is not None:
                ticket.turn = Turn.LAPSED
        woken: list[Ticket] = []
        while self.waiting and len(self.granted) < free:
            ticket = self.waiting[0]
            if ticket.turn is not Turn.GONE:
                self.granted[ticket] = now
                ticket.turn = Turn.GRANTED
                woken.append(ticket)
            del self.waiting[0]
        return woken

    def claim(self, ticket: Ticket) -> bool:
        """Take the granted permit; False if there is none (yet, or any more)."""
        if ticket.turn is not Turn.GRANTED:
            return False
        self.granted.pop(ticket, None)
        ticket.turn = Turn.GONE
        return True

    def step_aside(self, ticket: Ticket, back: float) -> None:
        """The waiter has to wait for something else first, until `back` at most: others may be served, `rejoin` gives
        its place back."""
        self.leave(ticket)
        ticket.turn = Turn.LAPSED
        self.aside[ticket] = back

    def places(self, now: float) -> int:
        """Places in the line that are taken. Who stepped aside keeps one, unless it is overdue: its loop is gone."""
        for ticket, back in self.aside.copy().items():  # a copy: as in `grant`
            if now - back >= CLAIM_WITHIN:
                self.aside.pop(ticket, None)
        return len(self.waiting) + len(self.aside)

    def rejoin(self, ticket: Ticket) -> None:
        """A waiter who was not there when its turn came, stepped aside, or was sent away too soon, keeps its place."""
        if ticket.turn in (Turn.LAPSED, Turn.SENT_AWAY):
            self.aside.pop(ticket, None)
            ticket.turn = Turn.WAITING
            place = sum(other.number < ticket.number for other in self.waiting)
            self.waiting.insert(place, ticket)

    def leave(self, ticket: Ticket) -> None:
        """The waiter gives up; what it was granted is free again."""
        if ticket.turn is Turn.GONE:  # served, or left before: not to be looked for in a line of thousands
            return
        self.aside.pop(ticket, None)
        ticket.turn = Turn.GONE
        self.granted.pop(ticket, None)
        try:
            self.waiting.remove(ticket)
        except ValueError:
            pass

    def disband(self) -> None:
        """The waiters are another process's; one who forked while waiting, in a signal handler, joins again."""
        for ticket in (*self.waiting, *self.granted):
            ticket.turn = Turn.LAPSED
        self.waiting.clear()
        self.granted.clear()
        self.aside.clear()

    def send_away(self, *, everybody: bool = True) -> list[Ticket]:
        """None of them will be served: we are closing; or, if not `everybody`, of those whom an open circuit stops."""
        woken = [ticket for ticket in (*self.waiting, *self.granted) if everybody or ticket.heeds_circuit]
        for ticket in woken:
            ticket.turn = Turn.SENT_AWAY
            self.granted.pop(ticket, None)
        self.waiting[:] = [ticket for ticket in self.waiting if ticket.turn is not Turn.SENT_AWAY]
        return woken


_NO_LIMIT: Final = 1 << 60
_NOBODY_WAITS: Final = Queue()
"""The queue of all hosts without a limit."""


class BulkheadState:
    """Permits of one host: who holds one, who waits, and how it went. Not locked: the host is."""

    __slots__ = (
        "bury",
        "config",
        "dead",
        "held",
        "is_free",
        "limit",
        "live",
        "peak",
        "queue",
        "refused",
        "returned",
        "waited",
    )

    def __init__(self, config: Bulkhead | None) -> None:
        self.live: dict[ref[Any], Any] = {}
        """Weak references to the admissions that hold a permit, oldest first: these *are* the permits. Each with what
        was told of its start, if anybody listened."""
        self.dead: list[ref[Any]] = []
        """Permits whose owner died without a word."""
        self.bury = self.dead.append
        self.queue = _NOBODY_WAITS
        self.returned = self.refused = self.peak = 0
        self.waited = self.held = 0.0
        self.configure(config)

    def configure(self, config: Bulkhead | None) -> None:
        """A lowered limit drains: it cancels nothing."""
        self.config = config or Bulkhead()
        self.is_free = self.config.max_concurrent is None
        """No limit: it only measures."""
        if not self.is_free and self.queue is _NOBODY_WAITS:
            self.queue = Queue()
        self.limit: int = _NO_LIMIT if self.config.max_concurrent is None else self.config.max_concurrent

    def begin_afresh(self) -> list[ref[Any]]:
        """Nobody is here any more. Returns the permits that were out."""
        out = list(self.live)
        self.live.clear()
        self.dead.clear()
        self.queue.disband()
        return out

    def take(self, owner: object) -> ref[Any]:
        """A permit for `owner`, who was let in."""
        permit = ref(owner, self.bury)
        self.live[permit] = None
        out = len(self.live)
        if out > self.peak:
            self.peak = out
        return permit

    def line_up(self, ticket: Ticket | None, now: float) -> Ticket | bool:
        """True: there is a permit for the caller. False: refused, the queue is full. A ticket: wait for it.

        `ticket` is the one the caller waited for so far.
        """
        queue = self.queue
        if ticket is not None:
            if queue.claim(ticket):
                return True
            queue.rejoin(ticket)
            if ticket.turn is Turn.WAITING:
                return ticket
        if len(self.live) + len(queue.granted) < self.limit and not queue.waiting:
            return True
        if self.config.max_wait == 0 or queue.places(now) >= self.config.max_queue:
            self.refused += 1
            return False
        return queue.join(now)

    def leave(self, ticket: Ticket, now: float) -> None:
        """The ticket is done with, served or not."""
        self.queue.leave(ticket)
        self.waited += now - ticket.joined_at

    def grant(self, now: float) -> list[Ticket]:
        """Who may go now: to be woken without the lock."""
        return self.queue.grant(self.limit - len(self.live), now)
