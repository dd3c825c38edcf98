"""One request's place among the remembered answers, from before it is sent until its answer is there, whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import ref

from seawall.classification import STREAMS
from seawall.degrade.fields import CONNECTION
from seawall.degrade.key import TAG_SIZE
from seawall.degrade.record import MOST_FIELDS, Record
from seawall.degrade.storing import Fate, Terms, Wish, fate_of, terms_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seawall.degrade.answer import Answer
    from seawall.degrade.cache import StaleState
    from seawall.degrade.copying import Copy
    from seawall.degrade.flights import Lead, Seat
    from seawall.degrade.key import Field

_NOT_KEPT: Final = CONNECTION | {
    "age",
    "content-length",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
}
"""RFC 9111 §3.1; and the age and the length, which are told anew."""


class Slot:
    """One request's place in the cache."""

    __slots__ = ("_copy", "_length", "_record", "_state", "_streams", "began", "key", "method", "origin", "tag", "wish")

    def __init__(self, state: StaleState, method: str, tag: bytes, rest: bytes, wish: Wish | None, began: int) -> None:
        self._state = state
        self.method = method
        self.tag = tag
        self.key = tag + rest
        """Without the second half: a request that changes something, and makes the cache forget."""
        self.wish = wish
        self.began = began
        """When it was made, in ticks."""
        self.origin = 0
        """A number that all requests to its origin have, with `coalesce`."""
        self._copy: ref[Copy] | None = None
        self._record: Record | None = None
        """What will be remembered, once the body is there."""
        self._length = ""
        """Of the body, as its server says."""
        self._streams = False
        """It comes piece by piece, perhaps for hours."""

    @property
    def coalesces(self) -> bool:
        """Has anybody to be asked whether an equal request is on its way, or told when this one is over?"""
        return self._state.config.coalesce

    @property
    def limit(self) -> int:
        """Bytes of the body to copy at most; with more, it is not remembered."""
        return self._state.config.max_body

    def begin(self, status: int, fields: Iterable[Field], now: float, wall: float, elapsed: float) -> bool:
        """The headers are there: is the body to be copied, and handed to `keep` when it is complete?

        fields: names and values as they came, all of them, those of one name each.
        now, wall: monotonic and wall time, in seconds; elapsed: seconds since the request was sent.
        """
        state = self._state
        self._record = None
        if len(self.key) == TAG_SIZE:
            if 200 <= status < 400:
                state.forget(self.tag)
            return False
        terms: Terms | Fate | None = fate_of(status)
        if terms is None:
            read = _read(fields)
            if read is None:
                return False
            kept, told = read
            terms = terms_of(told, state.uncounted, wall, elapsed)
            if isinstance(terms, Terms):
                length = told.get("content-length", "")
                if self.method != "HEAD" and not _fits(length, state.config.max_body):
                    return False
                self._length = length
                if self.coalesces:
                    self._streams = told.get("content-type", "").partition(";")[0].strip().lower() in STREAMS
                received = wall if state.store.survives else now
                self._record = Record(status, kept, b"", received, wall, terms.lifetime, terms.grace, terms.age)
                return True
        if terms is not Fate.LEAVE:
            # Where the body is part of the question, a refusal is about that question only.
            everything = terms is Fate.FORGET and self.method in ("GET", "HEAD")
            state.forget(self.tag if everything else self.key)
        return False

    def find(self, now: float, wall: float, *, sent: bool, status: int | None, why: str) -> Answer | None:
        """`StaleState.find` for this place."""
        return self._state.find(self, now, wall, sent=sent, status=status, why=why)

    def keep(self, body: bytes) -> Record | None:
        """The answer is complete: `body` as it came over the wire, not decoded. None: it is not one to keep."""
        record, self._record = self._record, None
        if record is None:
            return None
        record.body = body
        return record if self._tell_length(record) and self._state.keep(self, record) else None

    def join(self, now: float, thread: int, *, blocks: bool) -> Lead | Seat | None:
        """`StaleState.join` for this place."""
        return self._state.join(self, now, thread, blocks=blocks)

    def share(self, record: Record, wall: float) -> Answer:
        """`StaleState.share`."""
        return self._state.share(record, wall)

    def offer(self, lead: Lead, now: float) -> None:
        """The headers are here, and good: whoever waits gets the answer when it is whole, if it is one to share."""
        record, copy = self._record, None if self._copy is None else self._copy()
        # Without a grace, not to be given once it is stale: so neither to somebody who did not ask for it himself.
        if record is None or copy is None or self._streams or (record.grace <= 0 and record.age >= record.lifetime):
            self._state.stay_alone(self, now)
            lead.land(None)
        else:
            lead.passed = 0
            copy.lead = lead

    def copied_to(self, copy: Copy | None) -> None:
        """Its body is being copied; None: it is not."""
        self._copy = None if copy is None else ref(copy)

    def over(self) -> None:
        """The call has ended, in whatever way."""
        if len(self.key) == TAG_SIZE:
            self._state.change(self)

    def _tell_length(self, record: Record) -> bool:
        """Say how long the body is, where the answer has one; False if its server said otherwise: it is not whole."""
        size = str(len(record.body))
        if self.method == "HEAD" or record.status == 204:
            size, is_right = self._length, not record.body
        else:
            is_right = self._length.strip() in ("", size)
        if size:
            record.fields.append(("content-length", size))
        return is_right


def _read(fields: Iterable[Field]) -> tuple[list[tuple[str, str]], dict[str, str]] | None:
    """The fields to remember, and all of them by lower-case name; None if there are too many."""
    kept: list[tuple[str, str]] = []
    told: dict[str, str] = {}
    for name, value in fields:
        if isinstance(name, bytes):
            name = name.decode("latin-1")
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        low = name.lower()
        told[low] = f"{told[low]}, {value}" if low in told else value
        if low not in _NOT_KEPT:
            kept.append((name, value))
    if len(told) > MOST_FIELDS or len(kept) > MOST_FIELDS:
        return None
    if "connection" in told:
        named = {name.strip().lower() for name in told["connection"].split(",")}
        kept = [pair for pair in kept if pair[0].lower() not in named]
    return kept, told


def _fits(length: str, most: int) -> bool:
    """Is the body as short as it has to be, as far as its server says?"""
    return not length.isdecimal() or (len(length) <= 18 and int(length) <= most)
