"""The living part of `StaleResponse`: what is remembered, and when it is given.

A *slot* is one request's place in the cache. The mount asks for it before sending;
tells it when the headers come, and learns whether to copy the body; hands over the
whole body at its end. The flow asks for the answer when the host failed.

An answer is remembered only if the caller it belongs to got all of it, and nothing
happened meanwhile that made it untrue: the caller changed something there (RFC 9111
§4.4), was refused, or was told not to remember.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from seawall import forks
from seawall.degrade.answer import Answer
from seawall.degrade.fields import NOISE
from seawall.degrade.flights import Flights, Lead, join
from seawall.degrade.key import TAG_SIZE, in_order, keyed_with, origin_of, rest_of, tag_of, target_of
from seawall.degrade.record import Record, decode, encode
from seawall.degrade.slot import Slot
from seawall.degrade.storing import MOST_SECONDS, Fate, Wish, wish_of
from seawall.degrade.values import Place, Values
from seawall.outcome import WrongValue
from seawall.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from seawall.degrade.flights import Seat
    from seawall.degrade.key import Field
    from seawall.degrade.stale import StaleResponse
    from seawall.stores import Store

_PART: Final = frozenset({b"range", b"if-range", b"if-match", b"if-unmodified-since", b"upgrade"})
"""A request with one of these asks for something else than what its URL names."""
_NOT_QUOTED: Final = re.compile(r"[^ !#-\[\]-~]")
_LOOKED_AT: Final = _PART | {b"cache-control", b"pragma"}
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})
_PLACES: Final = 1024
ALONE_FOR: Final = 60.0
"""Seconds for which requests whose answer was not to be shared do not wait for each other."""


class StaleState:
    """The answers remembered under one `StaleResponse`. Safe from any thread; no method raises or waits long."""

    __slots__ = (
        "__weakref__",
        "_alone_until",
        "_changed",
        "_flights",
        "_forgotten",
        "_keyed",
        "_ticks",
        "_uncounted",
        "complain",
        "config",
        "store",
        "uncounted",
        "values",
    )

    def __init__(self, config: StaleResponse, complain: Callable[[object, BaseException], object]) -> None:
        """`complain(function, error)` is told of a user's function that raised."""
        self.config = config
        self.complain = complain
        self.values = Values(config)
        """Results of operations."""
        self.store: Store = MemoryStore() if config.store is None else config.store
        self.uncounted = NOISE | frozenset(config.ignore)
        """Request fields that are not in the key."""
        self._uncounted = frozenset(name.encode() for name in self.uncounted)
        self._keyed = keyed_with(self.store.secret)
        self._ticks = count(1)
        self._forgotten = [0] * _PLACES
        """When something was last forgotten, in ticks: answers to requests of before are not kept. Keys share places,
        which costs an answer now and then, and needs neither lock nor room."""
        self._flights: Flights = {}
        self._changed = [0] * _PLACES
        """When somebody's attempt to change something at a host last ended, in ticks: nobody is given the answer to a
        request of before it, who may have been told of the change."""
        self._alone_until = [0.0] * _PLACES
        """Until when answers are expected that are not to be shared."""
        forks.follow(self)

    def slot(self, request: Any, fields: Iterable[Field], body: bytes | None, identity: str | int) -> Slot | None:
        """The place of a request about to be sent; None: it is none of ours.

        fields: the request's header fields, names and values as they go on the wire.
        body: its content, empty if it has none; None if it cannot be known before it is sent.
        identity: see `tag_of`; 0 or the empty string: nothing is known of the caller beside the fields.
        """
        method = str(request.method).upper()
        remembers = method in self.config.methods
        if not remembers and method in _SAFE:
            return None
        ordered = in_order(fields)
        wish = _wish_of(ordered) if remembers else None
        if isinstance(wish, Fate) or (remembers and (body is None or _goes_elsewhere(request))):
            return None
        who: str | None = None
        if self.config.key is not None:
            who = self._who(request)
            if who is None:
                return None
        elif isinstance(identity, int) and identity and self.store.survives:
            return None  # such a number means somebody else in another process
        target = target_of(str(request.url))
        if target is None:
            return None
        tag = tag_of(target, ordered, identity, who, self._keyed)
        rest = rest_of(method, ordered, self._uncounted, body or b"", self._keyed) if remembers else b""
        slot = Slot(self, method, tag, rest, wish, next(self._ticks))
        if self.config.coalesce:
            slot.origin = hash(origin_of(target[1])) % _PLACES
        return slot

    def place(self, operation: Any) -> Place | None:
        """The place of an operation about to be run; None: it is none of ours."""
        what = self._who(operation)
        return None if what is None else Place(self.values, (operation.name, what))

    def find(
        self, slot: Slot, now: float, wall: float, *, sent: bool, status: int | None = None, why: str = ""
    ) -> Answer | None:
        """What was remembered for the same request of the same caller, if it may be given now.

        sent: did the request go out; status: what the host answered, if it did; why: a word or two for `Cache-Status`.
        """
        if len(slot.key) == TAG_SIZE:
            return None
        at = wall if self.store.survives else now
        data = self._ask(self.store.get, slot.key, at)
        record = decode(data) if data is not None else None
        if record is None:
            return None
        if at < record.received - 1.0:  # the clock was set back: the age is not known
            return None
        # The clock that never goes back may stand still while the machine sleeps; the wall's does not.
        resident = max(at - record.received, wall - record.wall)
        if resident >= self.config.max_age:
            return None
        age = record.age + max(0.0, resident)
        if age - record.lifetime > record.grace:
            return None
        if slot.wish is not None and not slot.wish.allows(age, record.lifetime):
            return None
        return _answer(record, age, _cache_status(record.lifetime - age, sent, status, why))

    def share(self, record: Record, wall: float) -> Answer:
        """For a follower: the answer that the leader got."""
        return _answer(record, record.age + max(0.0, wall - record.wall), "seawall; fwd=miss; collapsed")

    def forget(self, what: bytes) -> None:
        """What is remembered under a key, or a tag, holds no longer, nor what is on its way."""
        self._forgotten[_place(what)] = next(self._ticks)
        self._ask(self.store.drop, what)

    def keep(self, slot: Slot, record: Record) -> bool:
        """Remember the answer, unless what it says was forgotten since its request was sent. Is it true?"""
        config = self.config
        if len(record.body) > config.max_body or self.was_forgotten(slot):
            return False
        data = encode(record)
        if data is not None:
            until = record.received + config.max_age
            self._ask(self.store.put, slot.key, data, record.received, until, config.max_entries, config.max_bytes)
            if self.was_forgotten(slot):  # just now, by another thread that came too early to drop this
                self._ask(self.store.drop, slot.key)
                return False
        return data is not None

    def change(self, slot: Slot) -> None:
        """A request that may have changed something at its host is over, however it ended."""
        self._changed[slot.origin] = next(self._ticks)

    def was_forgotten(self, slot: Slot) -> bool:
        return self._last_forgotten(slot) > slot.began

    def _last_forgotten(self, slot: Slot) -> int:
        return max(self._forgotten[_place(slot.tag)], self._forgotten[_place(slot.key)])

    def join(self, slot: Slot, now: float, thread: int, *, blocks: bool) -> Lead | Seat | None:
        """With `coalesce`: lead a request that others may follow, or follow one; None: send it, for this caller only.

        thread: the one this runs in; blocks: does waiting stop it, and whatever else would run there?
        """
        if slot.wish is not None or slot.method not in _SAFE or now < self._alone_until[_place(slot.key)]:
            return None
        changed = max(self._changed[slot.origin], self._last_forgotten(slot))
        return join(self._flights, slot.key, Lead(slot.began, thread, blocks=blocks), now, since=changed)

    def stay_alone(self, slot: Slot, now: float) -> None:
        """The answer is not to be shared, and the next ones will not be either: not to wait for them is quicker."""
        self._alone_until[_place(slot.key)] = now + ALONE_FOR

    def begin_afresh(self) -> None:
        """In the child of a fork: whoever leads is a thread of the parent."""
        self._flights.clear()

    def _ask(self, method: Callable[..., Any], *args: Any) -> Any:
        """What a store's method returns. Stores do not raise; one that does all the same must break no call."""
        try:
            return method(*args)
        except Exception as error:
            self.complain(self.store, error)
            return None

    def _who(self, request: Any) -> str | None:
        """What the user's function says of who asks; of an operation, and of what is asked."""
        assert self.config.key is not None
        try:
            who = self.config.key(request)
            if who is not None and not isinstance(who, str):
                raise WrongValue(f"key= gave {type(who).__name__}: give a string, or None")
        except Exception as error:
            self.complain(self.config.key, error)
            return None
        return who


def _goes_elsewhere(request: Any) -> bool:
    """httpx: the request line, or the certificate, may be for something else than the URL."""
    extensions: Any = getattr(request, "extensions", None)
    return bool(extensions) and ("target" in extensions or "sni_hostname" in extensions)


def _wish_of(fields: list[tuple[bytes, bytes]]) -> Wish | Fate | None:
    """What the request's fields say about remembered answers; `Fate.LEAVE`: they are none of its business."""
    control = pragma = ""
    for name, value in fields:
        if name in _LOOKED_AT:
            if name == b"cache-control":
                control += "," + value.decode("latin-1")
            elif name == b"pragma":
                pragma += "," + value.decode("latin-1")
            else:
                return Fate.LEAVE
    return wish_of(control, pragma) if control or pragma else None


def _place(key: bytes) -> int:
    """Of both halves: callers who ask the same do not share one."""
    return (key[0] << 8 | key[1]) % _PLACES ^ (key[-1] << 8 | key[-2]) % _PLACES


def _answer(record: Record, age: float, cache_status: str) -> Answer:
    told = (*record.fields, ("age", str(int(min(age, MOST_SECONDS)))), ("cache-status", cache_status))
    return Answer.checked(record.status, told, record.body)


def _cache_status(left: float, sent: bool, status: int | None, why: str) -> str:
    """RFC 9211: `hit` if the request went nowhere, else `fwd`, and what came of it; never both (§2.1)."""
    whole = int(max(-MOST_SECONDS, min(left, MOST_SECONDS)) // 1)
    what = "hit"
    if sent:
        what = "fwd=stale" if left <= 0 else "fwd=bypass"
        if status is not None:
            what += f"; fwd-status={status}"
    return f"seawall; {what}; ttl={whole}{_detail(why)}"


@lru_cache(64)
def _detail(why: str) -> str:
    return f'; detail="{_NOT_QUOTED.sub("?", why[:100])}"' if why else ""
