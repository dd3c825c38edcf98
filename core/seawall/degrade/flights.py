"""Equal requests of one caller at one time become one: one of them leads, the others follow and get its answer.

The key is that of remembered answers, so nobody follows another caller. Who leads
holds a `Lead`, and holding it is all there is to leading: a flight is vacant as soon
as that object was given up or is gone (a task that died, an answer dropped unread).
A vacant flight is taken by one of those who wait for it. So followers depend on a
leader for nothing but the answer, and nothing has to be put right after an interrupt.
The single flight of Go's x/sync was rejected: it hands the leader's failure to all.

Not locked. Each step is one operation of a list or dict, which no other thread sees
half done, and whoever joins looks once more after it joined: of a follower that comes
and a leader that ends, one always sees the other. What a race can cost is a request
that was not spared, never an answer that is somebody else's.
"""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Final
from weakref import ref

from seawall.policies.bulkhead import Ticket

if TYPE_CHECKING:
    from seawall.degrade.record import Record

STALLED: Final = 1.0
"""Seconds without a piece of the body after which followers go by themselves: its reader may be slow, or wait for one
of them. Also how often a follower looks by itself."""

Flights = dict[bytes, "ref[Flight]"]
"""Key → the request on its way. It holds none of them."""


class Next(Enum):
    """What a follower is to do."""

    WAIT = "wait on, and look again within a second"
    GO = "send the request, for itself only"


class Lead:
    """Held by whoever brings the answer for the others. It ends in `land` or `resign`, or dies.

    A follower has one too, which leads nothing unless its turn comes.
    """

    __slots__ = ("__weakref__", "began", "blocks", "flight", "passed", "thread")

    def __init__(self, began: int, thread: int, *, blocks: bool) -> None:
        self.began = began
        """Before it was sent, in ticks of the cache."""
        self.thread = thread
        self.blocks = blocks
        """To wait here stops the thread, and with it whatever else runs there."""
        self.flight: Flight | None = None
        """None: it leads nothing, yet or any more."""
        self.passed: int | None = None
        """Pieces of the body that came; None: there are no headers yet."""

    def land(self, record: Record | None) -> None:
        """The answer is here, whole; None: it is not to be shared, everybody goes by themselves."""
        flight, self.flight = self.flight, None
        if flight is not None:
            flight.record = record
            flight.is_over = True
            for seat in list(flight.seats):
                seat.ticket.wake()

    def resign(self) -> None:
        """It ended without saying anything about the request (it was cancelled): one of the others leads."""
        flight, self.flight = self.flight, None
        if flight is not None:
            flight.call_next()


class Flight:
    """One request on its way, and who waits for its answer."""

    __slots__ = ("__weakref__", "_leads", "is_over", "record", "seats")

    def __init__(self) -> None:
        self._leads: dict[int, ref[Lead]] = {}
        """Who led it, numbered from 0. To take it is to write the next number first."""
        self.seats: list[Seat] = []
        self.record: Record | None = None
        self.is_over = False

    @property
    def lead(self) -> Lead | None:
        """Whose it is; None: it is vacant."""
        return self._led(len(self._leads) - 1)

    def take(self, lead: Lead) -> bool:
        """Lead it, if nobody does."""
        number = len(self._leads)
        if number and self._led(number - 1) is not None:
            return False
        lead.flight = self  # before anybody can see it: else it would look vacant
        mine = ref(lead)
        if self._leads.setdefault(number, mine) is mine:
            return True
        lead.flight = None
        return False

    def call_next(self) -> None:
        """Wake the first in line, to take what is vacant; the others look by themselves, should it not come."""
        for seat in self.seats[:1]:
            seat.ticket.wake()

    def _led(self, number: int) -> Lead | None:
        lead = self._leads[number]()
        return lead if lead is not None and lead.flight is self else None


class Seat:
    """A follower's place: `look`, wait for `ticket`, at most a second, and so on; at last, in any case, `leave`."""

    __slots__ = ("_flight", "_lead", "_passed", "_since", "ticket")

    def __init__(self, flight: Flight, lead: Lead, now: float) -> None:
        self._flight = flight
        self._lead = lead
        self.ticket = Ticket(now)
        self._passed: int | None = None
        self._since = now

    def look(self, now: float) -> Record | Lead | Next:
        """The answer, the lead if the follower has it now, or what to do."""
        flight = self._flight
        if flight.is_over:
            return flight.record or Next.GO
        lead = flight.lead
        if lead is None:
            return self._take()
        if self._lead.blocks and lead.thread == self._lead.thread:
            return Next.GO
        if lead.passed != self._passed:
            self._passed, self._since = lead.passed, now
        elif lead.passed is not None and now - self._since >= STALLED:
            return Next.GO
        return Next.WAIT

    def _take(self) -> Lead | Next:
        if not self._flight.take(self._lead):
            return Next.WAIT
        # Held by the follower only: a seat that an interrupt kept from leaving would lead for ever.
        lead, self._lead = self._lead, _NOBODY
        return lead

    def leave(self) -> None:
        """The follower waits no longer."""
        flight = self._flight
        try:
            flight.seats.remove(self)
        except ValueError:
            pass
        if not flight.is_over and flight.lead is None:  # it may have been called to lead
            flight.call_next()


_NOBODY: Final = Lead(0, 0, blocks=False)


def join(flights: Flights, key: bytes, lead: Lead, now: float, *, since: int) -> Lead | Seat:
    """A seat in the flight under `key`, unless it began before the tick `since`; else `lead`, which leads a new one."""
    mine = Flight()
    mine.take(lead)
    entry = ref(mine, partial(_gone, flights, key))
    flight = flights.setdefault(key, entry)()
    if flight is not mine and flight is not None and not flight.is_over:
        other = flight.lead
        if other is None or other.began > since:
            lead.flight = None
            seat = Seat(flight, lead, now)
            flight.seats.append(seat)
            return seat
    flights[key] = entry
    return lead


def _gone(flights: Flights, key: bytes, entry: ref[Flight]) -> None:
    if flights.get(key) is entry:
        flights.pop(key, None)
