"""Cancelled calls: nobody is blamed, every permit comes back, and the client's pool stays usable."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import httpcore
import httpcore2
import httpx
import httpx2
import pytest

from httpx_resilience import _backend, mount
from seawall import Bulkhead
from seawall.clocks import Watch
from tests.contract import steps
from tests.contract.peer import Peer
from tests.contract.settings import RECOVERS_IN, only, recovering, retrying, tripping
from tests.contract.steps import answer
from tests.drivers.quick import begin
from tests.httpx.suspending import NEAR, SLOW, Connection, Network

everywhere = pytest.mark.parametrize(
    ("library", "backend"),
    [(httpx, "asyncio"), (httpx, "trio"), (httpx2, "asyncio"), (httpx2, "trio")],
    ids=["httpx-asyncio", "httpx-trio", "httpx2-asyncio", "httpx2-trio"],
)
# The libraries leave generators of their own to the collector when they are cancelled under trio.
pytestmark = pytest.mark.filterwarnings(r"ignore:Async generator .http(x|core)2?\.:ResourceWarning")


def run(backend: str, scenario: Callable[[], Awaitable[None]]) -> None:
    anyio.run(scenario, backend=backend)


@everywhere
def test__cancelled_while_waiting_for_headers__ignored_and_permit_back(library: Any, backend: str, peer: Peer) -> None:
    async def scenario() -> None:
        resilience = only(breaker=tripping(failure_threshold=1), bulkhead=Bulkhead(max_concurrent=1))
        async with mount(library.AsyncClient(), resilience) as client:
            peer.script(steps.hang())
            with anyio.move_on_after(0.15) as scope:
                await client.get(peer / "x")
            assert scope.cancelled_caught
            peer.script(answer(200))
            assert (await client.get(peer / "x")).status_code == 200
        (snapshot,) = resilience.snapshots()
        assert (snapshot.state, snapshot.failures, snapshot.in_flight) == ("closed", 0, 0)

    run(backend, scenario)


@everywhere
def test__cancelled_in_the_body__is_no_failure_and_permit_back(library: Any, backend: str, peer: Peer) -> None:
    gate = threading.Event()

    async def scenario() -> None:
        resilience = only(breaker=tripping(failure_threshold=1))
        async with mount(library.AsyncClient(), resilience) as client:
            peer.script(steps.drip(b"first", b"rest", gate=gate))
            with anyio.move_on_after(0.15) as scope:
                await client.get(peer / "x")
            assert scope.cancelled_caught
        gate.set()
        (snapshot,) = resilience.snapshots()
        assert (snapshot.state, snapshot.failures, snapshot.in_flight) == ("closed", 0, 0)

    run(backend, scenario)


@everywhere
def test__cancelled_in_backoff__holds_nothing(library: Any, backend: str, peer: Peer) -> None:
    async def scenario() -> None:
        retry = retrying(base_delay=5, max_delay=5, jitter="none")
        resilience = only(retry=retry, bulkhead=Bulkhead(max_concurrent=1))
        async with mount(library.AsyncClient(), resilience) as client:
            peer.script(answer(503))
            with anyio.move_on_after(0.2) as scope:
                await client.get(peer / "x")
            assert scope.cancelled_caught
        assert resilience.snapshots()[0].in_flight == 0

    run(backend, scenario)


@everywhere
def test__cancelled_while_waiting_for_a_permit__the_next_waiter_gets_it(library: Any, backend: str, peer: Peer) -> None:
    gate = threading.Event()

    async def scenario() -> None:
        resilience = only(bulkhead=Bulkhead(max_concurrent=1, max_wait=8))
        ends: list[str] = []
        async with mount(library.AsyncClient(), resilience) as client, anyio.create_task_group() as tasks:

            async def hold() -> None:
                await client.get(peer / "held")
                ends.append("held")

            async def give_up() -> None:
                with anyio.move_on_after(0.2):
                    await client.get(peer / "given-up")
                ends.append("given up")

            async def wait() -> None:
                await client.get(peer / "waited")
                ends.append("waited")

            peer.script(steps.held(gate, answer(200)), answer(200))
            for depth, job in enumerate((hold, give_up, wait)):
                tasks.start_soon(job)
                while len(resilience) == 0 or resilience.snapshots()[0].in_flight + _depth(resilience) <= depth:
                    await anyio.sleep(0.005)
            await anyio.sleep(0.3)
            gate.set()
        assert ends == ["given up", "held", "waited"]
        assert [request.path for request in peer.requests] == ["/held", "/waited"]
        assert (resilience.snapshots()[0].in_flight, _depth(resilience)) == (0, 0)

    run(backend, scenario)


@everywhere
def test__cancelled_probe__gives_its_slot_back(library: Any, backend: str, peer: Peer) -> None:
    async def scenario() -> None:
        resilience = only(breaker=recovering())
        async with mount(library.AsyncClient(), resilience) as client:
            peer.script(answer(503))
            for _ in range(2):
                await client.get(peer / "x")
            await anyio.sleep(RECOVERS_IN)
            peer.script(steps.hang())
            with anyio.move_on_after(0.15):
                await client.get(peer / "x")
            peer.script(answer(200))
            assert (await client.get(peer / "x")).status_code == 200
        assert resilience.snapshots()[0].state == "closed"

    run(backend, scenario)


@everywhere
def test__one_resilience__serves_several_loops_and_threads(library: Any, backend: str, peer: Peer) -> None:
    resilience = only(bulkhead=Bulkhead(max_concurrent=2, max_wait=8))
    peer.script(steps.slow(0.02, answer(200)))
    answered: list[int] = []

    async def calls() -> None:
        async with mount(library.AsyncClient(), resilience) as client, anyio.create_task_group() as tasks:

            async def call() -> None:
                answered.append((await client.get(peer / "x")).status_code)

            for _ in range(5):
                tasks.start_soon(call)

    def plain() -> None:
        with mount(library.Client(), resilience) as client:
            answered.extend(client.get(peer / "x").status_code for _ in range(5))

    threads = [threading.Thread(target=partial(run, backend, calls)), threading.Thread(target=plain)]
    threads.append(threading.Thread(target=partial(run, "asyncio", calls)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert answered == [200] * 15
    assert (resilience.snapshots()[0].in_flight, _depth(resilience)) == (0, 0)


def _depth(resilience: Any) -> int:
    depth: int = resilience.snapshots()[0].queue_depth
    return depth


@everywhere
def test__two_addresses_that_connect_at_once__one_is_closed(
    library: Any, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        waiting: list[anyio.Event] = []

        class Slow(Network):
            async def connect_tcp(self, host: str, port: int, **options: Any) -> Connection:
                waiting.append(anyio.Event())
                await waiting[-1].wait()
                return Connection(self)

        core = {httpx: httpcore, httpx2: httpcore2}[library]
        inner = Slow(core)
        call = begin(only())
        call.limits = call.policy.limits(None, None)
        left = Watch(call, call.started).connect_within(5)
        connected: list[Any] = []
        async with anyio.create_task_group() as tasks:

            async def connect() -> None:
                connected.append(await _backend.AsyncBackend(inner, core, None)._first([NEAR, SLOW], 80, left, {}))

            tasks.start_soon(connect)
            while len(waiting) < 2:
                await anyio.sleep(0)
            for event in waiting:
                event.set()
        assert inner.open == connected

    monkeypatch.setattr(_backend, "STAGGER", 0)
    run(backend, scenario)
