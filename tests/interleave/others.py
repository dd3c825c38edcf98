"""What else threads share: the registry of hosts, remembered answers, equal requests on their way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seawall import Bulkhead, Resilience, StaleResponse
from seawall.admission import Admission
from seawall.degrade.flights import Flights, Lead, Next, Seat, join
from seawall.degrade.record import Record
from seawall.degrade.values import Value, Values
from seawall.events import CallEnded, Event, Rejected
from seawall.hub import Hub
from seawall.stores.memory import OVERHEAD, MemoryStore
from seawall.testing import VirtualClock
from tests.core.stage import call_to, only

# -- hosts come and go -------------------------------------------------------------------------------------------------


class Place:
    """Room for two hosts: one is in use, one is idle and may be forgotten."""

    def __init__(self, key: Callable[[str, str], str] | None = None) -> None:
        self.clock = VirtualClock()
        self.resilience = Resilience({"all://": only()}, clock=self.clock, max_hosts=2, key=key)
        self.attempts: list[Admission] = []
        self.visit("busy")
        self.visit("idle")

    def visit(self, name: str) -> None:
        call = call_to(self.resilience, f"https://{name}.test")
        admission = Admission(call, 1, self.clock.now)
        call.state.admit(admission, self.clock.now)
        if name == "idle":
            admission.abandon()
        else:
            self.attempts.append(admission)

    def is_known(self, name: str) -> bool:
        return self.resilience.snapshot(f"https://{name}.test") is not None


def named() -> Place:
    """Where a function of the user's names the hosts."""
    return Place(lambda method, url: url)


def visit(name: str) -> Callable[[Place, int], object]:
    return lambda place, _: place.visit(name)


def count_them(place: Place, _: int) -> None:
    """One goes, one comes: there are never fewer."""
    assert len(place.resilience) >= 2, "a host in use is not counted"


def keep(place: Place, _: int) -> None:
    """Who is in use is always there."""
    assert place.is_known("busy"), "a host in use is not known"


LIMITED = only(bulkhead=Bulkhead(max_concurrent=3))

HOSTS: dict[str, Callable[[Any, int], object]] = {
    "visit the idle one": visit("idle"),
    "visit the busy one": visit("busy"),
    "visit a new one": visit("new"),
    "visit another new one": visit("other"),
    "isolate the idle one": lambda place, _: place.resilience.isolate("https://idle.test"),
    "isolate a new one": lambda place, _: place.resilience.isolate("https://new.test"),
    "reset the idle one": lambda place, _: place.resilience.reset("https://idle.test"),
    "picture of the idle one": lambda place, _: place.is_known("idle"),
    "picture of the busy one": keep,
    "provider": lambda place, _: place.resilience.provider("someone"),
    "remove the idle one": lambda place, _: place.resilience.remove("https://idle.test"),
    "all pictures": lambda place, _: sorted(one.host for one in place.resilience.snapshots()),
    "health": lambda place, _: place.resilience.health(),
    "how many": count_them,
    "configure": lambda place, _: place.resilience.configure("all://", LIMITED),
    "reset all": lambda place, _: place.resilience.reset_all(),
    "shut": lambda place, _: place.resilience._shut(),
}


def check_hosts(place: Place) -> list[str]:
    wrong = []
    registry, routes = place.resilience._registry, place.resilience.routes
    if len(registry) > 3:  # one may have been isolated by hand, whatever room there was
        wrong.append(f"{len(registry)} hosts")
    for key, route in routes.items():
        if route.state is not None and registry.get(("host", route.state.name)) is not route.state:
            wrong.append(f"{key} leads to a host that was forgotten")
        if route.state is not None and key not in route.state.route_keys:
            wrong.append(f"{key} would stay when its host is forgotten")
    limits = {state.bulkhead.config.max_concurrent for state in registry.everybody() if state.opens}
    if limits != {3 if place.resilience.policies["all://"] is LIMITED else None}:
        wrong.append(f"limits are {limits}")
    if registry.is_closed and not all(state.is_closed for state in registry.everybody()):
        wrong.append("one is open for calls")
    return wrong


def only_errors(result: object) -> object:
    """A host may be forgotten between the look-up and the attempt, which then ends in what was forgotten."""
    return repr(result) if isinstance(result, Exception) else None


def word(result: object) -> object:
    return repr(result) if isinstance(result, Exception) else result


# -- answers in memory -------------------------------------------------------------------------------------------------

A, B, C = (bytes([tag]) * 16 + b"question" for tag in (1, 1, 2))
B = B[:-1] + b"!"


def store() -> MemoryStore:
    made = MemoryStore()
    made.put(A, b"a", 0, 10, 2, 10_000)
    made.put(C, b"c", 0, 1, 2, 10_000)
    return made


STORE: dict[str, Callable[[Any, int], object]] = {
    "get": lambda made, _: made.get(A, 0),
    "get what is over": lambda made, _: made.get(C, 5),
    "put": lambda made, _: made.put(B, b"bb", 0, 10, 2, 10_000),
    "put again": lambda made, _: made.put(A, b"aaa", 0, 10, 2, 10_000),
    "put one for two": lambda made, _: made.put(B, b"b" * 500, 0, 10, 2, 1_000),
    "drop": lambda made, _: made.drop(A),
    "drop all of one": lambda made, _: made.drop(A[:16]),
    "count": lambda made, _: len(made),
}


def store_left(made: MemoryStore) -> object:
    return list(made._records.items()), made.bytes


def check_store(made: MemoryStore) -> list[str]:
    wrong = []
    if made.bytes != sum(len(record) + OVERHEAD for record, _ in made._records.values()):
        wrong.append(f"{made.bytes} bytes are counted")
    tags: dict[bytes, set[bytes]] = {}
    for key in made._records:
        tags.setdefault(key[:16], set()).add(key)
    if {tag: set(keys) for tag, keys in made._tags.items()} != tags:
        wrong.append("tags and records do not agree")
    return wrong


# -- equal requests ----------------------------------------------------------------------------------------------------


class Equal:
    """One leads, one follows; both threads may come with another, or end what they have."""

    def __init__(self) -> None:
        self.flights: Flights = {}
        self.leads: list[Lead | None] = [Lead(1, 1, blocks=True)]
        self.seats: list[Seat] = []
        self.record = Record(200, [], b"", 0.0, 0.0, 1.0, 1.0, 0.0)
        led = join(self.flights, b"key", self.leads[0], 0.0, since=0)  # type: ignore[arg-type]
        assert led is self.leads[0]
        self.come(2)

    def come(self, thread: int) -> object:
        found = join(self.flights, b"key", Lead(thread, thread, blocks=True), 0.0, since=0)
        if isinstance(found, Seat):
            self.seats.append(found)
            return self.look(found)  # as whoever joins does, before it waits
        self.leads.append(found)
        return "leads"

    def look(self, seat: Seat) -> object:
        found = seat.look(0.0)
        if isinstance(found, Lead):
            self.leads.append(found)
        if found is not Next.WAIT:
            seat.leave()
        return found if isinstance(found, Next) else type(found).__name__


def end(how: str) -> Callable[[Equal, int], object]:
    def act(equal: Equal, _: int) -> object:
        lead = equal.leads[0]
        if lead is None:
            return None
        if how == "die":
            equal.leads[0] = None
        elif how == "resign":
            lead.resign()
        else:
            lead.land(equal.record if how == "land" else None)
        return None

    return act


FLIGHTS: dict[str, Callable[[Any, int], object]] = {
    "come": lambda equal, who: equal.come(3 + who),
    "look": lambda equal, _: equal.look(equal.seats[0]),
    "leave": lambda equal, _: equal.seats[0].leave(),
    "land": end("land"),
    "land for nobody": end("land for nobody"),
    "resign": end("resign"),
    "die": end("die"),
}


def nothing(_: object) -> object:
    return None


def check_flights(equal: Equal) -> list[str]:
    """Nobody is left waiting for nobody, and there is one lead at most."""
    wrong = []
    leads = [lead for lead in equal.leads if lead is not None and lead.flight is not None]
    entry = equal.flights.get(b"key")
    current = None if entry is None else entry()
    if current is not None and sum(lead.flight is current for lead in leads) > 1:
        wrong.append("two lead one flight")
    for seat in equal.seats:
        flight = seat._flight
        if seat not in flight.seats:
            continue  # it left
        if flight.is_over and not seat.ticket._awake:
            wrong.append("one waits for an answer that is there")
        if not flight.is_over and flight.lead is None and seat.look(0.0) is Next.WAIT:
            wrong.append("one waits for nobody")
    return wrong


# -- results of operations ---------------------------------------------------------------------------------------------


def values() -> Values:
    made = Values(StaleResponse(max_entries=2, key=lambda operation: "k"))
    made.put(("p", "a"), Value(1, 0.0, 0.0))
    made.put(("p", "b"), Value(2, 0.0, 0.0))
    return made


VALUES: dict[str, Callable[[Any, int], object]] = {
    "get": lambda made, _: made.get(("p", "a"), 1.0, 1.0) is None,
    "put": lambda made, who: made.put(("p", f"c{who}"), Value(3, 0.0, 0.0)),
    "put again": lambda made, _: made.put(("p", "a"), Value(4, 0.0, 0.0)),
    "forget": lambda made, _: made.forget(("p", "a")),
}


def check_values(made: Values) -> list[str]:
    return [] if len(made._kept) <= 2 else [f"{len(made._kept)} are kept"]


# -- who listens -------------------------------------------------------------------------------------------------------


class Audience:
    """One listens to what is rare."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.heard: list[Event] = []
        self.ends = [self.hub.subscribe(self.heard.append, [Rejected]), self.hub.enclose(lambda call: None)]


AUDIENCE: dict[str, Callable[[Any, int], object]] = {
    "listen to all": lambda audience, _: nothing(audience.hub.subscribe(audience.heard.append)),
    "listen to calls": lambda audience, _: nothing(audience.hub.subscribe(audience.heard.append, [CallEnded])),
    "go": lambda audience, _: audience.ends[0](),
    "be around": lambda audience, _: nothing(audience.hub.enclose(lambda call: None)),
    "be around no more": lambda audience, _: audience.ends[1](),
    "say once": lambda audience, _: audience.hub.is_first("this"),
}


def audience_left(audience: Audience) -> object:
    hub = audience.hub
    return len(hub._listeners), hub.listening, hub.following, len(hub.around), len(hub._said)


def check_audience(audience: Audience) -> list[str]:
    hub = audience.hub
    return [] if hub.listening == bool(hub._listeners) else ["nobody is told, or nobody is there"]
