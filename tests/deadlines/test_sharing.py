"""Connections outlive calls and are shared by them: each obeys its own clocks, and the next one's."""

from __future__ import annotations

import gc
import socket
import threading
import time
import weakref
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from typing import Any
from unittest import mock

import httpx
import pytest

import seawall
from seawall import Timeouts
from tests.contract import steps
from tests.contract.clients import SYNC_ONLY, Client, Kit
from tests.contract.faults import FAULTS, Fault
from tests.contract.peer import Peer
from tests.contract.settings import only
from tests.contract.steps import answer
from tests.deadlines import rows
from tests.deadlines.machine import OVERSHOOT, Machine
from tests.deadlines.peers import Raw, silent
from tests.deadlines.rows import HEADERS, dripping, is_requests


async def timed(client: Client, url: str, deadline: float | None, **options: Any) -> tuple[float, float, Any]:
    """When it began and ended, and with what."""
    started = time.monotonic()
    with seawall.deadline(deadline):
        try:
            result: Any = await client.get(url, **options)
        except Exception as error:
            result = error
    return started, time.monotonic(), result


def in_time(machine: Machine, deadline: float, end: tuple[float, float, Any]) -> None:
    started, ended, result = end
    assert isinstance(result, seawall.DeadlineExceeded), repr(result)
    assert -0.02 <= ended - started - deadline <= OVERSHOOT + machine.late(started, ended)
    report = seawall.report(result)
    assert report is not None
    assert report.deadline_precision == "exact"


async def test__one_connection__calls_with_different_deadlines_each_end_by_their_own(
    kit: Kit, peer: Peer, machine: Machine
) -> None:
    peer.script(dripping(HEADERS))
    deadlines = (0.1, 0.2, 0.3)
    async with kit.mounted(only(), pool=1, timeout=30) as client:
        ends = await kit.together(*(partial(timed, client, peer / "x", seconds) for seconds in deadlines))
    for seconds, end in zip(deadlines, ends, strict=True):
        in_time(machine, seconds, end)


async def test__kept_connection__does_not_remember_the_deadline_of_the_call_that_opened_it(
    kit: Kit, peer: Peer
) -> None:
    peer.script(answer(200), steps.slow(0.25, answer(200, b"late")))
    async with kit.mounted(only(timeouts=Timeouts(attempt=None, idle=None)), timeout=None) as client:
        with seawall.deadline(0.2):
            await client.get(peer / "x")
        assert (await client.get(peer / "x")).body == b"late"
    assert peer.connections == 1


async def test__kept_connection__of_a_call_without_a_deadline_obeys_that_of_the_next(
    kit: Kit, peer: Peer, machine: Machine
) -> None:
    peer.script(answer(200), dripping(HEADERS))
    async with kit.mounted(only(), timeout=30) as client:
        await client.get(peer / "x")
        in_time(machine, 0.15, await timed(client, peer / "x", 0.15))
    assert peer.connections == 1


async def test__kept_connection__holds_nothing_of_the_call_before(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(only(timeouts=Timeouts(total=20))) as client:
        got = await client.request("POST", peer / "x", content=b"a large body")
        request = weakref.ref(got.raw.request)
        got.raw = None
        del got
        gc.collect()
        assert request() is None
        assert (await client.get(peer / "x")).status == 200
    assert peer.connections == 1


@SYNC_ONLY
async def test__body_read_in_another_thread__obeys_the_deadline_of_its_call(
    kit: Kit, peer: Peer, machine: Machine
) -> None:
    peer.script(steps.drip(b"first", b"." * 500, gap=0.02))
    ends: list[Any] = []

    def read(stream: Any) -> None:
        try:
            b"".join(stream.raw.iter_content(1) if is_requests(kit) else stream.raw.iter_bytes())
        except Exception as error:
            ends.append((started, time.monotonic(), error))

    async with kit.mounted(only(), timeout=30) as client:
        started = time.monotonic()
        with seawall.deadline(0.2):
            stream = await client.stream("GET", peer / "x")
        thread = threading.Thread(target=read, args=(stream,))
        thread.start()
        thread.join()
        await stream.close()
    in_time(machine, 0.2, ends[0])


@pytest.mark.parametrize("clock", ["total", "connect"])
async def test__waiting_for_a_connection__ends_by_the_clock_and_blames_nobody(
    kit: Kit, peer: Peer, machine: Machine, clock: Any
) -> None:
    peer.script(steps.drip(b"first", b"." * 50, gap=0.02))
    resilience = only(timeouts=Timeouts(connect=0.15) if clock == "connect" else Timeouts())
    async with kit.mounted(resilience, pool=1, timeout=30) as client:
        async with await client.stream("GET", peer / "x"):
            started, ended, error = await timed(client, peer / "x", 0.15 if clock == "total" else 20)
        assert isinstance(error, seawall.DeadlineExceeded)
        assert (error.scope, type(error.report)) == (clock, type(seawall.report(error)))
        in_time(machine, 0.15, (started, ended, error))
        (host,) = resilience.snapshots()
        assert (host.failures, host.in_flight) == (0, 0)
        peer.script(answer(200, b"well"))
        assert (await client.get(peer / "x")).body == b"well"


async def test__connection_assigned_to_a_call_that_stops_waiting__takes_up_no_place(kit: Kit, peer: Peer) -> None:
    if is_requests(kit):
        return  # its pool hands out connections, not places
    core = import_module("httpcore" if kit.library is httpx else "httpcore2")
    peer.script(answer(200, b"well"))
    async with kit.mounted(only(timeouts=Timeouts(total=5)), pool=1) as client:
        pool = client.slot.inner._pool
        create = pool.create_connection

        def late(origin: Any) -> Any:
            """Just now the call that it is for has given up."""
            pool.create_connection = create
            made = create(origin)
            handle = "handle_async_request" if kit.is_async else "handle_request"
            setattr(made, handle, _raises(core.PoolTimeout, is_async=kit.is_async))
            return made

        pool.create_connection = late
        with pytest.raises(kit.library.PoolTimeout):
            await client.get(peer / "x")
        assert (await client.get(peer / "x")).body == b"well"


def _raises(error: type[Exception], *, is_async: bool) -> Any:
    async def handle_async_request(request: Any) -> Any:
        raise error

    def handle_request(request: Any) -> Any:
        raise error

    return handle_async_request if is_async else handle_request


async def test__waiting_for_a_connection__is_not_cut_by_the_clients_connect_limit(kit: Kit, peer: Peer) -> None:
    # Bare, httpx waits as long as its pool limit says and requests for ever; both connect afterwards, in time.
    peer.script(steps.slow(0.3, answer(200)))
    async with kit.mounted(only(), pool=1, timeout=5) as client:
        client.timeout = (0.2, 5)

        async def call() -> int:
            with seawall.deadline(8):
                return (await client.get(peer / "x")).status

        assert await kit.together(call, call) == [200, 200]


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("fault", FAULTS, ids=repr)
async def test__far_deadline__every_error_is_the_librarys_own(kit: Kit, stack: ExitStack, fault: Fault) -> None:
    url, _ = fault.arrange(stack)
    async with kit.mounted(only(), **fault.client) as client:
        with seawall.deadline(60), pytest.raises(fault.error(kit)) as caught:
            await client.request(fault.method(), url, **fault.options)
    assert type(caught.value) is fault.error(kit)


def resolving(monkeypatch: pytest.MonkeyPatch, name: str, *found: str) -> None:
    """Let a name have these addresses."""
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host in (name, name.encode()):
            return [info for address in found for info in real(address, port, *args, **options)]
        return real(host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize("dead", ["127.0.0.9", "::1"], ids=["refused", "other family"])
async def test__name_with_a_dead_address__the_next_is_taken(
    kit: Kit, peer: Peer, monkeypatch: pytest.MonkeyPatch, dead: str
) -> None:
    resolving(monkeypatch, "two.test", dead, "127.0.0.1")
    async with kit.mounted(only()) as client:
        with seawall.deadline(5):
            assert (await client.get(f"http://two.test:{peer.port}/x")).status == 200


async def test__name_with_a_silent_address__leaves_time_for_the_next(
    kit: Kit, peer: Peer, monkeypatch: pytest.MonkeyPatch, stack: ExitStack
) -> None:
    resolving(monkeypatch, "two.test", "127.0.0.9", "127.0.0.1")
    hole = stack.enter_context(socket.socket())
    hole.bind(("127.0.0.9", peer.port))
    hole.listen(0)
    for _ in range(4):
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(hole.getsockname())
    async with kit.mounted(only()) as client:
        with seawall.deadline(0.8):
            assert (await client.get(f"http://two.test:{peer.port}/x")).status == 200


async def test__impossible_name__is_what_the_library_makes_of_it(kit: Kit) -> None:
    url = f"http://{'a' * 64}.test/x"
    ends: list[type[BaseException]] = []
    for client in (kit.bare(), kit.mounted(only(timeouts=Timeouts(total=5)))):
        async with client:
            with pytest.raises(Exception) as caught:
                await client.get(url)
        ends.append(type(caught.value))
    assert ends[0] is ends[1]


async def test__own_address_and_socket_options__are_kept(kit: Kit, peer: Peer) -> None:
    option = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    async with bound(kit, "127.0.0.7", [option]) as client:
        kit.mount_module.mount(client.inner, only(timeouts=Timeouts(total=5)))
        stream = await client.stream("GET", peer / "x")
        if is_requests(kit):
            sock = stream.raw.raw.connection.sock
        else:
            sock = stream.raw.extensions["network_stream"].get_extra_info("socket")
        assert sock.getsockname()[0] == "127.0.0.7"
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        await stream.close()


def bound(kit: Kit, address: str, options: list[Any]) -> Client:
    if is_requests(kit):
        adapter = kit.library.adapters.HTTPAdapter()
        adapter.init_poolmanager(1, 1, source_address=(address, 0), socket_options=options)
        return kit.bare(fake=adapter)
    kind = kit.library.AsyncHTTPTransport if kit.is_async else kit.library.HTTPTransport
    return kit.bare(fake=kind(local_address=address, socket_options=options))


async def test__librarys_own_connect_retries__pause_no_longer_than_there_is_time(
    kit: Kit, stack: ExitStack, machine: Machine
) -> None:
    if is_requests(kit):
        return  # urllib3's Retry sleeps by itself: docs/timeouts.md says so
    url, _ = next(fault for fault in FAULTS if fault.name == "refused").arrange(stack)
    with pytest.warns(RuntimeWarning, match="retries 4 times itself"):
        client = kit.mounted(only(), retries=4, timeout=30)
    async with client:
        in_time(machine, 0.2, await timed(client, url, 0.2))


@pytest.mark.filterwarnings("error::ResourceWarning")
async def test__no_time_left_for_a_handshake__leaves_no_socket_open(kit: Kit, stack: ExitStack) -> None:
    # The connection is made just in time; the library closes it only if the handshake is begun.
    peer = stack.enter_context(Raw(silent))
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        real(self, address)
        time.sleep(0.12)

    client = rows.client(kit, insecure=True)
    kit.mount_module.mount(client.inner, only())
    async with client:
        if not kit.is_async:
            stack.enter_context(mock.patch.object(socket.socket, "connect", connect))
        _, _, error = await timed(client, f"https://127.0.0.1:{peer.port}/x", 0.1)
    assert isinstance(error, seawall.DeadlineExceeded)
    error = None
    gc.collect()
