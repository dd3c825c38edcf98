"""A remembered answer: when it is kept, when it is given, what it says of itself, and what makes it go."""

from __future__ import annotations

import threading
from typing import Any

import http_sf
import pytest

from seawall.degrade.cache import StaleState
from seawall.degrade.record import MOST_FIELDS
from seawall.stores.memory import MemoryStore
from tests.core.degrade.asking import DATE, WALL, Cache, Request, header, pairs

X = Request()


def body(cache: Cache, request: Request = X, **how: Any) -> bytes | None:
    answer = cache.found(request, **how)
    return None if answer is None else answer.content


def test__remembered__is_given_with_its_status_fields_and_body() -> None:
    cache = Cache()
    assert cache.answered(X, 203, {"Content-Type": "text/plain", "ETag": '"1"', "Content-Encoding": "gzip"}, b"raw")
    answer = cache.found(X)
    assert answer is not None
    assert (answer.status, answer.content) == (203, b"raw")
    assert answer.headers[:3] == (("Content-Type", "text/plain"), ("ETag", '"1"'), ("Content-Encoding", "gzip"))


def test__nothing_remembered__nothing_given() -> None:
    assert Cache().found(X) is None


@pytest.mark.parametrize(("seconds", "given"), [(0, True), (299.9, True), (300, False), (10_000, False)])
def test__max_age__is_the_end_whatever_the_server_allows(seconds: float, given: bool) -> None:
    cache = Cache()
    cache.answered(X, headers={"Cache-Control": "max-age=100000, stale-if-error=100000"})
    cache.now += seconds
    assert (cache.found(X) is not None) == given


def test__max_age__counts_from_the_headers_not_from_the_end_of_the_body() -> None:
    cache = Cache()
    slot = cache.slot(X)
    assert slot is not None
    assert slot.begin(200, [], cache.now, cache.wall, 0)
    cache.now += 200
    slot.keep(b"slow")
    assert body(cache) == b"slow"
    cache.now += 100
    assert body(cache) is None


# Cache-Control, seconds later, given? (ideas of http-tests/cache-tests: stale-sie-*, stale-*-must-revalidate …)
STALE = [
    ("stale, nothing said", "", 200, True),
    ("stale-sie-503", "max-age=10, stale-if-error=60", 70, True),
    ("stale-sie-close, too late", "max-age=10, stale-if-error=60", 71, False),
    ("sie of 0: fresh", "max-age=10, stale-if-error=0", 10, True),
    ("sie of 0: stale", "max-age=10, stale-if-error=0", 11, False),
    ("must-revalidate: fresh", "max-age=10, must-revalidate", 9, True),
    ("must-revalidate: stale", "max-age=10, must-revalidate", 11, False),
    ("must-revalidate, no lifetime", "must-revalidate", 1, False),
    ("must-revalidate beats stale-if-error", "max-age=10, stale-if-error=60, must-revalidate", 11, False),
    ("proxy-revalidate is for shared caches", "max-age=10, proxy-revalidate", 20, True),
    ("s-maxage is for shared caches", "s-maxage=60, stale-if-error=10", 20, False),
    ("private", "private, max-age=10", 20, True),
    ("immutable", "max-age=10, immutable", 20, True),
    ("no-cache", "no-cache, max-age=10", 1, False),
    ("no-store", "no-store", 0, False),
    ("public does not undo no-store", "public, no-store, max-age=60", 0, False),
]


@pytest.mark.parametrize(("control", "later", "given"), [row[1:] for row in STALE], ids=[row[0] for row in STALE])
def test__stale(control: str, later: float, given: bool) -> None:
    cache = Cache()
    cache.answered(X, headers={"Cache-Control": control} if control else {})
    cache.now += later
    assert (cache.found(X) is not None) == given


def test__request__stale_if_error_and_the_servers__the_shorter_holds() -> None:
    cache = Cache()
    cache.answered(X, headers={"Cache-Control": "max-age=10, stale-if-error=60"})
    cache.now += 50
    assert cache.found(Request(headers={"Cache-Control": "stale-if-error=39"})) is None
    assert cache.found(Request(headers={"Cache-Control": "stale-if-error=40"})) is not None
    cache.now += 30
    assert cache.found(Request(headers={"Cache-Control": "stale-if-error=600"})) is None


@pytest.mark.parametrize("control", ["no-cache", "max-age=0", "min-fresh=1"])
def test__request__that_wants_nothing_old__is_remembered_and_given_nothing(control: str) -> None:
    cache = Cache()
    asked = Request(headers={"Cache-Control": control})
    assert cache.answered(asked)
    cache.now += 1
    assert cache.found(asked) is None
    assert cache.found(X) is not None


def test__request__no_store__neither_remembered_nor_given() -> None:
    cache = Cache()
    asked = Request(headers={"Cache-Control": "no-store"})
    assert cache.slot(asked) is None
    cache.answered(X)
    assert cache.found(asked) is None


@pytest.mark.parametrize("name", ["Range", "If-Range", "If-Match", "If-Unmodified-Since", "Upgrade"])
def test__request_for_something_else_than_its_url_names__is_none_of_ours(name: str) -> None:
    assert Cache().slot(Request(headers={name: "bytes=0-1"})) is None


def test__request__no_store_in_one_of_several_fields__counts() -> None:
    assert Cache().slot(Request(headers=[("Cache-Control", "no-store"), ("cache-control", "max-age=9")])) is None


def test__request__conditional__is_remembered_and_given_the_whole() -> None:
    cache = Cache()
    asked = Request(headers={"If-None-Match": '"1"', "If-Modified-Since": DATE})
    assert cache.answered(asked)
    assert not cache.answered(asked, 304)
    assert body(cache, asked) == body(cache, X) == b"good"


@pytest.mark.parametrize("extension", ["target", "sni_hostname"])
def test__request__sent_elsewhere_than_its_url_says__is_none_of_ours(extension: str) -> None:
    request: Any = Request()
    request.extensions = {extension: b"/other"}
    assert Cache().slot(request) is None
    request.extensions = {"timeout": {}}
    assert Cache().slot(request) is not None


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "QUERY", "HEAD"])
def test__methods__others_than_configured__are_none_of_ours(method: str) -> None:
    assert Cache(methods=["GET"]).slot(Request(method)) is None


def test__post__if_configured__is_remembered_by_its_body() -> None:
    cache = Cache(methods=["POST"])
    post = Request("POST")
    assert cache.answered(post, body=b"1", asked=b"one")
    assert cache.answered(post, body=b"2", asked=b"two")
    assert (body(cache, post, asked=b"one"), body(cache, post, asked=b"two")) == (b"1", b"2")
    assert cache.slot(post, None) is None, "a body that is not known"


def test__get__with_a_body_that_is_not_known__is_none_of_ours() -> None:
    assert Cache().slot(X, None) is None


def test__head__is_remembered_by_itself_with_its_length() -> None:
    cache = Cache()
    head = Request("HEAD")
    cache.answered(X, body=b"whole")
    assert cache.found(head) is None
    assert cache.answered(head, headers={"Content-Length": "10000000"}, body=b"")
    answer = cache.found(head)
    assert (header(answer, "content-length"), answer and answer.content) == ("10000000", b"")


def test__no_content__has_no_length() -> None:
    cache = Cache()
    cache.answered(X, 204, body=b"")
    answer = cache.found(X)
    assert (answer and answer.status, header(answer, "content-length")) == (204, None)


class TestFields:
    def test__hop_by_hop__are_not_remembered(self) -> None:
        cache = Cache()
        hop = ["Connection", "Keep-Alive", "Transfer-Encoding", "Trailer", "TE", "Proxy-Authenticate", "Upgrade",
               "Proxy-Authentication-Info", "Proxy-Connection", "Age", "X-Named"]  # fmt: skip
        cache.answered(X, headers={**dict.fromkeys(hop, "1"), "Transfer-Encoding": "chunked", "Connection": "x-named"})
        answer = cache.found(X)
        assert answer is not None
        assert {name.lower() for name, _ in answer.headers} == {"content-length", "age", "cache-status"}

    def test__length__is_that_of_the_body(self) -> None:
        cache = Cache()
        cache.answered(X, body=b"12345")
        assert header(cache.found(X), "content-length") == "5"
        cache.answered(X, headers={"Content-Length": "3"}, body=b"123")
        assert header(cache.found(X), "content-length") == "3"

    @pytest.mark.parametrize("length", ["4", "6", "5, 5", "x"])
    def test__length__that_is_not_the_bodys__not_remembered(self, length: str) -> None:
        cache = Cache()
        cache.answered(X, headers={"Content-Length": length}, body=b"12345")
        assert cache.found(X) is None

    def test__several_of_one_name__stay_several(self) -> None:
        cache = Cache()
        cache.answered(X, headers=[("Link", "<a>"), ("Link", "<b>"), ("link", "<c>")])
        answer = cache.found(X)
        assert answer is not None
        assert [value for name, value in answer.headers if name.lower() == "link"] == ["<a>", "<b>", "<c>"]

    def test__several_cache_controls__are_read_as_one(self) -> None:
        cache = Cache()
        assert not cache.answered(X, headers=[("Cache-Control", "max-age=60"), ("cache-control", "no-store")])

    def test__bytes__are_read_as_text(self) -> None:
        cache = Cache()
        slot = cache.slot(X)
        assert slot is not None
        assert slot.begin(200, [(b"X-Caf\xe9", b"\xff")], cache.now, cache.wall, 0)
        slot.keep(b"")
        answer = cache.found(X)
        assert answer is not None
        assert ("X-Caf\xe9", "\xff") in answer.headers

    @pytest.mark.parametrize(
        "fields",
        [[("x", "1")] * (MOST_FIELDS + 1), [(f"x{n}", "1") for n in range(10_000)], [("x", "1" * 1_000_000)]],
        ids=["too many of one name", "too many", "too long"],
    )
    def test__bombs__are_not_remembered(self, fields: list[tuple[str, str]]) -> None:
        cache = Cache()
        cache.answered(X, headers=fields)
        assert cache.found(X) is None


class TestAge:
    def test__counts_on_from_what_it_was(self) -> None:
        cache = Cache()
        cache.answered(X, headers={"Age": "30"}, elapsed=2)
        cache.now += 5.9
        assert header(cache.found(X), "age") == "37"

    def test__from_the_date__when_the_server_is_behind(self) -> None:
        cache = Cache()
        cache.now += 20
        cache.answered(X, headers={"Date": DATE})
        assert header(cache.found(X), "age") == "20"

    def test__counts_for_the_lifetime_but_not_for_max_age(self) -> None:
        cache = Cache()
        cache.answered(X, headers={"Age": "1000", "Cache-Control": "max-age=1100, must-revalidate"})
        cache.now += 100
        assert cache.found(X) is not None
        cache.now += 1
        assert cache.found(X) is None

    def test__the_machine_slept__and_only_the_wall_knows(self) -> None:
        cache = Cache()
        cache.answered(X)
        slot = cache.slot(X)
        assert slot is not None
        assert cache.state.find(slot, cache.now + 1, cache.wall + 299, sent=False) is not None
        assert cache.state.find(slot, cache.now + 1, cache.wall + 300, sent=False) is None

    def test__clock_set_back__the_age_is_not_known(self) -> None:
        cache = Cache()
        cache.answered(X)
        cache.now -= 0.5
        assert header(cache.found(X), "age") == "0", "two processes may see time a little differently"
        cache.now -= 60
        assert cache.found(X) is None


# how find() was asked → the parameters of Cache-Status (RFC 9211)
STATUSES = [
    ({"sent": False, "why": "circuit open"}, {"hit": True, "ttl": -41, "detail": "circuit open"}),
    ({"sent": True, "status": 503}, {"fwd": "stale", "fwd-status": 503, "ttl": -41}),
    ({"sent": True}, {"fwd": "stale", "ttl": -41}),
    ({"sent": False, "why": 'a "b\\ \r\nc é' + "x" * 200},
     {"hit": True, "ttl": -41, "detail": "a ?b? ??c ?" + "x" * 89}),
]  # fmt: skip


@pytest.mark.parametrize(("how", "parameters"), STATUSES, ids=[str(how)[:40] for how, _ in STATUSES])
def test__cache_status__says_where_it_comes_from(how: dict[str, Any], parameters: dict[str, object]) -> None:
    cache = Cache()
    cache.answered(X, headers={"Cache-Control": "max-age=10"})
    cache.now += 50.5
    value = header(cache.found(X, **how), "cache-status")
    assert value is not None
    ((name, found),) = http_sf.parse(value.encode(), tltype="list")
    assert (str(name), {key: getattr(v, "value", v) for key, v in found.items()}) == (
        "seawall",
        parameters,
    )


def test__cache_status__fresh_and_sent__was_bypassed() -> None:
    cache = Cache()
    cache.answered(X, headers={"Cache-Control": "max-age=60"})
    cache.now += 9.5
    assert (
        header(cache.found(X, sent=True, status=500), "cache-status") == "seawall; fwd=bypass; fwd-status=500; ttl=50"
    )


class TestForgetting:
    @pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408, 425, 304, 206, 407])
    def test__a_status_that_says_nothing__leaves_the_older(self, status: int) -> None:
        cache = Cache()
        cache.answered(X)
        assert not cache.answered(X, status)
        assert body(cache) == b"good"

    @pytest.mark.parametrize("status", [401, 403, 404, 410, 451])
    def test__refused_or_gone__forgets_every_form_of_it(self, status: int) -> None:
        cache = Cache()
        html = Request(headers={"Accept": "text/html"})
        other = Request(headers={"Authorization": "bob"})
        for request in (X, html, other, Request("HEAD")):
            cache.answered(request, body=b"")
        cache.answered(X, status)
        assert [cache.found(request) for request in (X, html, Request("HEAD"))] == [None] * 3
        assert cache.found(other) is not None

    @pytest.mark.parametrize(
        ("status", "headers"),
        [
            (200, {"Cache-Control": "no-store"}),
            (200, {"Set-Cookie": "a=b"}),
            (200, {"Vary": "*"}),
            (302, {}),
            (400, {}),
            (422, {}),
        ],
        ids=str,
    )
    def test__another_answer__forgets_that_to_this_request(self, status: int, headers: dict[str, str]) -> None:
        cache = Cache()
        html = Request(headers={"Accept": "text/html"})
        cache.answered(X)
        cache.answered(html)
        cache.answered(X, status, headers)
        assert body(cache) is None
        assert body(cache, html) == b"good"

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
    @pytest.mark.parametrize(("status", "forgets"), [(200, True), (204, True), (303, True), (400, False), (503, False)])
    def test__the_caller_changed_it__forgets(self, method: str, status: int, forgets: bool) -> None:
        cache = Cache()
        changes = Request(method, headers={"Content-Type": "application/json"})
        for request in (X, Request(url="https://api.test/y"), Request(headers={"Authorization": "bob"})):
            cache.answered(request)
        assert not cache.answered(changes, status, asked=None)
        assert (body(cache) is None) == forgets
        assert cache.found(changes) is None
        assert cache.found(Request(url="https://api.test/y")) is not None
        assert cache.found(Request(headers={"Authorization": "bob"})) is not None

    def test__a_refused_body__leaves_the_other_bodies(self) -> None:
        cache = Cache(methods=["POST"])
        post = Request("POST")
        cache.answered(post, asked=b"one")
        cache.answered(post, asked=b"two")
        cache.answered(post, 404, asked=b"two")
        assert (body(cache, post, asked=b"one"), body(cache, post, asked=b"two")) == (b"good", None)

    @pytest.mark.parametrize("status", [200, 403])
    def test__an_answer_on_its_way__is_not_kept(self, status: int) -> None:
        cache = Cache()
        slow = cache.slot(X)
        assert slow is not None
        assert slow.begin(200, [], cache.now, cache.wall, 0)
        cache.answered(Request("PUT" if status == 200 else "GET"), status)
        slow.keep(b"old")
        assert body(cache) is None
        cache.answered(X, body=b"new")
        assert body(cache) == b"new"

    def test__an_answer_being_put_just_then__is_not_kept(self) -> None:
        class Meanwhile(MemoryStore):
            def put(self, *record: Any) -> None:
                cache.answered(Request("PUT"))
                super().put(*record)

        cache = Cache(store=Meanwhile())
        cache.answered(X)
        assert body(cache) is None


class TestBounds:
    def test__body__longer_than_max_body__is_not_remembered(self) -> None:
        cache = Cache(max_body=10)
        assert not cache.answered(X, headers={"Content-Length": "11"}, body=b"x" * 11)
        cache.answered(X, body=b"x" * 11)
        assert cache.found(X) is None
        cache.answered(X, body=b"x" * 10)
        assert body(cache) == b"x" * 10
        slot = cache.slot(X)
        assert slot is not None
        assert slot.limit == 10

    def test__body__longer_than_max_body__leaves_the_older(self) -> None:
        cache = Cache(max_body=10)
        cache.answered(X)
        cache.answered(X, headers={"Content-Length": "9" * 30})
        assert body(cache) == b"good"

    def test__entries__the_one_used_longest_ago_goes(self) -> None:
        cache = Cache(max_entries=2)
        a, b, c = (Request(url=f"https://api.test/{n}") for n in "abc")
        cache.answered(a)
        cache.answered(b)
        cache.found(a)
        cache.answered(c)
        assert [cache.found(request) is not None for request in (a, b, c)] == [True, False, True]

    def test__bytes__are_bounded(self) -> None:
        cache = Cache(max_bytes=20_000)
        for n in range(50):
            cache.answered(Request(url=f"https://api.test/{n}"), body=b"x" * 5000)
        assert isinstance(cache.state.store, MemoryStore)
        assert len(cache.state.store) == 3
        assert cache.state.store.bytes <= 20_000


def test__identity__that_means_this_process_only__stays_out_of_a_store_that_survives() -> None:
    class File(MemoryStore):
        survives = True

    cache = Cache(store=File())
    assert cache.slot(X, identity=7) is None
    assert cache.slot(X, identity="/etc/cert.pem") is not None
    assert cache.slot(X) is not None
    assert Cache(store=File(), key=lambda request: "me").slot(X, identity=7) is not None


def test__store_that_survives__is_told_the_time_of_the_wall() -> None:
    class File(MemoryStore):
        survives = True

    cache = Cache(store=File())
    cache.answered(X)
    slot = cache.slot(X)
    assert slot is not None
    assert cache.state.find(slot, 0.0, WALL + 10, sent=False) is not None
    assert cache.state.find(slot, 1000.0, WALL + 300, sent=False) is None


def test__begin__again__is_about_the_next_attempt() -> None:
    cache = Cache()
    slot = cache.slot(X)
    assert slot is not None
    assert slot.begin(200, [], cache.now, cache.wall, 0)
    assert not slot.begin(503, [], cache.now, cache.wall, 0)
    slot.keep(b"of the first")
    assert cache.found(X) is None
    assert slot.begin(200, [], cache.now, cache.wall, 0)
    slot.keep(b"whole")
    slot.keep(b"twice")
    assert body(cache) == b"whole"


def test__request_changed_after_it_was_sent__its_answer_is_its_own() -> None:
    cache = Cache()
    request = Request(headers={"Authorization": "alice"})
    slot = cache.slot(request)
    request.headers = pairs({"Authorization": "bob"})
    assert slot is not None
    slot.begin(200, [], cache.now, cache.wall, 0)
    slot.keep(b"alice's")
    assert body(cache, request) is None
    assert body(cache, Request(headers={"Authorization": "alice"})) == b"alice's"


def test__many_threads__each_get_their_own() -> None:
    cache = Cache(max_entries=50)
    wrong: list[bytes] = []

    def work(name: str) -> None:
        for n in range(300):
            request = Request(url=f"https://api.test/{n % 20}", headers={"Authorization": name})
            cache.answered(request, body=name.encode())
            found = body(cache, request)
            if found not in (None, name.encode()):
                wrong.append(found or b"")
            if n % 7 == 0:
                cache.answered(Request("DELETE", request.url, request.headers))

    threads = [threading.Thread(target=work, args=(f"user{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    store = cache.state.store
    assert isinstance(store, MemoryStore)
    assert (wrong, len(store) <= 50) == ([], True)


def test__state__keeps_no_request_and_no_secret() -> None:
    cache = Cache()
    secret = "canary-7f3a"
    asked = Request(url=f"https://u:{secret}@api.test/x?k={secret}", headers=dict.fromkeys(("Cookie", "X-Y"), secret))
    cache.answered(asked, body=b"")
    store: Any = cache.state.store
    assert len(store) == 1
    assert secret not in repr([vars(store), [getattr(cache.state, name) for name in StaleState.__slots__]])
