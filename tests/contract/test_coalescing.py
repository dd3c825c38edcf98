"""Equal requests of one caller at one time are sent once, the same for every client (`StaleResponse.coalesce`)."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

import seawall
from seawall import Ending, Resilience, StaleResponse
from tests.contract import steps
from tests.contract.clients import ASYNC_ONLY, Client, Kit
from tests.contract.peer import Peer
from tests.contract.settings import only, retrying, tripping
from tests.contract.steps import Received, Step, answer, held

PLAIN = [("content-type", "text/plain"), ("x-kind", "good")]


def sharing(**parts: Any) -> Resilience:
    return only(**({"degrade": [StaleResponse(coalesce=True)]} | parts))


def waiting(resilience: Resilience) -> int:
    """How many calls follow another, or sleep."""
    return sum(len(state._sleepers or ()) for state in resilience._registry.everybody())


async def opening(kit: Kit, gate: threading.Event, condition: Callable[[], bool]) -> None:
    """Open the gate when it is so; and when it never is, which fails the scenario."""
    try:
        await kit.until(condition)
    finally:
        gate.set()


async def crowd(
    kit: Kit,
    resilience: Resilience,
    gate: threading.Event,
    leader: Callable[[], Awaitable[Any]],
    *followers: Callable[[], Awaitable[Any]],
) -> list[Any]:
    """The leader is on its way; then the followers wait; then the gate opens."""

    async def follow(job: Callable[[], Awaitable[Any]]) -> Any:
        await kit.until(lambda: sum(host.in_flight for host in resilience.snapshots()) > 0)
        return await job()

    async def opens() -> None:
        await opening(kit, gate, lambda: waiting(resilience) == len(followers))

    jobs = [lambda job=job: follow(job) for job in followers]
    return (await kit.together(leader, *jobs, opens))[:-1]


def getting(client: Client, url: str, **options: Any) -> Callable[[], Awaitable[Any]]:
    return lambda: client.get(url, **options)


async def test__equal_requests__are_sent_once_and_each_gets_a_whole_answer(kit: Kit, peer: Peer) -> None:
    gate, resilience = threading.Event(), sharing()
    peer.script(held(gate, answer(200, b"shared", PLAIN)))
    async with kit.mounted(resilience, pool=2) as client:
        got = await crowd(kit, resilience, gate, *[getting(client, peer / "x")] * 5)
    assert peer.count == 1
    assert [one.body for one in got] == [b"shared"] * 5
    assert [one.header("x-kind") for one in got] == ["good"] * 5
    assert len({id(one.raw) for one in got}) == 5
    told = [seawall.report(one.raw) for one in got]
    assert [report and report.ending for report in told] == [Ending.ANSWERED] + [Ending.COLLAPSED] * 4
    assert [report and (len(report.attempts), report.served_from) for report in told] == [
        (1, "origin"),
        *[(0, "origin")] * 4,
    ]
    assert [one.header("cache-status") for one in got] == [None, *["seawall; fwd=miss; collapsed"] * 4]
    (host,) = resilience.snapshots()
    assert (host.requests, host.successes, host.total_degraded, host.in_flight) == (1, 1, 0, 0)


async def test__compressed__is_shared_raw(kit: Kit, peer: Peer) -> None:
    gate, resilience, body = threading.Event(), sharing(), b"x" * 100_000
    peer.script(held(gate, steps.gzipped(body)))
    async with kit.mounted(resilience) as client:
        got = await crowd(kit, resilience, gate, *[getting(client, peer / "x")] * 3)
    assert peer.count == 1
    assert [one.body for one in got] == [body] * 3
    assert {one.header("content-length") for one in got} == {str(len(gzip.compress(body)))}


@pytest.mark.parametrize("chunks", [0, 4])
async def test__empty_and_chunked__are_shared(kit: Kit, peer: Peer, chunks: int) -> None:
    gate, resilience, body = threading.Event(), sharing(), b"in pieces" if chunks else b""
    peer.script(held(gate, answer(200, body, chunks=chunks)))
    async with kit.mounted(resilience) as client:
        got = await crowd(kit, resilience, gate, *[getting(client, peer / "x")] * 3)
    assert (peer.count, [one.body for one in got]) == (1, [body] * 3)


async def test__head__is_shared(kit: Kit, peer: Peer) -> None:
    gate, resilience = threading.Event(), sharing()
    peer.script(held(gate, answer(200, b"12345")))
    async with kit.mounted(resilience) as client:
        got = await crowd(kit, resilience, gate, *[lambda: client.request("HEAD", peer / "x")] * 3)
    assert (peer.count, [one.header("content-length") for one in got]) == (1, ["5"] * 3)


def echo(name: str) -> Step:
    """The answer says who asked."""

    def choose(request: Received) -> Step:
        return answer(200, (request.header(name) or "nobody").encode())

    return steps.judged(choose)


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "X-API-Key", "X-Tenant"])
async def test__another_caller__gets_an_answer_of_its_own(kit: Kit, peer: Peer, name: str) -> None:
    gate, resilience = threading.Event(), sharing()
    peer.script(held(gate, echo(name)))
    async with kit.mounted(resilience) as client:
        alice, bob = (getting(client, peer / "x", headers={name: who}) for who in ("alice", "bob"))

        async def opens() -> None:
            await opening(kit, gate, lambda: waiting(resilience) == 2 and peer.count == 2)

        got = await kit.together(alice, alice, bob, bob, opens)
    assert [one.body for one in got[:-1]] == [b"alice", b"alice", b"bob", b"bob"]
    assert peer.count == 2


NOT_SHARED: dict[str, Step] = {
    "no-store": answer(200, b"own", [("cache-control", "no-store")]),
    "a cookie": answer(200, b"own", [("set-cookie", "session=1")]),
    "varies by anything": answer(200, b"own", [("vary", "*")]),
    "404": answer(404, b"own"),
    "a redirect for now": answer(302, b"own", [("location", "/y")]),
    "an event stream": answer(200, b"data: own\n\n", [("content-type", "text/event-stream")]),
    "too long": answer(200, b"x" * 3000),
    "too long, as it shows": answer(200, b"x" * 3000, chunks=3),
}


@pytest.mark.parametrize("step", NOT_SHARED.values(), ids=NOT_SHARED)
async def test__not_to_be_shared__each_sends_its_own(kit: Kit, peer: Peer, step: Step) -> None:
    gate, resilience = threading.Event(), sharing(degrade=[StaleResponse(coalesce=True, max_body=2000)])
    peer.script(held(gate, step))
    async with kit.mounted(resilience) as client:
        got = await crowd(kit, resilience, gate, *[getting(client, peer / "x")] * 3)
    assert peer.count == 3
    assert len({(one.status, one.body) for one in got}) == 1
    reports = [seawall.report(one.raw) for one in got]
    assert [report and report.ending for report in reports] == [Ending.ANSWERED] * 3


@pytest.mark.parametrize(("fault", "wanted"), [(steps.reset(), "an error"), (answer(503), 503)], ids=["a reset", "503"])
async def test__leader_fails__the_others_go_themselves(kit: Kit, peer: Peer, fault: Step, wanted: Any) -> None:
    gate, resilience = threading.Event(), sharing()
    peer.script(held(gate, fault), answer(200, b"mine"))
    async with kit.mounted(resilience) as client:
        first, *rest = await crowd(kit, resilience, gate, *[getting(client, peer / "x")] * 3)
    assert (first.status if wanted == 503 else type(first)) in (503, kit.errors.reset)
    assert [one.body for one in rest] == [b"mine"] * 2
    assert peer.count == 3


async def test__leaders_retries__are_waited_for(kit: Kit, peer: Peer) -> None:
    gate, resilience = threading.Event(), sharing(retry=retrying())
    peer.script(held(gate, answer(503)), answer(200, b"second"))
    async with kit.mounted(resilience) as client:
        got = await crowd(kit, resilience, gate, *[getting(client, peer / "x")] * 3)
    assert ([one.body for one in got], peer.count) == ([b"second"] * 3, 2)


async def test__leaders_deadline__is_not_the_others(kit: Kit, peer: Peer) -> None:
    gate, resilience = threading.Event(), sharing()
    peer.script(steps.hang(5), held(gate, answer(200, b"second")))
    async with kit.mounted(resilience) as client:

        async def hurried() -> Any:
            with seawall.deadline(0.4):
                return await client.get(peer / "x")

        async def patient() -> Any:
            await kit.until(lambda: peer.count == 1)
            return await client.get(peer / "x")

        async def opens() -> None:
            await opening(kit, gate, lambda: peer.count == 2 and waiting(resilience) == 1)

        first, *rest, _ = await kit.together(hurried, patient, patient, opens)
    assert isinstance(first, seawall.DeadlineExceeded)
    assert [one.body for one in rest] == [b"second"] * 2
    assert peer.count == 2, "one of the others led"


async def test__followers_deadline__holds(kit: Kit, peer: Peer) -> None:
    gate, resilience = threading.Event(), sharing()
    peer.script(held(gate, answer(200, b"late")))
    async with kit.mounted(resilience) as client:

        async def hurried() -> Any:
            await kit.until(lambda: peer.count == 1)
            began = time.monotonic()
            try:
                with seawall.deadline(0.3):
                    return await client.get(peer / "x")
            finally:
                assert 0.25 < time.monotonic() - began < 1.5
                gate.set()

        first, second = await kit.together(getting(client, peer / "x"), hurried)
    assert first.body == b"late"
    assert isinstance(second, seawall.DeadlineExceeded)
    assert peer.count == 1


async def test__followers_deadline__leaves_time_for_what_is_remembered(kit: Kit, peer: Peer) -> None:
    gate, resilience = threading.Event(), sharing()
    peer.script(answer(200, b"remembered"), held(gate, answer(200, b"late")))
    async with kit.mounted(resilience) as client:
        await client.get(peer / "x")

        async def hurried() -> Any:
            await kit.until(lambda: peer.count == 2)
            with seawall.deadline(0.2):
                got = await client.get(peer / "x")
            gate.set()
            return got

        first, second = await kit.together(getting(client, peer / "x"), hurried)
    assert (first.body, second.body) == (b"late", b"remembered")


async def test__open_circuit__nobody_waits_for_anybody(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503))
    resilience = sharing(breaker=tripping(failure_threshold=1))
    async with kit.mounted(resilience) as client:
        await client.get(peer / "x")
        got = await kit.together(*[getting(client, peer / "x")] * 3)
    assert [type(one).__mro__[1] for one in got] == [seawall.CircuitOpen] * 3
    assert peer.count == 1


async def test__closed__followers_are_refused_at_once(kit: Kit, peer: Peer) -> None:
    gate, resilience = threading.Event(), sharing()
    peer.script(held(gate, answer(200, b"late")))
    async with kit.mounted(resilience) as client:

        async def closes() -> None:
            await kit.until(lambda: waiting(resilience) == 1)
            resilience.close(timeout=0)
            await opening(kit, gate, lambda: waiting(resilience) == 0)

        async def follows() -> Any:
            await kit.until(lambda: peer.count == 1)
            return await client.get(peer / "x")

        first, second, _ = await kit.together(getting(client, peer / "x"), follows, closes)
    assert first.body == b"late"
    assert isinstance(second, seawall.BulkheadClosed)


async def test__something_changed__is_seen_by_who_asks_afterwards(kit: Kit, peer: Peer) -> None:
    gate, resilience = threading.Event(), sharing()
    peer.script(held(gate, answer(200, b"old")), answer(200, b"new"), path="/x").script(answer(204), path="/y")
    async with kit.mounted(resilience) as client:

        async def changes_and_looks() -> Any:
            await kit.until(lambda: peer.count == 1)
            await client.request("POST", peer / "y")
            try:
                with seawall.deadline(2):
                    return await client.get(peer / "x")
            finally:
                gate.set()

        old, new = await kit.together(getting(client, peer / "x"), changes_and_looks)
    assert (old.body, new.body) == (b"old", b"new")


async def test__request_that_wants_it_new__is_sent(kit: Kit, peer: Peer) -> None:
    gate, resilience = threading.Event(), sharing()
    peer.script(held(gate, answer(200, b"one")), answer(200, b"two"))
    async with kit.mounted(resilience) as client:

        async def insists() -> Any:
            await kit.until(lambda: peer.count == 1)
            got = await client.get(peer / "x", headers={"Cache-Control": "no-cache"})
            gate.set()
            return got

        got = await kit.together(getting(client, peer / "x"), insists)
    assert [one.body for one in got] == [b"one", b"two"]


# -- answers read by their caller --------------------------------------------------------------------------------------


async def test__answer_the_leader_reads_as_it_likes__is_the_others_when_it_is_whole(kit: Kit, peer: Peer) -> None:
    gate, resilience = threading.Event(), sharing()
    peer.script(held(gate, answer(200, b"in pieces", chunks=3)))
    async with kit.mounted(resilience) as client:

        async def reads() -> Any:
            async with await client.stream("GET", peer / "x") as stream:
                return await stream.read()

        first, *rest = await crowd(kit, resilience, gate, reads, *[getting(client, peer / "x")] * 2)
    assert (first, [one.body for one in rest], peer.count) == (b"in pieces", [b"in pieces"] * 2, 1)


async def test__answer_left_by_its_leader__another_leads(kit: Kit, peer: Peer) -> None:
    gate, resilience = threading.Event(), sharing()
    peer.script(held(gate, answer(200, b"x" * 500_000)), answer(200, b"mine"))
    async with kit.mounted(resilience) as client:

        async def leaves() -> Any:
            async with await client.stream("GET", peer / "x") as stream:
                return await stream.some()

        _, *rest = await crowd(kit, resilience, gate, leaves, *[getting(client, peer / "x")] * 2)
    assert [one.body for one in rest] == [b"mine"] * 2


async def test__answer_nobody_reads_on__is_not_waited_for(kit: Kit, peer: Peer) -> None:
    resilience = sharing()
    peer.script(answer(200, b"unread"), answer(200, b"mine"))
    async with kit.mounted(resilience) as client, await client.stream("GET", peer / "x") as stream:
        began = time.monotonic()
        got = await client.get(peer / "x")  # of the same thread and task: it cannot be read meanwhile
        assert time.monotonic() - began < (2.5 if kit.is_async else 0.5)
        assert got.body == b"mine"
        assert await stream.read() == b"unread"


async def test__answer_dropped_unread__is_not_waited_for(kit: Kit, peer: Peer) -> None:
    resilience = sharing()
    peer.script(answer(200, b"unread"), answer(200, b"mine"))
    async with kit.mounted(resilience) as client:
        await client.stream("GET", peer / "x")
        assert (await client.get(peer / "x")).body == b"mine"


async def test__body_that_breaks__another_leads(kit: Kit, peer: Peer) -> None:
    gate, resilience = threading.Event(), sharing()
    peer.script(held(gate, steps.short_body()), answer(200, b"mine"))
    async with kit.mounted(resilience) as client:
        first, *rest = await crowd(kit, resilience, gate, *[getting(client, peer / "x")] * 3)
    assert isinstance(first, kit.errors.short_body)
    assert [one.body for one in rest] == [b"mine"] * 2


# -- cancellation ------------------------------------------------------------------------------------------------------


@ASYNC_ONLY
@pytest.mark.parametrize("began", [False, True], ids=["before its headers", "in its body"])
async def test__leader_cancelled__one_of_the_others_leads(kit: Kit, peer: Peer, began: bool) -> None:
    gate, resilience, scope = threading.Event(), sharing(), anyio.CancelScope()
    first = steps.drip(b"some", b"rest", gate=gate) if began else held(gate, answer(200, b"one"))
    peer.script(first, answer(200, b"second"))
    async with kit.mounted(resilience) as client:

        async def leads() -> Any:
            with scope:
                await client.get(peer / "x")

        async def follows() -> Any:
            await kit.until(lambda: peer.count > 0)
            return await client.get(peer / "x")

        async def cancels() -> None:
            await kit.until(lambda: waiting(resilience) == 2)
            await kit.sleep(0.05)
            scope.cancel()

        _, *rest, _ = await kit.together(leads, follows, follows, cancels)
        gate.set()
    assert [one.body for one in rest] == [b"second"] * 2
    assert peer.count == 2
    (host,) = resilience.snapshots()
    assert (host.in_flight, host.failures) == (0, 0)


@ASYNC_ONLY
async def test__follower_cancelled__nobody_notices(kit: Kit, peer: Peer) -> None:
    gate, resilience, scope = threading.Event(), sharing(), anyio.CancelScope()
    peer.script(held(gate, answer(200, b"shared")))
    async with kit.mounted(resilience) as client:

        async def goes() -> Any:
            await kit.until(lambda: peer.count == 1)
            with scope:
                await client.get(peer / "x")

        async def follows() -> Any:
            await kit.until(lambda: peer.count == 1)
            return await client.get(peer / "x")

        async def cancels() -> None:
            await kit.until(lambda: waiting(resilience) == 2)
            scope.cancel()
            await opening(kit, gate, lambda: waiting(resilience) == 1)

        first, _, second, _ = await kit.together(getting(client, peer / "x"), goes, follows, cancels)
    assert (first.body, second.body, peer.count) == (b"shared", b"shared", 1)
