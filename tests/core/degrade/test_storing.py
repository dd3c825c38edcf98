"""What may be remembered, how old an answer is, and how long it may be given: RFC 9111 and RFC 5861 as tables."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from math import inf
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.degrade.fields import NOISE
from seawall.degrade.storing import (
    LONGEST_FIELD,
    MOST_SECONDS,
    Fate,
    Terms,
    Wish,
    fate_of,
    parse,
    seconds,
    terms_of,
    timestamp,
    varies,
    wish_of,
)
from tests.core.degrade.asking import DATE, WALL

PARSED = [
    ("", {}),
    ("no-store", {"no-store": ""}),
    ("No-Store , MAX-AGE=10", {"no-store": "", "max-age": "10"}),
    ("max-age = 10", {"max-age": "10"}),
    ('max-age="10"', {"max-age": "10"}),
    ('private="set-cookie, no-store", max-age=1', {"private": "set-cookie, no-store", "max-age": "1"}),
    (r'x="a\", no-store", max-age=1', {"x": r"a\", no-store", "max-age": "1"}),
    ('x="open, no-store', {"x": "open", "no-store": ""}),
    ("max-age=10;no-store", {"max-age": "10", "no-store": ""}),
    ("max-age=10, max-age=10", {"max-age": "10"}),
    ("max-age=10, max-age=20", {"max-age": "twice"}),
    (",,, ,", {}),
    ("max-age=", {"max-age": ""}),
    ("x" * (LONGEST_FIELD + 1), {"no-store": ""}),
]


@pytest.mark.parametrize(("text", "directives"), PARSED, ids=[repr(text[:40]) for text, _ in PARSED])
def test__cache_control__is_read(text: str, directives: dict[str, str]) -> None:
    assert parse(text) == directives


@given(st.text() | st.text(' ,;="\\abno-stremax0123456789', max_size=200))
def test__cache_control__any_text__never_raises(text: str) -> None:
    directives = parse(text)
    for name in directives:
        found = seconds(directives, name)
        assert found is not None
        assert 0 <= found <= MOST_SECONDS


@pytest.mark.parametrize("evil", ['x="' * 1300, '\\"' * 2000, 'x="\\' * 1000, "=" * 4000, "x= " * 1300, " " * 4000])
def test__cache_control__made_to_be_slow__is_read_at_once(evil: str) -> None:
    began = perf_counter()
    parse(evil)
    assert perf_counter() - began < 0.5


SECONDS = [("0", 0), ("10", 10), ("0010", 10), ("9" * 20, MOST_SECONDS), ("9" * 5000, 0), ("-1", 0), ("1.5", 0),
           ("1_0", 0), ("٣", 0), ("", 0), ("1s", 0), ("twice", 0)]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SECONDS, ids=[repr(text[:25]) for text, _ in SECONDS])
def test__seconds__what_is_no_number_is_none_at_all(text: str, value: float) -> None:
    assert seconds({"max-age": text}, "max-age") == value


DATES = [
    (DATE, WALL),
    ("Tuesday, 14-Nov-23 22:13:20 GMT", WALL),
    ("Tue Nov 14 22:13:20 2023", WALL),
    ("Thu Jan  1 00:00:00 1970", 0.0),
    ("Sun, 06-Nov-94 08:49:37 GMT", 784111777.0),
    ("0", None),
    ("-1", None),
    ("", None),
    ("Tue, 14 Nov 2023 22:13:20", None),
    ("Tue, 14 Nov 2023 22:13:20 +0200", None),
    ("Tue, 32 Nov 2023 22:13:20 GMT", None),
    ("Tue, 14 Foo 2023 22:13:20 GMT", None),
    ("Tue, 14 Nov 2023 25:13:20 GMT", None),
    ("Tue, 14 Nov 99999 22:13:20 GMT", None),
    ("Tue, 14 Nov 0000 22:13:20 GMT", None),
]


@pytest.mark.parametrize(("text", "value"), DATES)
def test__http_date(text: str, value: float | None) -> None:
    assert timestamp(text) == value


@given(st.integers(0, 253_402_300_799))
def test__http_date__as_the_standard_library_writes_it(second: int) -> None:
    when = datetime.fromtimestamp(second, UTC)
    assert timestamp(format_datetime(when, usegmt=True)) == when.timestamp()


@given(st.text(max_size=60) | st.from_regex(r"\A[A-Z]{3}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\Z"))
def test__http_date__any_text__never_raises(text: str) -> None:
    found = timestamp(text)
    assert found is None or -62_135_596_800 <= found <= 253_402_300_799  # the years 1 to 9999


STATUSES = {
    None: [200, 203, 204, 301, 308],
    Fate.LEAVE: [101, 103, 206, 304, 407, 408, 416, 421, 425, 429, 500, 501, 502, 503, 504, 529, 599],
    Fate.REPLACE: [201, 202, 226, 300, 302, 303, 307, 400, 402, 405, 406, 409, 422],
    Fate.FORGET: [401, 403, 404, 410, 451],
}


@pytest.mark.parametrize(("status", "fate"), [(status, fate) for fate, group in STATUSES.items() for status in group])
def test__status(status: int, fate: Fate | None) -> None:
    assert fate_of(status) is fate


NEVER = [
    {"cache-control": "no-store"},
    {"cache-control": "max-age=100, No-Store"},
    {"cache-control": "no-store, must-understand, max-age=100"},
    {"cache-control": "no-cache"},
    {"cache-control": 'no-cache="x-secret", max-age=100'},
    {"cache-control": "public, max-age=100" + " " * LONGEST_FIELD},
    {"vary": "*"},
    {"vary": "Accept, *"},
    {"vary": "X-Request-Id"},
    {"vary": "accept,TRACEPARENT"},
    {"vary": "a" * (LONGEST_FIELD + 1)},
    {"set-cookie": "session=1"},
    {"set-cookie": ""},
    {"www-authenticate": "Negotiate oRQ="},
    {"content-range": "bytes 0-1/2"},
    {"transfer-encoding": "gzip, chunked"},
]


@pytest.mark.parametrize("told", NEVER, ids=lambda told: str(told)[:60])
def test__not_remembered(told: dict[str, str]) -> None:
    assert terms_of(told, NOISE, WALL, 0) is Fate.REPLACE


# what the answer says → lifetime, grace, age
TERMS = [
    ({}, (0, inf, 0)),
    ({"cache-control": "private"}, (0, inf, 0)),
    ({"cache-control": "public, max-age=60"}, (60, inf, 0)),
    ({"cache-control": "s-maxage=60"}, (0, inf, 0)),
    ({"cache-control": "s-maxage=10, max-age=60"}, (60, inf, 0)),
    ({"cache-control": "max-age=60, stale-if-error=30"}, (60, 30, 0)),
    ({"cache-control": "stale-if-error=0"}, (0, 0, 0)),
    ({"cache-control": "stale-if-error=soon"}, (0, 0, 0)),
    ({"cache-control": "max-age=60, must-revalidate"}, (60, 0, 0)),
    ({"cache-control": "max-age=60, must-revalidate, stale-if-error=30"}, (60, 0, 0)),
    ({"cache-control": "max-age=60, proxy-revalidate"}, (60, inf, 0)),
    ({"cache-control": "stale-while-revalidate=60"}, (0, inf, 0)),
    ({"cache-control": "max-age=60", "expires": "0"}, (60, inf, 0)),
    ({"date": DATE, "expires": "Tue, 14 Nov 2023 22:14:20 GMT"}, (60, inf, 0)),
    ({"expires": "Tue, 14 Nov 2023 22:14:20 GMT"}, (60, inf, 0)),
    ({"date": DATE, "expires": "Tue, 14 Nov 2023 22:12:20 GMT"}, (0, inf, 0)),
    ({"date": DATE, "expires": "Tue, 14 Nov 9999 22:12:20 GMT"}, (MOST_SECONDS, inf, 0)),
    ({"expires": "0"}, (0, inf, 0)),
    ({"date": "Tue, 14 Nov 2023 22:13:00 GMT"}, (0, inf, 20)),
    ({"date": "Tue, 14 Nov 2023 22:14:00 GMT"}, (0, inf, 0)),
    ({"age": "30"}, (0, inf, 30)),
    ({"age": "30, 40"}, (0, inf, 30)),
    ({"age": "-5"}, (0, inf, 0)),
    ({"age": "old"}, (0, inf, 0)),
    ({"age": "9" * 19}, (0, inf, MOST_SECONDS)),
    ({"age": "30", "date": "Tue, 14 Nov 2023 22:13:00 GMT"}, (0, inf, 30)),
    ({"age": "10", "date": "Tue, 14 Nov 2023 22:13:00 GMT"}, (0, inf, 20)),
    ({"vary": "Accept-Encoding, Origin, Authorization, Cookie"}, (0, inf, 0)),
    ({"transfer-encoding": "chunked"}, (0, inf, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("told", "figures"), TERMS, ids=[str(told) for told, _ in TERMS])
def test__terms(told: dict[str, str], figures: tuple[float, float, float]) -> None:
    terms = terms_of(told, NOISE, WALL, 0)
    assert isinstance(terms, Terms)
    assert (terms.lifetime, terms.grace, terms.age) == figures


@pytest.mark.parametrize(
    ("told", "age"), [({}, 7), ({"age": "30"}, 37), ({"date": "Tue, 14 Nov 2023 22:13:00 GMT"}, 20)]
)
def test__age__counts_how_long_the_answer_took(told: dict[str, str], age: float) -> None:
    terms = terms_of(told, NOISE, WALL, 7)
    assert isinstance(terms, Terms)
    assert terms.age == age


names = st.sampled_from(["cache-control", "vary", "age", "date", "expires", "transfer-encoding"])


@given(st.dictionaries(names, st.text(max_size=60)), st.floats(0, 1e10), st.floats(-1e9, 1e9))
def test__terms__of_any_answer__are_sane(told: dict[str, str], wall: float, elapsed: float) -> None:
    terms = terms_of(told, NOISE, wall, elapsed)
    if isinstance(terms, Terms):
        assert 0 <= terms.lifetime <= MOST_SECONDS
        assert terms.grace >= 0
        assert 0 <= terms.age < inf


def test__varies__by_what_the_key_holds__does_not_matter() -> None:
    assert not varies("Accept, X-Whatever", NOISE)
    assert varies("Accept, X-Whatever", NOISE | {"x-whatever"})


# a request's Cache-Control, age, lifetime → may be given?
WISHES = [
    ("no-cache", 0, 60, False),
    ("max-age=0", 1, 60, False),
    ("max-age=30", 30, 0, True),
    ("max-age=30", 31, 60, False),
    ("max-age=30, max-stale=20", 50, 30, True),
    ("max-age=30, max-stale=20", 51, 31, False),
    ("max-stale", 1000, 0, True),
    ("max-stale=20", 80, 60, True),
    ("max-stale=20", 81, 60, False),
    ("max-stale=soon", 61, 60, False),
    ("min-fresh=10", 50, 60, True),
    ("min-fresh=10", 51, 60, False),
    ("stale-if-error=20", 80, 60, True),
    ("stale-if-error=20", 81, 60, False),
    ("no-cache, stale-if-error=20", 80, 60, True),
    ("max-age=0, stale-if-error=20", 80, 60, True),
    ("only-if-cached", 1000, 0, True),
    ("no-transform", 1000, 0, True),
]


@pytest.mark.parametrize(("text", "age", "lifetime", "allowed"), WISHES)
def test__wish(text: str, age: float, lifetime: float, allowed: bool) -> None:
    wish = wish_of(text, "")
    assert isinstance(wish, Wish)
    assert wish.allows(age, lifetime) is allowed


def test__wish__no_store__nothing_is_remembered_or_given() -> None:
    assert wish_of("no-store", "") is Fate.LEAVE
    assert wish_of("no-store, stale-if-error=20", "") is Fate.LEAVE


def test__wish__pragma__counts_only_without_cache_control() -> None:
    old = wish_of("", "No-Cache")
    assert isinstance(old, Wish)
    assert old.never
    new = wish_of("max-stale", "no-cache")
    assert isinstance(new, Wish)
    assert not new.never
    assert wish_of("", "") is None
    assert wish_of("", "x") is None


@given(st.text(max_size=100), st.floats(0, 1e9), st.floats(0, 1e9))
def test__wish__any_text__never_raises(text: str, age: float, lifetime: float) -> None:
    wish = wish_of(text, text)
    if isinstance(wish, Wish):
        assert not wish.allows(age, lifetime) or wish.allows(age / 2, lifetime), "a younger one is allowed too"
    else:
        assert wish is (Fate.LEAVE if text else None)
