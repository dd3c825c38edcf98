"""With nothing wrong, the bytes on the wire and the objects returned are those of the bare client."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from seawall import Policy, Resilience
from tests.contract import steps
from tests.contract.clients import Answer, Client, Kit
from tests.contract.peer import Peer
from tests.contract.steps import Received, Step, answer

Ask = Callable[[Client], Awaitable[Answer]]
BIG = bytes(range(256)) * 20_000
LATIN = ("Content-Type", "text/plain; charset=iso-8859-1")

EXCHANGES: dict[str, tuple[Step, str, str, dict[str, Any]]] = {
    "get": (answer(200, b"plain"), "GET", "x", {}),
    "query": (answer(200, b"plain"), "GET", "x%20y?a=1&a=2&b=%C3%A9#part", {}),
    "params": (answer(200, b"plain"), "GET", "x", {"params": {"a": "1 2", "b": "é"}}),
    "headers": (answer(200, b"", [("X-Many", "1"), ("X-Many", "2")]), "GET", "x", {"headers": {"X-Mine": "yes"}}),
    "head": (answer(200, b"not sent"), "HEAD", "x", {}),
    "options": (answer(204), "OPTIONS", "x", {}),
    "not-modified": (answer(304, headers=[("ETag", '"1"')]), "GET", "x", {}),
    "not-found": (answer(404, b"no such thing"), "GET", "x", {}),
    "reason": (steps.raw(b"HTTP/1.1 299 Quite Right\r\nContent-Length: 2\r\n\r\nok"), "GET", "x", {}),
    "http-1.0": (steps.raw(b"HTTP/1.0 200 OK\r\n\r\nuntil the end"), "GET", "x", {}),
    "interim": (
        steps.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        "GET",
        "x",
        {},
    ),
    "latin-1": (answer(200, b"caf\xe9", [LATIN]), "GET", "x", {}),
    "gzip": (steps.gzipped(b"unpacked " * 100), "GET", "x", {}),
    "chunked": (answer(200, b"0123456789", chunks=4), "GET", "x", {}),
    "big": (answer(200, BIG), "GET", "x", {}),
    "cookies": (answer(200, b"", [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2")]), "GET", "x", {}),
    "json": (answer(201, b"{}"), "POST", "x", {"json": {"a": [1, None, "é"]}}),
    "form": (answer(201), "POST", "x", {"data": {"a": "1", "b": "two words"}}),
    "bytes": (answer(201), "PUT", "x", {"content": b"\x00\xff" * 500}),
    "multipart": (answer(201), "POST", "x", {"data": {"a": "1"}, "files": {"f": ("f.txt", b"in a file")}}),
    "delete": (answer(202), "DELETE", "x", {}),
    "patch": (answer(200), "PATCH", "x", {"content": b"patch"}),
}


def on_the_wire(request: Received) -> tuple[bytes, bytes]:
    """Head and body, with the random boundary of a multipart body taken out."""
    boundary = re.search(rb"boundary=(\w+)", request.head)
    if boundary is None:
        return request.head, request.body
    return request.head.replace(boundary[1], b"B"), request.body.replace(boundary[1], b"B")


async def compare(kit: Kit, peers: list[Peer], ask: Ask, **options: Any) -> Answer:
    """Ask with a bare and with a mounted client; what was seen on both sides must be equal."""
    seen, sent = [], []
    answered: Answer | None = None
    for client in (kit.bare(**options), kit.mounted(Resilience({"all://": Policy()}), **options)):
        async with client:
            answered = await ask(client)
        seen.append(answered.seen())
        sent.append([[on_the_wire(request) for request in peer.requests] for peer in peers])
        for peer in peers:
            peer.forget()
    assert seen[0] == seen[1]
    assert sent[0] == sent[1]
    assert sent[1] != [[] for _ in peers]
    assert answered is not None
    return answered


@pytest.mark.parametrize("name", EXCHANGES)
async def test__nothing_wrong__wire_and_response_equal_the_bare_clients(kit: Kit, peer: Peer, name: str) -> None:
    step, method, path, options = EXCHANGES[name]
    peer.script(step)
    await compare(kit, [peer], lambda client: client.request(method, peer / path, **options))


async def test__elapsed__covers_the_wait_for_the_server(kit: Kit, peer: Peer) -> None:
    peer.script(steps.slow(0.1, answer(200)))
    async with kit.mounted(Resilience()) as client:
        got = await client.get(peer / "x")
    assert 0.09 < got.elapsed < 5


async def test__generator_body__is_sent_as_the_bare_client_sends_it(kit: Kit, peer: Peer) -> None:
    async def ask(client: Client) -> Answer:
        got = await client.request("POST", peer / "x", content=kit.source([b"one", b"two"]))
        assert peer.requests[-1].body == b"onetwo"
        return got

    await compare(kit, [peer], ask)


async def test__redirects__history_and_cookies_set_on_the_way_are_kept(kit: Kit, peer: Peer) -> None:
    peer.script(steps.redirect("/b", headers=[("Set-Cookie", "way=1; Path=/")]), path="/a")
    peer.script(steps.redirect("/c", 303), path="/b")
    got = await compare(kit, [peer], lambda client: client.request("POST", peer / "a", content=b"once", follow=True))
    assert [(old.status, old.url) for old in got.history] == [(302, peer / "a"), (303, peer / "b")]


async def test__redirect_not_followed__is_returned(kit: Kit, peer: Peer) -> None:
    peer.script(steps.redirect("/b"))
    got = await compare(kit, [peer], lambda client: client.get(peer / "a"))
    assert (got.status, got.header("location"), got.history) == (302, "/b", [])


async def test__redirect_across_hosts__drops_credentials_as_the_bare_client_does(
    kit: Kit, peer: Peer, other: Peer
) -> None:
    peer.script(steps.redirect(other / "b"))
    headers = {"Authorization": "Bearer secret", "Cookie": "a=1", "X-Api-Key": "k"}
    got = await compare(kit, [peer, other], lambda client: client.get(peer / "a", headers=headers, follow=True))
    assert (got.url, got.body) == (other / "b", b"fine")


async def test__cookies__set_once_are_sent_on_the_next_call(kit: Kit, peer: Peer) -> None:
    async def ask(client: Client) -> Answer:
        peer.script(answer(200, b"", [("Set-Cookie", "session=1; Path=/")]), answer(200))
        await client.get(peer / "login")
        got = await client.get(peer / "next")
        assert peer.requests[-1].header("cookie") == "session=1"
        return got

    await compare(kit, [peer], ask)


async def test__basic_auth__is_sent_as_the_bare_client_sends_it(kit: Kit, peer: Peer) -> None:
    async def ask(client: Client) -> Answer:
        got = await client.get(peer / "x", auth=("basic", "user", "word"))
        assert peer.requests[-1].header("authorization") == "Basic dXNlcjp3b3Jk"
        return got

    await compare(kit, [peer], ask)


def demand_digest(request: Received) -> Step:
    """Answer 200 to the right digest of user:word, 401 to anything else."""
    given = request.header("authorization") or ""
    fields = dict(re.findall(r'(\w+)="?([^",]+)"?', given))
    if not fields:
        return answer(401, b"who?", [("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth", algorithm="MD5"')])
    ha1 = hashlib.md5(b"user:r:word").hexdigest()
    ha2 = hashlib.md5(f"{request.method}:{request.target}".encode()).hexdigest()
    right = hashlib.md5(f"{ha1}:n:{fields['nc']}:{fields['cnonce']}:auth:{ha2}".encode()).hexdigest()
    return answer(200, b"you") if fields["response"] == right else answer(403, b"wrong digest")


async def test__digest_auth__both_legs_go_through(kit: Kit, peer: Peer) -> None:
    peer.script(steps.judged(demand_digest))
    async with kit.mounted(Resilience()) as client:
        got = await client.get(peer / "x", auth=("digest", "user", "word"))
    assert (got.status, got.body, peer.count) == (200, b"you", 2)


async def test__response_hook__is_called_once_per_call_not_per_attempt(kit: Kit, peer: Peer) -> None:
    seen: list[int] = []
    peer.script(answer(503, headers=[("Retry-After", "0")]), answer(200))
    async with kit.mounted(Resilience(), on_response=lambda response: seen.append(response.status_code)) as client:
        await client.get(peer / "x")
    assert seen == [200]
    assert peer.count == 2


async def test__streamed_body__comes_in_pieces_before_it_ends(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    peer.script(steps.drip(b"first", b"rest", gate=gate))
    async with kit.mounted(Resilience()) as client:
        async with await client.stream("GET", peer / "x") as stream:
            chunks = stream.chunks(5)
            first = await anext(chunks)
            gate.set()
            rest = b"".join([chunk async for chunk in chunks])
    assert (first, rest) == (b"first", b"rest")


async def test__keep_alive__one_connection_serves_all_calls(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(Resilience()) as client:
        for _ in range(10):
            await client.get(peer / "x")
    assert (peer.count, peer.connections) == (10, 1)
