"""Beside hishel's RFC 9111 rules for a private cache: we keep nothing it may not, and less only for a reason.

hishel answers instead of the host, we only when the host does not: so where the RFC leaves a choice, ours is stricter.
Each reason is a line of `STRICTER`; a difference without one fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice, product

import pytest
from hishel import CacheMiss, CacheOptions, Headers, StoreAndUse
from hishel import Request as TheirRequest
from hishel import Response as TheirResponse
from hishel._core._spec import allowed_stale, get_freshness_lifetime

from seawall.degrade.fields import NOISE
from seawall.degrade.storing import GOOD, Terms, terms_of
from tests.core.degrade.asking import DATE, WALL, Cache, Request

PRIVATE = CacheOptions(shared=False, allow_stale=True, supported_methods=["GET", "HEAD"])

STATUSES = [101, 200, 201, 203, 204, 206, 300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 405, 410, 414, 429, 500,
            501, 503]  # fmt: skip
CONTROLS = ["", "no-store", "No-Store, max-age=60", "no-cache", 'no-cache="x"', "private", 'private="x"', "public",
            "max-age=60", "max-age=0", "s-maxage=60", "must-revalidate", "max-age=60, must-revalidate",
            "max-age=60, proxy-revalidate",
            "max-age=60, stale-if-error=60",
            'max-age="60"', "immutable", 'foo="no-store"', "must-understand, no-store"]  # fmt: skip
ANSWERS = [
    {},
    {"Vary": "Accept-Encoding, Authorization"},
    {"Vary": "*"},
    {"Vary": "X-Request-Id"},
    {"Set-Cookie": "a=b"},
    {"WWW-Authenticate": "Basic"},
    {"Content-Range": "bytes 0-3/4"},
    {"Transfer-Encoding": "gzip"},
    {"Expires": "Tue, 14 Nov 2023 22:14:20 GMT", "Date": DATE},
]
ASKED = [{}, {"Authorization": "Bearer a", "Cookie": "a=b"}, {"Cache-Control": "no-store"}, {"Range": "bytes=0-3"}]
METHODS = ["GET", "HEAD", "POST", "PUT", "OPTIONS"]

STEP = 11
"""Of all 78,660 combinations, each eleventh: no list above has a multiple of it."""

STRICTER: dict[str, Callable[[str, dict[str, str], int, dict[str, str]], bool]] = {
    "a status that is no good answer to give again": lambda method, asked, status, told: status not in GOOD,
    "no-cache: it could never be given, since the host is not there to be asked": lambda method, asked, status, told: (
        "no-cache" in told.get("Cache-Control", "")
    ),
    "Vary: * never matches": lambda method, asked, status, told: told.get("Vary") == "*",
    "Vary by something the key does not hold": lambda method, asked, status, told: told.get("Vary") == "X-Request-Id",
    "Set-Cookie: it makes a caller the key does not know": lambda method, asked, status, told: "Set-Cookie" in told,
    "it belongs to one connection's caller": lambda method, asked, status, told: "WWW-Authenticate" in told,
    "a piece, whatever its status says": lambda method, asked, status, told: "Content-Range" in told,
    "a coding of the transfer would be lost": lambda method, asked, status, told: "Transfer-Encoding" in told,
    "the caller wants nothing stored (RFC 9111 §5.2.1.5)": lambda method, asked, status, told: (
        asked.get("Cache-Control") == "no-store"
    ),
    "the caller asked for a piece": lambda method, asked, status, told: "Range" in asked,
}


def ours(method: str, asked: dict[str, str], status: int, told: dict[str, str]) -> bool:
    return Cache().answered(Request(method, headers=asked), status, told, b"")


def theirs(method: str, asked: dict[str, str], status: int, told: dict[str, str]) -> bool:
    miss = CacheMiss(options=PRIVATE, request=TheirRequest(method, "https://api.test/x", Headers(dict(asked))))
    return isinstance(miss.next(TheirResponse(status, Headers(dict(told)))), StoreAndUse)


def test__storability__we_keep_no_more_and_they_keep_more_for_a_reason() -> None:
    used: Counter[str] = Counter()
    for method, asked, status, control, answer in islice(
        product(METHODS, ASKED, STATUSES, CONTROLS, ANSWERS), 0, None, STEP
    ):
        told = {**answer, **({"Cache-Control": control} if control else {})}
        we, they = ours(method, asked, status, told), theirs(method, asked, status, told)
        assert they or not we, f"laxer: {method} {asked} {status} {told}"
        if they and not we:
            reasons = [why for why, holds in STRICTER.items() if holds(method, asked, status, told)]
            assert reasons, f"stricter for no reason: {method} {asked} {status} {told}"
            if len(reasons) == 1:
                used[reasons[0]] += 1
        elif we:
            used["both"] += 1
    assert set(used) == {*STRICTER, "both"}, "a reason that no case needs"


EXPLICIT = [
    {"Cache-Control": "max-age=60"},
    {"Cache-Control": "max-age=60", "Expires": "0"},
    {"Cache-Control": "s-maxage=10, max-age=60"},
    {"Expires": "Tue, 14 Nov 2023 22:14:20 GMT", "Date": DATE},
    {"Expires": "Tuesday, 14-Nov-23 22:14:20 GMT", "Date": DATE},
    {"Expires": "Tue Nov 14 22:14:20 2023", "Date": DATE},
    {"Expires": "0"},
    {"Expires": DATE, "Date": "Tue, 14 Nov 2023 22:14:20 GMT"},
]


@pytest.mark.parametrize("told", EXPLICIT, ids=str)
def test__explicit_lifetime__is_the_same(told: dict[str, str]) -> None:
    terms = terms_of({name.lower(): value for name, value in told.items()}, NOISE, WALL, 0)
    lifetime = get_freshness_lifetime(TheirResponse(200, Headers(dict(told))), False)
    assert isinstance(terms, Terms)
    assert lifetime is not None
    assert terms.lifetime == max(0, lifetime)


@pytest.mark.parametrize("control", CONTROLS)
def test__stale__is_given_only_where_they_may_give_it(control: str) -> None:
    told = {"Cache-Control": control} if control else {}
    cache = Cache()
    kept = cache.answered(Request(), 200, told)
    cache.now += 61
    given = cache.found(Request()) is not None
    assert given == (kept and allowed_stale(TheirResponse(200, Headers(dict(told))), True))
