"""The harness against bare clients: what the other scenarios build on is true without the product.

The table of error classes (`classes.py`, `faults.py`) is seen again here, so that a release of a client library
that changes it fails in this file and not, unexplained, in all the others.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from tests.contract import steps
from tests.contract.clients import Kit
from tests.contract.fakes import Asked, Reply
from tests.contract.faults import FAULTS, Fault
from tests.contract.peer import Peer
from tests.contract.steps import answer


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("fault", FAULTS, ids=repr)
async def test__bare__each_fault__raises_the_class_of_the_table(kit: Kit, stack: ExitStack, fault: Fault) -> None:
    url, _ = fault.arrange(stack)
    async with kit.bare(**fault.client) as client:
        with pytest.raises(fault.error(kit)) as caught:
            await client.request(fault.method(), url, **fault.options)
    assert type(caught.value) is fault.error(kit)


async def test__bare__half_headers__is_an_answer_for_requests_only(kit: Kit, peer: Peer) -> None:
    peer.script(steps.half_headers())
    async with kit.bare() as client:
        if kit.name == "requests":
            assert (await client.get(peer / "x")).status == 200
        else:
            with pytest.raises(kit.errors.closed):
                await client.get(peer / "x")


async def test__peer__script_of_three__last_step_stays(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, b"no"), answer(429), answer(200, b"yes"))
    async with kit.bare() as client:
        got = [await client.request("POST", peer / "x?q=1", content=b"body") for _ in range(4)]
    assert [one.status for one in got] == [503, 429, 200, 200]
    assert got[3].body == b"yes"
    assert [(r.method, r.path, r.body, r.connection) for r in peer.requests] == [("POST", "/x", b"body", 1)] * 4
    assert peer.connections == 1


async def test__peer__refusing_then_listening__answers(kit: Kit, stack: ExitStack) -> None:
    peer = stack.enter_context(Peer(refusing=True))
    async with kit.bare() as client:
        with pytest.raises(kit.errors.refused):
            await client.get(peer / "x")
        peer.listen()
        assert (await client.get(peer / "x")).body == b"fine"
        peer.refuse()
        with pytest.raises(kit.errors.base):
            await client.get(peer / "x")


async def test__peer__closes_before_reading__nothing_is_recorded(kit: Kit, peer: Peer) -> None:
    peer.script(steps.close_unread(), answer(200))
    async with kit.bare() as client:
        with pytest.raises(kit.errors.base):
            await client.get(peer / "x")
        assert peer.count == 0
        assert (await client.get(peer / "x")).status == 200


async def test__peer__no_keep_alive__a_connection_per_request(kit: Kit, peer: Peer) -> None:
    peer.script(answer(200, keep=False))
    async with kit.bare() as client:
        for _ in range(3):
            await client.get(peer / "x")
    assert peer.connections == 3


async def test__peer__chunked_gzip_cookies_and_redirect__are_understood(kit: Kit, peer: Peer) -> None:
    peer.script(answer(200, b"0123456789", chunks=3), path="/chunked")
    peer.script(steps.gzipped(b"unpacked"), path="/gzip")
    peer.script(steps.redirect("/gzip", headers=[("Set-Cookie", "a=1")]), path="/away")
    async with kit.bare() as client:
        assert (await client.get(peer / "chunked")).body == b"0123456789"
        away = await client.get(peer / "away", follow=True)
    assert (away.status, away.body, [old.status for old in away.history]) == (200, b"unpacked", [302])
    assert peer.requests[-1].header("cookie") == "a=1"


async def test__stream__read_left_early_and_dropped(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    peer.script(steps.drip(b"first", b"rest", gate=gate))
    async with kit.bare() as client:
        async with await client.stream("GET", peer / "x") as early:
            assert await early.some() == b"first"
        gate.set()
        async with await client.stream("GET", peer / "x") as whole:
            assert await whole.read() == b"firstrest"


async def test__fake__answers_and_raises_in_place_of_the_network(kit: Kit) -> None:
    def handler(asked: Asked) -> Reply | BaseException:
        return AssertionError("never asked for") if asked.method == "DELETE" else Reply(418, b"tea")

    fake = kit.fake(handler)
    async with kit.bare(fake=fake) as client:
        got = await client.request("POST", "http://a.test/x", content=b"in")
        with pytest.raises(AssertionError):
            await client.request("DELETE", "http://a.test/x")
    assert (got.status, got.body, fake.asked[0].body, len(fake.asked)) == (418, b"tea", b"in", 2)


async def test__together__jobs_overlap(kit: Kit, peer: Peer) -> None:
    peer.script(steps.slow(0.1, answer(200)))
    async with kit.bare() as client:
        got = await kit.together(*[lambda: client.get(peer / "x")] * 5)
    assert [one.status for one in got] == [200] * 5
    assert peer.connections == 5
