"""Equal requests of one caller at one time become one: one leads, the others follow and get its answer.

The key is that of remembered answers, so nobody follows another caller. Followers
depend on the leader for nothing but the answer: if it is cancelled, one of them
leads; if it fails, or its answer is not to be shared, each goes on alone, under its
own deadline and the host's own limits; if it is gone without a word (its loop was
stopped, its body never read), they notice within a second.

Not locked: each step is one operation of a list or dict, and whoever joins looks
once more after joining (as a waiter of the bulkhead does), so that of a joining
follower and an ending flight one always sees the other.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING
from weakref import ref

from seawall.policies.bulkhead import CLAIM_WITHIN, Ticket

if TYPE_CHECKING:
    from seawall.degrade.cache import Slot
    from seawall.degrade.record import Record


class Place(Enum):
    """What a follower is to do next."""

    WAITS = "wait on, and look again within a second"
    LEADS = "send the request, for the others too"
    ALONE = "send the request, for itself only"


class Flight:
    """One request on its way, and who waits for its answer."""

    __slots__ = ("_all", "_key", "followers", "is_over", "leader", "led_since", "record")

    def __init__(self, leader: Slot, flights: dict[bytes, Flight]) -> None:
        self._all = flights
        self._key = leader.key
        self.leader: ref[Slot] = ref(leader)
        self.led_since: float | None = None
        """When a follower was told to lead, who has not begun yet."""
        self.followers: list[Seat] = []
        self.record: Record | None = None
        self.is_over = False

    def land(self, record: Record | None) -> None:
        """The leader has the whole answer, to be shared; None: its end says nothing to the others."""
        self.record = record
        self.is_over = True
        if self._all.get(self._key) is self:
            self._all.pop(self._key, None)
        for seat in list(self.followers):
            seat.ticket.wake()

    def hand_on(self, now: float) -> None:
        """The leader was cancelled, which says nothing about the request: the first follower leads, if there is one."""
        try:
            seat = self.followers.pop(0)
        except IndexError:
            self.land(None)
            return
        self.led_since = now
        self.leader = ref(seat.slot)
        seat.ticket.wake()


class Seat:
    """A follower's place: wait for `ticket`, at most a second, `look`, and so on; at last, in any case, `leave`."""

    __slots__ = ("_flight", "slot", "ticket")

    def __init__(self, flight: Flight, slot: Slot, now: float) -> None:
        self._flight = flight
        self.slot = slot
        self.ticket = Ticket(now)

    def look(self, now: float) -> Record | Place:
        """What came of it: the leader's answer, or what to do."""
        flight = self._flight
        self.ticket.sleep_on()  # first: what ends the wait from here on is seen below, or wakes again
        if flight.is_over:
            return Place.ALONE if flight.record is None else flight.record
        leader = flight.leader()
        if leader is self.slot:
            flight.led_since = None
            self.slot.flight = flight
            return Place.LEADS
        if leader is None or (flight.led_since is not None and now - flight.led_since > CLAIM_WITHIN):
            return Place.ALONE
        return Place.WAITS

    def leave(self, now: float) -> None:
        """The follower is done, or was cancelled; if it was to lead and has not begun, another does."""
        try:
            self._flight.followers.remove(self)
        except ValueError:
            pass
        flight = self._flight
        if not flight.is_over and flight.leader() is self.slot and self.slot.flight is None:
            flight.hand_on(now)


def join(flights: dict[bytes, Flight], slot: Slot, now: float) -> Seat | None:
    """A seat in the flight of an equal request; None: there is none, and the slot leads one."""
    mine = Flight(slot, flights)
    flight = flights.setdefault(slot.key, mine)
    leader = flight.leader()
    if flight is not mine and (flight.is_over or leader is None or leader.is_outdated):
        # Its answer may be older than what this caller has changed since.
        flight = flights[slot.key] = mine
    if flight is mine:
        slot.flight = mine
        return None
    seat = Seat(flight, slot, now)
    flight.followers.append(seat)
    if flight.is_over:
        seat.ticket.wake()
    return seat
