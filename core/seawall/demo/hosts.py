"""Hosts on the loopback that fall ill on time, and count what reaches them.

Real sockets and real HTTP, because a mock would show what we believe and not what happens. One thread with its own
event loop serves all the hosts of a scene: they do so little that their own speed does not show in the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self, assert_never

WORK_TIME = 0.02


class Reply(NamedTuple):
    """What a host sends back: a status, and perhaps when to come again."""

    status: int
    retry_after: int | None = None

    def encode(self) -> bytes:
        """The whole answer as it goes over the wire."""
        body = b"here you are\n" if self.status == 200 else b"not now\n"
        later = "" if self.retry_after is None else f"Retry-After: {self.retry_after}\r\n"
        return f"HTTP/1.1 {self.status} -\r\nContent-Length: {len(body)}\r\n{later}\r\n".encode() + body


HEALTHY = Reply(200)


class Illness(Enum):
    """What a sick host does to a request; its words are what the demo prints."""

    UNAVAILABLE = "answers 503"
    FLAKY = "answers 503 to one attempt in five, at random"
    SILENT = "accepts requests and never answers them"
    LIMITED = "is out of quota and answers 429 with Retry-After"


@dataclass(slots=True, eq=False)
class Host:
    """One origin, ill from `begin` to `end` (instants of the monotonic clock), with the counters the tables show.

    Every flaky host draws the same random numbers, so that no client has better luck than its neighbour.
    """

    illness: Illness
    begin: float = math.inf
    end: float = math.inf
    url: str = ""
    attempts: int = 0
    sick_attempts: int = 0
    _random: random.Random = field(default_factory=lambda: random.Random(5))

    def receive(self, now: float) -> Reply | None:
        """Count one request and decide what becomes of it."""
        self.attempts += 1
        if not self.begin <= now < self.end:
            return HEALTHY
        self.sick_attempts += 1
        match self.illness:
            case Illness.UNAVAILABLE:
                return Reply(503)
            case Illness.FLAKY:
                return Reply(503) if self._random.random() < 0.2 else HEALTHY
            case Illness.SILENT:
                return None
            case Illness.LIMITED:  # in whole seconds, as real hosts send it
                return Reply(429, retry_after=math.ceil(self.end - now))
            case _:
                assert_never(self.illness)


class Serving:
    """Serve `hosts` on ports the system picks, for the length of a `with` block; fills in each `host.url`."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = hosts
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="seawall-demo", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(5):
            raise RuntimeError("the demo's local servers did not start within 5 s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    async def _serve(self) -> None:
        servers: list[asyncio.Server] = []
        for host in self._hosts:
            server = await asyncio.start_server(partial(self._converse, host), "127.0.0.1", 0, backlog=1024)
            host.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            servers.append(server)
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        await self._stop.wait()
        for server in servers:
            server.close()
        # Closing their sockets lets the conversations end by themselves; cancelled ones would be logged as errors.
        for writer in self._writers:
            writer.close()
        for _ in range(50):
            if not self._writers:
                break
            await asyncio.sleep(WORK_TIME)

    async def _converse(self, host: Host, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                while True:
                    await reader.readuntil(b"\r\n\r\n")
                    reply = host.receive(time.monotonic())
                    if reply is None:
                        await reader.read()  # until the client gives up and closes
                        break
                    if reply is HEALTHY:
                        await asyncio.sleep(WORK_TIME)
                    writer.write(reply.encode())
                    await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.close()
