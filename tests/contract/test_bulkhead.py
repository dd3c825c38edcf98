"""Permits over real sockets: held to the end of the body, given back while sleeping, refused when too many wait."""

from __future__ import annotations

import threading
import time

import pytest

import seawall
from seawall import Bulkhead
from tests.contract import steps
from tests.contract.clients import Answer, Kit
from tests.contract.peer import Peer
from tests.contract.settings import one_at_a_time, only, quick, retrying
from tests.contract.steps import answer


async def test__permit__is_held_until_the_body_ends(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    peer.script(steps.drip(b"first", b"rest", gate=gate), answer(200))
    async with kit.mounted(only(bulkhead=one_at_a_time())) as client:
        async with await client.stream("GET", peer / "x") as stream:
            with pytest.raises(seawall.BulkheadFull) as caught:
                await client.get(peer / "y")
            gate.set()
            assert await stream.read() == b"firstrest"
            assert (await client.get(peer / "z")).status == 200
    assert isinstance(caught.value, kit.errors.base)
    assert (caught.value.policy, caught.value.host, caught.value.max_wait) == ("bulkhead", peer.url, 0.05)
    assert [request.path for request in peer.requests] == ["/x", "/z"]


async def test__waiter__gets_the_permit_when_the_body_ends(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    peer.script(steps.drip(b"first", b"rest", gate=gate), answer(200, b"second"))
    resilience = only(bulkhead=one_at_a_time(max_wait=5))

    async with kit.mounted(resilience) as client:

        async def hold() -> bytes:
            async with await client.stream("GET", peer / "first") as stream:
                await kit.until(lambda: resilience.snapshots()[0].queue_depth == 1)
                gate.set()
                return await stream.read()

        async def wait() -> Answer:
            await kit.until(lambda: peer.count == 1)
            return await client.get(peer / "second")

        held, waited = await kit.together(hold, wait)
    assert held == b"firstrest"
    assert waited.body == b"second"


async def test__limit__is_never_exceeded(kit: Kit, peer: Peer) -> None:
    crowd = steps.Crowd()
    peer.script(steps.slow(0.03, answer(200), crowd))
    resilience = only(bulkhead=Bulkhead(max_concurrent=3, max_wait=5))
    async with kit.mounted(resilience) as client:
        got = await kit.together(*[lambda: client.get(peer / "x")] * 12)
    assert [one.status for one in got] == [200] * 12
    assert crowd.peak == 3
    snapshot = resilience.snapshot(peer.url)
    assert snapshot is not None
    assert (snapshot.in_flight, snapshot.queue_depth, snapshot.peak_utilization) == (0, 0, 1.0)


async def test__no_limit__measures_and_never_refuses(kit: Kit, peer: Peer) -> None:
    peer.script(steps.slow(0.1, answer(200)))
    resilience = only(bulkhead=Bulkhead())
    async with kit.mounted(resilience) as client:
        got = await kit.together(*[lambda: client.get(peer / "x")] * 20)
    assert [one.status for one in got] == [200] * 20
    snapshot = resilience.snapshot(peer.url)
    assert snapshot is not None
    assert (snapshot.limit, snapshot.in_flight, snapshot.successes) == (None, 0, 20)


async def test__queue_full__is_refused_at_once(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    peer.script(steps.held(gate, answer(200)))
    refused: list[seawall.BulkheadFull] = []
    async with kit.mounted(only(bulkhead=one_at_a_time(max_wait=5, max_queue=1))) as client:

        async def call() -> Answer | None:
            try:
                return await client.get(peer / "x")
            except seawall.BulkheadFull as error:
                refused.append(error)
                if len(refused) == 4:  # while the permit is still out and one waits for it
                    gate.set()
                return None

        started = time.monotonic()
        got = await kit.together(*[call] * 6)
    assert (len(refused), sum(isinstance(one, Answer) for one in got)) == (4, 2)
    assert time.monotonic() - started < 4


async def test__backoff__holds_no_permit(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503), answer(200), path="/retried")
    peer.script(answer(200, b"in between"), path="/other")
    retry = retrying(base_delay=0.18, max_delay=0.18, jitter="none")
    async with kit.mounted(only(bulkhead=one_at_a_time(), retry=retry)) as client:

        async def slip_in() -> Answer:
            await kit.until(lambda: peer.count == 1)
            await kit.sleep(0.05)
            return await client.get(peer / "other")

        retried, other = await kit.together(lambda: client.get(peer / "retried"), slip_in)
    assert (retried.status, other.body) == (200, b"in between")
    assert [request.path for request in peer.requests] == ["/retried", "/other", "/retried"]


async def test__deadline__ends_the_wait_for_a_permit(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    peer.script(steps.drip(b"first", b"rest", gate=gate))
    async with kit.mounted(only(bulkhead=one_at_a_time(max_wait=8))) as client:
        async with await client.stream("GET", peer / "x"):
            started = time.monotonic()
            with seawall.deadline(0.2), pytest.raises(seawall.ResilienceError) as caught:
                await client.get(peer / "y")
            took = time.monotonic() - started
    gate.set()
    assert isinstance(caught.value, kit.errors.base)
    assert took < 1.5
    assert peer.count == 1


async def test__close__refuses_new_calls(kit: Kit, peer: Peer) -> None:
    resilience = only()
    async with kit.mounted(resilience) as client:
        assert (await client.get(peer / "x")).status == 200
        resilience.close()
        with pytest.raises(seawall.BulkheadClosed) as caught:
            await client.get(peer / "x")
    assert isinstance(caught.value, kit.errors.base)
    assert peer.count == 1


async def test__pool_of_one__survives_1000_retried_answers(kit: Kit, peer: Peer) -> None:
    peer.script(*[answer(503, b"busy"), answer(200, b"fine")] * 1000)
    resilience = quick(base_delay=0.001, max_delay=0.001)
    async with kit.mounted(resilience, pool=1, timeout=2) as client:
        for _ in range(1000):
            assert (await client.get(peer / "x")).status == 200
    assert (peer.count, peer.connections) == (2000, 1)


async def test__pool_of_one__survives_retried_answers_too_big_to_drain(kit: Kit, peer: Peer) -> None:
    peer.script(*[answer(503, bytes(1_000_000)), answer(200)] * 10)
    async with kit.mounted(quick(), pool=1, timeout=2) as client:
        for _ in range(10):
            assert (await client.get(peer / "x")).status == 200
    assert peer.count == 20


async def test__pool_of_one__survives_every_fault_on_the_way(kit: Kit, peer: Peer) -> None:
    faults = [steps.close(), steps.reset(), steps.garbage(), steps.close(), steps.reset()]
    peer.script(*[step for fault in faults for step in (fault, answer(200))])
    async with kit.mounted(quick(), pool=1, timeout=2) as client:
        for _ in faults:
            assert (await client.get(peer / "x")).status == 200
