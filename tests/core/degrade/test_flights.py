"""Equal requests become one: who leads, who follows, and that nobody waits for ever or gets another's answer."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest

from seawall.degrade.answer import Answer
from seawall.degrade.cache import ALONE_FOR
from seawall.degrade.copying import Copy
from seawall.degrade.flights import STALLED, Flight, Lead, Next, Seat
from seawall.degrade.slot import Slot
from tests.core.degrade.asking import Cache, Request, header

X = Request()


class Caller:
    """One request, as the flow and the mount lead it."""

    def __init__(self, party: Party, slot: Slot, place: Lead | Seat | None) -> None:
        self.party = party
        self.slot = slot
        self.lead = place if isinstance(place, Lead) else None
        self.seat = place if isinstance(place, Seat) else None
        self.copy: Copy | None = None
        self.listen()

    def listen(self) -> None:
        if self.seat is not None:
            me = ref(self)  # who is gone is gone
            woken = self.party.woken
            self.seat.ticket.on_wake(lambda: [woken.append(caller) for caller in (me(),) if caller is not None])

    def look(self) -> bytes | Next | Lead:
        """What the follower finds: it leaves, unless it is to wait."""
        assert self.seat is not None
        found = self.seat.look(self.party.cache.now)
        if found is Next.WAIT:
            self.seat.ticket.sleep_on()
            self.listen()
            return found
        self.seat.leave()
        if isinstance(found, Next):
            return found
        if isinstance(found, Lead):
            self.lead, self.seat = found, None
            return found
        return self.answer(found).content

    def answer(self, found: Any) -> Answer:
        return self.slot.share(found, self.party.cache.wall)

    def headers(self, status: int = 200, **fields: str) -> None:
        """A good answer begins."""
        cache = self.party.cache
        pairs = [(name.replace("_", "-"), value) for name, value in fields.items()]
        self.copy = Copy(self.slot) if self.slot.begin(status, pairs, cache.now, cache.wall, 0) else None
        self.slot.copied_to(self.copy)
        if self.lead is not None:
            self.slot.offer(self.lead, cache.now)
            self.lead = None

    def body(self, *pieces: bytes) -> None:
        """All of it."""
        if self.copy is not None:
            for piece in pieces:
                self.copy.add(piece)
            self.copy.keep(None)

    def gets(self, *pieces: bytes) -> None:
        self.headers()
        self.body(*pieces)

    def fails(self) -> None:
        assert self.lead is not None
        self.lead.land(None)

    def is_cancelled(self) -> None:
        if self.lead is not None:
            self.lead.resign()
        elif self.copy is not None:
            self.copy.leave()
        elif self.seat is not None:
            self.seat.leave()


class Party:
    """Callers of one cache that coalesces."""

    def __init__(self, **config: Any) -> None:
        self.cache = Cache(**{"coalesce": True, **config})
        self.woken: list[Caller] = []

    def comes(self, request: Request = X, *, thread: int = 1, blocks: bool = False) -> Caller:
        slot = self.cache.slot(request)
        assert slot is not None
        return Caller(self, slot, slot.join(self.cache.now, thread, blocks=blocks))

    def leader(self, request: Request = X, **where: Any) -> Caller:
        caller = self.comes(request, **where)
        assert caller.lead is not None
        return caller

    def follower(self, request: Request = X, **where: Any) -> Caller:
        caller = self.comes(request, **where)
        assert caller.seat is not None
        return caller

    def alone(self, request: Request = X) -> None:
        caller = self.comes(request)
        assert (caller.lead, caller.seat) == (None, None)

    def changes(self, request: Request, status: int | None = 204) -> None:
        """Something is changed; None: nobody knows."""
        slot = self.cache.slot(request)
        assert slot is not None
        if status is not None:
            slot.begin(status, [], self.cache.now, self.cache.wall, 0)
        slot.over()

    def is_empty(self) -> bool:
        return not self.cache.state._flights  # pyright: ignore[reportPrivateUsage]


def test__the_leaders_answer__is_everybodys() -> None:
    party = Party()
    leader, followers = party.leader(), [party.follower() for _ in range(3)]
    assert [follower.look() for follower in followers] == [Next.WAIT] * 3
    leader.headers(cache_control="max-age=60")
    assert [follower.look() for follower in followers] == [Next.WAIT] * 3
    party.cache.now += 0.9
    leader.body(b"sha", b"red")
    assert party.woken == followers
    assert [follower.look() for follower in followers] == [b"shared"] * 3
    assert party.cache.found(X) is not None, "it is remembered too"
    del followers, leader
    party.woken.clear()
    assert party.is_empty()
    party.leader()


def test__shared_answer__says_so_and_is_each_followers_own() -> None:
    party = Party()
    leader, one, two = party.leader(), party.follower(), party.follower()
    leader.headers(etag='"1"', age="5")
    party.cache.now += 2
    leader.body(b"shared")
    assert one.seat is not None
    assert two.seat is not None
    first, second = (caller.answer(caller.seat.look(party.cache.now)) for caller in (one, two) if caller.seat)
    assert first is not second
    assert first.headers == second.headers
    told = [header(first, name) for name in ("etag", "content-length", "age", "cache-status")]
    assert told == ['"1"', "6", "7", "seawall; fwd=miss; collapsed"]


@pytest.mark.parametrize(
    "other",
    [
        Request(headers={"Authorization": "bob"}),
        Request(headers={"X-Tenant": "bob"}),
        Request(url="https://api.test/y"),
        Request(url="https://bob@api.test/x"),
        Request("HEAD"),
        Request(headers={"Accept": "text/html"}),
    ],
    ids=["another caller", "another tenant", "another URL", "another user", "another method", "another form"],
)
def test__another_question__leads_itself(other: Request) -> None:
    party = Party()
    leader = party.leader()
    party.leader(other)
    assert leader.lead is not None


@pytest.mark.parametrize(
    "other",
    [
        Request(headers={"Cache-Control": "no-cache"}),
        Request(headers={"Cache-Control": "max-age=60"}),
        Request(headers={"Pragma": "no-cache"}),
        Request("PUT"),
    ],
    ids=["wants it new", "not too old", "wants it new, as of old", "not safe"],
)
def test__request_with_wishes_or_effects__is_sent(other: Request) -> None:
    party = Party()
    party.alone(other)
    leader = party.leader()
    party.alone(other)
    assert leader.lead is not None


def test__post__is_never_one_with_another() -> None:
    party = Party(methods=["GET", "POST"])
    party.alone(Request("POST"))


def test__certificates__are_callers() -> None:
    party = Party()
    slots = [party.cache.slot(X, identity=name) for name in ("/etc/1.pem", "/etc/2.pem", 7)]
    places = [slot.join(0, 1, blocks=False) for slot in slots if slot is not None]
    assert [type(place) for place in places] == [Lead] * 3


UNSHARED: dict[str, tuple[int, dict[str, Any]]] = {
    "no-store": (200, {"cache_control": "no-store"}),
    "no-cache": (200, {"cache_control": "no-cache"}),
    "a cookie": (200, {"set_cookie": "a=b"}),
    "stale at once, and then not to be given": (200, {"cache_control": "max-age=0, must-revalidate"}),
    "nor this one": (200, {"cache_control": "max-age=0, stale-if-error=0"}),
    "varies by anything": (200, {"vary": "*"}),
    "varies by what does not count": (200, {"vary": "x-request-id"}),
    "too long": (200, {"content_length": "9" * 12}),
    "events": (200, {"content_type": "text/event-stream; charset=utf-8"}),
    "lines": (200, {"content_type": "Application/x-ndjson"}),
    "404": (404, {}),
    "a redirect for now": (302, {}),
    "not modified": (304, {}),
}


@pytest.mark.parametrize(("status", "fields"), UNSHARED.values(), ids=UNSHARED)
def test__answer_not_to_be_shared__everybody_goes_at_its_headers__and_does_not_wait_the_next_time(
    status: int, fields: dict[str, Any]
) -> None:
    party = Party()
    leader, followers = party.leader(), [party.follower() for _ in range(2)]
    leader.headers(status, **fields)
    assert party.woken == followers
    assert [follower.look() for follower in followers] == [Next.GO] * 2
    party.alone()
    party.cache.now += ALONE_FOR
    party.leader()


@pytest.mark.parametrize("control", ["private", "max-age=0", "must-revalidate, max-age=1", ""])
def test__private_and_stale_answers__are_shared_with_the_same_caller(control: str) -> None:
    party = Party()
    leader, follower = party.leader(), party.follower()
    leader.headers(cache_control=control)
    leader.body(b"shared")
    assert follower.look() == b"shared"


def test__longer_than_may_be_kept__everybody_goes_when_it_shows() -> None:
    party = Party(max_body=5)
    leader, follower = party.leader(), party.follower()
    leader.headers()
    assert leader.copy is not None
    leader.copy.add(b"12345")
    assert follower.look() is Next.WAIT
    leader.copy.add(b"6")
    assert party.woken == [follower]
    assert follower.look() is Next.GO


def test__failed__everybody_goes() -> None:
    party = Party()
    leader, followers = party.leader(), [party.follower() for _ in range(2)]
    leader.fails()
    assert party.woken == followers
    assert [follower.look() for follower in followers] == [Next.GO] * 2
    party.leader()


@pytest.mark.parametrize("body", [b"", b"12"])
def test__body_not_as_long_as_it_said__everybody_goes(body: bytes) -> None:
    party = Party()
    leader, follower = party.leader(), party.follower()
    leader.headers(content_length="3")
    leader.body(body)
    assert follower.look() is Next.GO


@pytest.mark.parametrize("began", [False, True], ids=["before the headers", "in the body"])
def test__leader_cancelled__the_first_follower_leads_the_others(began: bool) -> None:
    party = Party()
    leader, first, second = party.leader(), party.follower(), party.follower()
    if began:
        leader.headers()
    leader.is_cancelled()
    assert party.woken == [first]
    assert isinstance(first.look(), Lead)
    third = party.follower()
    assert (second.look(), third.look()) == (Next.WAIT, Next.WAIT)
    first.gets(b"shared")
    assert (second.look(), third.look()) == (b"shared", b"shared")


def test__woken_follower_does_not_come__any_other_leads() -> None:
    party = Party()
    leader, first, second = party.leader(), party.follower(), party.follower()
    leader.is_cancelled()
    assert party.woken == [first]
    assert isinstance(second.look(), Lead)
    assert first.look() is Next.WAIT


def test__woken_follower_is_cancelled__the_next_is_woken() -> None:
    party = Party()
    leader, first, second = party.leader(), party.follower(), party.follower()
    leader.is_cancelled()
    first.is_cancelled()
    assert party.woken == [first, second]
    assert isinstance(second.look(), Lead)


def test__everybody_cancelled__the_next_leads() -> None:
    party = Party()
    leader, follower = party.leader(), party.follower()
    follower.is_cancelled()
    leader.is_cancelled()
    del leader, follower
    party.woken.clear()
    assert party.is_empty()
    party.leader()


def test__leader_gone_without_a_word__one_of_the_others_leads() -> None:
    party = Party()
    leader, follower, other = party.leader(), party.follower(), party.follower()
    leader.headers()
    del leader
    gc.collect()
    assert isinstance(other.look(), Lead)
    assert follower.look() is Next.WAIT


def test__everybody_gone_without_a_word__nothing_is_left() -> None:
    party = Party()
    crowd = [party.leader(), party.follower(), party.follower()]
    assert not party.is_empty()
    del crowd
    gc.collect()
    assert party.is_empty()


def test__body_that_nobody_reads_on__is_not_waited_for() -> None:
    party = Party()
    leader, follower = party.leader(), party.follower()
    party.cache.now += 50
    assert follower.look() is Next.WAIT, "there are no headers yet"
    leader.headers()
    assert leader.copy is not None
    assert follower.look() is Next.WAIT
    party.cache.now += 0.9 * STALLED
    leader.copy.add(b"piece")
    assert follower.look() is Next.WAIT
    party.cache.now += 0.9 * STALLED
    assert follower.look() is Next.WAIT
    party.cache.now += 0.1 * STALLED
    assert follower.look() is Next.GO


def test__who_would_block_the_leaders_own_thread__goes() -> None:
    party = Party()
    leader = party.leader(thread=1)
    blocked, elsewhere, task = (
        party.follower(thread=1, blocks=True),
        party.follower(thread=2, blocks=True),
        party.follower(thread=1),
    )
    assert (blocked.look(), elsewhere.look(), task.look()) == (Next.GO, Next.WAIT, Next.WAIT)
    leader.is_cancelled()
    assert isinstance(task.look(), Lead)


Change = Callable[[Party], None]
CHANGES: dict[str, Change] = {
    "there": lambda party: party.changes(Request("PUT")),
    "elsewhere at that host": lambda party: party.changes(Request("POST", "https://API.test:443/y?a=b")),
    "by another caller": lambda party: party.changes(Request("POST", headers={"Authorization": "bob"})),
    "perhaps: nobody knows": lambda party: party.changes(Request("POST"), None),
    "perhaps: 500": lambda party: party.changes(Request("POST"), 500),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test__something_changed_meanwhile__who_asks_afterwards_gets_nothing_from_before(change: Change) -> None:
    party = Party()
    old = party.leader()
    change(party)
    late = party.leader()
    follower = party.follower()
    old.gets(b"from before")
    assert follower.look() is Next.WAIT
    late.gets(b"new")
    assert follower.look() == b"new"


def test__changed_at_another_host__is_not_its_business() -> None:
    party = Party()
    leader = party.leader()
    party.changes(Request("POST", "https://other.test/x"))
    follower = party.follower()
    leader.gets(b"shared")
    assert follower.look() == b"shared"


def test__changed_there_while_it_was_on_its_way__who_followed_before_goes() -> None:
    party = Party()
    leader, early = party.leader(), party.follower()
    leader.headers()
    party.changes(Request("PUT"))
    leader.body(b"from before")
    assert early.look() is Next.GO


def test__child_of_a_fork__follows_nobody() -> None:
    party = Party()
    leader = party.leader()
    party.cache.state.begin_afresh()
    party.leader()
    assert leader.lead is not None


def test__joined_while_it_landed__sees_it_at_its_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    party = Party()
    leader = party.leader()

    class Late(Seat):
        def __init__(self, *parts: Any) -> None:
            super().__init__(*parts)
            leader.gets(b"shared")

    monkeypatch.setattr("seawall.degrade.flights.Seat", Late)
    assert party.follower().look() == b"shared"


def test__two_take_it_at_once__one_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    flight, first = Flight(), Lead(1, 1, blocks=False)
    quicker, slower = (Lead(n, 1, blocks=False) for n in (2, 3))
    assert flight.take(first)
    first.resign()
    real = Flight._led  # pyright: ignore[reportPrivateUsage]

    def interrupted(self: Flight, number: int) -> Lead | None:
        monkeypatch.setattr(Flight, "_led", real)
        found = real(self, number)
        assert flight.take(quicker)
        return found

    monkeypatch.setattr(Flight, "_led", interrupted)
    assert not flight.take(slower)
    assert flight.lead is quicker
    assert slower.flight is None


def test__taken_by_another_between_looking_and_taking__waits_on(monkeypatch: pytest.MonkeyPatch) -> None:
    flight, first = Flight(), Lead(1, 1, blocks=False)
    quicker, slower = (Lead(n, 1, blocks=False) for n in (2, 3))
    assert flight.take(first)
    seat = Seat(flight, slower, 0)
    first.resign()
    real = Flight._led  # pyright: ignore[reportPrivateUsage]

    def overtaken(self: Flight, number: int) -> Lead | None:
        monkeypatch.setattr(Flight, "_led", real)
        found = real(self, number)
        assert flight.take(quicker)
        return found

    monkeypatch.setattr(Flight, "_led", overtaken)
    assert seat.look(0) is Next.WAIT
    assert (flight.lead, slower.flight) == (quicker, None)


def test__left_twice__the_second_time_nobody_is_called() -> None:
    party = Party()
    leader, one, two = party.leader(), party.follower(), party.follower()
    assert one.seat is not None
    one.seat.leave()
    one.seat.leave()
    assert (party.woken, two.look()) == ([], Next.WAIT)
    leader.gets(b"shared")
    assert two.look() == b"shared"


def test__landed_after_it_resigned__ends_nothing_of_the_next_leaders() -> None:
    party = Party()
    leader, one, two = party.leader(), party.follower(), party.follower()
    assert leader.lead is not None
    leader.lead.resign()
    assert isinstance(one.look(), Lead)
    leader.lead.land(None)
    assert two.look() is Next.WAIT


def test__resigned_after_it_landed__calls_nobody() -> None:
    party = Party()
    leader, one = party.leader(), party.follower()
    assert leader.lead is not None
    leader.lead.land(None)
    party.woken.clear()
    leader.lead.resign()
    assert (party.woken, one.look()) == ([], Next.GO)
