"""Coroutines that are struck at one of their suspensions, and a network in memory that suspends at every operation.

The coroutine runs in a task of a real loop, step by step: at the suspension wanted, the task is cancelled, or an error
is thrown in the place of the wait.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, NoReturn

import anyio
import trio


class Strike:
    """What happens at suspension number `at`. An error that is no cancellation is thrown by hand."""

    def __init__(self, kind: str, at: int = -1) -> None:
        self.kind = kind
        self.at = at
        self.suspensions = 0
        self.where = ""
        """The library's code that was struck, outermost first."""
        self.scope = anyio.CancelScope()

    async def run(self, act: Coroutine[Any, Any, Any]) -> Any:
        """What `act` gives, or the error it ends in."""
        with self.scope:
            try:
                return await self._step(act)
            except trio.Cancelled:
                raise
            except BaseException as error:
                return error
        return "cancelled"

    @coroutine
    def _step(self, act: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        try:
            pause = act.send(None)
            while True:
                strikes = self.suspensions == self.at
                self.suspensions += 1
                if strikes:
                    self.where = stack(act)
                    pause = self._strike(act, pause)
                try:
                    value = yield pause
                except BaseException as error:
                    pause = act.throw(error)
                else:
                    late = strikes and self.kind == "cancelled when resumed"
                    pause = act.throw(asyncio.CancelledError()) if late else act.send(value)
        except StopIteration as end:
            return end.value

    def _strike(self, act: Coroutine[Any, Any, Any], pause: Any) -> Any:
        if self.kind == "cancelled":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        elif self.kind == "scope cancelled":
            self.scope.cancel()
        elif self.kind == "closed":
            act.close()
            raise GeneratorExit
        elif self.kind in ERRORS:
            error = ERRORS[self.kind]()

            def raise_it() -> NoReturn:
                raise error

            # trio's own way to interrupt a wait, which a nursery declines: it cancels its children and raises later
            if not hasattr(pause, "abort_func") or pause.abort_func(raise_it) is trio.lowlevel.Abort.SUCCEEDED:
                return act.throw(error)
        return pause


ERRORS: dict[str, Callable[[], BaseException]] = {
    "interrupted": KeyboardInterrupt,
    "exiting": SystemExit,
    "timed out": TimeoutError,
}
KINDS = {
    "asyncio": ["cancelled", "cancelled when resumed", "scope cancelled", "interrupted", "timed out", "closed"],
    "trio": ["scope cancelled", "interrupted", "timed out", "exiting"],
}
"""A coroutine is closed when a loop is given up with tasks in it; trio has no such way to end."""


def stack(act: Any) -> str:
    """Files of the frames a coroutine is suspended in."""
    files: list[str] = []
    while act is not None:
        kind = type(act).__name__
        if kind.startswith("async_generator_"):  # a step of a generator does not tell whose
            act = next((one for one in gc.get_referents(act) if type(one).__name__ == "async_generator"), None)
            continue
        initial = {"coroutine": "cr", "async_generator": "ag", "generator": "gi", "coroutine_wrapper": ""}.get(kind)
        if initial == "":
            act = next(iter(gc.get_referents(act)), None)
        elif initial is None:
            return " ".join(files)
        else:
            frame = getattr(act, f"{initial}_frame")
            files.append(frame.f_code.co_filename if frame is not None else "")
            act = getattr(act, "gi_yieldfrom" if initial == "gi" else f"{initial}_await")
    return " ".join(files)


class Connection:
    """A connection in memory."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.pieces: list[bytes | Exception] = []
        network.open.append(self)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        await anyio.sleep(0)
        if not self.pieces:
            with anyio.move_on_after(5 if timeout is None else timeout):
                await anyio.sleep_forever()
            raise self.network.core.ReadTimeout
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await anyio.sleep(0)
        if b" /" in buffer:
            self.pieces = list(self.network.next_answer())

    async def aclose(self) -> None:
        if self in self.network.open:
            self.network.open.remove(self)
        await anyio.sleep(0)

    async def start_tls(self, *args: Any, **options: Any) -> Connection:
        await anyio.sleep(0)
        return self

    def get_extra_info(self, info: str) -> Any:
        return None


class Network:
    """A network backend whose servers play a script, the last answer for ever. Addresses: at once, slow, or refused."""

    def __init__(self, core: Any, *script: list[bytes | Exception]) -> None:
        self.core = core
        self.script = list(script)
        self.open: list[Connection] = []

    def next_answer(self) -> list[bytes | Exception]:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    async def connect_tcp(self, host: str, port: int, **options: Any) -> Connection:
        await anyio.sleep(0.001 if host == SLOW else 0)
        if host == REFUSED:
            raise self.core.ConnectError("refused")
        return Connection(self)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


NEAR, SLOW, REFUSED = "10.0.0.1", "10.0.0.2", "10.0.0.3"


def network(core: Any, *script: list[bytes | Exception]) -> Network:
    """One that looks like the library's own, so that names are resolved by us."""
    return type("Network", (Network,), {"__module__": f"{core.__name__}.memory"})(core, *script)  # type: ignore[no-any-return]


def said(status: int, *pieces: bytes | Exception, length: int | None = None, **headers: str) -> list[bytes | Exception]:
    """An answer, header block and pieces of the body each in a read of its own."""
    if length is None:
        length = sum(len(piece) for piece in pieces if isinstance(piece, bytes))
    lines = [f"HTTP/1.1 {status} Fine", f"Content-Length: {length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ["\r\n".join([*lines, "", ""]).encode(), *pieces]
