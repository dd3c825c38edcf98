"""`QueueForRetry` as a way to degrade, from the failed call to the answer in the receipt, with every client."""

from __future__ import annotations

import io
import pickle
from typing import Any

import pytest

import seawall
from seawall import Outbox, Policy, Queued, QueueForRetry, Resilience, Retry, SimplifiedResponse
from seawall.testing.virtual import VirtualClock
from tests.contract.clients import Kit
from tests.contract.peer import Peer
from tests.contract.settings import only
from tests.contract.steps import answer
from tests.outbox.test_sending import drain

KEYED = Retry(idempotency_key="auto", max_retries=1, base_delay=0.001)


def queueing(outbox: Outbox, **parts: Any) -> Resilience:
    return only(**({"degrade": [QueueForRetry(outbox)], "retry": KEYED} | parts))


async def test__sick_host__queues_and_sends_when_it_is_well(
    kit: Kit, peer: Peer, outbox: Outbox, clock: VirtualClock
) -> None:
    peer.script(answer(503), answer(503), answer(201, b"made"))
    async with kit.mounted(queueing(outbox)) as client:
        with pytest.raises(Queued) as caught:
            await client.request("POST", peer / "x", json={"a": 1}, headers={"Authorization": "Bearer old"})
        error = caught.value
        assert isinstance(error, kit.errors.base)
        assert (error.policy, error.attempts, error.retry_after) == ("degrade", 2, None)
        assert isinstance(error.__cause__, seawall.ResilienceError)
        assert error.receipt is not None
        assert error.receipt.state == "queued"
        assert await drain(client, outbox) == 1
    result = error.receipt.result()
    assert result is not None
    assert (result.status, result.content) == (201, b"made")
    keys = {request.header("idempotency-key") for request in peer.requests}
    assert len(keys) == 1
    assert None not in keys
    assert len(set(peer.bodies)) == 1
    assert [request.header("authorization") for request in peer.requests] == ["Bearer old", "Bearer old", None]
    assert {request.header("content-type") for request in peer.requests} == {"application/json"}


async def test__refused_by_us__queues_without_a_send(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    resilience = queueing(outbox)
    resilience.isolate(peer.url)
    async with kit.mounted(resilience) as client:
        with pytest.raises(Queued) as caught:
            await client.request("PUT", peer / "x", content=b"body")
    assert isinstance(caught.value.__cause__, seawall.CircuitOpen)
    assert (peer.count, len(outbox)) == (0, 1)


async def test__still_sick__is_not_queued_a_second_time(
    kit: Kit, peer: Peer, outbox: Outbox, clock: VirtualClock
) -> None:
    peer.script(answer(503))
    resilience = queueing(outbox, degrade=[QueueForRetry(outbox), SimplifiedResponse(lambda *_: seawall.Answer(200))])
    async with kit.mounted(resilience) as client:
        with pytest.raises(Queued):
            await client.request("PUT", peer / "x", content=b"body")
        for _ in range(3):
            clock.advance(60)
            assert await drain(client, outbox) == 0
    assert len(outbox) == 1


@pytest.mark.parametrize("status", [400, 404, 422])
async def test__callers_mistake__is_not_queued(kit: Kit, peer: Peer, outbox: Outbox, status: int) -> None:
    peer.script(answer(status))
    async with kit.mounted(queueing(outbox)) as client:
        assert (await client.request("PUT", peer / "x", content=b"body")).status == status
    assert len(outbox) == 0


async def test__unsafe_without_key__ends_as_without_an_outbox(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    peer.script(answer(503, b"sick"))
    async with kit.mounted(queueing(outbox, retry=None)) as client:
        got = await client.request("POST", peer / "x", content=b"body")
    assert (got.status, got.body, len(outbox)) == (503, b"sick", 0)


async def test__body_that_is_read_once__is_not_queued(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    peer.script(answer(503))
    async with kit.mounted(queueing(outbox)) as client:
        got = await client.request("PUT", peer / "x", content=kit.source([b"a", b"b"]))
    assert (got.status, len(outbox)) == (503, 0)


async def test__upload__is_queued_whole(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    peer.script(answer(503), answer(503), answer(200))
    async with kit.mounted(queueing(outbox)) as client:
        with pytest.raises(Queued):
            await client.request("POST", peer / "x", files={"file": ("a.txt", io.BytesIO(b"x" * 5000))})
        assert await drain(client, outbox) == 1
    assert len(set(peer.bodies)) == 1
    assert b"x" * 5000 in peer.bodies[0]
    assert len({request.header("content-type") for request in peer.requests}) == 1


async def test__file__is_queued_whole(kit: Kit, peer: Peer, outbox: Outbox, folder: Any) -> None:
    (folder / "file").write_bytes(b"y" * 70_000)
    peer.script(answer(503), answer(503), answer(200))
    async with kit.mounted(queueing(outbox)) as client:
        with open(folder / "file", "rb") as file:
            if kit.library.__name__ != "requests":  # httpx reads a file once
                assert (await client.request("PUT", peer / "x", content=kit.file(file))).status == 503
                return
            with pytest.raises(Queued):
                await client.request("PUT", peer / "x", content=file)
        assert await drain(client, outbox) == 1
    assert peer.bodies == [b"y" * 70_000] * 3


async def test__full__the_next_way_is_asked(kit: Kit, peer: Peer, folder: Any) -> None:
    outbox = Outbox(folder / "outbox.db", max_rows=1)
    peer.script(answer(503))
    resilience = queueing(outbox, degrade=[QueueForRetry(outbox), SimplifiedResponse(lambda *_: seawall.Answer(202))])
    async with kit.mounted(resilience) as client:
        with pytest.raises(Queued):
            await client.request("PUT", peer / "x", content=b"1")
        assert (await client.request("PUT", peer / "x", content=b"2")).status == 202
    assert len(outbox) == 1


async def test__damaged_file__the_call_ends_as_without_an_outbox(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    peer.script(answer(503, b"sick"))
    outbox.close()
    with open(outbox.path, "wb") as file:
        file.write(b"nothing of the kind" * 1000)
    async with kit.mounted(queueing(outbox)) as client:
        assert (await client.request("PUT", peer / "x", content=b"1")).body == b"sick"


async def test__answered_refusal__tells_the_receipt(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    peer.script(answer(503))
    async with kit.mounted(queueing(outbox, rejections="respond")) as client:
        got = await client.request("PUT", peer / "x", content=b"body")
    assert (got.status, got.header("x-should-retry"), got.header("retry-after")) == (503, "false", None)
    assert outbox.state(got.raw.json()["error"]["receipt"]) == "queued"


async def test__queued__pickles_with_its_receipt(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    peer.script(answer(503))
    async with kit.mounted(queueing(outbox)) as client:
        with pytest.raises(Queued) as caught:
            await client.request("PUT", peer / "x", content=b"body")
    twin = pickle.loads(pickle.dumps(caught.value))
    assert (type(twin), twin.receipt) == (type(caught.value), caught.value.receipt)


async def test__file_holds_no_secret(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    peer.script(answer(503, b"sick", [("Set-Cookie", "session=CANARY")]))
    names = ("Authorization", "Cookie", "X-Api-Key", "Proxy-Authorization", "X-Custom-Token", "X-Goog-Api-Key")
    async with kit.mounted(queueing(outbox)) as client:
        given = {"headers": dict.fromkeys(names, "CANARY"), "auth": ("basic", "u", "CANARY")}
        with pytest.raises(Queued):
            await client.request("PUT", peer / "x", content=b"body", **given)
        assert peer.requests[0].header("x-api-key") == "CANARY"
        await drain(client, outbox)
    for suffix in ("", "-wal"):
        with open(outbox.path + suffix, "rb") as file:
            content = file.read()
        assert b"CANARY" not in content
        assert b"Basic " not in content


def test__policy__tells_a_queue_from_something_else(outbox: Outbox) -> None:
    assert Policy(degrade=[QueueForRetry(outbox)]).degrade == (QueueForRetry(outbox),)
    with pytest.raises(TypeError, match="degrade"):
        Policy(degrade=[outbox])  # type: ignore[list-item]
