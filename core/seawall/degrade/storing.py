"""May this answer be remembered, and how long may it be given? RFC 9111 and RFC 5861 for a private cache.

The cache is private: each answer is bound to who asked (key.py), so the rules for
shared caches (`private`, `s-maxage`, `proxy-revalidate`, §3.5 on `Authorization`)
do not bind it. It answers only when the host has nothing to say, so where the RFCs
leave a choice it takes the stricter one. Whatever stands in a field was written by
somebody else: it is bounded, and nothing here raises for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

GOOD: Final = frozenset({200, 203, 204, 301, 308})
"""Statuses of answers worth giving again. Not 404 and 410, which may be stored: an outage is no time to insist that
something is not there; not 206, which is a piece."""

_SAYS_NOTHING: Final = frozenset({206, 304, 407, 408, 412, 416, 417, 421, 425, 429, 431})
"""What these say is not about the thing asked for, so an older answer is as good as it was."""
_GONE: Final = frozenset({401, 403, 404, 410, 451})

LONGEST_FIELD: Final = 4096
MOST_SECONDS: Final = 2**31
"""RFC 9111 §1.2.2: more seconds than this need not be told apart."""

_SECONDS: Final = re.compile(r"[0-9]{1,20}\Z")
_DIRECTIVE: Final = re.compile(r'([^\s,;="]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"|[^,;]*))?', re.DOTALL)

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE: Final = re.compile(
    r"""[A-Za-z]{3,9},[ ](?P<day>[0-9]{2})[ -](?P<month>[A-Za-z]{3})[ -](?P<year>[0-9]{4}|[0-9]{2})[ ]
        (?P<clock>[0-9]{2}:[0-9]{2}:[0-9]{2})[ ]GMT\Z""",
    re.VERBOSE | re.ASCII,
)
_ASCTIME: Final = re.compile(
    r"""[A-Za-z]{3}[ ](?P<month>[A-Za-z]{3})[ ](?P<day>[ 0-9][0-9])[ ]
        (?P<clock>[0-9]{2}:[0-9]{2}:[0-9]{2})[ ](?P<year>[0-9]{4})\Z""",
    re.VERBOSE | re.ASCII,
)

Directives = Mapping[str, str]


class Fate(Enum):
    """What an answer that is not remembered does to the one remembered before it."""

    LEAVE = "it stays"
    REPLACE = "this request is answered in another way now"
    FORGET = "what is there is gone, or no longer the caller's to see, in whatever form it was asked for"


class Terms:
    """How long an answer may be given. Seconds."""

    __slots__ = ("age", "grace", "lifetime")

    def __init__(self, lifetime: float, grace: float, age: float) -> None:
        self.lifetime = lifetime
        """How old it may get and still be fresh; 0 if its server does not say."""
        self.grace = grace
        """How long after that it may be given while the host fails; infinite if its server does not say."""
        self.age = age
        """How old it was when it came."""


class Wish:
    """What a request's own `Cache-Control` says about remembered answers."""

    __slots__ = ("max_age", "max_stale", "min_fresh", "never", "stale_if_error")

    def __init__(self, directives: Directives) -> None:
        self.never = "no-cache" in directives
        self.stale_if_error = seconds(directives, "stale-if-error")
        self.max_age = seconds(directives, "max-age")
        self.max_stale = None if directives.get("max-stale") == "" else seconds(directives, "max-stale")
        self.min_fresh = seconds(directives, "min-fresh")

    def allows(self, age: float, lifetime: float) -> bool:
        """May the caller be given an answer of that age?"""
        staleness = age - lifetime
        if self.stale_if_error is not None:  # RFC 5861 §4: regardless of other freshness information
            return staleness <= self.stale_if_error
        if self.never or (self.min_fresh is not None and -staleness < self.min_fresh):
            return False
        if self.max_age is not None and age > self.max_age + (self.max_stale or 0.0):
            return False
        return self.max_stale is None or staleness <= self.max_stale


def wish_of(cache_control: str, pragma: str) -> Wish | Fate | None:
    """None: no wish. `Fate.LEAVE`: the caller wants nothing remembered, and nothing of what is."""
    if not cache_control:
        return Wish({"no-cache": ""}) if "no-cache" in pragma.lower() else None
    directives = parse(cache_control)
    return Fate.LEAVE if "no-store" in directives else Wish(directives)


def fate_of(status: int) -> Fate | None:
    """What a status alone says; None: the answer may be one to remember."""
    if status in GOOD:
        return None
    if status < 200 or status >= 500 or status in _SAYS_NOTHING:
        return Fate.LEAVE
    return Fate.FORGET if status in _GONE else Fate.REPLACE


def terms_of(told: Mapping[str, str], uncounted: Collection[str], wall: float, elapsed: float) -> Terms | Fate:
    """The terms of a good answer, if it may be remembered.

    told: its fields by lower-case name; several of one name as one, with commas.
    uncounted: request fields that are not in the key.
    wall: seconds since the epoch, when the headers came; elapsed: how long after the request was sent.
    """
    control = parse(told.get("cache-control", ""))
    if "no-store" in control or "no-cache" in control:  # even with a list of fields: many caches know only the whole
        return Fate.REPLACE
    if "content-range" in told or varies(told.get("vary", ""), uncounted):
        return Fate.REPLACE
    # Such an answer makes a caller the key does not know (a new session), and given again it would bring back an old
    # one. RFC 9111 allows to keep it.
    if "set-cookie" in told or "set-cookie2" in told or "www-authenticate" in told:
        return Fate.REPLACE
    coding = told.get("transfer-encoding")
    if coding is not None and coding.strip().lower() not in ("", "chunked", "identity"):
        return Fate.REPLACE  # a body compressed for the transfer only: the coding would be lost
    date = timestamp(told.get("date", ""))
    lifetime = _lifetime(control, told, date, wall)
    grace = seconds(control, "stale-if-error")
    if "must-revalidate" in control:
        grace = 0.0
    said = told.get("age")
    age = 0.0 if said is None else _seconds(said.partition(",")[0].strip())
    apparent = max(0.0, wall - date) if date is not None else 0.0
    return Terms(lifetime, inf if grace is None else grace, max(apparent, age + max(0.0, elapsed)))


def varies(vary: str, uncounted: Collection[str]) -> bool:
    """Does the answer depend on something the key does not hold?"""
    if not vary:
        return False
    if len(vary) > LONGEST_FIELD:
        return True
    names = _names(vary)
    return "*" in names or not names.isdisjoint(uncounted)


@lru_cache(256)
def _names(text: str) -> frozenset[str]:
    return frozenset([name.strip().lower() for name in text.split(",")])


@lru_cache(256)
def parse(text: str) -> Directives:
    """The directives of a `Cache-Control` field, by lower-case name; no argument: the empty string.

    One that comes twice has its first argument, unless they differ: then it has none that is valid. A field too long
    to be read forbids everything. The same few come all day long: the answer is shared, and not to be changed.
    """
    found: dict[str, str] = {}
    if not text:
        return found
    if len(text) > LONGEST_FIELD:
        return {"no-store": ""}
    for match in _DIRECTIVE.finditer(text):
        name = match[1].lower()
        argument = (match[2] or "").strip().strip('"')
        found[name] = argument if found.get(name, argument) == argument else "twice"
    return found


def seconds(directives: Directives, name: str) -> float | None:
    """The argument of a directive; None if it is not there. One that is no number of seconds is 0: the strictest."""
    argument = directives.get(name)
    return None if argument is None else _seconds(argument)


@lru_cache(256)
def _seconds(text: str) -> float:
    return float(min(int(text), MOST_SECONDS)) if _SECONDS.match(text) else 0.0


@lru_cache(64)
def timestamp(text: str) -> float | None:
    """An HTTP date (RFC 9110 §5.6.7, all three forms) as seconds since the epoch; None if it is none."""
    parts = _DATE.match(text) or _ASCTIME.match(text)
    if parts is None:
        return None
    year = int(parts["year"])
    if len(parts["year"]) == 2:
        year += 2000 if year < 70 else 1900
    try:
        month = _MONTHS.index(parts["month"].lower()) + 1
        hour, minute, second = map(int, parts["clock"].split(":"))
        return datetime(year, month, int(parts["day"]), hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _lifetime(control: Directives, told: Mapping[str, str], date: float | None, wall: float) -> float:
    fresh = seconds(control, "max-age")
    if fresh is not None:
        return fresh
    expires = timestamp(told.get("expires", ""))
    if expires is None:
        return 0.0
    return min(max(0.0, expires - (wall if date is None else date)), float(MOST_SECONDS))
