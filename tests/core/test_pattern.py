"""Patterns of hosts: what each covers, which of several wins, and one key for one host."""

from __future__ import annotations

from itertools import permutations
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall import Policy, Resilience, Retry
from seawall.pattern import Pattern, host_key, is_provider, normal_host


def covers(pattern: str, url: str) -> bool:
    parts = urlsplit(url)
    return Pattern(pattern).covers(parts.scheme, normal_host(parts.hostname or ""), parts.port)


EVERYWHERE = ["http://a.com", "https://b.org:8443"]
COVERS = [
    ("everything", "all://", EVERYWHERE, []),
    ("everything, with a star", "all://*", EVERYWHERE, []),
    ("one scheme", "https://", ["https://a.com", "https://b.org:8443"], ["http://a.com"]),
    ("the other scheme", "http://", ["http://a.com"], ["https://a.com"]),
    ("one host", "all://a.com", ["http://a.com", "https://a.com:9"], ["https://b.com", "https://www.a.com"]),
    ("scheme and host", "https://a.com", ["https://a.com", "https://a.com:9"], ["http://a.com"]),
    ("below", "all://*.a.com", ["https://x.a.com", "http://x.y.a.com"], ["https://a.com", "https://xa.com"]),
    ("and itself", "all://*a.com", ["https://a.com", "https://x.a.com"], ["https://xa.com", "https://a.com.b"]),
    ("a port", "all://a.com:8443", ["https://a.com:8443", "http://a.com:8443"], ["https://a.com"]),
    ("all of it", "https://*.a.com:8443", ["https://x.a.com:8443"], ["https://x.a.com", "http://x.a.com:8443"]),
    ("default port: as none, as in httpx", "https://a.com:443", ["https://a.com", "https://a.com:9"], ["http://a.com"]),
    ("443 of any scheme", "all://a.com:443", ["https://a.com", "http://a.com:443"], ["http://a.com"]),
    ("a port of any host", "https://:8443", ["https://a.com:8443"], ["https://a.com"]),
    ("IPv6", "http://[::1]:8080", ["http://[::1]:8080"], ["http://[::1]", "http://[::2]:8080"]),
    ("IPv4", "http://127.0.0.1", ["http://127.0.0.1:5000"], ["http://127.0.0.2"]),
    ("case and trailing dot", "HTTPS://A.Com.", ["https://a.com"], ["https://b.com"]),
    ("IDN", "https://bücher.de", ["https://xn--bcher-kva.de"], ["https://bucher.de"]),
    ("below an IDN", "all://*.bücher.de", ["https://x.xn--bcher-kva.de"], ["https://xn--bcher-kva.de"]),
]


@pytest.mark.parametrize(
    ("pattern", "covered", "not_covered"), [row[1:] for row in COVERS], ids=[row[0] for row in COVERS]
)
def test__pattern__covers(pattern: str, covered: list[str], not_covered: list[str]) -> None:
    assert [url for url in covered if not covers(pattern, url)] == []
    assert [url for url in not_covered if covers(pattern, url)] == []


@pytest.mark.parametrize(
    ("pattern", "matched", "not_matched"),
    [
        pytest.param(
            "https://a.com/v1", ["/v1", "/v1/x", "/v1/x/y"], ["/", "/v10", "/v1x", "/x/v1"], id="a path and below"
        ),
        pytest.param("https://a.com/v1/", ["/v1", "/v1/x"], ["/v10"], id="a trailing slash says the same"),
        pytest.param("https://a.com/", ["/", "/anything", ""], [], id="the root is everything"),
    ],
)
def test__path__matches(pattern: str, matched: list[str], not_matched: list[str]) -> None:
    assert [path for path in matched if not Pattern(pattern).matches("GET", path)] == []
    assert [path for path in not_matched if Pattern(pattern).matches("GET", path)] == []


def test__method__stands_in_front_and_matches_only_itself() -> None:
    pattern = Pattern("post https://a.com/v1")
    assert pattern.matches("POST", "/v1")
    assert not pattern.matches("GET", "/v1")
    assert not pattern.matches("POST", "/v2")


def order(patterns: list[str]) -> list[str]:
    return [pattern.text for pattern in sorted(map(Pattern, patterns), key=lambda pattern: pattern.rank, reverse=True)]


@pytest.mark.parametrize(
    "ranking",
    [
        pytest.param(["all://*.a.com:8443", "https://api.long.name.a.com/v1"], id="port before host"),
        pytest.param(["all://x.a.com", "https://*.a.com"], id="host before scheme"),
        pytest.param(["https://a.com", "all://a.com/v1/very/long/path"], id="scheme before path"),
        pytest.param(["all://a.com/v1", "GET all://a.com"], id="path before method"),
        pytest.param(["GET all://a.com/v1", "all://a.com/v1"], id="method last"),
        pytest.param(["all://*.x.a.com", "all://*.a.com", "all://*.com", "all://"], id="longer host first"),
        pytest.param(["all://a.com", "all://*a.com"], id="the host itself before its wildcard"),
        pytest.param(["all://*.a.com", "all://*a.com"], id="hosts below before the host and those below"),
        pytest.param(["https://", "all://"], id="a scheme before any"),
        pytest.param(["https://a.com/v1/batches", "https://a.com/v1", "https://a.com"], id="longer path first"),
        pytest.param(
            ["GET https://x.a.com:8443/v1", "https://x.a.com:8443/v1", "https://x.a.com:8443", "all://x.a.com:8443",
             "https://x.a.com/v1", "https://x.a.com", "all://x.a.com", "https://*.a.com", "all://*.a.com", "https://", "all://"],
            id="the whole ladder",
        ),
    ],
)  # fmt: skip
def test__most_specific__wins_whatever_the_order_given(ranking: list[str]) -> None:
    given_orders = (
        [list(p) for p in permutations(ranking)] if len(ranking) < 5 else [ranking[::-1], ranking[::2] + ranking[1::2]]
    )
    assert {tuple(order(patterns)) for patterns in given_orders} == {tuple(ranking)}


@pytest.mark.parametrize(
    ("method", "url", "winner"),
    [
        ("GET", "https://api.a.com/v1/x", "https://api.a.com"),
        ("GET", "https://API.A.com./v1/x?secret=1#f", "https://api.a.com"),
        ("GET", "https://api.a.com:443/v1/x", "https://api.a.com"),
        ("POST", "https://api.a.com/v1/batches", "POST https://api.a.com/v1/batches"),
        ("post", "https://api.a.com/v1/batches/7", "POST https://api.a.com/v1/batches"),
        ("GET", "https://api.a.com/v1/batches", "https://api.a.com"),
        ("GET", "http://api.a.com/", "all://*.a.com"),
        ("GET", "https://a.com/", "all://"),
        ("GET", "https://api.a.com:8443/", "all://*.a.com:8443"),
    ],
)
def test__policy_for__asks_the_most_specific_pattern(method: str, url: str, winner: str) -> None:
    patterns = [
        "all://", "all://*.a.com", "https://api.a.com", "all://*.a.com:8443", "POST https://api.a.com/v1/batches",
        "POST https://api.a.com/v1/bat",
    ]  # fmt: skip
    retries = {pattern: n for n, pattern in enumerate(patterns)}
    resilience = Resilience({pattern: Policy(retry=Retry(max_retries=n)) for pattern, n in retries.items()})
    retry = resilience.policy_for(method, url).retry
    assert isinstance(retry, Retry)
    assert patterns[retry.max_retries] == winner


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("all://", "https://a.com:9/v1"),
        ("https://", "https://a.com/v1"),
        ("all://*.a.com", "https://x.a.com/v1"),
        ("all://*.a.com", "all://*.x.a.com"),
        ("all://*a.com", "all://*.a.com"),
        ("all://*a.com", "all://a.com"),
        ("https://a.com", "GET https://a.com"),
        ("https://a.com/v1", "https://a.com/v1/x"),
        ("GET https://a.com", "GET https://a.com/v1"),
    ],
)
def test__wider_pattern__contains_the_narrower_and_not_the_reverse(wide: str, narrow: str) -> None:
    assert Pattern(wide).contains(Pattern(narrow))
    assert not Pattern(narrow).contains(Pattern(wide))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://a.com", "http://a.com"),
        ("all://a.com", "all://b.com"),
        ("all://a.com:8443", "all://a.com:8444"),
        ("all://a.com/v1", "all://a.com/v10"),
        ("GET all://a.com", "POST all://a.com"),
        ("https://a.com", "all://a.com:8443"),
    ],
)
def test__patterns_that_only_overlap__do_not_contain_each_other(one: str, other: str) -> None:
    assert not Pattern(one).contains(Pattern(other))
    assert not Pattern(other).contains(Pattern(one))


@pytest.mark.parametrize(
    ("spellings", "key"),
    [
        pytest.param([("https", "api.a.com", None), ("https", "API.A.COM", 443), ("https", "api.a.com.", 443)],
                     "https://api.a.com", id="case, default port, trailing dot"),
        pytest.param([("http", "a.com", 80), ("http", "a.com", None)], "http://a.com", id="default port of http"),
        pytest.param([("https", "a.com", 80)], "https://a.com:80", id="another scheme's default port is a port"),
        pytest.param([("http", "a.com", 8080), ("http", "A.com.", 8080)], "http://a.com:8080", id="an explicit port"),
        pytest.param([("https", "bücher.de", None), ("https", "BÜCHER.de", None), ("https", "xn--bcher-kva.de", None),
                      ("https", "XN--BCHER-KVA.DE", 443)], "https://xn--bcher-kva.de", id="IDN"),
        pytest.param([("https", "a。com", None), ("https", "a．com", None), ("https", "a｡com。", None),
                      ("https", "a.com．", None)], "https://a.com", id="other full stops"),
        pytest.param([("http", "::1", 8080), ("http", "[::1]", 8080)], "http://[::1]:8080", id="IPv6 brackets"),
        pytest.param([("http", "FE80::A", None)], "http://[fe80::a]", id="IPv6 case"),
        pytest.param([("https", "faß.de", None), ("https", "xn--fa-hia.de", None)], "https://xn--fa-hia.de",
                     id="a letter old IDNA merged: fass.de is somebody else"),
    ],
)  # fmt: skip
def test__spellings_of_one_host__give_one_key(spellings: list[tuple[str, str, int | None]], key: str) -> None:
    assert {host_key(*spelling) for spelling in spellings} == {key}


@given(st.text(max_size=70))
def test__any_text_as_a_host__never_raises_and_is_stable(text: str) -> None:
    once = normal_host(text)
    assert normal_host(once) == once


labels = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,10}[a-zA-Z0-9])?", fullmatch=True)


@given(st.lists(labels, min_size=1, max_size=4), st.sampled_from(["http", "https"]), st.none() | st.integers(1, 65535))
def test__any_host_name__its_key_read_back_is_the_same_key(parts: list[str], scheme: str, port: int | None) -> None:
    key = host_key(scheme, ".".join(parts), port)
    again = Pattern(key)
    assert host_key(scheme, again.host, again.port) == key
    assert again.covers(scheme, normal_host(".".join(parts).upper() + "."), port)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("ftp://a.com", id="scheme"),
        pytest.param("://a.com", id="no scheme"),
        pytest.param("https://a.com:99999", id="port out of range"),
        pytest.param("https://a.com:http", id="port not a number"),
        pytest.param("https://user:secret@a.com", id="user"),
        pytest.param("https://a.com/v1?x=1", id="query"),
        pytest.param("https://a.com/v1#f", id="fragment"),
        pytest.param("https://a.*.com", id="a star inside"),
        pytest.param("https://a.com*", id="a star behind"),
        pytest.param("https://**.a.com", id="two stars"),
        pytest.param("G-T https://a.com", id="method"),
        pytest.param("https://[::1", id="half an IPv6 address"),
    ],
)
def test__wrong_pattern__raises_at_once_and_names_it(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        Resilience({text: Policy()})
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(("text", "provider"), [("primary", True), ("all://", False), ("POST https://a.com", False)])
def test__no_scheme__is_a_provider_name(text: str, provider: bool) -> None:
    assert is_provider(text) is provider
