"""What the surroundings of a call change: `override`, `disabled`, and policies that are off."""

from __future__ import annotations

import pytest

import seawall
from seawall import Policy, Resilience, Timeouts
from tests.contract import steps
from tests.contract.clients import Kit
from tests.contract.peer import Peer
from tests.contract.settings import one_at_a_time, only, quick, retrying, tripping
from tests.contract.steps import answer


async def test__override_retry_none__one_attempt(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503))
    async with kit.mounted(quick()) as client:
        with seawall.override(retry=None):
            assert (await client.get(peer / "x")).status == 503
        assert peer.count == 1
        await client.get(peer / "x")
    assert peer.count == 1 + 3


async def test__override_timeouts__merge_with_the_policys(kit: Kit, peer: Peer) -> None:
    peer.script(steps.hang(), answer(200))
    async with kit.mounted(quick()) as client:
        with seawall.override(timeouts=Timeouts(attempt=0.1)):
            assert (await client.get(peer / "x")).status == 200
    assert peer.count == 2


async def test__override_breaker_none__goes_past_an_open_circuit(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503), answer(503), answer(200))
    async with kit.mounted(only(breaker=tripping())) as client:
        for _ in range(2):
            await client.get(peer / "x")
        with seawall.override(breaker=None):
            assert (await client.get(peer / "x")).status == 200
        with pytest.raises(seawall.CircuitOpen):
            await client.get(peer / "x")


async def test__override_bulkhead_none__needs_no_permit(kit: Kit, peer: Peer) -> None:
    peer.script(steps.drip(b"first", b"." * 20, gap=0.02), answer(200))
    async with kit.mounted(only(bulkhead=one_at_a_time(max_wait=0))) as client:
        async with await client.stream("GET", peer / "x"):
            with seawall.override(bulkhead=None):
                assert (await client.get(peer / "y")).status == 200


async def test__nested_overrides__the_inner_wins_field_by_field(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503))
    async with kit.mounted(only()) as client:
        with seawall.override(retry=retrying(max_retries=1)), seawall.override(rejections="respond"):
            await client.get(peer / "x")
        assert peer.count == 2
        with seawall.override(retry=retrying(max_retries=1)), seawall.override(retry=None):
            await client.get(peer / "x")
    assert peer.count == 3


async def test__one_override__serves_many_tasks_at_once(kit: Kit, peer: Peer) -> None:
    peer.script(steps.slow(0.05, answer(503)))
    shared = seawall.override(retry=None)
    async with kit.mounted(quick()) as client:

        async def call() -> int:
            with shared:
                with shared:
                    await kit.sleep(0.01)
                return (await client.get(peer / "x")).status

        got = await kit.together(*[call] * 6)
    assert (got, peer.count) == ([503] * 6, 6)


async def test__override__does_not_leak_out_of_its_task(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503))
    async with kit.mounted(quick()) as client:

        async def inside() -> None:
            with seawall.override(retry=None):
                await kit.sleep(0.1)

        async def outside() -> int:
            await kit.sleep(0.05)
            return (await client.get(peer / "x")).status

        await kit.together(inside, outside)
    assert peer.count == 3


async def test__disabled__the_bare_client_and_no_trace(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503))
    resilience = quick()
    async with kit.mounted(resilience) as client:
        with seawall.disabled():
            got = await client.get(peer / "x")
    assert (got.status, peer.count) == (503, 1)
    assert [(s.requests, s.in_flight, s.acquire_attempts) for s in resilience.snapshots()] in ([], [(0, 0, 0)])
    assert seawall.report(got.raw) is None


async def test__disabled__open_circuit__goes_through(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503), answer(503), answer(200))
    async with kit.mounted(only(breaker=tripping())) as client:
        for _ in range(2):
            await client.get(peer / "x")
        with seawall.disabled():
            assert (await client.get(peer / "x")).status == 200


async def test__mode_off__one_host_only(kit: Kit, peer: Peer, other: Peer) -> None:
    for each in (peer, other):
        each.script(answer(503))
    resilience = Resilience({"all://": Policy(retry=retrying(), budget=None), peer.url: Policy(mode="off")})
    async with kit.mounted(resilience) as client:
        await client.get(peer / "x")
        await client.get(other / "x")
    assert (peer.count, other.count) == (1, 3)


async def test__configure__while_running_keeps_the_state(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503))
    resilience = only(breaker=tripping())
    async with kit.mounted(resilience) as client:
        for _ in range(2):
            await client.get(peer / "x")
        resilience.configure(peer.url, Policy(retry=retrying(max_retries=1)))
        with pytest.raises(seawall.CircuitOpen):
            await client.get(peer / "x")


async def test__mounted_client_inside_execute__does_not_retry_again(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503))
    resilience = quick()
    async with kit.mounted(resilience) as client:

        async def operation() -> int:
            got = await client.get(peer / "x")
            if got.status != 200:
                raise ConnectionError(got.status)
            return got.status

        with pytest.raises(seawall.MaxRetriesExceeded) as caught:
            await kit.execute(resilience, "provider", operation)
    assert caught.value.attempts == 3
    assert peer.count == 3
