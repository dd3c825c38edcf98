"""What connects for a pool: names, addresses and handshakes within what is left of an attempt's time.

What must not be overlooked here: httpcore passes arguments by keyword, so parameters
bear its names; `create_connection` and name resolution know no total.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from httpx_resilience._connection import LIMIT, AsyncStream, Connecting, Stream, close_all, is_from
from seawall.clocks import Left
from seawall.drivers.resolver import addresses, addresses_async, connect_in_turn
from seawall.runtime import OutOfTime

STAGGER: Final = 0.25
"""Seconds an address is tried alone before the next one joins (RFC 8305 §8, "Connection Attempt Delay")."""


class AnyBackend:
    """What both worlds share."""

    def __init__(self, inner: Any, core: Any, pool: Any) -> None:
        self.inner = inner
        self.core = core
        self.users = 1
        self.is_native = is_from(core, inner)
        """The library's own. One of the user's may give names, and its streams operations, a meaning of its own."""
        self.always_http2 = bool(getattr(pool, "_http2", False)) and not getattr(pool, "_http1", True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Backend(AnyBackend):
    """A sync network backend."""

    def stream(self, inner: Any, opening: Left | None = None) -> Stream:
        return Stream(inner, self, opening)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> Any:
        more = {"local_address": local_address, "socket_options": socket_options}
        if type(timeout) is not Left:
            return self.stream(self.inner.connect_tcp(host, port, timeout=timeout, **more))
        with Connecting(timeout, self.core):
            found = self._resolve(host, port, timeout)
            stream = connect_in_turn(
                found,
                timeout,
                lambda address, seconds: self.inner.connect_tcp(address, port, timeout=seconds, **more),
                self.core.ConnectError,
                self.core.ConnectTimeout,
            )
            return self.stream(stream, timeout)

    def _resolve(self, host: str, port: int, timeout: Left) -> list[str]:
        try:
            return addresses(host, port, timeout.seconds()) if self.is_native else [host]
        except UnicodeError:  # no name at all: the library shall say so
            return [host]

    def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> Any:
        if type(timeout) is not Left:
            return self.stream(self.inner.connect_unix_socket(path, timeout, socket_options))
        with Connecting(timeout, self.core):
            return self.stream(self.inner.connect_unix_socket(path, timeout.seconds(), socket_options), timeout)

    def sleep(self, seconds: float) -> None:
        pause, late = _pause(seconds)
        self.inner.sleep(pause)
        if late:
            raise self.core.ConnectTimeout("no time for another try")


class AsyncBackend(AnyBackend):
    """An async network backend."""

    def stream(self, inner: Any, opening: Left | None = None) -> AsyncStream:
        return AsyncStream(inner, self, opening)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> Any:
        more = {"local_address": local_address, "socket_options": socket_options}
        if type(timeout) is not Left:
            return self.stream(await self.inner.connect_tcp(host, port, timeout=timeout, **more))
        with Connecting(timeout, self.core):
            found = await self._resolve(host, port, timeout)
            return self.stream(await self._first(found, port, timeout, more), timeout)

    async def _resolve(self, host: str, port: int, timeout: Left) -> list[str]:
        try:
            return await addresses_async(host, port, timeout.seconds()) if self.is_native else [host]
        except UnicodeError:
            return [host]

    async def _first(self, found: list[str], port: int, timeout: Left, more: dict[str, Any]) -> Any:
        """The address that connects first; the next is tried when one fails or is slow."""
        if len(found) == 1:
            return await self.inner.connect_tcp(found[0], port, timeout=timeout.seconds(), **more)
        import anyio

        won: list[Any] = []
        errors: list[Exception] = []

        async def attempt(address: str, failed: anyio.Event) -> None:
            try:
                stream = await self.inner.connect_tcp(address, port, timeout=timeout.seconds(), **more)
            except Exception as error:
                errors.append(error)
                failed.set()
            else:
                won.append(stream)
                tasks.cancel_scope.cancel()

        try:
            async with anyio.create_task_group() as tasks:
                for address in found:
                    failed = anyio.Event()
                    tasks.start_soon(attempt, address, failed)
                    with anyio.move_on_after(STAGGER):
                        await failed.wait()
        except GeneratorExit:  # no more awaiting
            raise
        except BaseException:  # cancelled from outside: nobody will get what was won
            await close_all(won)
            raise
        await close_all(won[1:])
        if won:
            return won[0]
        raise errors[-1]  # the one that took longest

    async def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> Any:
        if type(timeout) is not Left:
            return self.stream(await self.inner.connect_unix_socket(path, timeout, socket_options))
        with Connecting(timeout, self.core):
            return self.stream(await self.inner.connect_unix_socket(path, timeout.seconds(), socket_options), timeout)

    async def sleep(self, seconds: float) -> None:
        pause, late = _pause(seconds)
        await self.inner.sleep(pause)
        if late:
            raise self.core.ConnectTimeout("no time for another try")


def _pause(seconds: float) -> tuple[float, bool]:
    """How much of a pause before another try there is time for, and whether that is not all of it."""
    timeout: Left | None = getattr(sys.exc_info()[1], LIMIT, None)
    if timeout is None:
        return seconds, False
    try:
        left = timeout.share(1)
    except OutOfTime:
        return 0.0, True
    return (left, True) if left <= seconds else (seconds, False)
