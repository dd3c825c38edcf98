"""HTTP/2: requests share a connection, so no read of it may be cut short; async calls end in time by cancel scopes."""

from __future__ import annotations

import time
from functools import partial
from importlib import import_module
from typing import Any

import h2.connection
import httpx
import pytest

import seawall
from tests.contract.clients import KITS, Kit
from tests.contract.settings import only
from tests.deadlines.machine import OVERSHOOT, Machine
from tests.httpx.test_http2 import good, served

ASYNC = [kit for kit in KITS if kit.is_async]
SYNC = [kit for kit in KITS if not kit.is_async and kit.name != "requests"]


def mute(connection: h2.connection.H2Connection, stream: int) -> bool:
    return True


def only_headers(connection: h2.connection.H2Connection, stream: int) -> bool:
    connection.send_headers(stream, [(":status", "200")])
    return True


def mounted(kit: Kit, **parts: Any) -> Any:
    made = kit.library.AsyncClient if kit.is_async else kit.library.Client
    return kit.mount_module.mount(made(http1=False, http2=True, timeout=30), only(**parts))


async def get(client: Any, url: str, deadline: float | None) -> Any:
    with seawall.deadline(deadline):
        try:
            got = client.get(url)
            return await got if hasattr(got, "__await__") else got
        except Exception as error:
            return error


@pytest.mark.parametrize("kit", ASYNC, ids=repr)
@pytest.mark.parametrize("act", [mute, only_headers], ids=["no headers", "no body"])
async def test__async__silent_stream__ends_in_time_and_is_exact(kit: Kit, machine: Machine, act: Any) -> None:
    with served(act) as (url, _):
        async with mounted(kit) as client:
            started = time.monotonic()
            error = await get(client, url, 0.2)
            ended = time.monotonic()
    assert isinstance(error, seawall.DeadlineExceeded)
    assert error.scope == "total"
    assert -0.02 <= ended - started - 0.2 <= OVERSHOOT + machine.late(started, ended)
    report = seawall.report(error)
    assert report is not None
    assert report.deadline_precision == "exact"


@pytest.mark.parametrize("kit", ASYNC, ids=repr)
async def test__async__one_late_stream__does_not_end_the_others_on_its_connection(kit: Kit) -> None:
    def later(connection: h2.connection.H2Connection, stream: int) -> bool:
        if stream == 7:  # the last request is what wakes the server: then it answers the patient one
            good(connection, 5)
            return good(connection, stream)
        return True

    with served(good, later) as (url, seen):
        async with mounted(kit) as client:
            await get(client, url, None)

            async def after(pause: float, deadline: float) -> Any:
                await kit.sleep(pause)
                return await get(client, url, deadline)

            # The late one begins, so that it is the one that reads for both.
            late, patient, third = await kit.together(
                partial(after, 0, 0.2), partial(after, 0.05, 5), partial(after, 0.4, 5)
            )
    assert isinstance(late, seawall.DeadlineExceeded)
    assert (patient.status_code, third.status_code) == (200, 200)
    assert len(seen) == 4


@pytest.mark.parametrize("kit", ASYNC, ids=repr)
async def test__async__reads_are_given_the_clients_own_limit(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    # What times out in the library's read breaks the connection for everybody who shares it.
    core = "httpcore" if kit.library is httpx else "httpcore2"
    kind = "anyio.AnyIOStream" if kit.backend == "asyncio" else "trio.TrioStream"
    limits: list[float | None] = []
    module, name = f"{core}._backends.{kind}".rsplit(".", 1)
    stream = getattr(import_module(module), name)
    read = stream.read

    async def reading(self: Any, max_bytes: int, timeout: float | None = None) -> bytes:
        limits.append(timeout)
        data: bytes = await read(self, max_bytes, timeout)
        return data

    monkeypatch.setattr(stream, "read", reading)
    with served(good) as (url, _):
        async with mounted(kit) as client:
            assert (await get(client, url, 5)).status_code == 200
    assert limits
    assert set(limits) == {30}


@pytest.mark.parametrize("kit", SYNC, ids=repr)
async def test__sync__is_per_phase_and_says_so(kit: Kit) -> None:
    with served(mute) as (url, _), mounted(kit) as client:
        started = time.monotonic()
        error = await get(client, url, 0.2)
        assert time.monotonic() - started < 2
    assert isinstance(error, seawall.DeadlineExceeded)
    report = seawall.report(error)
    assert report is not None
    assert report.deadline_precision == "phase"
