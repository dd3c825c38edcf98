"""Streams over real sockets: errors inside a 200, silence and broken connections, before and after the first content.

Whatever is not repeated reaches the caller as the bare client would have given it.
"""

from __future__ import annotations

import gc
import gzip
import threading
import time
from typing import Any

import anyio
import pytest

import seawall
from seawall import Ending, ErrorKind, FallbackProvider, HostSnapshot, Report, Resilience, Timeouts, Verdict
from tests.contract.clients import ASYNC_ONLY, Client, Kit, Stream
from tests.contract.peer import Peer
from tests.contract.settings import only, retrying, tripping
from tests.contract.steps import Step, answer
from tests.streams.scripts import (
    DONE,
    EOF,
    GOOD,
    HANG,
    HELLO,
    NDJSON,
    OVERLOADED,
    PING,
    RESET,
    SERVER_ERROR,
    START,
    Piece,
    inspecting,
    stream,
)

MARGIN = 1.5
"""Seconds a busy machine may be late."""
BODY = b"".join(GOOD)
MANY = bytes(range(256)) * 4


def look(resilience: Resilience) -> HostSnapshot:
    (snapshot,) = resilience.snapshots()
    return snapshot


def figures(resilience: Resilience) -> tuple[int, int, int]:
    """Permits out, successes, failures."""
    seen = look(resilience)
    return seen.in_flight, seen.successes, seen.failures


def told(x: object) -> Report:
    report = seawall.report(x)
    assert report is not None
    return report


async def read(
    client: Client, url: str, method: str = "GET", **options: Any
) -> tuple[bytes, type[Exception] | None, Any]:
    """The whole body of a streamed call, what ended it, and what tells its story."""
    got = b""
    async with await client.stream(method, url, **options) as response:
        try:
            async for piece in response.chunks(512):
                got += piece
        except Exception as error:
            return got, type(error), error
        return got, None, response.raw


async def read_up_to(response: Stream, end: bytes) -> bytes:
    """The body until this came, as an SDK reads it."""
    got, pieces = b"", response.chunks(1024)
    while end not in got:
        got += await anext(pieces)
    await pieces.aclose()  # type: ignore[attr-defined]
    return got


BEFORE: dict[str, Step] = {
    "error event": stream(START, OVERLOADED),
    "error event, then silence": stream(START, SERVER_ERROR, HANG),
    "error event, byte by byte": stream(*(bytes([byte]) for byte in PING + OVERLOADED)),
    "error event in one piece with content": stream(HELLO + SERVER_ERROR),
    "error event, packed": stream(gzip.compress(START + OVERLOADED), encoding="gzip"),
    "error line": stream(b'{"error": {"code": 503}}\n', kind=NDJSON),
    "reset": stream(START, RESET),
    "end of the connection": stream(PING, EOF),
    "end of the stream": stream(START, PING),
    "silence": stream(START, HANG),
}


@pytest.mark.parametrize("name", BEFORE)
async def test__failed_before_its_first_content__is_repeated(kit: Kit, peer: Peer, name: str) -> None:
    peer.script(BEFORE[name], stream(*GOOD))
    resilience = inspecting(timeouts=Timeouts(first_content=0.4))
    async with kit.mounted(resilience) as client:
        started = time.monotonic()
        got, error, raw = await read(client, peer / "x")
    assert (got, error, peer.count) == (BODY, None, 2)
    assert time.monotonic() - started < 0.4 + MARGIN
    first, second = told(raw).attempts
    assert (first.status, first.verdict, second.verdict) == (200, Verdict.FAILURE, Verdict.SUCCESS)
    assert figures(resilience) == (0, 1, 1)


@pytest.mark.parametrize("name", BEFORE)
async def test__failed_before_its_first_content__another_provider_answers(kit: Kit, peer: Peer, name: str) -> None:
    peer.script(BEFORE[name])
    with Peer() as other:
        other.script(stream(*GOOD))
        degrade = [FallbackProvider(other.url, methods={"POST"})]
        resilience = inspecting(timeouts=Timeouts(first_content=0.4), degrade=degrade)
        async with kit.mounted(resilience) as client:
            got, error, raw = await read(client, peer / "x", "POST", content=b"once")
    assert (got, error, peer.count, other.count) == (BODY, None, 1, 1)
    assert told(raw).served_from == "fallback"
    assert resilience.snapshot(peer.url).in_flight == 0


@pytest.mark.parametrize("name", BEFORE)
async def test__post__is_not_repeated_and_gets_what_the_bare_client_would(kit: Kit, peer: Peer, name: str) -> None:
    peer.script(BEFORE[name])
    resilience = inspecting(timeouts=Timeouts(first_content=0.3, idle=0.3))
    async with kit.mounted(resilience) as client:
        got, error, raw = await read(client, peer / "x", "POST", content=b"once")
    assert peer.count == 1
    assert told(raw).attempts[0].verdict is Verdict.FAILURE
    assert figures(resilience) == (0, 0, 1)
    if name.startswith("silence"):
        assert (got, error is not None and issubclass(error, seawall.DeadlineExceeded)) == (START, True)
        return
    if "then silence" in name:
        assert got == START + SERVER_ERROR
        assert error is not None
        return
    async with kit.bare() as bare:
        assert (got, error) == (await read(bare, peer / "x", "POST", content=b"once"))[:2]


def halves(body: bytes) -> tuple[Piece, ...]:
    """The body in two pieces, the second a moment later."""
    return body[: len(body) // 2], 0.05, body[len(body) // 2 :]


AFTER: dict[str, tuple[Step, ErrorKind]] = {
    "error event": (stream(START, HELLO, 0.05, OVERLOADED, DONE), ErrorKind.SERVICE_UNAVAILABLE),
    "error event in two pieces": (
        stream(HELLO, SERVER_ERROR[:20], 0.05, SERVER_ERROR[20:]),
        ErrorKind.INTERNAL_SERVER_ERROR,
    ),
    "error event, packed": (
        stream(*halves(gzip.compress(HELLO + MANY.hex().encode() * 20 + b"\n\n" + OVERLOADED)), encoding="gzip"),
        ErrorKind.SERVICE_UNAVAILABLE,
    ),
    "error line": (
        stream(b'{"a": 1}\n', 0.05, b'{"error": "overloaded"}\n', kind=NDJSON),
        ErrorKind.SERVICE_UNAVAILABLE,
    ),
}


@pytest.mark.parametrize("name", AFTER)
async def test__error_after_content__same_bytes_and_the_hosts_failure(kit: Kit, peer: Peer, name: str) -> None:
    step, kind = AFTER[name]
    peer.script(step)
    resilience = inspecting(breaker=tripping(failure_threshold=1))
    async with kit.mounted(resilience) as client:
        got, error, raw = await read(client, peer / "x")
        with pytest.raises(seawall.CircuitOpen):
            await client.get(peer / "x")
    (attempt,) = told(raw).attempts
    assert (attempt.status, attempt.kind, attempt.verdict) == (200, kind, Verdict.FAILURE)
    assert told(raw).ending is Ending.BODY_BROKE
    assert (peer.count, figures(resilience)) == (1, (0, 0, 1))
    async with kit.bare() as bare:
        assert (got, error) == (await read(bare, peer / "x"))[:2]


async def test__error_after_content__left_there__is_the_hosts_failure_too(kit: Kit, peer: Peer) -> None:
    peer.script(stream(HELLO, 0.05, OVERLOADED, HANG))
    resilience = inspecting()
    async with kit.mounted(resilience) as client:
        async with await client.stream("GET", peer / "x") as response:
            await read_up_to(response, OVERLOADED)
    assert figures(resilience) == (0, 0, 1)


@pytest.mark.parametrize("cut", [RESET, EOF], ids=["reset", "end"])
async def test__broken_after_content__librarys_error_and_the_hosts_failure(kit: Kit, peer: Peer, cut: Piece) -> None:
    peer.script(stream(START, HELLO, 0.05, cut))
    resilience = inspecting()
    async with kit.mounted(resilience) as client:
        got, error, raised = await read(client, peer / "x")
    assert (got, peer.count, figures(resilience)) == (START + HELLO, 1, (0, 0, 1))
    assert told(raised).ending is Ending.BODY_BROKE
    async with kit.bare() as bare:
        assert error is (await read(bare, peer / "x"))[1]


async def ends_by(scope: str, kit: Kit, peer: Peer, resilience: Resilience) -> bytes:
    """The stream is cut by that clock while it is read; what came of it until then."""
    async with kit.mounted(resilience, timeout=30) as client:
        started = time.monotonic()
        got, _, error = await read(client, peer / "x")
    assert isinstance(error, seawall.DeadlineExceeded), error
    assert isinstance(error, kit.errors.timeout)
    assert error.scope == scope
    assert time.monotonic() - started < (error.duration or 0) * peer.count + 0.3 + MARGIN
    return got


@pytest.mark.parametrize("inspect", [True, False], ids=["inspected", "plain"])
async def test__stall_before_the_first_content__first_content_rings(kit: Kit, peer: Peer, inspect: bool) -> None:
    peer.script(stream(HANG))
    resilience = only(inspect_streams=inspect, timeouts=Timeouts(first_content=0.3, idle=5))
    assert await ends_by("first_content", kit, peer, resilience) == b""
    assert figures(resilience) == (0, 0, 1)


async def test__nothing_but_pings__is_a_stall_if_inspected(kit: Kit, peer: Peer) -> None:
    pieces: list[Piece] = [PING, 0.04] * 60
    peer.script(stream(*pieces))
    resilience = inspecting(timeouts=Timeouts(first_content=0.3, idle=5), retry=retrying(max_retries=1))
    assert (await ends_by("first_content", kit, peer, resilience)).startswith(PING)
    assert (peer.count, figures(resilience)) == (2, (0, 0, 2))


async def test__stall_in_the_middle__idle_rings(kit: Kit, peer: Peer) -> None:
    peer.script(stream(START, HELLO, HANG))
    resilience = inspecting(timeouts=Timeouts(first_content=5, idle=0.3))
    assert await ends_by("idle", kit, peer, resilience) == START + HELLO
    assert (peer.count, figures(resilience)) == (1, (0, 0, 1))


async def test__stream_clock__bounds_the_body_and_blames_nobody(kit: Kit, peer: Peer) -> None:
    peer.script(stream(*[HELLO, 0.04] * 60))
    resilience = inspecting(timeouts=Timeouts(stream=0.3, idle=5))
    assert (await ends_by("stream", kit, peer, resilience)).startswith(HELLO)
    assert (peer.count, figures(resilience)) == (1, (0, 0, 0))


async def test__first_content__is_not_late_while_nobody_reads(kit: Kit, peer: Peer) -> None:
    peer.script(stream(START, HELLO, DONE))
    resilience = inspecting(timeouts=Timeouts(first_content=0.3))
    async with kit.mounted(resilience) as client:
        async with await client.stream("GET", peer / "x") as response:
            await kit.sleep(0.4)
            assert await response.read() == START + HELLO + DONE
    assert figures(resilience) == (0, 1, 0)


async def test__after_content__pieces_reach_the_caller_as_they_come(kit: Kit, peer: Peer) -> None:
    gates = [threading.Event() for _ in range(2)]
    peer.script(stream(START, HELLO, gates[0], HELLO, gates[1], DONE))
    async with kit.mounted(inspecting()) as client:
        async with await client.stream("GET", peer / "x") as response:
            pieces, got, opened = response.chunks(4096), b"", 0
            async for piece in pieces:
                got += piece
                if got.count(HELLO) > opened and opened < len(gates):  # the server sends no more until this came
                    gates[opened].set()
                    opened += 1
    assert got == START + HELLO + HELLO + DONE


async def test__64_kib_without_content__are_handed_over_while_the_stream_goes_on(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    noise = b":" + b"." * 8190 + b"\n"
    peer.script(stream(*[noise] * 9, gate, DONE))
    async with kit.mounted(inspecting()) as client:
        async with await client.stream("GET", peer / "x") as response:
            gate.set()
            assert await response.read() == noise * 9 + DONE
    assert peer.count == 1


@pytest.mark.parametrize("size", [None, 1, 7, 512, 100_000], ids=str)
async def test__held_stream__has_the_same_bytes_however_it_is_read(kit: Kit, peer: Peer, size: int | None) -> None:
    rest = 2000 if size is None or size > 10 else 20
    for step in (
        stream(*GOOD, HELLO * rest, DONE),
        stream(gzip.compress(START), gzip.compress(HELLO) * 3, encoding="gzip"),
        stream(gzip.compress(BODY + HELLO * rest), encoding="gzip"),
        stream(MANY, b"\n" + MANY, kind=NDJSON),
        answer(200, BODY + HELLO * rest, [("Content-Type", "text/event-stream")]),
        answer(200, BODY, [("Content-Type", "text/event-stream"), ("Content-Encoding", "br")]),
    ):
        peer.script(step)
        seen: list[Any] = []
        for client in (kit.bare(), kit.mounted(inspecting())):
            async with client:
                async with await client.stream("GET", peer / "x") as response:
                    try:
                        seen.append(b"".join([piece async for piece in response.chunks(size)]))
                    except Exception as error:
                        seen.append(type(error))
        assert seen[0] == seen[1]


async def test__not_streamed_by_the_caller__is_held_and_repeated_all_the_same(kit: Kit, peer: Peer) -> None:
    peer.script(stream(START, OVERLOADED), stream(*GOOD))
    resilience = inspecting()
    async with kit.mounted(resilience, pool=1) as client:
        for _ in range(2):
            assert (await client.get(peer / "x")).body == BODY
    assert (peer.count, figures(resilience)) == (3, (0, 2, 1))


async def test__closed_after_done__is_a_success(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    peer.script(stream(START, HELLO, DONE, gate))
    resilience = inspecting(breaker=tripping(failure_threshold=1))
    async with kit.mounted(resilience) as client:
        async with await client.stream("GET", peer / "x") as response:
            got = await read_up_to(response, DONE)
    gate.set()
    assert (got, figures(resilience)) == (START + HELLO + DONE, (0, 1, 0))


async def test__left_before_anything_was_read__is_a_success(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    peer.script(stream(START, HELLO, gate))
    resilience = inspecting(breaker=tripping(failure_threshold=1))
    async with kit.mounted(resilience, pool=1) as client:
        async with await client.stream("GET", peer / "x"):
            assert figures(resilience) == (1, 0, 0)
        assert figures(resilience) == (0, 1, 0)
        gate.set()
        peer.script(answer(200, b"next"))
        assert (await client.get(peer / "y")).body == b"next"


async def test__other_answers__are_not_held(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    peer.script(stream(OVERLOADED, gate, OVERLOADED, kind="text/plain"))
    async with kit.mounted(inspecting()) as client:
        async with await client.stream("GET", peer / "x") as response:
            gate.set()
            assert await response.read() == OVERLOADED * 2
    assert peer.count == 1


async def test__mocked_stream__is_inspected(kit: Kit) -> None:
    from tests.contract.fakes import Reply

    bodies = [OVERLOADED, BODY]
    fake = kit.fake(lambda asked: Reply(200, bodies.pop(0), [("Content-Type", "text/event-stream")]))
    async with kit.mounted(inspecting(), fake=fake) as client:
        assert (await client.get("http://a.test/x")).body == BODY
    assert len(fake.asked) == 2


@ASYNC_ONLY
async def test__cancelled_while_held__everything_comes_back_and_nobody_is_blamed(kit: Kit, peer: Peer) -> None:
    peer.script(stream(START, HANG))
    resilience = inspecting(breaker=tripping(failure_threshold=1))
    async with kit.mounted(resilience, pool=1) as client:
        with anyio.move_on_after(0.2) as scope:
            await client.stream("GET", peer / "x")
        assert scope.cancelled_caught
        assert figures(resilience) == (0, 0, 0)
        peer.script(answer(200, b"next"))
        assert (await client.get(peer / "y")).body == b"next"


async def test__deadline__passes_while_held__is_raised_to_who_reads(kit: Kit, peer: Peer) -> None:
    peer.script(stream(START, HANG))
    resilience = inspecting()
    async with kit.mounted(resilience) as client:
        with seawall.deadline(0.3):
            got, _, error = await read(client, peer / "x")
    assert isinstance(error, seawall.DeadlineExceeded)
    assert (got, error.scope, peer.count) == (START, "total", 1)
    assert told(error).ending is Ending.BODY_BROKE
    assert figures(resilience) == (0, 0, 0)


async def test__dropped_unclosed__everything_of_ours_comes_back_with_a_warning(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    peer.script(stream(START, HELLO, gate))
    for inspect in (False, True):
        resilience = inspecting(inspect_streams=inspect, breaker=tripping(failure_threshold=1))
        async with kit.mounted(resilience) as client:
            response = await client.stream("GET", peer / "x")
            assert figures(resilience) == (1, 0, 0)
            del response
            gc.collect()
            with pytest.warns(ResourceWarning, match="1 answer dropped"):
                assert figures(resilience) == (0, 0, 0)
    gate.set()
