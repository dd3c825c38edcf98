"""A crowd of equal requests, against a model that knows what each answer was and when its request left.

Callers come, lead, follow, are cancelled, are lost without a word, look late; things change at the host; bodies stall,
grow too long, break. The model is a list of what happened, and knows nothing of flights: it says whether somebody was
given another's answer, or one from before a change, or waits where nobody will bring anything, and whether more
requests went out than had to.
"""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from seawall.degrade.cache import ALONE_FOR
from seawall.degrade.flights import Lead, Next
from seawall.stores.memory import MemoryStore
from tests.core.degrade.asking import Request
from tests.core.degrade.test_flights import Caller, Party
from tests.walks import walk

NAMES = ["alice", "bob"]
THREADS = [1, 2]
LIMIT = 10
"""Bytes of a body that is kept."""


class Person:
    """Somebody who asked, as the model remembers it."""

    def __init__(self, name: str, number: int, asked: int, thread: int, *, blocks: bool) -> None:
        self.name = name
        self.number = number
        self.asked = asked
        """How much had happened before."""
        self.thread = thread
        self.blocks = blocks
        self.sent: int | None = None
        """How much had happened before the request left."""
        self.has_headers = False

    def text(self) -> bytes:
        return f"{self.name}{self.number}".encode()


class Crowd(RuleBasedStateMachine):
    reached: ClassVar[Counter[str]] = Counter()

    @initialize()
    def begin(self) -> None:
        store = MemoryStore()
        store.secret = b"1" * 32  # by chance, two keys may share a place, and a request is not spared
        self.party = Party(store=store, max_body=LIMIT)
        self.happened = 0
        self.changes = [0]
        """How much had happened when somebody's change ended, each."""
        self.forgotten = dict.fromkeys(NAMES, 0)
        self.alone_until = dict.fromkeys(NAMES, 0.0)
        self.leading: dict[Person, Caller] = {}
        self.waiting: dict[Person, Caller] = {}
        self.people: dict[int, Person] = {}
        self.somebody_is_lost = False
        self.ended: list[Caller] = []
        """Held by somebody, in an exception that has its story, say."""

    @property
    def now(self) -> float:
        return self.party.cache.now

    def tick(self) -> int:
        self.happened += 1
        return self.happened

    # -- what happens --------------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), thread=st.sampled_from(THREADS), blocks=st.booleans())
    def somebody_asks(self, name: str, thread: int, blocks: bool) -> None:
        asked = self.tick()
        person = Person(name, asked, asked, thread, blocks=blocks)
        self.people[asked] = person
        untrue = max(self.changes[-1], self.forgotten[name])
        led = [other for other in self.leading if other.name == name and other.asked > untrue]
        caller = self.party.comes(Request(headers={"Authorization": name}), thread=thread, blocks=blocks)
        if caller.seat is not None:
            self.waiting[person] = caller
            self.reached["follows"] += 1
            assert self.now >= self.alone_until[name]
        elif caller.lead is not None:
            assert not led, "two lead where one would do"
            self.sends(person, caller)
        else:
            assert self.now < self.alone_until[name], "it goes by itself for no reason"
            self.reached["is not asked to wait"] += 1

    def sends(self, person: Person, caller: Caller) -> None:
        person.sent = self.tick()
        self.leading[person] = caller

    @precondition(lambda self: self.fresh())
    @rule(which=st.integers(0, 9), status=st.sampled_from([200, 200, 200, 404]), cookie=st.sampled_from([0, 0, 0, 1]))
    def headers_come(self, which: int, status: int, cookie: int) -> None:
        person = self.fresh()[which % len(self.fresh())]
        caller = self.leading[person]
        caller.headers(status, **({"set_cookie": "a=b"} if cookie else {}))
        person.has_headers = True
        if status != 200 or cookie:
            self.alone_until[person.name] = self.now + ALONE_FOR
            self.forgotten[person.name] = self.tick()
            del self.leading[person]
            self.is_gone(caller)
            self.reached["not to be shared"] += 1

    @precondition(lambda self: self.reading())
    @rule(which=st.integers(0, 9), size=st.sampled_from([1, 1, 1, 1, 1, LIMIT]))
    def a_piece_comes(self, which: int, size: int) -> None:
        person = self.reading()[which % len(self.reading())]
        caller = self.leading[person]
        assert caller.copy is not None
        # Counted by the model, the content is written at the end.
        caller.copy.add(b"")
        if size == LIMIT:
            caller.copy.add(b"x" * (LIMIT + 1))
            del self.leading[person]
            self.is_gone(caller)
            self.reached["too long"] += 1

    @precondition(lambda self: self.reading())
    @rule(which=st.integers(0, 9))
    def a_body_ends(self, which: int) -> None:
        person = self.reading()[which % len(self.reading())]
        caller = self.leading.pop(person)
        caller.body(person.text()[:LIMIT])
        self.is_gone(caller)
        self.reached["lands"] += 1

    @precondition(lambda self: self.leading and self.waiting)
    @rule(which=st.integers(0, 9), how=st.sampled_from(["is cancelled", "is lost", "fails"]))
    def a_leader_ends(self, which: int, how: str) -> None:
        person = list(self.leading)[which % len(self.leading)]
        caller = self.leading.pop(person)
        if how == "is cancelled" or (how == "fails" and person.has_headers):
            caller.is_cancelled()
        elif how == "fails":
            caller.fails()
        if how != "is lost":
            self.ended.append(caller)
        self.reached[f"leader {how}"] += 1
        self.is_gone(caller)
        self.somebody_is_lost = how == "is lost"

    @precondition(lambda self: len(self.waiting) > 2)
    @rule(which=st.integers(0, 9), says=st.booleans())
    def a_follower_goes(self, which: int, says: bool) -> None:
        person = list(self.waiting)[which % len(self.waiting)]
        caller = self.waiting.pop(person)
        if says:
            caller.is_cancelled()
        self.somebody_is_lost = not says
        self.is_gone(caller)
        self.reached["follower is cancelled" if says else "follower is lost"] += 1

    def is_gone(self, caller: Caller) -> None:
        """The test does not hold it either."""
        self.party.woken[:] = [other for other in self.party.woken if other is not caller]

    @precondition(lambda self: self.leading and self.happened - self.changes[-1] > 2)
    @rule(name=st.sampled_from(NAMES), there=st.booleans(), status=st.sampled_from([204, 500, None]))
    def something_changes(self, name: str, there: bool, status: int | None) -> None:
        url = "https://api.test/x" if there else "https://api.test/y"
        self.party.changes(Request("POST", url, {"Authorization": name}), status)
        self.changes.append(self.tick())
        self.reached["changes"] += 1

    @precondition(lambda self: self.waiting)
    @rule(seconds=st.sampled_from([0.5, 0.5, 0.5, 1.0, 1.5]))
    def everybody_looks_a_while_later(self, seconds: float) -> None:
        self.party.cache.now += seconds
        for person in list(self.waiting):
            self.looks(person)

    @precondition(lambda self: not self.waiting and self.now < max(self.alone_until.values()))
    @rule()
    def a_minute_passes(self) -> None:
        self.party.cache.now += ALONE_FOR

    @precondition(lambda self: self.party.woken)
    @rule()
    def the_woken_look(self) -> None:
        woken = self.party.woken[:]
        self.party.woken.clear()
        for person in [person for person, caller in self.waiting.items() if caller in woken]:
            self.looks(person)

    # -- what may come of it -------------------------------------------------------------------------------------------

    def fresh(self) -> list[Person]:
        return [person for person in self.leading if not person.has_headers]

    def reading(self) -> list[Person]:
        return [person for person in self.leading if person.has_headers]

    def looks(self, person: Person) -> None:
        caller = self.waiting[person]
        found: Any = caller.look()
        if found is Next.WAIT:
            others = [other for other in self.leading if other.name == person.name]
            assert others, "it waits, and nobody will bring anything"
            assert not person.blocks or any(other.thread != person.thread for other in others), "it waits for itself"
            return
        del self.waiting[person]
        self.is_gone(caller)
        if isinstance(found, Lead):
            self.reached["takes over"] += 1
            self.sends(person, caller)
        elif found is Next.GO:
            self.reached["goes by itself"] += 1
        else:
            brought = self.people[int(found.removeprefix(person.name.encode()))]
            assert found == brought.text()
            assert brought.name == person.name, "another's answer"
            assert brought.sent is not None
            assert brought is not person
            self.reached["served"] += 1
            told = max(at for at in self.changes if at < person.asked)
            assert brought.sent > told, "an answer from before what it was told of"

    @invariant()
    def nobody_gets_lost(self) -> None:
        if hasattr(self, "party"):
            if self.somebody_is_lost:  # now, and not when the collector happens to run: a walk has to repeat itself
                self.somebody_is_lost = False
                gc.collect()
            flights = self.party.cache.state._flights  # pyright: ignore[reportPrivateUsage]
            most = len(self.leading) + len(self.waiting)
            if len(flights) > most:
                gc.collect()  # a follower lost without a word, and the seat it never left, hold each other
            assert len(flights) <= most

    def teardown(self) -> None:
        """Leaders end, and in a few seconds everybody who still waits has something to do."""
        if not hasattr(self, "party"):
            return
        for _ in range(4):
            self.everybody_looks_a_while_later(1.5)
        for person in self.waiting:
            assert any(other.name == person.name for other in self.fresh()), "it waits for a body nobody reads"
        for _ in range(100):
            while self.leading:
                self.a_leader_ends(0, "fails")
            if not self.waiting:
                break
            self.everybody_looks_a_while_later(1.5)
        assert not self.waiting, "somebody waits for ever"
        gc.collect()
        assert self.party.is_empty()


RARE = {"follows", "served", "takes over", "goes by itself", "is not asked to wait", "not to be shared", "too long",
        "lands", "leader fails", "leader is cancelled", "leader is lost", "follower is cancelled", "follower is lost",
        "changes"}  # fmt: skip


def test__any_crowd__nobody_waits_for_ever_or_gets_what_is_not_theirs_or_from_before() -> None:
    gc.freeze()  # collecting is quick then
    try:
        walk(Crowd, RARE, examples=80, steps=40)
    finally:
        gc.unfreeze()
