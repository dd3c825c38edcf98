"""A network that is slow or breaks off: whole answers stay whole, broken ones are said to be, and clocks hold."""

from __future__ import annotations

import time

import pytest

import seawall
from seawall import Policy, Resilience, Timeouts
from seawall.testing import Bandwidth, FaultProxy, Latency, LimitData, Slicer, SlowClose, Timeout
from tests.contract.clients import Kit, Stream
from tests.contract.peer import Peer
from tests.contract.steps import answer, head_of, raw
from tests.smoke.test_outages import LATE
from tests.smoke.traffic import hurried, recovers, rests, traffic

BODY = bytes(range(256)) * 16


async def test__slow_network__nothing_is_cut_or_repeated(kit: Kit, proxy: FaultProxy, peer: Peer) -> None:
    peer.script(answer(200, BODY))
    resilience = Resilience(Policy())
    async with kit.mounted(resilience) as client:
        latency = Latency(seconds=0.03, jitter=0.02)
        with proxy.under(latency, Latency(seconds=0.01, direction="upstream"), Bandwidth(rate=100_000)):
            seen = await traffic(client, proxy.url, each=2)
            assert (await client.get(proxy.url)).body == BODY
        assert (seen.good, seen.attempts) == (seen.calls, seen.calls)
        assert peer.count == seen.calls + 1
        rests(resilience)


async def test__body_in_slices__comes_whole(kit: Kit, proxy: FaultProxy, peer: Peer) -> None:
    peer.script(answer(200, BODY, chunks=7))
    resilience = Resilience(Policy())
    async with kit.mounted(resilience) as client:
        with proxy.under(Slicer(size=100, variation=90, delay=0.001)):
            assert (await client.get(proxy.url)).body == BODY
        assert peer.count == 1
        rests(resilience)


async def test__body_that_drips__total_ends_the_call(kit: Kit, proxy: FaultProxy, peer: Peer) -> None:
    peer.script(answer(200, BODY))
    resilience = Resilience(hurried(timeouts=Timeouts(total=0.2)))
    async with kit.mounted(resilience) as client:
        with proxy.under(Bandwidth(rate=400)):  # ten seconds for the body
            began = time.monotonic()
            with pytest.raises(seawall.DeadlineExceeded):
                await client.get(proxy.url)
            assert time.monotonic() - began < 0.2 + LATE
        proxy.cut()
        await recovers(client, proxy.url, resilience)


async def test__end_of_body_that_is_late__is_waited_for_or_cut_by_the_clock(
    kit: Kit, proxy: FaultProxy, peer: Peer
) -> None:
    peer.script(raw(head_of(200, [("Connection", "close")]) + BODY))  # only the end of the stream ends it
    resilience = Resilience(Policy())
    async with kit.mounted(resilience) as client:
        with proxy.under(SlowClose(seconds=0.1)):
            assert (await client.get(proxy.url)).body == BODY
        with proxy.under(SlowClose(seconds=8.0)), seawall.deadline(0.2):
            began = time.monotonic()
            with pytest.raises(seawall.DeadlineExceeded):
                await client.get(proxy.url)
            assert time.monotonic() - began < 0.2 + LATE
        assert peer.count == 2
        rests(resilience)


async def test__body_that_breaks_off__is_the_librarys_error_once_a_call_and_opens_the_circuit(
    kit: Kit, proxy: FaultProxy, peer: Peer
) -> None:
    peer.script(answer(200, BODY))
    resilience = Resilience(hurried())
    async with kit.mounted(resilience) as client:
        with proxy.under(LimitData(size=1000)):
            broken = await traffic(client, proxy.url)
        [snapshot] = resilience.snapshots()
        assert snapshot.open_count >= 1  # good headers close it again, so it need not be open now
        assert broken.refused > 0
        assert broken.good == 0
        assert sum(isinstance(error, kit.errors.short_body) for error in broken.errors) == peer.count
        assert peer.count == broken.attempts  # past the headers nothing is repeated
        await recovers(client, proxy.url, resilience)


async def test__stream_cut_while_it_is_read__gives_its_permit_back(kit: Kit, proxy: FaultProxy, peer: Peer) -> None:
    peer.script(answer(200, BODY))
    resilience = Resilience(Policy())

    async def read(stream: Stream) -> None:
        async for _ in stream.chunks(100):
            proxy.cut()

    async with kit.mounted(resilience) as client:
        with proxy.under(Slicer(size=300, delay=0.02)):
            stream = await client.stream("GET", proxy.url)
            with pytest.raises(kit.errors.short_body):
                await read(stream)
            await stream.close()
        rests(resilience)
        with proxy.under(Timeout(seconds=0.05)):  # nothing comes, then the end
            with pytest.raises(kit.errors.base), seawall.override(retry=None):
                await client.get(proxy.url)
        rests(resilience)
        assert (await client.get(proxy.url)).body == BODY
