"""The breaker over real sockets: what opens it, what a caller then gets, how it recovers."""

from __future__ import annotations

import gc
import pickle
import threading
import time
from contextlib import ExitStack

import pytest

import seawall
from seawall import Policy, Resilience
from seawall.testing import VirtualClock
from tests.contract import steps
from tests.contract.clients import Client, Kit
from tests.contract.fakes import Asked, Reply
from tests.contract.peer import Peer
from tests.contract.settings import RECOVERS_IN, only, recovering, retrying, tripping
from tests.contract.steps import answer


def state(resilience: Resilience, peer: Peer) -> str:
    snapshot = resilience.snapshot(peer.url)
    assert snapshot is not None
    return snapshot.state


async def fail_twice(client: Client, peer: Peer) -> None:
    """Bring the host's circuit to open."""
    peer.script(answer(503))
    for _ in range(2):
        assert (await client.get(peer / "x")).status == 503
    peer.forget()


async def test__two_failures__open_and_reject_without_touching_the_network(kit: Kit, peer: Peer) -> None:
    resilience = only(breaker=tripping())
    async with kit.mounted(resilience) as client:
        await fail_twice(client, peer)
        with pytest.raises(seawall.CircuitOpen):
            await client.get(peer / "x")
        with pytest.raises(kit.errors.base):
            await client.get(peer / "x")
    assert (peer.count, peer.connections) == (0, 0)
    assert state(resilience, peer) == "open"


async def test__rejection__says_host_policy_reason_and_when(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(only(breaker=tripping())) as client:
        before = time.time()
        await fail_twice(client, peer)
        with pytest.raises(seawall.CircuitOpen) as caught:
            await client.get(peer / "x?token=secret")
    error = caught.value
    assert (error.host, error.policy, error.attempts) == (peer.url, "breaker", 0)
    assert 0 < (error.retry_after or 0) <= 30
    assert before - 1 < (error.opened_at or 0) < time.time() + 1
    assert error.request is not None
    assert error.report is not None
    assert error.report.attempts == ()
    assert peer.url in str(error)
    assert "secret" not in str(error) + repr(error)
    assert "\n" not in str(error)
    assert not isinstance(error, kit.errors.timeout)


async def test__rejection__survives_pickling(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(only(breaker=tripping())) as client:
        await fail_twice(client, peer)
        with pytest.raises(seawall.CircuitOpen) as caught:
            await client.get(peer / "x")
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is type(caught.value)
    assert (again.host, again.policy, again.retry_after) == (peer.url, "breaker", caught.value.retry_after)
    assert str(again) == str(caught.value)
    assert isinstance(again, kit.errors.base)


async def test__open_time_over__one_good_probe_closes(kit: Kit, peer: Peer) -> None:
    resilience = only(breaker=recovering())
    async with kit.mounted(resilience) as client:
        await fail_twice(client, peer)
        peer.script(answer(200))
        await kit.sleep(RECOVERS_IN)
        assert (await client.get(peer / "x")).status == 200
        assert state(resilience, peer) == "closed"


async def test__open_time_over__bad_probe_opens_again(kit: Kit, peer: Peer) -> None:
    resilience = only(breaker=recovering(max_open_duration=30, open_multiplier=300))
    async with kit.mounted(resilience) as client:
        await fail_twice(client, peer)
        await kit.sleep(RECOVERS_IN)
        assert (await client.get(peer / "x")).status == 503
        with pytest.raises(seawall.CircuitOpen):
            await client.get(peer / "x")
    assert peer.count == 1


async def test__half_open__lets_as_many_probes_through_as_it_says(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    refused: list[seawall.HalfOpenLimit] = []
    async with kit.mounted(only(breaker=recovering(half_open_max_requests=2, success_threshold=2))) as client:
        await fail_twice(client, peer)
        peer.script(steps.held(gate, answer(200)))
        await kit.sleep(RECOVERS_IN)

        async def call() -> None:
            try:
                await client.get(peer / "x")
            except seawall.HalfOpenLimit as error:
                refused.append(error)
                if len(refused) == 8:
                    gate.set()

        await kit.together(*[call] * 10)
    assert (peer.count, len(refused)) == (2, 8)
    assert {one.max_requests for one in refused} == {2}
    assert all(isinstance(one, kit.errors.base) for one in refused)


async def test__refused_connections__open_it(kit: Kit, stack: ExitStack) -> None:
    peer = stack.enter_context(Peer(refusing=True))
    async with kit.mounted(only(breaker=tripping())) as client:
        for _ in range(2):
            with pytest.raises(kit.errors.refused):
                await client.get(peer / "x")
        with pytest.raises(seawall.CircuitOpen):
            await client.get(peer / "x")


async def test__read_timeouts_of_the_client__open_it(kit: Kit, peer: Peer) -> None:
    peer.script(steps.hang())
    async with kit.mounted(only(breaker=tripping()), timeout=(2, 0.06)) as client:
        for _ in range(2):
            with pytest.raises(kit.errors.read_timeout):
                await client.get(peer / "x")
        with pytest.raises(seawall.CircuitOpen):
            await client.get(peer / "x")


async def test__count_timeouts_false__they_are_left_out(kit: Kit, peer: Peer) -> None:
    peer.script(steps.hang(), steps.hang(), steps.hang(), answer(200))
    async with kit.mounted(only(breaker=tripping(count_timeouts_as_failures=False)), timeout=(2, 0.06)) as client:
        for _ in range(3):
            with pytest.raises(kit.errors.read_timeout):
                await client.get(peer / "x")
        assert (await client.get(peer / "x")).status == 200


async def test__the_clients_own_mistakes__never_open_it(kit: Kit, peer: Peer) -> None:
    resilience = only(breaker=tripping())
    async with kit.mounted(resilience) as client:
        for status in (400, 401, 403, 404, 409, 422, 425, 429, 501, 505):
            peer.script(answer(status))
            for _ in range(4):
                assert (await client.get(peer / "x")).status == status
    snapshot = resilience.snapshot(peer.url)
    assert snapshot is not None
    assert (snapshot.state, snapshot.total_failures, snapshot.throttled) == ("closed", 0, 4)


async def test__opens_during_a_call__the_answer_at_hand_is_returned(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, b"the last word"))
    async with kit.mounted(only(breaker=tripping(), retry=retrying(max_retries=9))) as client:
        got = await client.get(peer / "x")
    assert (got.status, got.body, peer.count) == (503, b"the last word", 2)


async def test__isolate_and_restore__hold_it_open_by_hand(kit: Kit, peer: Peer) -> None:
    resilience = only(breaker=tripping())
    async with kit.mounted(resilience) as client:
        resilience.isolate(peer.url)
        with pytest.raises(seawall.CircuitOpen):
            await client.get(peer / "x")
        resilience.restore(peer.url)
        assert (await client.get(peer / "x")).status == 200
    assert peer.count == 1


async def test__reset__forgets_what_opened_it(kit: Kit, peer: Peer) -> None:
    resilience = only(breaker=tripping())
    async with kit.mounted(resilience) as client:
        await fail_twice(client, peer)
        peer.script(answer(200))
        assert resilience.reset(peer.url)
        assert (await client.get(peer / "x")).status == 200


async def test__clients_of_one_resilience__learn_together(kit: Kit, peer: Peer) -> None:
    resilience = only(breaker=tripping())
    async with kit.mounted(resilience) as client:
        await fail_twice(client, peer)
    async with kit.mounted(resilience) as client:
        with pytest.raises(seawall.CircuitOpen):
            await client.get(peer / "x")


async def test__redirect_to_an_open_host__is_refused_at_that_hop(kit: Kit, peer: Peer, other: Peer) -> None:
    async with kit.mounted(only(breaker=tripping())) as client:
        await fail_twice(client, other)
        peer.script(steps.redirect(other / "b"))
        with pytest.raises(seawall.CircuitOpen) as caught:
            await client.get(peer / "a", follow=True)
    assert caught.value.host == other.url
    assert (peer.count, other.count) == (1, 0)


async def test__respond__a_rejection_is_a_503_that_sdks_obey(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(only(breaker=tripping(), rejections="respond")) as client:
        await fail_twice(client, peer)
        got = await client.get(peer / "x?token=secret")
    assert (got.status, got.header("x-should-retry"), peer.count) == (503, "false", 0)
    assert 20 <= int(got.header("retry-after") or 0) <= 30
    assert peer.url.encode() in got.body
    assert b"secret" not in got.body
    report = seawall.report(got.raw)
    assert report is not None
    assert report.ending is seawall.Ending.REFUSED


async def test__count_5xx_false__they_are_left_out(kit: Kit, peer: Peer) -> None:
    resilience = only(breaker=tripping(count_5xx_as_failures=False))
    peer.script(answer(503))
    async with kit.mounted(resilience) as client:
        for _ in range(5):
            assert (await client.get(peer / "x")).status == 503
    assert state(resilience, peer) == "closed"


async def test__count_429_true__they_open_it(kit: Kit, peer: Peer) -> None:
    peer.script(answer(429))
    async with kit.mounted(only(breaker=tripping(count_429_as_failures=True))) as client:
        for _ in range(2):
            assert (await client.get(peer / "x")).status == 429
        with pytest.raises(seawall.CircuitOpen):
            await client.get(peer / "x")


async def test__probe_under_a_patient_client__may_take_as_long_as_the_client_waits(kit: Kit) -> None:
    clock = VirtualClock()
    resilience = Resilience(Policy(retry=None, breaker=tripping(half_open_timeout=30)), clock=clock)
    states: list[str] = []

    def think(_: Asked) -> Reply:
        if len(states) < 2:
            states.append("failing")
            return Reply(503)
        for _ in range(2):
            clock.advance(55)
            snapshot = resilience.snapshot("http://a.test")
            assert snapshot is not None
            states.append(snapshot.state)
        return Reply(200)

    async with kit.mounted(resilience, fake=kit.fake(think), timeout=120) as client:
        for _ in range(2):
            await client.get("http://a.test/x")
        clock.advance(30)
        assert (await client.get("http://a.test/x")).status == 200
    assert states[2:] == ["half_open", "half_open"]
    (host,) = resilience.snapshots()
    assert host.state == "closed"


async def test__rejection__leaves_nothing_to_the_garbage_collector(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(only(breaker=tripping())) as client:
        await fail_twice(client, peer)
        gc.collect()
        for _ in range(3):
            with pytest.raises(seawall.CircuitOpen):
                await client.get(peer / "x")
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            left = [thing for thing in gc.garbage if isinstance(thing, seawall.CircuitOpen)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
    assert left == []
