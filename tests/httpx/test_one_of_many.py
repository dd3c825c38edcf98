"""One request for threads, asyncio and trio at once; and in a crowd that comes, is cancelled and goes, everybody is
answered, with what is theirs."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

import seawall
from httpx_resilience import mount
from seawall import Ending, Policy, Resilience, StaleResponse
from tests.contract.peer import Peer
from tests.contract.steps import Received, Step, answer, held, judged, slow

World = Callable[[Resilience, str, list[Any]], None]


def sharing() -> Resilience:
    return Resilience(Policy(retry=None, budget=None, breaker=None, degrade=[StaleResponse(coalesce=True)]))


def waiting(resilience: Resilience) -> int:
    return sum(len(state._sleepers or ()) for state in resilience._registry.everybody())


def until(condition: Callable[[], bool], limit: float = 10.0) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def in_thread(resilience: Resilience, url: str, got: list[Any]) -> None:
    with mount(httpx.Client(trust_env=False), resilience) as client:
        got.append(client.get(url))


def in_loop(backend: str) -> World:
    def world(resilience: Resilience, url: str, got: list[Any]) -> None:
        async def main() -> None:
            async with mount(httpx.AsyncClient(trust_env=False), resilience) as client:
                got.append(await client.get(url))

        anyio.run(main, backend=backend)

    return world


WORLDS = {"thread": in_thread, "asyncio": in_loop("asyncio"), "trio": in_loop("trio")}


def started(target: Callable[..., object], *args: Any) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("leader", WORLDS.values(), ids=WORLDS)
def test__threads_asyncio_and_trio__share_one_request(peer: Peer, leader: World) -> None:
    gate, resilience = threading.Event(), sharing()
    peer.script(held(gate, answer(200, b"shared")))
    got: list[Any] = []
    threads = [started(leader, resilience, peer / "x", got)]
    until(lambda: peer.count == 1)
    threads += [started(world, resilience, peer / "x", got) for world in (*WORLDS.values(), *WORLDS.values())]
    until(lambda: waiting(resilience) == 6)
    gate.set()
    for thread in threads:
        thread.join(10)
    assert [response.content for response in got] == [b"shared"] * 7
    assert peer.count == 1
    endings = Counter(report.ending for response in got if (report := seawall.report(response)) is not None)
    assert endings == {Ending.ANSWERED: 1, Ending.COLLAPSED: 6}


def test__leaders_loop_ends__one_of_the_others_leads(peer: Peer) -> None:
    gate, enough, resilience = threading.Event(), threading.Event(), sharing()
    peer.script(held(gate, answer(200, b"one")), answer(200, b"second"))

    async def leads() -> None:
        client = mount(httpx.AsyncClient(trust_env=False), resilience)
        async with client, anyio.create_task_group() as group:
            group.start_soon(client.get, peer / "x")
            await anyio.to_thread.run_sync(enough.wait)
            group.cancel_scope.cancel()

    got: list[Any] = []
    threads = [started(anyio.run, leads)]
    until(lambda: peer.count == 1)
    threads += [started(in_thread, resilience, peer / "x", got) for _ in range(2)]
    until(lambda: waiting(resilience) == 2)
    enough.set()
    for thread in threads:
        thread.join(10)
    gate.set()
    assert [response.content for response in got] == [b"second"] * 2
    assert peer.count == 2


def test__sync_call_in_the_leaders_loop__does_not_wait_for_what_it_blocks(peer: Peer) -> None:
    resilience = sharing()
    peer.script(slow(0.3, answer(200, b"one")), answer(200, b"two"))

    async def main() -> None:
        async with mount(httpx.AsyncClient(trust_env=False), resilience) as client, anyio.create_task_group() as group:
            group.start_soon(client.get, peer / "x")
            while peer.count == 0:
                await anyio.sleep(0.005)
            got: list[Any] = []
            began = time.monotonic()
            in_thread(resilience, peer / "x", got)  # stops this loop, and the leader in it
            assert time.monotonic() - began < 3
            assert got[0].content == b"two"

    anyio.run(main)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test__child_of_a_fork__follows_no_thread_of_its_parent(peer: Peer) -> None:
    gate, resilience = threading.Event(), sharing()
    peer.script(held(gate, answer(200, b"parents")), answer(200, b"childs"))
    got: list[Any] = []
    thread = started(in_thread, resilience, peer / "x", got)
    until(lambda: peer.count == 1)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        mine: list[Any] = []
        try:
            in_thread(resilience, peer / "x", mine)
        finally:
            os._exit(0 if mine and mine[0].content == b"childs" else 1)
    _, status = os.waitpid(child, 0)
    gate.set()
    thread.join(10)
    assert os.waitstatus_to_exitcode(status) == 0
    assert [response.content for response in got] == [b"parents"]


def told(request: Received) -> Step:
    """Who asked for what, slowly."""
    said = f"{request.header('authorization')} {request.target}".encode()
    return slow(0.005, answer(200, said, [("cache-control", "max-age=60")], chunks=3))


def test__a_crowd__everybody_gets_theirs_and_hardly_anybody_sends(peer: Peer) -> None:
    peer.script(judged(told))
    resilience, seeds = sharing(), range(4)
    ends: Counter[str] = Counter()
    wrong: list[Any] = []

    def check(response: Any, who: str, path: str) -> None:
        if response.content != f"{who} {path}".encode():
            wrong.append((who, path, response.content))
        report = seawall.report(response)
        ends["shared" if report is not None and report.ending is Ending.COLLAPSED else "sent"] += 1

    def threads(seed: int) -> None:
        chance = random.Random(seed)
        with mount(httpx.Client(trust_env=False), resilience) as client:
            for _ in range(60):
                who, path = chance.choice(["alice", "bob"]), chance.choice(["/x", "/y"])
                check(client.get(peer.url + path, headers={"authorization": who}), who, path)

    def tasks(seed: int) -> None:
        async def one(client: httpx.AsyncClient, chance: random.Random) -> None:
            for _ in range(20):
                who, path = chance.choice(["alice", "bob"]), chance.choice(["/x", "/y"])
                with anyio.move_on_after(chance.choice([0.003, 0.006, 10, 10])) as scope:
                    check(await client.get(peer.url + path, headers={"authorization": who}), who, path)
                ends["cancelled"] += scope.cancelled_caught

        async def main() -> None:
            async with mount(httpx.AsyncClient(trust_env=False), resilience) as client:
                async with anyio.create_task_group() as group:
                    for n in range(6):
                        group.start_soon(one, client, random.Random(100 * seed + n))

        anyio.run(main, backend=("asyncio", "trio")[seed % 2])

    crowd = [started(threads, seed) for seed in seeds] + [started(tasks, seed) for seed in seeds]
    for thread in crowd:
        thread.join(30)
        assert not thread.is_alive(), "somebody waits for ever"
    assert not wrong
    assert ends["shared"] > ends["sent"] / 4
    assert ends["cancelled"]
    assert sum(host.in_flight for host in resilience.snapshots()) == 0
