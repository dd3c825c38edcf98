"""Connections that obey the clocks of the attempt they work for.

Which attempt an operation belongs to is told by the timeout it is given: a `Left`.

What must not be overlooked here: httpcore passes arguments by keyword, so parameters
bear its names; a sync write is a loop of sends; requests on one HTTP/2 connection read
for each other.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

from seawall.clocks import Left
from seawall.drivers.sockets import clamped
from seawall.runtime import OutOfTime

_TO_A_PROXY: Final = (b"CONNECT ", b"\x05", b"\x01")
"""How what is said to a proxy begins: HTTP (RFC 9110 §9.3.6), SOCKS 5 (RFC 1928), its password (RFC 1929)."""

LIMIT: Final = "_seawall_limit"
"""On an error of connecting: the limit it had. The library pauses before another try, and tells the pause nothing."""


class AnyStream:
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
        self.is_exact = not self._is_shared and is_from(self.core, inner)
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


class Stream(AnyStream):
    """A sync connection."""

    def __init__(self, inner: Any, backend: Any, opening: Left | None = None) -> None:
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
        with Connecting(timeout, self.core):
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


class AsyncStream(AnyStream):
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
        with Connecting(timeout, self.core):
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


class Connecting:
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
        setattr(error, LIMIT, self._timeout)
        return error


async def close_all(closing: list[Any]) -> None:
    """Close streams or connections, even if the task is being cancelled."""
    if closing:
        import anyio

        with anyio.CancelScope(shield=True):
            for each in closing:
                await each.aclose()


def is_from(core: Any, thing: Any) -> bool:
    return bool(type(thing).__module__.partition(".")[0] == core.__name__)
