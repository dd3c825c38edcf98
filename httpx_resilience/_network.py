"""Sockets that obey the clocks of the attempt they work for.

httpx has no argument for httpcore's network backend, so the pool's private
`_network_backend` is exchanged; where that attribute is missing (a future version, a
transport of somebody else's) nothing is touched and the clocks hold per phase. Which
attempt an operation belongs to is told by the timeout it is given: a `Left`.

What must not be overlooked here: httpcore passes arguments by keyword, so parameters
bear its names; `create_connection` and name resolution know no total; a sync write is
a loop of sends.
"""

from __future__ import annotations

import ssl
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeVar

from seawall.clocks import Left
from seawall.drivers.resolver import addresses, addresses_async
from seawall.runtime import OutOfTime

if TYPE_CHECKING:
    from collections.abc import Callable

S = TypeVar("S", bound="_Stream")

STAGGER: Final = 0.25
"""Seconds an address is tried alone before the next one joins (RFC 8305 §8, "Connection Attempt Delay")."""


def clamp(transport: Any) -> bool:
    """Put our backend under a transport of httpx or httpx2, its open connections too. False: it is not possible."""
    pool: Any = getattr(transport, "_pool", None)
    core, is_async = _core_of(pool), hasattr(pool, "handle_async_request")
    backend = getattr(pool, "_network_backend", None)
    if core is None or not hasattr(backend, "connect_tcp"):
        return False
    if isinstance(backend, _Backend):
        backend.users += 1
        return True
    pool._network_backend = (AsyncBackend if is_async else Backend)(backend, core)
    kind = AsyncStream if is_async else Stream
    _exchange(pool, lambda stream: stream if isinstance(stream, _Stream) else kind(stream, core))
    return True


def unclamp(transport: Any) -> None:
    """Undo `clamp`, when the last who asked for it does."""
    pool: Any = getattr(transport, "_pool", None)
    backend = getattr(pool, "_network_backend", None)
    if isinstance(backend, _Backend):
        backend.users -= 1
        if backend.users == 0:
            pool._network_backend = backend.inner
            _exchange(pool, lambda stream: stream.inner if isinstance(stream, _Stream) else stream)


def speaks_http2(transport: Any) -> bool:
    """May connections of this transport be shared by several requests at once?"""
    return bool(getattr(getattr(transport, "_pool", None), "_http2", False))


def _core_of(pool: Any) -> Any:
    """httpcore or httpcore2, whichever the pool is from."""
    for kind in type(pool).__mro__:
        root = kind.__module__.partition(".")[0]
        if root in ("httpcore", "httpcore2"):
            return import_module(root)
    return None


def _exchange(pool: Any, change: Callable[[Any], Any]) -> None:
    """Change the streams of open connections, as far as they can be found: they are looked up at each operation."""
    for connection in list(getattr(pool, "_connections", ())):
        while connection is not None:
            if hasattr(connection, "_network_stream"):
                connection._network_stream = change(connection._network_stream)
            connection = getattr(connection, "_connection", None)


class _Backend:
    def __init__(self, inner: Any, core: Any) -> None:
        self.inner = inner
        self.core = core
        self.users = 1
        root = type(inner).__module__.partition(".")[0]
        self.resolves = root == core.__name__
        """A backend of the user's own may give names a meaning of its own."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Backend(_Backend):
    """A sync network backend."""

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
            return Stream(self.inner.connect_tcp(host, port, timeout=timeout, **more), self.core)
        _begin(timeout)
        try:
            found = addresses(host, port, timeout.seconds()) if self.resolves else [host]
            for tried, address in enumerate(found, 1):
                try:
                    share = timeout.seconds() / (len(found) - tried + 1)  # one silent address leaves time for the next
                    stream = self.inner.connect_tcp(address, port, timeout=share, **more)
                    return Stream(stream, self.core, timeout)
                except (self.core.ConnectError, self.core.ConnectTimeout):
                    if tried == len(found):
                        raise
        except OutOfTime as error:
            raise self.core.ConnectTimeout(str(error)) from error
        except OSError as error:  # the name was not resolved
            raise self.core.ConnectError(str(error)) from error
        raise self.core.ConnectError(f"no address for {host}")

    def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> Any:
        if type(timeout) is not Left:
            return Stream(self.inner.connect_unix_socket(path, timeout, socket_options), self.core)
        _begin(timeout)
        seconds = _seconds(timeout, self.core.ConnectTimeout)
        return Stream(self.inner.connect_unix_socket(path, seconds, socket_options), self.core, timeout)

    def sleep(self, seconds: float) -> None:
        self.inner.sleep(seconds)


class AsyncBackend(_Backend):
    """An async network backend."""

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
            return AsyncStream(await self.inner.connect_tcp(host, port, timeout=timeout, **more), self.core)
        _begin(timeout)
        try:
            found = await addresses_async(host, port, timeout.seconds()) if self.resolves else [host]
            stream = await self._first(found, port, timeout, more)
        except OutOfTime as error:
            raise self.core.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise self.core.ConnectError(str(error)) from error
        return AsyncStream(stream, self.core, timeout)

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
                return
            if won:
                await stream.aclose()
            else:
                won.append(stream)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for address in found:
                failed = anyio.Event()
                tasks.start_soon(attempt, address, failed)
                with anyio.move_on_after(STAGGER):
                    await failed.wait()
        if won:
            return won[0]
        raise errors[0] if errors else self.core.ConnectError("no address")

    async def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> Any:
        if type(timeout) is not Left:
            return AsyncStream(await self.inner.connect_unix_socket(path, timeout, socket_options), self.core)
        _begin(timeout)
        seconds = _seconds(timeout, self.core.ConnectTimeout)
        return AsyncStream(await self.inner.connect_unix_socket(path, seconds, socket_options), self.core, timeout)

    async def sleep(self, seconds: float) -> None:
        await self.inner.sleep(seconds)


class _Stream:
    """A connection. Between calls it knows nothing of any."""

    def __init__(self, inner: Any, core: Any, opening: Left | None = None) -> None:
        self.inner = inner
        self.core = core
        self._opening = opening
        """What a proxy's handshake without a timeout of its own has to obey: the call that opened the connection."""
        self._tls = inner.get_extra_info("ssl_object")
        self._is_shared = self._tls is not None and self._tls.selected_alpn_protocol() == "h2"
        """Requests share it: what is written or read for one may be another's."""
        self.is_exact = not self._is_shared

    def _limit(self, timeout: float | None, late: type[Exception], *, write: bool = False) -> float | None:
        """What the library's stream is to be given as `timeout`."""
        if type(timeout) is not Left:
            if timeout is not None or self._opening is None:
                return timeout
            timeout = self._opening
        else:
            self._opening = None
        watch = timeout.watch
        watch.is_proof = True
        if write or self._is_shared:
            watch.wrote = True
        watch.is_exact = self.is_exact
        return _seconds(timeout, late)

    def get_extra_info(self, info: str) -> Any:
        return self.inner.get_extra_info(info)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Stream(_Stream):
    """A sync connection."""

    def __init__(self, inner: Any, core: Any, opening: Left | None = None) -> None:
        super().__init__(inner, core, opening)
        if isinstance(self._tls, ssl.SSLObject):  # TLS inside TLS: a loop of reads in httpcore, which can be stretched
            self.is_exact = False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.inner.read(max_bytes, self._limit(timeout, self.core.ReadTimeout))  # type: ignore[no-any-return]

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        limit = self._limit(timeout, self.core.WriteTimeout, write=True)
        sock = self.inner.get_extra_info("socket") if type(timeout) is Left else None
        if sock is None or not self.is_exact:
            self.inner.write(buffer, limit)
            return
        rest = memoryview(buffer)
        try:
            while rest:
                sock.settimeout(limit)
                rest = rest[sock.send(rest) :]
                if rest:
                    limit = self._limit(timeout, self.core.WriteTimeout)
        except TimeoutError as error:
            raise self.core.WriteTimeout(str(error)) from error
        except OSError as error:
            raise self.core.WriteError(str(error)) from error

    def close(self) -> None:
        self.inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Stream:
        limit = self._limit(timeout, self.core.ConnectTimeout)
        inner = self.inner.start_tls(ssl_context=ssl_context, server_hostname=server_hostname, timeout=limit)
        return _encrypted(Stream(inner, self.core), timeout)


class AsyncStream(_Stream):
    """An async connection."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        limit = self._limit(timeout, self.core.ReadTimeout)
        if self._is_shared and type(timeout) is Left:  # a read that times out fails every request on the connection
            limit = timeout.own
        return await self.inner.read(max_bytes, limit)  # type: ignore[no-any-return]

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self.inner.write(buffer, self._limit(timeout, self.core.WriteTimeout, write=True))

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncStream:
        limit = self._limit(timeout, self.core.ConnectTimeout)
        inner = await self.inner.start_tls(ssl_context=ssl_context, server_hostname=server_hostname, timeout=limit)
        return _encrypted(AsyncStream(inner, self.core), timeout)


def _begin(timeout: Left) -> None:
    timeout.watch.is_exact = timeout.watch.is_proof = True


def _encrypted(stream: S, timeout: float | None) -> S:
    """What was written before was for a proxy: nothing of a request to an https origin leaves before this."""
    if type(timeout) is Left:
        timeout.watch.wrote = False
        timeout.watch.is_exact = stream.is_exact
    return stream


def _seconds(timeout: Left, late: type[Exception]) -> float:
    try:
        return timeout.seconds()
    except OutOfTime as error:
        raise late(str(error)) from error
