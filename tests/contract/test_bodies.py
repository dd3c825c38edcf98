"""A body goes out again only if it can be read again: never a second time empty, never half."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract import steps
from tests.contract.clients import Kit
from tests.contract.peer import Peer
from tests.contract.settings import quick
from tests.contract.steps import answer

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


def _multipart_file(_: Kit, stack: ExitStack, path: Path) -> dict[str, Any]:
    return {"files": {"f": ("f.bin", stack.enter_context(path.open("rb")))}}


KINDS = {
    "none": Kind(lambda *_: {}, b"", True, True),
    "bytes": Kind(lambda *_: {"content": CONTENT}, CONTENT, True, True),
    "json": Kind(lambda *_: {"json": {"a": 1}}, b"1", True, True),
    "form": Kind(lambda *_: {"data": {"a": "1"}}, b"a=1", True, True),
    "generator": Kind(lambda kit, *_: {"content": kit.source([CONTENT, b"end"])}, CONTENT + b"end", False, False),
    "file": Kind(_file, CONTENT, False, True),
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
