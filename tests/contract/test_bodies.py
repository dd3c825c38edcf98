"""A body goes out again only if it can be read again: never a second time empty, never half."""

from __future__ import annotations

import gc
import io
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

import seawall
from seawall import AsyncReplayable, Replayable
from tests.contract import steps
from tests.contract.clients import SYNC_ONLY, Kit, settle
from tests.contract.peer import Peer
from tests.contract.settings import only, quick, retrying
from tests.contract.steps import Exchange, Received, Step, answer

CONTENT = b"0123456789" * 500


class OneWay(io.BytesIO):
    """A file that cannot be rewound."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: Any) -> int:
        raise io.UnsupportedOperation("seek")

    def tell(self) -> int:
        raise io.UnsupportedOperation("tell")


@dataclass(frozen=True)
class Kind:
    """A kind of body: the request's options, what must arrive, and for which libraries it can be sent again."""

    options: Callable[[Kit, ExitStack, Path], dict[str, Any]]
    holds: bytes
    replays_in_httpx: bool
    replays_in_requests: bool

    def replays(self, kit: Kit) -> bool:
        return self.replays_in_requests if kit.name == "requests" else self.replays_in_httpx


def _file(kit: Kit, stack: ExitStack, path: Path) -> dict[str, Any]:
    return {"content": kit.file(stack.enter_context(path.open("rb")))}


def replayable(kit: Kit, factory: Callable[[], Any], **options: Any) -> Any:
    """The body that is made anew, as the client takes it."""
    return (AsyncReplayable if kit.is_async else Replayable)(factory, **options)


def _made(kit: Kit, *_: object) -> dict[str, Any]:
    return {"content": replayable(kit, lambda: kit.source([CONTENT, b"end"]))}


def _file_elsewhere(_: Kit, stack: ExitStack, path: Path) -> dict[str, Any]:
    file = stack.enter_context(path.open("rb"))
    file.seek(100)
    return {"files": {"f": ("f.bin", file)}}


def _half_read(kit: Kit, stack: ExitStack, path: Path) -> dict[str, Any]:
    file = stack.enter_context(path.open("rb"))
    file.seek(4000)
    return {"content": kit.file(file), "headers": {"Content-Length": "1000"}}


def _multipart_file(_: Kit, stack: ExitStack, path: Path) -> dict[str, Any]:
    return {"files": {"f": ("f.bin", stack.enter_context(path.open("rb")))}}


KINDS = {
    "none": Kind(lambda *_: {}, b"", True, True),
    "bytes": Kind(lambda *_: {"content": CONTENT}, CONTENT, True, True),
    "json": Kind(lambda *_: {"json": {"a": 1}}, b"1", True, True),
    "form": Kind(lambda *_: {"data": {"a": "1"}}, b"a=1", True, True),
    "generator": Kind(lambda kit, *_: {"content": kit.source([CONTENT, b"end"])}, CONTENT + b"end", False, False),
    "file": Kind(_file, CONTENT, False, True),
    "file one way": Kind(lambda kit, *_: {"content": kit.file(OneWay(CONTENT))}, CONTENT, False, False),
    "file half read": Kind(_half_read, CONTENT[4000:], False, True),
    "made anew": Kind(_made, CONTENT + b"end", True, True),
    "multipart-file half read": Kind(_file_elsewhere, CONTENT[100:], True, True),
    "multipart-bytes": Kind(lambda *_: {"files": {"f": ("f.bin", CONTENT)}}, CONTENT, True, True),
    "multipart-file": Kind(_multipart_file, CONTENT, True, True),
    "multipart-one-way": Kind(lambda *_: {"files": {"f": ("f.bin", OneWay(CONTENT))}}, CONTENT, False, True),
}


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "upload.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize("name", KINDS)
async def test__put_answered_503__goes_out_again_whole_or_not_at_all(
    kit: Kit, peer: Peer, stack: ExitStack, stored: Path, name: str
) -> None:
    kind = KINDS[name]
    peer.script(answer(503, b"the real answer"), answer(200, b"stored"))
    async with kit.mounted(quick()) as client:
        got = await client.request("PUT", peer / "x", **kind.options(kit, stack, stored))
    if kind.replays(kit):
        assert (got.status, got.body, peer.count) == (200, b"stored", 2)
    else:
        assert (got.status, got.body, peer.count) == (503, b"the real answer", 1)
    assert kind.holds in peer.bodies[0]
    assert set(peer.bodies) == {peer.bodies[0]}


@pytest.mark.parametrize("name", KINDS)
async def test__put_reset__goes_out_again_whole_or_raises_the_real_error(
    kit: Kit, peer: Peer, stack: ExitStack, stored: Path, name: str
) -> None:
    kind = KINDS[name]
    peer.script(steps.reset(), answer(200, b"stored"))
    async with kit.mounted(quick()) as client:
        if kind.replays(kit):
            got = await client.request("PUT", peer / "x", **kind.options(kit, stack, stored))
            assert (got.status, peer.count) == (200, 2)
        else:
            with pytest.raises(kit.errors.reset):
                await client.request("PUT", peer / "x", **kind.options(kit, stack, stored))
            assert peer.count == 1
    assert kind.holds in peer.bodies[0]
    assert set(peer.bodies) == {peer.bodies[0]}


async def test__429_with_a_generator__is_not_repeated_whatever_the_server_asks(kit: Kit, peer: Peer) -> None:
    peer.script(answer(429, b"slow down", [("retry-after-ms", "10"), ("x-should-retry", "true")]), answer(200))
    async with kit.mounted(quick()) as client:
        got = await client.request("POST", peer / "x", content=kit.source([CONTENT]))
    assert (got.status, got.body, peer.bodies) == (429, b"slow down", [CONTENT])


async def test__key_with_a_generator__cannot_make_the_body_readable_again(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, b"no"), answer(200))
    async with kit.mounted(quick()) as client:
        headers = {"Idempotency-Key": "k"}
        got = await client.request("POST", peer / "x", content=kit.source([CONTENT]), headers=headers)
    assert (got.status, got.body, peer.bodies) == (503, b"no", [CONTENT])


ROOM = 100_000
ONCE = [name for name, kind in KINDS.items() if not (kind.replays_in_httpx and kind.replays_in_requests)]


def framing(request: Received) -> tuple[str | None, str | None]:
    return request.header("content-length"), request.header("transfer-encoding")


@pytest.mark.parametrize("name", ONCE)
async def test__remembered__goes_out_again_whole_and_framed_as_by_the_bare_client(
    kit: Kit, peer: Peer, stack: ExitStack, stored: Path, name: str
) -> None:
    kind = KINDS[name]
    async with kit.bare() as client:
        await client.request("PUT", peer / "x", **kind.options(kit, stack, stored))
    peer.script(answer(503), steps.reset(), answer(200, b"stored"))
    async with kit.mounted(quick(buffer_body=ROOM)) as client:
        got = await client.request("PUT", peer / "x", **kind.options(kit, stack, stored))
    assert (got.status, got.body, peer.count) == (200, b"stored", 4)
    assert {framing(request) for request in peer.requests} == {framing(peer.requests[0])}
    if not name.startswith("multipart"):  # whose boundary is drawn anew
        assert set(peer.bodies) == {kind.holds}
    assert len(set(peer.bodies[1:])) == 1
    assert kind.holds in peer.bodies[1]


@pytest.mark.parametrize("room", [0, len(CONTENT) + 2], ids=["off", "too little"])
async def test__longer_than_what_may_be_remembered__goes_out_once(kit: Kit, peer: Peer, room: int) -> None:
    peer.script(answer(503, b"the real answer"), answer(200))
    async with kit.mounted(quick(buffer_body=room)) as client:
        got = await client.request("PUT", peer / "x", content=kit.source([CONTENT, b"end"]))
    assert (got.status, got.body, peer.bodies) == (503, b"the real answer", [CONTENT + b"end"])


async def test__remembered__broken_off_half_way__goes_on_where_it_was_left(kit: Kit, peer: Peer) -> None:
    def play(exchange: Exchange) -> None:
        exchange.sock.recv(1000)
        exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        exchange.keep = False

    pieces = [b"%06d" % n * 20_000 for n in range(60)]
    left: list[int] = []

    def counted() -> Iterator[bytes]:
        for number, piece in enumerate(pieces):
            left.append(number)
            yield piece

    async def counted_later() -> AsyncIterator[bytes]:
        for piece in counted():
            yield piece

    peer.script(Step(play, early=True), answer(200))
    async with kit.mounted(quick(buffer_body=10_000_000)) as client:
        body = counted_later() if kit.is_async else counted()
        got = await client.request("PUT", peer / "x", content=body)
    assert (got.status, peer.bodies) == (200, [b"".join(pieces)])
    assert left == list(range(60))


async def test__remembered__is_forgotten_with_the_call(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(quick(buffer_body=ROOM)) as client:
        got = await client.request("PUT", peer / "x", content=kit.source([CONTENT]))
    upload = seawall.report(got.raw).upload  # type: ignore[union-attr]
    assert (upload._kept, upload._rest) == (None, None)


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # httpx leaves the user's to the collector
@pytest.mark.parametrize("room", [0, ROOM], ids=["off", "remembered"])
@pytest.mark.parametrize("held", [False, True], ids=["dropped", "held by its maker"])
async def test__generator_of_a_failed_call__is_closed_as_by_the_bare_client(
    kit: Kit, peer: Peer, room: int, held: bool
) -> None:
    peer.script(Step(lambda exchange: setattr(exchange, "keep", False), early=True))
    ends: list[list[str]] = []
    for make in (kit.bare, partial(kit.mounted, quick(buffer_body=room, max_retries=1))):
        ended: list[str] = []

        def body(ended: list[str] = ended) -> Iterator[bytes]:
            try:
                for _ in range(1000):
                    yield b"x" * 65536
            finally:
                ended.append("closed")

        async def body_later(ended: list[str] = ended) -> AsyncIterator[bytes]:
            try:
                for _ in range(1000):
                    yield b"x" * 65536
            finally:
                ended.append("closed")

        content = body_later() if kit.is_async else body()
        kept = content if held else None
        async with make() as client:
            with pytest.raises(kit.errors.base):
                await client.request("POST", peer / "x", content=content)
        content = None
        gc.collect()
        await kit.sleep(0)
        ends.append(list(ended))
        del kept
    assert ends[0] == ends[1]


@pytest.mark.parametrize("name", ["generator", "file", "made anew", "multipart-file"])
@pytest.mark.parametrize("room", [0, ROOM], ids=["off", "remembered"])
async def test__request__looks_untouched_to_hooks_and_afterwards(
    kit: Kit, peer: Peer, stack: ExitStack, stored: Path, name: str, room: int
) -> None:
    seen: list[Any] = []
    body = "body" if kit.library is requests else "stream"

    def when(_: object, request: Any) -> None:
        seen.append(getattr(request, body))

    peer.script(answer(503), answer(200))
    async with kit.mounted(quick(buffer_body=room, when=when)) as client:
        got = await client.request("PUT", peer / "x", **KINDS[name].options(kit, stack, stored))
    seen.append(getattr(got.raw.request, body))
    assert len({id(one) for one in seen}) == 1
    assert "Upload" not in type(seen[0]).__name__


@pytest.mark.parametrize("name", ["generator", "file", "made anew", "multipart-file"])
@pytest.mark.parametrize("room", [0, ROOM], ids=["off", "remembered"])
async def test__redirect_that_keeps_the_body__is_what_the_bare_client_makes_of_it(
    kit: Kit, peer: Peer, stack: ExitStack, stored: Path, name: str, room: int
) -> None:
    ends: list[Any] = []
    for make in (kit.bare, partial(kit.mounted, quick(buffer_body=room))):
        peer.forget()
        peer.script(steps.redirect("/there", 307), path="/here").script(answer(200), path="/there")
        options = KINDS[name].options(kit, stack, stored)
        if "files" in options and kit.library is not requests:
            options["headers"] = {"Content-Type": "multipart/form-data; boundary=b"}
        async with make(timeout=0.5) as client:
            try:
                got = await client.request("POST", peer / "here", follow=True, **options)
                ends.append((got.status, peer.bodies))
            except Exception as error:
                ends.append((type(error), str(error), peer.bodies))
    if name in ("made anew", "multipart-file"):
        assert ends[1][0] == 200
        assert len(ends[1][1]) == 2
        assert len(set(ends[1][1])) == 1
    if (kit.library, name) != (requests, "multipart-file"):  # whose boundary is drawn anew
        assert ends[0] == ends[1]


async def test__made_anew__everything_opened_for_it_is_closed(kit: Kit, peer: Peer, stored: Path) -> None:
    opened: list[Any] = []

    def open_it() -> Any:
        opened.append(stored.open("rb"))
        return opened[-1]

    async def read_it() -> AsyncIterator[bytes]:
        with open_it() as file:
            while piece := file.read(1000):
                yield piece

    peer.script(answer(503), steps.reset(), answer(200))
    async with kit.mounted(quick()) as client:
        got = await client.request("PUT", peer / "x", content=replayable(kit, read_it if kit.is_async else open_it))
        assert (got.status, peer.bodies) == (200, [CONTENT] * 3)
        assert [file.closed for file in opened] == [True] * 3


@pytest.mark.parametrize("length", [None, len(CONTENT)])
async def test__made_anew__length_is_told_if_known(kit: Kit, peer: Peer, length: int | None) -> None:
    peer.script(answer(503), answer(200))
    async with kit.mounted(quick()) as client:
        body = replayable(kit, lambda: kit.source([CONTENT]), length=length)
        assert (await client.request("PUT", peer / "x", content=body)).status == 200
    assert peer.bodies == [CONTENT] * 2
    assert {framing(request) for request in peer.requests} == {
        (None, "chunked") if length is None else (str(length), None)
    }


async def test__made_anew__without_us__is_a_body_like_any_other(kit: Kit, peer: Peer) -> None:
    async with kit.bare() as client:
        body = replayable(kit, lambda: kit.source([CONTENT]))
        assert (await client.request("PUT", peer / "x", content=body)).status == 200
    assert peer.bodies == [CONTENT]


async def test__made_anew__for_the_other_world__says_so(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(quick()) as client:
        other = Replayable(lambda: [b"x"]) if kit.is_async else AsyncReplayable(lambda: kit.source([]))
        with pytest.raises((RuntimeError, TypeError), match=r"sync request|AsyncReplayable"):
            await client.request("PUT", peer / "x", content=other)
    assert peer.count == 0


async def test__made_anew_but_shorter__is_broken_off_before_it_looks_whole(kit: Kit, peer: Peer) -> None:
    pieces = iter([CONTENT, b"end"])

    async def later() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    peer.script(answer(503), answer(200))
    async with kit.mounted(quick()) as client:
        body = replayable(kit, later if kit.is_async else lambda: iter(list(pieces)))
        with pytest.raises(ValueError, match=r"ended after 0 bytes, where an earlier attempt had got 5003"):
            await client.request("PUT", peer / "x", content=body)
    assert peer.bodies == [CONTENT + b"end"]


async def test__same_request_sent_by_many_at_once__each_body_is_whole(kit: Kit, peer: Peer) -> None:
    busy = iter([503] * 6)
    peer.script(steps.judged(lambda _: answer(next(busy, 200))))
    async with kit.mounted(only(retry=retrying(max_retries=8))) as client:
        body = replayable(kit, lambda: kit.source([CONTENT, b"end"]))
        if kit.library is requests:
            request = client.inner.prepare_request(requests.Request("PUT", peer / "x", data=body))
        else:
            request = client.inner.build_request("PUT", peer / "x", content=body)
        name = "body" if kit.library is requests else "stream"
        stood = getattr(request, name)

        async def job() -> int:
            return int((await settle(client.inner.send(request))).status_code)

        assert await kit.together(*[job] * 5) == [200] * 5
    assert set(peer.bodies) == {CONTENT + b"end"}
    assert getattr(request, name) is stood


def test__prepared_file_sent_a_second_time__every_attempt_sends_the_same(peer: Peer, stored: Path) -> None:
    import requests_resilience

    peer.script(answer(200), answer(503), answer(200))
    with requests_resilience.mount(requests.Session(), quick()) as session, stored.open("rb") as file:
        request = session.prepare_request(
            requests.Request("PUT", peer / "x", data=file, headers={"Transfer-Encoding": "chunked"})
        )
        del request.headers["Content-Length"]
        for _ in range(2):
            session.send(request)
    assert peer.bodies == [CONTENT, b"", b""]


class NoWayBack(io.BytesIO):
    """A file that says it can be rewound."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == 0 and offset < self.tell():
            raise OSError("no way back")
        return super().seek(offset, whence)


def test__file_that_cannot_go_back_after_all__the_first_answer_is_the_answer(peer: Peer) -> None:
    import requests_resilience

    peer.script(answer(503, b"the real answer"), answer(200))
    headers = {"Content-Length": str(len(CONTENT))}
    with requests_resilience.mount(requests.Session(), quick()) as session:
        request = requests.Request("PUT", peer / "x", headers=headers).prepare()
        request.body = NoWayBack(CONTENT)
        got = session.send(request)
    assert (got.status_code, got.content, peer.bodies) == (503, b"the real answer", [CONTENT])


@pytest.mark.parametrize("length", [3, 9], ids=["less than comes", "more than comes"])
async def test__replayable__of_another_length_than_said__is_the_callers_mistake(
    kit: Kit, peer: Peer, length: int
) -> None:
    kind: Any = seawall.AsyncReplayable if kit.is_async else seawall.Replayable
    async with kit.mounted(quick()) as client:
        began = time.monotonic()
        with pytest.raises(Exception, match="bytes"):
            await client.request("PUT", peer / "x", content=kind(lambda: b"sixsix", length=length))
        assert time.monotonic() - began < 2
    assert peer.count == 0


@SYNC_ONLY
async def test__replayable__of_text__says_so(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(quick()) as client:
        with pytest.raises(TypeError, match="give bytes"):
            await client.request("PUT", peer / "x", content=seawall.Replayable(lambda: io.StringIO("text")))
