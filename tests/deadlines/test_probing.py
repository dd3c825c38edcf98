"""Private attributes are probed: without them a deadline holds per phase and says so, and nothing breaks.

And they are given back: after `unmount` everything is as it was.
"""

from __future__ import annotations

import socket
import time
from types import MappingProxyType, SimpleNamespace
from typing import Any

import anyio
import httpcore2
import pytest
import requests
import urllib3.connection

import requests_resilience
import seawall
from httpx_resilience._backend import AsyncBackend
from seawall import Policy, Resilience, Timeouts
from seawall.clocks import Watch
from seawall.policies.timeouts import Limits
from tests.contract import steps
from tests.contract.clients import ASYNC_ONLY, Client, Kit
from tests.contract.peer import BlackHole, Peer
from tests.contract.settings import only, retrying
from tests.contract.steps import answer
from tests.deadlines.machine import OVERSHOOT, Machine
from tests.deadlines.rows import HEADERS, dripping, is_httpx, is_requests
from tests.deadlines.test_sharing import resolving


def below(client: Client) -> Any:
    """The library's own transport or adapter, mounted or not."""
    slot = client.slot
    return getattr(slot, "inner", slot)


def private(client: Client) -> dict[str, Any]:
    """Every private attribute the mounts know of."""
    it = below(client)
    if is_requests(client.kit):
        managers = (it.poolmanager, *it.proxy_manager.values())
        found: dict[str, Any] = {f"classes {n}": each.pool_classes_by_scheme for n, each in enumerate(managers)}
        return found | {"hook": vars(it).get("proxy_manager_for")}
    found = {"backend": it._pool._network_backend}
    for number, connection in enumerate(it._pool.connections):
        inner = connection
        while inner is not None:
            found[f"stream {number}"] = getattr(inner, "_network_stream", None)
            found[f"backend {number} of {type(inner).__name__}"] = getattr(inner, "_network_backend", None)
            inner = getattr(inner, "_connection", None)
    return found


def same(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return before.keys() == after.keys() and all(before[name] is after[name] for name in before)


async def precision(client: Client, url: str, **options: Any) -> str:
    with seawall.deadline(5):
        got = await client.get(url, **options)
    report = seawall.report(got.raw)
    assert report is not None
    return report.deadline_precision


async def phase_or_scopes(client: Client, url: str) -> None:
    """Without sockets of ours a sync call is bounded per phase; an async one by cancel scopes."""
    assert await precision(client, url) == ("exact" if client.kit.is_async else "phase")


async def test__pool_without_a_network_backend__degrades_and_says_so(kit: Kit, peer: Peer) -> None:
    client = kit.bare(timeout=5)
    pool = below(client)
    if is_requests(kit):
        manager = pool.poolmanager
        manager.pool_classes_by_scheme = MappingProxyType(manager.pool_classes_by_scheme)  # nothing to be exchanged
    else:
        _rename(pool._pool, "_network_backend", "_backend_of_a_later_version")
    kit.mount_module.mount(client.inner, only())
    async with client:
        peer.script(answer(200))
        await phase_or_scopes(client, peer / "x")
        peer.script(steps.hang())
        started = time.monotonic()
        with seawall.deadline(0.15), pytest.raises(seawall.DeadlineExceeded) as caught:
            await client.get(peer / "x")
        assert time.monotonic() - started < 1.5
        assert caught.value.scope == "total"
        kit.mount_module.unmount(client.inner)
        peer.script(answer(200))
        assert (await client.get(peer / "x")).status == 200


def _rename(thing: Any, name: str, later: str) -> None:
    """An object as a later version might make it: the attribute under another name, for the library alone."""
    kind = type(thing)
    value = getattr(thing, name)
    create = kind.create_connection

    def create_connection(self: Any, origin: Any) -> Any:
        vars(self)[name] = value
        try:
            return create(self, origin)
        finally:
            del vars(self)[name]

    del vars(thing)[name]
    thing.__class__ = type(
        kind.__name__, (kind,), {"create_connection": create_connection, "__module__": kind.__module__}
    )
    setattr(thing, later, value)


async def test__connection_that_cannot_be_reached__is_left_alone(kit: Kit, peer: Peer) -> None:
    if is_requests(kit):
        return  # its idle connections are retired
    peer.script(answer(200))
    async with kit.bare(timeout=5) as client:
        await client.get(peer / "x")
        pool = below(client)._pool
        kind = type(pool)
        pool.__class__ = type(kind.__name__, (kind,), {"connections": (), "__module__": kind.__module__})
        kit.mount_module.mount(client.inner, only())
        assert await precision(client, peer / "x") == "phase"
        assert peer.connections == 1


async def test__hard_deadlines_off__touches_nothing(kit: Kit, peer: Peer) -> None:
    peer.script(answer(200))
    resilience = Resilience({"all://": Policy(timeouts=Timeouts(keep_alive=60))}, hard_deadlines=False)
    async with kit.bare(timeout=5) as client:
        await client.get(peer / "x")
        before = private(client)
        kit.mount_module.mount(client.inner, resilience)
        assert same(before, private(client))
        await phase_or_scopes(client, peer / "x")
        assert same(before, private(client))
        kit.mount_module.unmount(client.inner)
        assert same(before, private(client))


async def test__mount_unmount_and_again__with_an_idle_connection(kit: Kit, peer: Peer) -> None:
    peer.script(answer(200))
    async with kit.bare(timeout=5) as client:
        await client.get(peer / "x")
        before = private(client)
        for _ in range(2):
            kit.mount_module.mount(client.inner, only())
            assert not same(before, private(client))
            assert await precision(client, peer / "x") == "exact"
            kit.mount_module.mount(client.inner, only())  # again, on top
            assert await precision(client, peer / "x") == "exact"
            kit.mount_module.unmount(client.inner)
            after = private(client)
            assert same(before, after)
            assert (await client.get(peer / "x")).status == 200
    if is_httpx(kit):
        assert peer.connections == 1


async def test__mount_and_unmount__with_a_busy_connection(kit: Kit, peer: Peer) -> None:
    peer.script(steps.drip(b"first", b"." * 10, gap=0.01))
    async with kit.bare(timeout=5) as client:
        async with await client.stream("GET", peer / "x") as stream:
            kit.mount_module.mount(client.inner, only())
            assert await stream.read() == b"first.........."[:15]
        async with await client.stream("GET", peer / "x") as stream:
            kit.mount_module.unmount(client.inner)
            assert await stream.read() == b"first.........."[:15]
        assert (await client.get(peer / "x")).status == 200


async def test__two_mounts_on_one_transport__the_last_to_leave_gives_it_back(
    kit: Kit, peer: Peer, machine: Machine
) -> None:
    client = kit.bare(timeout=30)
    before, own = private(client), client.slot
    first, second = kit.wrap(own, only()), kit.wrap(own, only())
    first.detach()
    client.slot = second
    peer.script(dripping(HEADERS))
    async with client:
        started = time.monotonic()
        with seawall.deadline(0.15), pytest.raises(seawall.DeadlineExceeded) as caught:
            await client.get(peer / "x")
        ended = time.monotonic()
    assert ended - started - 0.15 <= OVERSHOOT + machine.late(started, ended)
    report = seawall.report(caught.value)
    assert report is not None
    assert report.deadline_precision == "exact"
    assert second.detach() is own
    assert second.detach() is own  # twice is once
    client.slot = own
    name = "backend" if is_httpx(kit) else "classes 0"
    assert private(client)[name] is before[name]


async def test__proxied_adapter__is_given_back_too(kit: Kit, peer: Peer) -> None:
    if not is_requests(kit):
        return  # httpx has a transport for each proxy, mounted like the others
    peer.script(answer(200))
    async with kit.bare(timeout=5, proxy=peer.url) as client:
        await client.get("http://behind.test/x")
        before = private(client)
        kit.mount_module.mount(client.inner, only())
        assert await precision(client, "http://behind.test/x") == "exact"
        kit.mount_module.unmount(client.inner)
        assert same(before, private(client))


async def test__foreign_transport__async_exact_by_scopes_sync_per_phase(kit: Kit, machine: Machine) -> None:
    class Foreign:
        async def handle_async_request(self, request: Any) -> Any:
            await kit.sleep(5)

        async def aclose(self) -> None:
            pass

    if kit.is_async:
        client = kit.bare(timeout=30)
        client.slot = kit.wrap(Foreign(), only())
        started = time.monotonic()
        with seawall.deadline(0.15), pytest.raises(seawall.DeadlineExceeded) as caught:
            await client.get("http://a.test/x")
        ended = time.monotonic()
        assert -0.02 <= ended - started - 0.15 <= OVERSHOOT + machine.late(started, ended)
        report = seawall.report(caught.value)
        assert report is not None
        assert report.deadline_precision == "exact"
        return
    async with kit.mounted(only(), fake=kit.fake()) as client:
        assert await precision(client, "http://a.test/x") == "phase"


class Opaque:
    """A connection that is no socket of Python's, as pyOpenSSL's are not: nobody sees what goes through it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, mode: str, *args: Any) -> Any:
        return self._sock.makefile(mode, *args)

    def sendall(self, data: bytes) -> None:
        self._sock.sendall(data)

    def settimeout(self, seconds: float | None) -> None:
        self._sock.settimeout(seconds)

    def close(self) -> None:
        self._sock.close()


def test__socket_that_is_not_ours__proves_nothing_and_a_post_is_not_sent_twice(peer: Peer) -> None:
    class Connection(urllib3.connection.HTTPConnection):
        def _new_conn(self) -> Any:
            return Opaque(socket.create_connection((self.host, self.port), 5))

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = Connection

    peer.script(steps.hang())
    with requests.Session() as session:
        session.trust_env = False
        session.adapters["http://"].poolmanager.pool_classes_by_scheme = {"http": Pool}  # type: ignore[attr-defined]
        requests_resilience.mount(session, only(retry=retrying(), timeouts=Timeouts(attempt=0.1)))
        with pytest.raises(seawall.DeadlineExceeded) as caught:
            session.post(peer / "x", data=b"pay")
    assert peer.count == 1
    report = seawall.report(caught.value)
    assert report is not None
    assert (len(report.attempts), report.deadline_precision) == (1, "phase")


class Link:
    """A stream of a scripted network."""

    def __init__(self) -> None:
        self.is_closed = False

    def get_extra_info(self, info: str) -> None:
        return None

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.is_closed = True


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test__cancelled_as_an_address_connects__its_connection_is_closed(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    links: list[Link] = []

    class Network:
        async def connect_tcp(self, host: str, port: int, **options: Any) -> Link:
            await anyio.lowlevel.checkpoint()
            outside.cancel()
            links.append(Link())
            return links[-1]

    async def two(*args: Any) -> list[str]:
        return ["10.0.0.1", "10.0.0.2"]

    async def main() -> None:
        nonlocal outside
        monkeypatch.setattr("httpx_resilience._backend.addresses_async", two)
        Network.__module__ = "httpcore2.scripted"
        network = AsyncBackend(Network(), httpcore2, None)
        call: Any = SimpleNamespace(
            limits=Limits(Timeouts(connect=5), None, None),
            deadline=None,
            state=SimpleNamespace(clock=SimpleNamespace(monotonic=time.monotonic)),
        )
        limit = Watch(call, time.monotonic()).connect_within(None)
        with anyio.CancelScope() as outside:
            await network.connect_tcp("two.test", 80, timeout=limit)
            raise AssertionError("it was cancelled")

    outside: Any = None
    anyio.run(main, backend=backend)
    assert links
    assert all(link.is_closed for link in links)


@ASYNC_ONLY
async def test__cancelled_while_several_addresses_are_tried__leaves_nothing_behind(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    with BlackHole() as hole:
        resolving(monkeypatch, "two.test", "127.0.0.1", "127.0.0.1")
        async with kit.mounted(only(timeouts=Timeouts(total=5))) as client:
            with anyio.move_on_after(0.3) as scope:
                await client.get(f"http://two.test:{hole.port}/x")
            assert scope.cancelled_caught
            assert not client.slot.inner._pool._requests
