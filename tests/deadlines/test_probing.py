"""Private attributes are probed: without them a deadline holds per phase and says so, and nothing breaks.

And they are given back: after `unmount` everything is as it was.
"""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import Any

import pytest

import seawall
from seawall import Policy, Resilience, Timeouts
from tests.contract import steps
from tests.contract.clients import Client, Kit
from tests.contract.peer import Peer
from tests.contract.settings import only
from tests.contract.steps import answer
from tests.deadlines.machine import OVERSHOOT, Machine
from tests.deadlines.rows import HEADERS, dripping, is_httpx, is_requests


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
