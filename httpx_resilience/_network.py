"""Sockets that obey the clocks of the attempt they work for.

httpx has no argument for httpcore's network backend, so the pool's private
`_network_backend` is exchanged; where that attribute is missing (a future version, a
transport of somebody else's) nothing is touched and the clocks hold per phase
(docs/decisions/0013). Which attempt an operation belongs to is told by the timeout it
is given: a `Left`.

What must not be overlooked here: httpcore passes arguments by keyword, so parameters
bear its names; `create_connection` and name resolution know no total; a sync write is
a loop of sends; requests on one HTTP/2 connection read for each other.
"""

from __future__ import annotations

import ssl
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from seawall.clocks import Left
from seawall.drivers.forks import Lock
from seawall.drivers.resolver import addresses, addresses_async
from seawall.drivers.sockets import clamped
from seawall.runtime import OutOfTime

if TYPE_CHECKING:
    from collections.abc import Callable

STAGGER: Final = 0.25
"""Seconds an address is tried alone before the next one joins (RFC 8305 §8, "Connection Attempt Delay")."""

_TO_A_PROXY: Final = (b"CONNECT ", b"\x05", b"\x01")
"""How what is said to a proxy begins: HTTP (RFC 9110 §9.3.6), SOCKS 5 (RFC 1928), its password (RFC 1929)."""

_LIMIT: Final = "_seawall_limit"
"""On an error of connecting: the limit it had. The library pauses before another try, and tells the pause nothing."""

_mounting: Final = Lock()


def clamp(transport: Any) -> bool:
    """Put our backend under a transport of httpx or httpx2, its open connections too. False: it is not possible."""
    pool: Any = getattr(transport, "_pool", None)
    core, is_async = _core_of(pool), hasattr(pool, "handle_async_request")
    with _mounting:
        backend = getattr(pool, "_network_backend", None)
        if core is None or not hasattr(backend, "connect_tcp"):
            return False
        if isinstance(backend, _Backend):
            backend.users += 1
            return True
        ours: Any = AsyncBackend(backend, core, pool) if is_async else Backend(backend, core, pool)
        pool._network_backend = ours
        _exchange(pool, ours, lambda stream: stream if isinstance(stream, _Stream) else ours.stream(stream))
    return True


def unclamp(transport: Any) -> None:
    """Undo `clamp`, when the last who asked for it does."""
    pool: Any = getattr(transport, "_pool", None)
    with _mounting:
        backend = getattr(pool, "_network_backend", None)
        if isinstance(backend, _Backend):
            backend.users -= 1
            if backend.users == 0:
                pool._network_backend = backend.inner
                _exchange(pool, backend.inner, lambda stream: stream.inner if isinstance(stream, _Stream) else stream)


def needs_scopes(transport: Any) -> bool:
    """May an async transport have connections whose reads must not, or cannot, be cut short one by one?"""
    pool: Any = getattr(transport, "_pool", None)
    backend = getattr(pool, "_network_backend", None)
    return bool(getattr(pool, "_http2", False)) or not isinstance(backend, _Backend) or not backend.is_native


def goes_straight(transport: Any) -> bool:
    """Does each request go to the host its URL names, by no proxy, Unix socket or address of this transport's own?"""
    pool: Any = getattr(transport, "_pool", None)
    core = _core_of(pool)
    if core is None or type(pool) not in (core.ConnectionPool, core.AsyncConnectionPool):
        return False
    if getattr(pool, "_proxy", None) is not None:  # of newer versions; older ones have pools of other classes
        return False
    return getattr(pool, "_uds", "unknown") is None and getattr(pool, "_local_address", "unknown") is None


def left_behind(transport: Any) -> list[Any]:
    """Connections to be closed, after an error before there was one.

    httpcore leaves two kinds in its pool, each a place taken for ever: a tunnel whose TLS failed, and (httpcore 1) a
    connection assigned to a call at the moment it stopped waiting, which nobody will ever connect.
    """
    pool, closing = transport._pool, list[Any]()
    connections = list(pool.connections)
    wanted = [request.connection for request in getattr(pool, "_requests", ())]  # read after: what is new has an owner
    for connection in connections:
        leaf = connection
        while (inner := getattr(leaf, "_connection", None)) is not None:
            leaf = inner
        stream = getattr(leaf, "_network_stream", None)
        if isinstance(stream, _Stream) and stream.is_dead:
            closing.append(connection)
        elif hasattr(leaf, "_connect_failed") and connection not in wanted:
            leaf._connect_failed = True
    return closing


def _core_of(pool: Any) -> Any:
    """httpcore or httpcore2, whichever the pool is from."""
    for kind in type(pool).__mro__:
        root = kind.__module__.partition(".")[0]
        if root in ("httpcore", "httpcore2"):
            return import_module(root)
    return None


def _exchange(pool: Any, backend: Any, change: Callable[[Any], Any]) -> None:
    """Change the streams of open connections, as far as they can be found: they are looked up at each operation."""
    for connection in getattr(pool, "connections", ()):
        while connection is not None:
            if hasattr(connection, "_network_stream"):
                connection._network_stream = change(connection._network_stream)
            if hasattr(connection, "_network_backend"):  # not connected yet, perhaps
                connection._network_backend = backend
            connection = getattr(connection, "_connection", None)


class _Backend:
    def __init__(self, inner: Any, core: Any, pool: Any) -> None:
        self.inner = inner
        self.core = core
        self.users = 1
        self.is_native = _is_from(core, inner)
        """The library's own. One of the user's may give names, and its streams operations, a meaning of its own."""
        self.always_http2 = bool(getattr(pool, "_http2", False)) and not getattr(pool, "_http1", True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Backend(_Backend):
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
        with _Connecting(timeout, self.core):
            found = self._resolve(host, port, timeout)
            for parts in range(len(found), 1, -1):  # one silent address leaves time for the next
                try:
                    stream = self.inner.connect_tcp(found[-parts], port, timeout=timeout.share(parts), **more)
                except (self.core.ConnectError, self.core.ConnectTimeout):
                    continue
                return self.stream(stream, timeout)
            return self.stream(self.inner.connect_tcp(found[-1], port, timeout=timeout.share(1), **more), timeout)

    def _resolve(self, host: str, port: int, timeout: Left) -> list[str]:
        try:
            return addresses(host, port, timeout.seconds()) if self.is_native else [host]
        except UnicodeError:  # no name at all: the library shall say so
            return [host]

    def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> Any:
        if type(timeout) is not Left:
            return self.stream(self.inner.connect_unix_socket(path, timeout, socket_options))
        with _Connecting(timeout, self.core):
            return self.stream(self.inner.connect_unix_socket(path, timeout.seconds(), socket_options), timeout)

    def sleep(self, seconds: float) -> None:
        pause, late = _pause(seconds)
        self.inner.sleep(pause)
        if late:
            raise self.core.ConnectTimeout("no time for another try")


class AsyncBackend(_Backend):
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
        with _Connecting(timeout, self.core):
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
        with _Connecting(timeout, self.core):
            return self.stream(await self.inner.connect_unix_socket(path, timeout.seconds(), socket_options), timeout)

    async def sleep(self, seconds: float) -> None:
        pause, late = _pause(seconds)
        await self.inner.sleep(pause)
        if late:
            raise self.core.ConnectTimeout("no time for another try")


class _Stream:
    """A connection. Between calls it knows nothing of any."""

    def __init__(self, inner: Any, backend: Any, opening: Left | None = None) -> None:
        self.inner = inner
        self.core = backend.core
        self._backend = backend
        self._opening = opening
        """While nothing but a proxy was spoken to: the limit of connecting, for the call that opened the connection."""
        tls = inner.get_extra_info("ssl_object")
        self._is_shared = backend.always_http2 or (tls is not None and tls.selected_alpn_protocol() == "h2")
        """Requests share it: what is written or read for one may be another's."""
        self.is_exact = not self._is_shared and _is_from(self.core, inner)
        self.is_dead = False
        """TLS was to begin on it, and failed."""
        if self._is_shared and opening is not None:  # its first words may leave with another's write
            opening.watch.is_proof, opening.watch.wrote = False, True

    def _limit(self, timeout: float | None, late: type[Exception], data: bytes = b"") -> float | None:
        """What the library's stream is to be given as `timeout`. Tells the attempt of a write."""
        if self._opening is not None:
            return self._to_proxy(timeout, late, data)
        if type(timeout) is not Left:
            return timeout
        watch = timeout.watch
        watch.is_exact = self.is_exact
        if self._is_shared:
            watch.is_proof, watch.wrote = False, True
        elif data:
            watch.is_proof = watch.wrote = True
        try:
            return watch.seconds(timeout.own, timeout.until)
        except OutOfTime as error:
            raise late(str(error)) from error

    def _to_proxy(self, timeout: float | None, late: type[Exception], data: bytes) -> float | None:
        """The same while only a proxy was spoken to, or nobody: is this for a proxy?"""
        opening = self._opening
        assert opening is not None
        if data and not data.startswith(_TO_A_PROXY):
            self._opening = None
            if type(timeout) is Left:
                timeout.watch.speaks_to(proxy=False)
            return self._limit(timeout, late, data)
        if timeout is not None and type(timeout) is not Left:
            return timeout
        # httpcore's SOCKS handshake has no timeout at all: it is bounded by our clocks alone.
        watch, own = (timeout.watch, timeout.own) if type(timeout) is Left else (opening.watch, None)
        watch.is_proof, watch.is_exact = True, self.is_exact
        watch.speaks_to(proxy=True)
        try:
            return opening.for_proxy(own)
        except OutOfTime as error:
            raise late(str(error)) from error

    def get_extra_info(self, info: str) -> Any:
        return self.inner.get_extra_info(info)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Stream(_Stream):
    """A sync connection."""

    def __init__(self, inner: Any, backend: Backend, opening: Left | None = None) -> None:
        super().__init__(inner, backend, opening)
        self._is_nested = isinstance(inner.get_extra_info("ssl_object"), ssl.SSLObject)
        """TLS inside TLS: the library loops over the outer socket, which is one of ours and is handed the `Left`."""
        self._sock = inner.get_extra_info("socket")

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            limit = self._limit(timeout, self.core.ReadTimeout)
            return self.inner.read(max_bytes, timeout if self._is_nested else limit)  # type: ignore[no-any-return]
        except BaseException:
            if self._opening is not None:  # httpcore's SOCKS handshake would leave it open
                self.close()
            raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:  # the library ends each request so
            return
        limit = self._limit(timeout, self.core.WriteTimeout, buffer)
        if self._is_nested or type(timeout) is not Left or not self.is_exact:
            self.inner.write(buffer, timeout if self._is_nested else limit)
            return
        sock = self._sock
        try:
            sock.settimeout(limit)
            sent = sock.send(buffer)
            if sent < len(buffer):
                rest = memoryview(buffer)[sent:]
                while rest:
                    sock.settimeout(timeout.seconds())
                    rest = rest[sock.send(rest) :]
        except TimeoutError as error:
            raise self.core.WriteTimeout(str(error)) from error
        except OSError as error:
            raise self.core.WriteError(str(error)) from error

    def close(self) -> None:
        self.inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Stream:
        if type(timeout) is not Left:
            return Stream(self._tls(ssl_context, server_hostname, timeout), self._backend)
        with _Connecting(timeout, self.core):
            limit = timeout.or_least()
            wrote = timeout.watch.wrote
            if self.is_exact and isinstance(self._sock, ssl.SSLSocket):
                clamped(self._sock)
                limit = timeout
            try:
                inner = self._tls(ssl_context, server_hostname, limit)
            finally:
                timeout.watch.wrote = wrote  # handshakes are no part of the request
            return Stream(inner, self._backend, timeout)

    def _tls(self, context: ssl.SSLContext, server_hostname: str | None, timeout: float | None) -> Any:
        try:
            return self.inner.start_tls(ssl_context=context, server_hostname=server_hostname, timeout=timeout)
        except BaseException:
            self.is_dead = True
            self.close()  # the library does not always
            raise


class AsyncStream(_Stream):
    """An async connection."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            limit = self._limit(timeout, self.core.ReadTimeout)
            return await self.inner.read(max_bytes, limit)  # type: ignore[no-any-return]
        except GeneratorExit:  # no more awaiting
            raise
        except BaseException:
            if self._opening is not None:  # httpcore's SOCKS handshake would leave it open
                await close_all([self])
            raise

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer:
            await self.inner.write(buffer, self._limit(timeout, self.core.WriteTimeout, buffer))

    def _limit(self, timeout: float | None, late: type[Exception], data: bytes = b"") -> float | None:
        if self._is_shared and type(timeout) is Left:  # what times out here fails every request on the connection
            timeout.watch.is_proof, timeout.watch.wrote = False, True
            self._opening = None
            return timeout.own
        return super()._limit(timeout, late, data)

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncStream:
        if type(timeout) is not Left:
            return AsyncStream(await self._tls(ssl_context, server_hostname, timeout), self._backend)
        with _Connecting(timeout, self.core):
            inner = await self._tls(ssl_context, server_hostname, timeout.or_least())
            return AsyncStream(inner, self._backend, timeout)

    async def _tls(self, context: ssl.SSLContext, server_hostname: str | None, timeout: float | None) -> Any:
        try:
            return await self.inner.start_tls(ssl_context=context, server_hostname=server_hostname, timeout=timeout)
        except GeneratorExit:  # no more awaiting
            raise
        except BaseException:
            self.is_dead = True
            await close_all([self])  # the library does not, if it is cancelled
            raise


class _Connecting:
    """Making a connection within a limit: errors are the library's own, and say which limit they had."""

    def __init__(self, timeout: Left, core: Any) -> None:
        self._timeout = timeout
        self._core = core

    def __enter__(self) -> None:
        watch = self._timeout.watch
        watch.is_exact = watch.is_proof = True

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OutOfTime):
            raise self._know(self._core.ConnectTimeout(str(error))) from error
        if isinstance(error, OSError):  # the name was not resolved
            raise self._know(self._core.ConnectError(str(error))) from error
        if error is not None:
            self._know(error)

    def _know(self, error: BaseException) -> BaseException:
        setattr(error, _LIMIT, self._timeout)
        return error


def _pause(seconds: float) -> tuple[float, bool]:
    """How much of a pause before another try there is time for, and whether that is not all of it."""
    timeout: Left | None = getattr(sys.exc_info()[1], _LIMIT, None)
    if timeout is None:
        return seconds, False
    try:
        left = timeout.share(1)
    except OutOfTime:
        return 0.0, True
    return (left, True) if left <= seconds else (seconds, False)


async def close_all(closing: list[Any]) -> None:
    """Close streams or connections, even if the task is being cancelled."""
    if closing:
        import anyio

        with anyio.CancelScope(shield=True):
            for each in closing:
                await each.aclose()


def _is_from(core: Any, thing: Any) -> bool:
    return bool(type(thing).__module__.partition(".")[0] == core.__name__)
