"""A long stream passes through; nothing of it stays."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from seawall import Policy, Resilience, Timeouts
from tests.contract.clients import Client, Kit
from tests.contract.peer import Peer
from tests.contract.steps import Exchange, Step, head_of
from tests.streams.scripts import HELLO

MEGABYTES = 64
BLOCK = (HELLO * 1100)[: 64 * 1024 - 64]
ALLOWED = 500_000
"""Bytes; the limit is a megabyte, whatever the length."""

POLICIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "clocks": {"timeouts": Timeouts(total=600, idle=4)},
    "inspected": {"inspect_streams": True, "timeouts": Timeouts(first_content=60)},
}


def long_stream() -> Step:
    """Events, in one answer of many megabytes."""

    def play(exchange: Exchange) -> None:
        exchange.send(head_of(200, [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")]))
        chunk = b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK)
        for _ in range(MEGABYTES * 16):
            exchange.send(chunk)
        exchange.send(b"0\r\n\r\n")

    return Step(play)


async def peak(client: Client, url: str) -> int:
    """The most memory that reading it took, in bytes."""
    async with client:
        async with await client.stream("GET", url) as response:
            size = 0
            tracemalloc.start()
            try:
                async for piece in response.chunks(65536):
                    size += len(piece)
                most = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    assert size == len(BLOCK) * MEGABYTES * 16
    return most


@pytest.mark.parametrize("name", POLICIES)
async def test__long_stream__adds_next_to_no_memory(kit: Kit, peer: Peer, name: str) -> None:
    peer.script(long_stream())
    bare = await peak(kit.bare(timeout=30), peer / "x")
    ours = await peak(kit.mounted(Resilience(Policy(**POLICIES[name])), timeout=30), peer / "x")
    assert ours - bare < ALLOWED
