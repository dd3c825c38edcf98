"""Each clock of `Timeouts`, against what it is there for: it ends the call in time and says its name."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import pytest

import seawall
from seawall import Policy, Resilience, Timeouts
from seawall.testing import VirtualClock
from tests.contract import steps
from tests.contract.clients import ASYNC_ONLY, Kit
from tests.contract.peer import Peer
from tests.contract.settings import only
from tests.contract.steps import Exchange, Step, answer
from tests.deadlines.machine import OVERSHOOT, Machine
from tests.deadlines.peers import GAP, Raw, hears_then, opens_then, silent
from tests.deadlines.rows import HEADERS, PATIENT, black_hole, client, dripping, dripping_body, is_httpx, tunnel

CLOCK = 0.12
EVENTS = [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")]


def comments(count: int, piece: bytes) -> Step:
    """An event stream: `count` pieces, then silence."""

    def play(exchange: Exchange) -> None:
        exchange.send(steps.head_of(200, EVENTS))
        for _ in range(count):
            exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            exchange.stopped.wait(GAP)
        exchange.wait(steps.LONGEST)
        exchange.keep = False

    return Step(play)


ENDLESS = 10_000
BODY = [("Content-Length", "1000000")]

# The clock, what else is set, what the server does, and what the host is blamed for.
CLOCKS: list[tuple[str, dict[str, float], Step, int]] = [
    ("attempt", {}, steps.hang(), 1),
    ("attempt", {}, dripping(HEADERS), 1),
    ("first_byte", {"attempt": 5}, steps.hang(), 1),
    ("first_byte", {"attempt": 5}, dripping(HEADERS), 1),
    ("first_content", {"idle": 5}, comments(0, b""), 1),
    ("idle", {}, dripping_body(BODY, b""), 1),
    ("idle", {}, comments(3, b": wait\n\n"), 1),
    ("stream", {"total": 5}, comments(ENDLESS, b": wait\n\n"), 0),
    ("stream", {"total": 5}, comments(0, b""), 0),
    ("total", {}, dripping_body(BODY, b"."), 0),
    ("total", {}, comments(ENDLESS, b": wait\n\n"), 0),
]


@pytest.mark.parametrize(
    ("clock", "beside", "step", "failures"),
    [pytest.param(*row, id=f"{row[0]}-{number}") for number, row in enumerate(CLOCKS)],
)
async def test__clock__ends_the_call_in_time_and_says_its_name(
    kit: Kit, peer: Peer, machine: Machine, clock: str, beside: dict[str, float], step: Step, failures: int
) -> None:
    peer.script(answer(200), step)
    clocks: Any = {"attempt": 5, "idle": None} | beside | {clock: CLOCK}
    if clock == "total":
        clocks["attempt"] = None
    resilience = only(timeouts=Timeouts(**clocks))
    async with kit.mounted(resilience, timeout=PATIENT) as mounted:
        await mounted.get(peer / "x")
        started = time.monotonic()
        with pytest.raises(seawall.DeadlineExceeded) as caught:
            await mounted.get(peer / "x")
        ended = time.monotonic()
    assert isinstance(caught.value, kit.errors.timeout)
    assert (caught.value.scope, caught.value.duration) == (clock, CLOCK)
    report = seawall.report(caught.value)
    assert report is not None
    assert report.deadline_precision == "exact"
    silence = 3 * GAP if clock == "idle" else 0
    assert -0.02 <= ended - started - CLOCK <= silence + OVERSHOOT + machine.late(started, ended)
    (host,) = resilience.snapshots()
    assert (host.failures, host.in_flight) == (failures, 0)


CONNECTING = {
    "black hole": black_hole,
    "silent proxy": tunnel(hears_then(silent)),
    "silent TLS behind a proxy": tunnel(opens_then(silent)),
}


@pytest.mark.parametrize("arrange", CONNECTING.values(), ids=CONNECTING)
async def test__connect__bounds_everything_up_to_a_usable_connection(
    kit: Kit, stack: ExitStack, machine: Machine, arrange: Any
) -> None:
    scene = arrange(stack, kit)
    resilience = only(timeouts=Timeouts(connect=CLOCK, first_byte=0.01))
    kit.mount_module.mount(scene.client.inner, resilience)
    async with scene.client as mounted:
        started = time.monotonic()
        with pytest.raises(seawall.DeadlineExceeded) as caught:
            await mounted.request("POST", scene.url, content=b"never sent")
        ended = time.monotonic()
    assert (caught.value.scope, caught.value.duration) == ("connect", CLOCK)
    assert -0.02 <= ended - started - CLOCK <= OVERSHOOT + machine.late(started, ended)
    (host,) = resilience.snapshots()
    assert host.failures == 1


async def test__first_byte__begins_after_the_proxys_answer(kit: Kit, stack: ExitStack) -> None:
    if is_httpx(kit):  # its proxies speak before the request, on the same connection
        slow = stack.enter_context(Raw(lambda sock, stopped: _slow_socks(sock, stopped)))
        made = client(kit, proxy=f"socks5://127.0.0.1:{slow.port}")
        kit.mount_module.mount(made.inner, only(timeouts=Timeouts(first_byte=0.2)))
        async with made as mounted:
            assert (await mounted.get("http://behind.test/x")).body == b"well"


def _slow_socks(sock: Any, stopped: Any) -> None:
    sock.recv(64)
    stopped.wait(0.15)
    sock.send(b"\x05\x00")
    sock.recv(512)
    stopped.wait(0.15)
    sock.send(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
    sock.recv(65536)
    stopped.wait(0.1)
    sock.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell")
    stopped.wait(1)


@ASYNC_ONLY
async def test__replaced_clock_that_stands_still__what_we_cut_off_is_still_ours_to_explain(kit: Kit) -> None:
    class Foreign:
        async def handle_async_request(self, request: Any) -> Any:
            await kit.sleep(5)

    resilience = Resilience({"all://": Policy(retry=None, timeouts=Timeouts(attempt=0.05))}, clock=VirtualClock())
    mounted = kit.bare(timeout=30)
    mounted.slot = kit.wrap(Foreign(), resilience)
    with pytest.raises(seawall.DeadlineExceeded) as caught:
        await mounted.get("http://a.test/x")
    assert caught.value.scope == "attempt"
