"""Cases of the public suite http-tests/cache-tests on stale answers, `Vary` and `Authorization`, by their ids.

The suite asks what a shared HTTP cache does while its origin is there; here only what it is about is taken over, as
scripts of our own: somebody asked and was answered, then the host fails. `wants` is what the suite would see, `either`
where it only looks. Where we differ, `why` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from tests.core.degrade.asking import DATE, Cache, Request

Fields = dict[str, str] | list[tuple[str, str]]


@dataclass(frozen=True)
class Answered:
    """The host answered, with these fields and this body."""

    told: Fields
    asked: Fields = ()  # type: ignore[assignment]
    body: bytes = b"one"


@dataclass(frozen=True)
class Fails:
    """So many seconds later the host hangs up, or answers with `status`; then comes this body, or nothing."""

    given: bytes | None
    asked: Fields = ()  # type: ignore[assignment]
    later: float = 3.0
    status: int | None = None


@dataclass(frozen=True)
class Case:
    steps: tuple[Answered | Fails, ...]
    wants: Literal["given", "nothing", "either"]
    why: str = ""


def asked(told: Fields, first: Fields, again: Fields, given: bytes | None) -> tuple[Answered, Fails]:
    return Answered(told, first), Fails(given, again, later=1.0)


def stale(control: str, given: bytes | None, **how: float) -> tuple[Answered, Fails]:
    """An answer fresh for two seconds, asked for after three."""
    return Answered({"Cache-Control": control}), Fails(given, **how)  # type: ignore[arg-type]


def varying(names: str, first: Fields, again: Fields, given: bytes | None) -> tuple[Answered, Fails]:
    return asked({"Cache-Control": "max-age=5000", "Date": DATE, "Vary": names}, first, again, given)


def by_language(first: str, again: str) -> tuple[Answered, Fails]:
    return varying("Accept-Language", {"Accept-Language": first}, {"Accept-Language": again}, None)


SHARED = "a rule for shared caches; ours is the caller's own"
BOUND = "an answer belongs to who asked, whatever its server allows"
AS_SENT = "fields count as they are sent: what only looks equal to us may not be to the server"
EVERY_FIELD = "every field counts, named by Vary or not: servers of APIs seldom name what tells tenants apart"
ONLY_IN_NEED = (
    "while the host answers, its answer is the caller's: nothing is given early, or refreshed behind its back"
)

FOO = {"Foo": "1"}
THREE = {"Foo": "1", "Bar": "abc", "Baz": "789"}
TOKEN = {"Authorization": "Bearer a"}

CASES = {
    "stale-close": Case(stale("max-age=2", b"one"), "either"),
    "stale-503": Case(stale("max-age=2", b"one", status=503), "either"),
    "stale-sie-close": Case(stale("max-age=2, stale-if-error=60", b"one"), "either"),
    "stale-sie-503": Case(stale("max-age=2, stale-if-error=60", b"one", status=503), "either"),
    "stale-close-must-revalidate": Case(stale("max-age=2, must-revalidate", None), "nothing"),
    "stale-close-no-cache": Case(stale("max-age=2, no-cache", None), "nothing"),
    "stale-close-proxy-revalidate": Case(stale("max-age=2, proxy-revalidate", b"one"), "nothing", SHARED),
    "stale-close-s-maxage=2": Case(stale("max-age=2, s-maxage=2", b"one"), "nothing", SHARED),
    "stale-if-error-cc-response": Case(stale("max-age=0, stale-if-error=3600", b"one", status=500), "either"),
    "stale-if-error-cc-response-expired": Case(stale("max-age=0, stale-if-error=1", None, status=500), "nothing"),
    "stale-if-error-cc-request": Case(
        (Answered({"Cache-Control": "max-age=0"}), Fails(b"one", {"Cache-Control": "stale-if-error=3600"})), "either"
    ),
    "stale-if-error-cc-request-expired": Case(
        (Answered({"Cache-Control": "max-age=0"}), Fails(None, {"Cache-Control": "stale-if-error=1"})), "nothing"
    ),
    "stale-while-revalidate": Case(
        (
            Answered({"Cache-Control": "max-age=0, stale-while-revalidate=3600"}),
            Answered({"Cache-Control": "max-age=3600"}, body=b"two"),
            Fails(b"two"),
        ),
        "given",
        ONLY_IN_NEED,
    ),
    "other-authorization": Case(asked({"Expires": "0"}, TOKEN, {}, None), "nothing"),
    "other-authorization-public": Case(
        asked({"Cache-Control": "max-age=3600, public"}, TOKEN, {}, None), "given", BOUND
    ),
    "other-authorization-must-revalidate": Case(
        asked({"Cache-Control": "max-age=3600, must-revalidate"}, TOKEN, {}, None), "given", BOUND
    ),
    "other-authorization-smaxage": Case(asked({"Cache-Control": "s-maxage=3600"}, TOKEN, {}, None), "given", BOUND),
    "vary-match": Case(varying("Foo", FOO, FOO, b"one"), "given"),
    "vary-no-match": Case(varying("Foo", FOO, {"Foo": "2"}, None), "nothing"),
    "vary-omit": Case(varying("Foo", FOO, {}, None), "nothing"),
    "vary-omit-stored": Case(varying("Foo", {}, FOO, None), "nothing"),
    "vary-invalidate": Case(
        (Answered({"Vary": "Foo"}, FOO), Answered({"Vary": "Foo"}, {"Foo": "2"}, b"two"), Fails(b"one", FOO)), "given"
    ),
    "vary-cache-key": Case(varying("Foo", FOO | {"Other": "2"}, FOO | {"Other": "3"}, None), "given", EVERY_FIELD),
    "vary-2-match": Case(varying("Foo, Bar", FOO | {"Bar": "abc"}, FOO | {"Bar": "abc"}, b"one"), "given"),
    "vary-2-no-match": Case(varying("Foo, Bar", FOO | {"Bar": "abc"}, {"Foo": "2", "Bar": "abc"}, None), "nothing"),
    "vary-2-match-omit": Case(varying("Foo, Bar", FOO, {}, None), "nothing"),
    "vary-3-match": Case(varying("Foo, Bar, Baz", THREE, THREE, b"one"), "given"),
    "vary-3-no-match": Case(varying("Foo, Bar, Baz", THREE, THREE | {"Foo": "2"}, None), "nothing"),
    "vary-3-order": Case(varying("Foo, Bar, Baz", THREE | {"Bar": "abc4"}, THREE, None), "nothing"),
    "vary-3-omit": Case(varying("Foo, Bar, Baz", FOO | {"Baz": "789"}, FOO | {"Baz": "789"}, b"one"), "given"),
    "vary-star": Case(varying("*", FOO | {"Baz": "789"}, FOO | {"Baz": "789"}, None), "nothing"),
    "vary-normalise-space": Case(varying("Foo", {"Foo": "1,2"}, {"Foo": " 1, 2 "}, None), "given", AS_SENT),
    "vary-normalise-combine": Case(
        varying("Foo", {"Foo": "1, 2"}, [("Foo", "1"), ("Foo", "2")], None), "given", AS_SENT
    ),
    "vary-normalise-lang-order": Case(by_language("en, de", "de, en"), "given", AS_SENT),
    "vary-normalise-lang-case": Case(by_language("en, de", "eN, De"), "given", AS_SENT),
    "vary-normalise-lang-space": Case(by_language("en, de", " en ,   de"), "given", AS_SENT),
    "vary-normalise-lang-select": Case(by_language("en, de", "fr;q=0.5, de;q=1.0"), "given", AS_SENT),
    "vary-syntax-star": Case(varying("*", FOO, FOO, None), "nothing"),
    "vary-syntax-star-star": Case(varying("*, *", FOO, FOO, None), "nothing"),
    "vary-syntax-star-star-lines": Case(asked([("Vary", "*"), ("Vary", "*")], FOO, FOO, None), "nothing"),
    "vary-syntax-empty-star": Case(varying(", *", FOO, FOO, None), "nothing"),
    "vary-syntax-empty-star-lines": Case(asked([("Vary", ""), ("Vary", "*")], FOO, FOO, None), "nothing"),
    "vary-syntax-star-foo": Case(varying("*, Foo", FOO, FOO, None), "nothing"),
    "vary-syntax-foo-star": Case(varying("Foo, *", FOO, FOO, None), "nothing"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test__case_of_the_public_suite(case: Case) -> None:
    cache = Cache()
    for step in case.steps:
        if isinstance(step, Answered):
            cache.answered(Request(headers=step.asked), 200, step.told, step.body)
        else:
            cache.now += step.later
            found = cache.found(Request(headers=step.asked), sent=True, status=step.status)
            assert (None if found is None else found.content) == step.given


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test__decision__differs_from_the_suites_only_with_a_reason(case: Case) -> None:
    end = case.steps[-1]
    assert isinstance(end, Fails)
    ours = "nothing" if end.given is None else "given"
    assert bool(case.why) == (case.why == ONLY_IN_NEED or case.wants not in ("either", ours))


def test__stale_warning__is_told_by_what_took_its_place() -> None:
    # stale-warning-stored, stale-warning-become: RFC 9111 did away with Warning.
    cache = Cache()
    cache.answered(Request(), 200, {"Cache-Control": "max-age=2"})
    cache.now += 3
    found = cache.found(Request(), sent=True, status=503)
    assert found is not None
    told = dict(found.headers)
    assert (told["age"], told["cache-status"], "warning" in told) == (
        "3",
        "seawall; fwd=stale; fwd-status=503; ttl=-1",
        False,
    )


def test__same_caller__is_given_what_every_authorization_case_keeps_from_others() -> None:
    for name, case in CASES.items():
        if name.startswith("other-authorization"):
            first = case.steps[0]
            assert isinstance(first, Answered)
            cache = Cache()
            cache.answered(Request(headers=first.asked), 200, first.told)
            assert cache.found(Request(headers=first.asked)) is not None, name
