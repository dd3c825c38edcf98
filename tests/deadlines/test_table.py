"""A hard deadline ends every call in time, whatever is late, and leaves client and host as they were."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import pytest

import seawall
from tests.contract.clients import KITS, Client, Kit
from tests.contract.settings import only
from tests.deadlines.machine import OVERSHOOT, Machine
from tests.deadlines.rows import ROWS, Row, Scene, is_requests

DEADLINE = 0.15

CASES = [pytest.param(kit, row, id=f"{kit.name}-{row.name}") for kit in KITS for row in ROWS if row.kits(kit)]


@pytest.mark.parametrize(("kit", "row"), CASES)
async def test__whatever_is_late__the_call_ends_by_its_deadline(
    kit: Kit, row: Row, stack: ExitStack, machine: Machine
) -> None:
    resilience = only(**row.policy)
    scene = row.arrange(stack, kit)
    kit.mount_module.mount(scene.client.inner, resilience)
    async with scene.client as client:
        ends: list[tuple[float, float, Any]] = []

        async def call() -> None:
            started = time.monotonic()
            with seawall.deadline(DEADLINE):
                try:
                    result: Any = (await client.request(row.method, scene.url, **row.options)).raw
                except Exception as error:
                    result = error
            ends.append((started, time.monotonic(), result))

        for unforeseen in await kit.together(*[call] * row.together):
            assert unforeseen is None
        for started, ended, result in ends:
            check(row, kit, result)
            late = ended - started - DEADLINE
            assert late >= -0.02 or row.may_answer
            assert late <= OVERSHOOT + machine.late(started, ended)
        assert_intact(client)
        for host in resilience.snapshots():
            assert host.in_flight == 0
            assert row.failures is None or host.failures == row.failures
        await works_again(client, scene)


def check(row: Row, kit: Kit, result: Any) -> None:
    """The clock that rang is the deadline, and sockets held it."""
    report = seawall.report(result)
    if not row.may_answer or isinstance(result, Exception):
        assert isinstance(result, seawall.DeadlineExceeded), repr(result)
        assert isinstance(result, kit.errors.timeout)
        assert result.scope == "total"
    assert report is not None
    assert report.deadline_precision == "exact"


def assert_intact(client: Client) -> None:
    """No connection, and no place for one, is held by a call that is over."""
    if is_requests(client.kit):
        adapter = client.slot.inner
        for manager in (adapter.poolmanager, *adapter.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - it cannot be iterated
                pool = manager.pools.get(key)
                if pool is not None and pool.block:
                    assert pool.pool.qsize() == pool.pool.maxsize
        return
    transport = client.slot.inner
    for each in (transport, *(mounted.inner for mounted in client.inner._mounts.values() if mounted is not None)):
        pool = each._pool
        assert not pool._requests
        assert all(connection.is_idle() or connection.is_closed() for connection in pool.connections)


async def works_again(client: Client, scene: Scene) -> None:
    """The same client, the same server, in its right mind."""
    if scene.heal is not None:
        scene.heal()
        with seawall.deadline(5):
            assert (await client.get(scene.url)).body == b"well"
