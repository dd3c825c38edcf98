"""A TCP proxy on loopback that misbehaves on request: the network's faults, in a test, under any client."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from seawall.testing.toxics import Cut, Direction, Down, Toxic

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from types import TracebackType

_PIECE: Final = 65536
_AHEAD: Final = 16
"""Pieces read and not passed on yet, in one direction."""
_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""Linger for no time: closing sends a RST."""
_PATIENCE: Final = 10.0
"""Seconds a command to the proxy's thread may take."""


class FaultProxy:
    """Stands in front of a server and passes bytes on, until told to do worse.

    `with FaultProxy("http://127.0.0.1:8000") as proxy:` (or `async with`), then use `proxy.url`. It runs in a thread
    of its own with its own event loop, so sync and async clients use it alike. Every method is safe from any thread.
    """

    def __init__(self, upstream: str, *, seed: int = 0) -> None:
        """
        upstream: the server: a URL, or `host:port`.
        seed: of the chance in `toxicity`, jitter and slices: the same seed, the same faults.
        """
        if not isinstance(upstream, str):
            raise TypeError(f"FaultProxy: upstream={upstream!r}: give a URL, or host:port")
        try:
            parts = urlsplit(upstream if "//" in upstream else f"//{upstream}")
            port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        except ValueError as error:
            raise ValueError(f"FaultProxy: upstream={upstream!r}: {error}") from error
        if not parts.hostname or not port:
            raise ValueError(f"FaultProxy: upstream={upstream!r}: give a URL, or host:port")
        self._upstream = parts.hostname, port
        self._scheme = parts.scheme or "http"
        self._chance = random.Random(seed)
        self._toxics: tuple[Toxic, ...] = ()
        self._loop: Any = None
        self._thread: Any = None
        self._listener: socket.socket | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0
        """Where it listens on 127.0.0.1, once it is entered."""
        self.accepted = 0
        """Connections so far."""

    @property
    def url(self) -> str:
        """The server's address, by way of the proxy. Raises RuntimeError before it was entered: it has no port yet."""
        self._need_entered()
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def toxics(self) -> tuple[Toxic, ...]:
        """The faults there are, in the order they act."""
        return self._toxics

    def add(self, *toxics: Toxic) -> None:
        """These befall connections from now on, those there are too."""
        self._set((*self._toxics, *toxics))

    def remove(self, *toxics: Toxic) -> None:
        """These no more. What they hold back already comes as late as it was to come."""
        self._set(tuple(toxic for toxic in self._toxics if toxic not in toxics))

    def clear(self) -> None:
        """A well network again."""
        self._set(())

    @contextmanager
    def under(self, *toxics: Toxic) -> Generator[None]:
        """These for the length of a block."""
        self.add(*toxics)
        try:
            yield
        finally:
            self.remove(*toxics)

    def cut(self) -> None:
        """Close every connection there is. Raises RuntimeError before it was entered."""
        self._need_entered()
        self._run(self._cut())

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="seawall-fault-proxy", daemon=True)
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _need_entered(self) -> None:
        if not self.port:
            raise RuntimeError("FaultProxy: it listens once it is entered: with FaultProxy(…) as proxy")

    def _set(self, toxics: tuple[Toxic, ...]) -> None:
        self._toxics = toxics
        is_down = any(isinstance(toxic, Down) for toxic in toxics)
        if self._thread is not None and self._thread.is_alive() and is_down == (self._listener is not None):
            self._run(self._close() if is_down else self._listen())

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_PATIENCE)

    # -- in its own thread ---------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        # Not asyncio's server: one that is closed while a connection comes in loses that unclosed.
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._loop.add_reader(self._listener, self._accept, self._listener)

    async def _close(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await self._cut()

    async def _cut(self) -> None:
        await asyncio.sleep(0)  # a task that has not begun could not close what it was given
        for task in (tasks := list(self._connections)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        try:
            here, _ = listener.accept()
        except OSError:  # it went away again
            return
        self.accepted += 1
        task = self._loop.create_task(self._connect(here))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _connect(self, here: socket.socket) -> None:
        writers, reset = [(client := await asyncio.open_connection(sock=here, limit=_PIECE))[1]], False
        try:
            server = await asyncio.open_connection(*self._upstream, limit=_PIECE)
            writers.append(server[1])
            chance = random.Random(self._chance.random())
            async with asyncio.TaskGroup() as both:
                both.create_task(_Direction(self, "upstream", chance, client[0], server[1]).run())
                both.create_task(_Direction(self, "downstream", chance, server[0], client[1]).run())
        except* Cut as cuts:
            reset = any(isinstance(cut, Cut) and cut.reset for cut in cuts.exceptions)
        except* (OSError, asyncio.CancelledError):
            pass  # the server is not there, or one side went away: so does the other
        finally:
            for writer in writers:
                if reset:
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                    writer.transport.abort()
                else:
                    writer.close()
            for writer in writers:
                with suppress(OSError):
                    await writer.wait_closed()


class _Direction:
    """One direction of one connection."""

    def __init__(
        self,
        proxy: FaultProxy,
        name: Direction,
        chance: random.Random,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._name = name
        self._reader = reader
        self._writer = writer
        self._pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_AHEAD)
        self._received = 0.0
        self._befallen: dict[Toxic, bool] = {}
        self.chance = chance
        self.passed: dict[Toxic, int] = {}

    def since_received(self) -> float:
        return time.monotonic() - self._received

    async def run(self) -> None:
        dooms = [seconds for toxic in self._toxics() if (seconds := toxic.befalls_in()) is not None]
        doom = asyncio.create_task(self._doom(self._toxics(), min(dooms))) if dooms else None
        reading = asyncio.create_task(self._read())
        passing = asyncio.create_task(self._pass_on())
        try:
            done, _ = await asyncio.wait({passing, *({doom} if doom else ())}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (reading, passing, doom):
                if task is not None:
                    task.cancel()
                    with suppress(asyncio.CancelledError, OSError, Cut):
                        await task

    def _toxics(self) -> list[Toxic]:
        """Those of this direction that befall this connection, asked once of each."""
        found: list[Toxic] = []
        for toxic in self._proxy.toxics:
            if toxic.direction == self._name:
                if toxic not in self._befallen:
                    self._befallen[toxic] = self.chance.random() < toxic.toxicity
                if self._befallen[toxic]:
                    found.append(toxic)
        return found

    async def _read(self) -> None:
        with suppress(OSError):
            while piece := await self._reader.read(_PIECE):
                await self._pieces.put((time.monotonic(), piece))
        await self._pieces.put((time.monotonic(), b""))

    async def _pass_on(self) -> None:
        while True:
            self._received, piece = await self._pieces.get()
            if not piece:
                break
            await self._through(self._toxics(), piece)
        await asyncio.sleep(max((toxic.lingers() for toxic in self._toxics()), default=0.0))
        if self._writer.can_write_eof():
            self._writer.write_eof()

    async def _through(self, toxics: list[Toxic], piece: bytes) -> None:
        if not toxics:
            self._writer.write(piece)
            await self._writer.drain()
            return
        for step in toxics[0].act(piece, self):
            if isinstance(step, bytes):
                await self._through(toxics[1:], step)
            elif step > 0:
                await asyncio.sleep(step)

    async def _doom(self, toxics: list[Toxic], seconds: float) -> None:
        await asyncio.sleep(seconds)
        for toxic in toxics:
            if toxic.befalls_in() == seconds:
                for _ in toxic.act(b"", self):
                    pass
