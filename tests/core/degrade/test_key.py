"""The key: two requests share an answer only if nothing tells them apart that may matter."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seawall.degrade.credentials import KNOWN, is_credential
from seawall.degrade.fields import NOISE
from seawall.degrade.key import TAG_SIZE, in_order, target_of
from seawall.stores.memory import MemoryStore
from tests.core.degrade.asking import Cache, Request

URL = "https://api.test/x"


def key(cache: Cache, request: Request, **how: Any) -> bytes:
    slot = cache.slot(request, **how)
    assert slot is not None
    assert (len(slot.tag), len(slot.key)) == (TAG_SIZE, 2 * TAG_SIZE)
    return slot.key


SAME = [
    ["https://api.test/x", "HTTPS://API.test/x", "https://api.test:443/x", "https://api.test:0443/x",
     "https://api.test./x", "https://api.test/x#fragment", "https://api.test:/x"],
    ["https://api.test", "https://api.test/", "https://api.test#f"],
    ["https://api.test?q=1", "https://api.test/?q=1"],
    ["http://[::1]:8080/", "http://[::1]:8080"],
    ["http://b\u00fccher.test/", "http://xn--bcher-kva.test/", "http://B\u00dcCHER.test:80/"],
]  # fmt: skip


@pytest.mark.parametrize("spellings", SAME, ids=lambda urls: urls[0])
def test__equal_spellings_of_a_url__share_a_key(spellings: list[str]) -> None:
    cache = Cache()
    assert len({key(cache, Request(url=url)) for url in spellings}) == 1


APART = {
    "": Request(),
    "method": Request("HEAD"),
    "scheme": Request(url="http://api.test/x"),
    "host": Request(url="https://api2.test/x"),
    "port": Request(url="https://api.test:8443/x"),
    "path": Request(url="https://api.test/X"),
    "path as sent": Request(url="https://api.test/%78"),
    "query": Request(url="https://api.test/x?q=1"),
    "another query": Request(url="https://api.test/x?q=2"),
    "an empty query": Request(url="https://api.test/x?"),
    "user in the URL": Request(url="https://alice@api.test/x"),
    "password in the URL": Request(url="https://alice:pw@api.test/x"),
    "Host field": Request(headers={"Host": "other.test"}),
    "Accept": Request(headers={"Accept": "text/html"}),
    "Accept-Language": Request(headers={"Accept-Language": "de"}),
    "a field nobody knows": Request(headers={"X-Acting-As": "alice"}),
    "another value of it": Request(headers={"X-Acting-As": "bob"}),
    "a field twice": Request(headers=[("X-Acting-As", "bob"), ("X-Acting-As", "alice")]),
    "in another order": Request(headers=[("X-Acting-As", "alice"), ("X-Acting-As", "bob")]),
    "a tunnelled method": Request(headers={"X-HTTP-Method-Override": "DELETE"}),
    **{f"{name}: {value}": Request(headers={name: value}) for name in KNOWN for value in ("a", "b")},
}


def test__whatever_tells_requests_apart__keeps_their_keys_apart() -> None:
    cache = Cache()
    keys = {what: key(cache, request) for what, request in APART.items()}
    keys |= {f"identity {who!r}": key(cache, Request(), identity=who) for who in (1, 2, "1", "2", "1\0")}
    keys |= {f"body {body!r}": key(cache, Request(), body=body) for body in (b"a", b"b")}
    assert [(a, b) for a, b in combinations(keys, 2) if keys[a] == keys[b]] == []


def test__identity_0_and_empty__are_both_nobody_in_particular() -> None:
    cache = Cache()
    assert key(cache, Request(), identity=0) != key(cache, Request(), identity=7)
    assert key(cache, Request(), identity="") != key(cache, Request(), identity="7")


@pytest.mark.parametrize("name", sorted(NOISE - {"cache-control", "pragma"}))
def test__noise__does_not_count(name: str) -> None:
    cache = Cache()
    assert key(cache, Request(headers={name.title(): "1"})) == key(cache, Request())


def test__ignored_by_the_user__does_not_count() -> None:
    cache = Cache(ignore=["X-Call"])
    assert key(cache, Request(headers={"x-call": "1"})) == key(cache, Request(headers={"X-Call": "2"}))


def test__credentials_and_noise__are_not_the_same_thing() -> None:
    assert not KNOWN & NOISE
    assert not [name for name in KNOWN if not is_credential(name)]


def test__field_that_only_looks_like_a_credential__counts_beside_the_users_key() -> None:
    cache = Cache(key=lambda _: "alice")
    by_price, by_name = (key(cache, Request(headers={"x-sort-key": value})) for value in ("price", "name"))
    assert is_credential("x-sort-key")
    assert by_price != by_name


def test__spelling_of_names_and_bytes__do_not_count() -> None:
    cache = Cache()
    raw: Any = Request()
    raw.headers = [(b"X-Api-Key", b"k\xc3\xa9y"), (b"accept", b"a")]
    assert key(cache, raw) == key(cache, Request(headers=[("Accept", "a"), ("x-api-key", "kéy")]))


def test__order_of_names__does_not_count() -> None:
    cache = Cache()
    for one, other in combinations(("X-Api-Key", "Cookie", "Accept", "X-Other"), 2):
        fields = [(one, "1"), (other, "2")]
        assert key(cache, Request(headers=fields)) == key(cache, Request(headers=fields[::-1]))


class Hidden(str):
    """As libraries make them, so that a secret is not logged."""

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


def test__secret_that_hides_itself__counts_as_what_is_sent() -> None:
    cache = Cache()
    asked = [key(cache, Request(headers={"Authorization": Hidden(secret)})) for secret in ("a", "b")]
    assert asked[0] != asked[1]
    assert asked[0] == key(cache, Request(headers={"Authorization": "a"}))


def test__another_process__has_other_keys() -> None:
    assert key(Cache(), Request()) != key(Cache(), Request())


def test__tag__is_who_and_where_and_not_what_exactly() -> None:
    cache = Cache()
    tags = {request: cache.slot(APART[request]) for request in ("", "method", "Accept", "query", "authorization: a")}
    seen = {what: slot.tag for what, slot in tags.items() if slot is not None}
    assert seen[""] == seen["method"] == seen["Accept"]
    assert len({seen[""], seen["query"], seen["authorization: a"]}) == 3


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "/x",
        "https://",
        "https:///x",
        "https://:80/",
        "https://h:x/",
        "https://[::1/",
        "mailto:a@b",
        "https://a b]/",
    ],
)
def test__no_url_of_a_host__no_key(url: str) -> None:
    assert target_of(url) is None
    assert Cache().slot(Request(url=url)) is None


@given(st.text(max_size=60) | st.builds("https://{}".format, st.text(max_size=40)))
def test__any_url__never_raises(url: str) -> None:
    found = target_of(url)
    assert found is None or "://" in found[1]


@given(
    st.tuples(st.text("ab@:", max_size=4), st.sampled_from(["h", "g"]), st.text("ab/?=&%", max_size=4)),
    st.tuples(st.text("ab@:", max_size=4), st.sampled_from(["h", "g"]), st.text("ab/?=&%", max_size=4)),
)
def test__user_host_and_path__are_never_mixed_up(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    def read(parts: tuple[str, str, str]) -> tuple[str, str] | None:
        return target_of(f"https://{parts[0]}@{parts[1]}/{parts[2]}")

    assert (read(one) == read(other)) == (one == other)


fields = st.lists(st.tuples(st.sampled_from(["accept", "cookie", "x"]), st.text("a,b \0'\"", max_size=4)), max_size=4)


@given(fields, fields, st.binary(max_size=3), st.binary(max_size=3))
@example([("accept", "xy")], [("accept", ""), ("x", "y")], b"", b"")
@example([("x", "a")], [("x", "")], b"", b"a")
@example([("x", "a', b'b")], [("x", "a"), ("b", "")], b"", b"")
@example([("x", "a\0x\0b")], [("x", "a"), ("x", "b")], b"", b"")
@example([("x", "a\0")], [("x", "a")], b"", b"\0")
@example([("cookie", "xy"), ("x", "")], [("cookie", "x"), ("x", "y")], b"", b"")
def test__fields_and_body__equal_keys_only_for_equal_questions(
    one: list[tuple[str, str]], other: list[tuple[str, str]], body: bytes, another: bytes
) -> None:
    same = (in_order(one), body) == (in_order(other), another)
    assert (key(CACHE, Request(headers=one), body=body) == key(CACHE, Request(headers=other), body=another)) == same


CACHE = Cache()


class TestKeyFunction:
    def test__replaces_credentials_user_and_identity(self) -> None:
        cache = Cache(key=lambda request: "alice")
        plain = key(cache, Request())
        assert key(cache, Request(headers={"Authorization": "new token", "Cookie": "a", "X-Api-Key": "b"})) == plain
        assert key(cache, Request(url="https://a:b@api.test/x"), identity=7) == plain

    def test__everything_else_still_counts(self) -> None:
        cache = Cache(key=lambda request: "alice")
        credential = {name.title() for name in KNOWN}
        keys = [key(cache, r) for what, r in APART.items() if what.partition(":")[0].title() not in credential]
        assert len(set(keys)) == len(keys) - 2  # the two with a user in the URL
        assert key(cache, Request(), body=b"a") != key(cache, Request(), body=b"b")

    def test__says_who(self) -> None:
        cache = Cache(key=lambda request: request.headers[0][1])
        alice, bob = (Request(headers={"X-User": name}) for name in ("alice", "bob"))
        one, other = cache.slot(alice), cache.slot(bob)
        assert one is not None
        assert other is not None
        assert one.tag != other.tag

    def test__is_not_taken_for_what_we_see(self) -> None:
        store = MemoryStore()
        cache, named = Cache(store=store), Cache(store=store, key=lambda request: "")
        assert key(cache, Request()) == key(Cache(store=store), Request())
        assert key(cache, Request()) != key(named, Request())

    def test__none__not_remembered(self) -> None:
        assert Cache(key=lambda request: None).slot(Request()) is None

    @pytest.mark.parametrize("wrong", [lambda request: 1 / 0, lambda request: b"bytes"], ids=["raises", "bytes"])
    def test__wrong__not_remembered_and_reported(self, wrong: Any) -> None:
        cache = Cache(key=wrong)
        assert cache.slot(Request()) is None
        assert len(cache.complaints) == 1
