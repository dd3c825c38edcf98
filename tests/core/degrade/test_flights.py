"""Equal requests become one: who leads, who follows, and that nobody waits for ever or gets another's answer."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from seawall.degrade.answer import Answer
from seawall.degrade.cache import Slot
from seawall.degrade.flights import Place, Seat
from seawall.policies.bulkhead import CLAIM_WITHIN
from tests.core.degrade.asking import Cache, Request, header

X = Request()


class Party:
    """Callers of one cache that coalesces."""

    def __init__(self, **config: Any) -> None:
        self.cache = Cache(**{"coalesce": True, **config})
        self.woken: list[Seat] = []

    def slot(self, request: Request = X) -> Slot:
        slot = self.cache.slot(request)
        assert slot is not None
        return slot

    def leader(self, request: Request = X) -> Slot:
        slot = self.slot(request)
        assert self.cache.state.join(slot, self.cache.now) is None
        return slot

    def follower(self, request: Request = X) -> Seat:
        seat = self.cache.state.join(self.slot(request), self.cache.now)
        assert seat is not None
        seat.ticket.on_wake(lambda: self.woken.append(seat))
        return seat

    def look(self, seat: Seat) -> Answer | Place:
        found = self.cache.state.look(seat, self.cache.now, self.cache.wall)
        if found is Place.WAITS:
            seat.ticket.on_wake(lambda: self.woken.append(seat))
        return found

    def begin(self, slot: Slot, status: int = 200, **fields: str) -> bool:
        pairs = [(name.replace("_", "-"), value) for name, value in fields.items()]
        return slot.begin(status, pairs, self.cache.now, self.cache.wall, 0)

    def is_empty(self) -> bool:
        return not self.cache.state._flights  # pyright: ignore[reportPrivateUsage]


def test__the_leaders_answer__is_everybodys() -> None:
    party = Party()
    leader, followers = party.leader(), [party.follower() for _ in range(3)]
    assert [party.look(seat) for seat in followers] == [Place.WAITS] * 3
    assert party.begin(leader, cache_control="max-age=60")
    assert [party.look(seat) for seat in followers] == [Place.WAITS] * 3
    party.cache.now += 2
    leader.keep(b"shared")
    assert party.woken == followers
    answers = [party.look(seat) for seat in followers]
    assert [answer.content for answer in answers if isinstance(answer, Answer)] == [b"shared"] * 3
    first = answers[0]
    assert isinstance(first, Answer)
    assert (header(first, "age"), header(first, "cache-status")) == ("2", "seawall; fwd=miss; collapsed")
    assert party.is_empty()
    party.leader()


def test__without_coalesce__everybody_sends() -> None:
    party = Party(coalesce=False)
    party.leader()
    party.leader()


@pytest.mark.parametrize(
    "other",
    [
        Request(headers={"Authorization": "bob"}),
        Request(url="https://api.test/y"),
        Request("HEAD"),
        Request(headers={"Accept": "text/html"}),
        Request(headers={"Cache-Control": "no-cache"}),
        Request(headers={"Cache-Control": "max-age=60"}),
        Request("PUT"),
    ],
    ids=["another caller", "another URL", "another method", "another form", "wants it new", "not too old", "not safe"],
)
def test__another_question__is_sent(other: Request) -> None:
    party = Party()
    leader = party.leader()
    assert party.cache.state.join(party.slot(other), 0) is None
    assert leader.flight is not None


def test__post__is_never_one_with_another() -> None:
    party = Party(methods=["POST"])
    slots = [party.slot(Request("POST")) for _ in range(2)]
    assert [party.cache.state.join(slot, 0) for slot in slots] == [None, None]


@pytest.mark.parametrize(
    ("status", "fields"),
    [(200, {"cache_control": "no-store"}), (200, {"set_cookie": "a=b"}), (404, {}), (302, {}), (200, {"vary": "*"}),
     (200, {"content_length": "9" * 12}), (200, {f"x{n}": "" for n in range(201)})],
    ids=["no-store", "Set-Cookie", "404", "302", "Vary", "too long", "too many fields"],
)  # fmt: skip
def test__answer_not_to_be_shared__everybody_goes_alone_at_its_headers(status: int, fields: dict[str, str]) -> None:
    party = Party()
    leader, followers = party.leader(), [party.follower() for _ in range(2)]
    assert not party.begin(leader, status, **fields)
    assert party.woken == followers
    assert [party.look(seat) for seat in followers] == [Place.ALONE] * 2
    assert party.is_empty()


def test__failed_attempt__everybody_waits_for_the_next() -> None:
    party = Party()
    leader, follower = party.leader(), party.follower()
    party.begin(leader, 503)
    assert party.look(follower) is Place.WAITS
    party.begin(leader)
    leader.keep(b"second")
    assert isinstance(party.look(follower), Answer)


def test__failed_call__everybody_goes_alone() -> None:
    party = Party()
    leader, follower = party.leader(), party.follower()
    leader.leave(party.cache.now)
    assert party.woken == [follower]
    assert party.look(follower) is Place.ALONE


@pytest.mark.parametrize("body", [b"", b"12"])
def test__body_that_is_not_whole__everybody_goes_alone(body: bytes) -> None:
    party = Party()
    leader, follower = party.leader(), party.follower()
    party.begin(leader, content_length="3")
    leader.keep(body)
    assert party.look(follower) is Place.ALONE


def test__leader_cancelled__the_first_follower_leads_the_others() -> None:
    party = Party()
    leader, first, second = party.leader(), party.follower(), party.follower()
    leader.leave(party.cache.now, cancelled=True)
    assert party.woken == [first]
    assert (party.look(second), party.look(first)) == (Place.WAITS, Place.LEADS)
    assert party.begin(first.slot)
    first.leave(party.cache.now)
    third = party.follower()
    party.cache.now += 5
    assert party.woken == [first]
    assert [party.look(seat) for seat in (second, third)] == [Place.WAITS] * 2
    first.slot.keep(b"shared")
    assert all(isinstance(party.look(seat), Answer) for seat in (second, third))


def test__leader_cancelled__alone__the_next_leads() -> None:
    party = Party()
    party.leader().leave(party.cache.now, cancelled=True)
    assert party.is_empty()
    party.leader()


def test__chosen_follower_cancelled_before_it_led__the_next_leads() -> None:
    party = Party()
    leader, first, second = party.leader(), party.follower(), party.follower()
    leader.leave(party.cache.now, cancelled=True)
    first.leave(party.cache.now)
    assert party.woken == [first, second]
    assert party.look(second) is Place.LEADS


def test__follower_cancelled__nobody_notices() -> None:
    party = Party()
    leader, first, second = party.leader(), party.follower(), party.follower()
    first.leave(party.cache.now)
    leader.leave(party.cache.now, cancelled=True)
    assert party.look(second) is Place.LEADS


def test__leader_gone_without_a_word__followers_go_alone_and_the_next_leads() -> None:
    party = Party()
    leader, follower = party.leader(), party.follower()
    del leader
    gc.collect()
    assert party.look(follower) is Place.ALONE
    party.leader()


def test__chosen_follower_never_comes__the_others_go_alone() -> None:
    party = Party()
    leader, first, second = party.leader(), party.follower(), party.follower()
    leader.leave(party.cache.now, cancelled=True)
    party.cache.now += CLAIM_WITHIN
    assert party.look(second) is Place.WAITS
    party.cache.now += 0.1
    assert party.look(second) is Place.ALONE
    assert party.look(first) is Place.LEADS, "late, and for itself"


def test__the_caller_changed_it_meanwhile__later_requests_do_not_follow_and_get_nothing_old() -> None:
    party = Party()
    leader, early = party.leader(), party.follower()
    party.begin(leader)
    party.cache.answered(Request("PUT"))
    late = party.leader()
    leader.keep(b"from before")
    assert party.look(early) is Place.ALONE
    follower = party.follower()
    party.begin(late)
    late.keep(b"new")
    answer = party.look(follower)
    assert isinstance(answer, Answer)
    assert answer.content == b"new"


def test__joined_while_it_landed__is_woken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    party = Party()
    leader = party.leader()

    class Late(Seat):
        def __init__(self, *parts: Any) -> None:
            super().__init__(*parts)
            party.begin(leader)
            leader.keep(b"shared")

    monkeypatch.setattr("seawall.degrade.flights.Seat", Late)
    seat = party.follower()
    assert party.woken == [seat]
    assert isinstance(party.look(seat), Answer)


class Crowd(RuleBasedStateMachine):
    """Callers of two names come, are cancelled, die, look too late: nobody waits for ever, or gets another's answer."""

    reached: ClassVar[Counter[str]] = Counter()

    @initialize()
    def begin(self) -> None:
        self.party = Party()
        self.number = 0
        self.leading: list[tuple[str, Slot]] = []
        self.waiting: list[tuple[str, Seat]] = []

    @rule(name=st.sampled_from(["alice", "bob"]))
    def somebody_asks(self, name: str) -> None:
        slot = self.party.slot(Request(headers={"Authorization": name}))
        seat = self.party.cache.state.join(slot, self.party.cache.now)
        if seat is None:
            self.leading.append((name, slot))
        else:
            seat.ticket.on_wake(lambda: self.party.woken.append(seat))
            self.waiting.append((name, seat))
            self.reached["follows"] += 1

    @precondition(lambda self: self.leading)
    @rule(which=st.integers(0, 9), how=st.sampled_from(["lands", "lands", "refused", "fails", "cancelled", "dies"]))
    def a_leader_ends(self, which: int, how: str) -> None:
        name, slot = self.leading.pop(which % len(self.leading))
        now = self.party.cache.now
        if how == "lands":
            self.party.begin(slot)
            slot.keep(name.encode())
        elif how == "refused":
            self.party.begin(slot, 403)
        elif how != "dies":
            slot.leave(now, cancelled=how == "cancelled")
        del slot
        gc.collect(0)

    @rule(seconds=st.sampled_from([0.5, 1.0, 1.5]))
    def everybody_looks_a_while_later(self, seconds: float) -> None:
        self.party.cache.now += seconds
        for name, seat in self.waiting[:]:
            self.look(name, seat)

    def look(self, name: str, seat: Seat) -> None:
        found = self.party.look(seat)
        if found is Place.WAITS:
            return
        self.waiting.remove((name, seat))
        if isinstance(found, Answer):
            assert found.content == name.encode()
            self.reached["served"] += 1
        elif found is Place.LEADS:
            self.leading.append((name, seat.slot))
            self.reached["leads"] += 1
        else:
            self.reached["alone"] += 1
        seat.leave(self.party.cache.now)

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 9))
    def the_woken_look(self, which: int) -> None:
        woken, self.party.woken = self.party.woken, []
        for name, seat in [(name, seat) for name, seat in self.waiting if seat in woken]:
            self.look(name, seat)

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 9), says=st.booleans())
    def a_follower_goes(self, which: int, says: bool) -> None:
        _, seat = self.waiting.pop(which % len(self.waiting))
        if says:
            seat.leave(self.party.cache.now)
        self.reached["goes" if says else "is lost"] += 1

    def teardown(self) -> None:
        """Leaders end, and in a few seconds everybody who still waits has something to do."""
        if not hasattr(self, "party"):
            return
        for _ in range(50):
            while self.leading:
                self.a_leader_ends(0, "fails")
            if not self.waiting:
                break
            self.everybody_looks_a_while_later(1.5)
        assert not self.waiting, "somebody waits for ever"


def test__any_crowd__nobody_waits_for_ever_or_is_given_anothers() -> None:
    Crowd.reached.clear()
    run_state_machine_as_test(Crowd, settings=settings(max_examples=200, stateful_step_count=30, deadline=None))
    assert set(Crowd.reached) == {"follows", "served", "leads", "alone", "goes", "is lost"}
