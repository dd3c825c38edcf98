"""Transports that run the flow around another transport. Nothing is decided here.

Duck-typed: both libraries accept any object with the right methods, and no class
can inherit from both without importing both. Type checkers see the base classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar, Union

from httpx_resilience._library import library_of
from httpx_resilience._network import clamp, unclamp
from httpx_resilience._port import AsyncPort, AsyncUploads, Port, SyncPort, SyncUploads
from seawall.degrading import journey
from seawall.flow import turned_away
from seawall.forks import Lock
from seawall.mounted import keep_alive, next_serial, watch_below
from seawall.policy import Policy
from seawall.resilience import Resilience, resolve
from seawall.runtime import run_sync

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx
    import httpx2

    from httpx_resilience._library import Library

    class _SyncBase(httpx.BaseTransport, httpx2.BaseTransport):
        def handle_request(self, request: Any) -> Any: ...

    class _AsyncBase(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any: ...
else:
    _SyncBase = _AsyncBase = object

Given = Union["Resilience", "Mapping[str, Policy]", "Policy", None]
P = TypeVar("P", bound=Port)


class _Mounted:
    """What the transports of both worlds share."""

    def __init__(self, transport: Any, resilience: Given, method: str) -> None:
        if isinstance(transport, Policy | Resilience):
            raise TypeError(
                f"{type(self).__name__}: a {type(transport).__name__} stands where the transport belongs: write "
                f"{type(self).__name__}(resilience=…), or mount(client, …)"
            )
        while isinstance(transport, _Mounted):  # never nested; one without a transport of its own yet counts as none
            transport = transport.detach()
        if isinstance(transport, type) or (transport is not None and not hasattr(transport, method)):
            raise TypeError(
                f"{type(self).__name__}: {transport!r} has no {method}(): give "
                f"{'an async' if 'async' in method else 'a sync'} transport"
            )
        self.inner: Any = transport
        """The transport underneath; None until the first request tells which library's own is wanted."""
        self.resilience = resolve(resilience)
        self._serial = next_serial()
        self._is_hard = False
        """Our sockets are underneath: `detach` takes them out."""
        self._entered = False
        self._port: Any = None
        self._first = Lock()
        if transport is not None:
            watch_below(getattr(getattr(transport, "_pool", None), "_retries", 0), self.resilience)
            self._attach()

    def _attach(self) -> None:
        """Put sockets that obey our clocks under the transport, if the user allows it and it can be done."""
        self._is_hard = self.resilience.hard_deadlines and clamp(self.inner)

    def _own_limits(self, library: Library) -> dict[str, Any]:
        """What a transport of our own making is to keep unused connections for."""
        seconds = keep_alive(self.resilience)
        if seconds is None:
            return {}
        # The library's own numbers, but for the last.
        limits = library.limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=seconds)
        return {"limits": limits}

    def detach(self) -> Any:
        """Take everything of ours out of the transport underneath, and return it."""
        if self._is_hard:
            self._is_hard = False
            unclamp(self.inner)
        return self.inner

    def follow(self, resilience: Resilience) -> None:
        """Serve under another Resilience from the next call on; calls under way end as they began."""
        with self._first:
            self.detach()
            self.resilience = resilience
            self._port = None
            self._attach()

    def _ports(self, kind: type[P], uploads: type[P], library: Library) -> P:
        """The ports to the transport underneath."""
        with self._first:
            given = self.inner, library, self.resilience, self._serial
            port = kind(*given, is_hard=self._is_hard)
            port.uploads = uploads(*given, is_hard=self._is_hard)
            self._port = port
        return port

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.inner, self.resilience)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} around {self.inner!r}>"


class ResilientTransport(_Mounted, _SyncBase):
    """A sync transport that keeps calls working, around `transport` (left out: the library's own, made on first use).

    `resilience`: a Resilience, a mapping from pattern to Policy, or one Policy; left out: the process's default.
    Thread-safe if `transport` is.
    """

    def __init__(self, transport: Any = None, resilience: Given = None) -> None:
        _Mounted.__init__(self, transport, resilience, "handle_request")

    def handle_request(self, request: Any) -> Any:
        port: SyncPort = self._port or self._settle_in(request)
        call = port.begin(request)
        if call is None:
            return port.inner.handle_request(request)
        result: Any = None if call.state.is_calm else turned_away(call)
        if result is None:
            chosen = port.ready(call)
            try:
                result = run_sync(journey(call, chosen))
            finally:
                if chosen is not port:
                    call.upload.forget()
        return port.finish(call, request, result)

    def _settle_in(self, request: Any) -> SyncPort:
        library = library_of(request)
        with self._first:
            if self.inner is None:
                inner = library.transport(**self._own_limits(library))
                if self._entered:
                    inner.__enter__()
                self.inner = inner
                self._attach()
        return self._ports(SyncPort, SyncUploads, library)

    def __enter__(self) -> Self:
        self._entered = True
        if self.inner is not None:
            self.inner.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._entered = False
        if self.inner is not None:
            self.inner.__exit__(*error)

    def close(self) -> None:
        if self.inner is not None:
            self.inner.close()


class AsyncResilientTransport(_Mounted, _AsyncBase):
    """`ResilientTransport` for async clients, under asyncio and trio; one may serve any number of loops."""

    def __init__(self, transport: Any = None, resilience: Given = None) -> None:
        _Mounted.__init__(self, transport, resilience, "handle_async_request")

    async def handle_async_request(self, request: Any) -> Any:
        port: AsyncPort = self._port or await self._settle_in(request)
        call = port.begin(request)
        if call is None:
            return await port.inner.handle_async_request(request)
        result: Any = None if call.state.is_calm else turned_away(call)
        if result is None:
            chosen = port.ready(call)
            try:
                result = await journey(call, chosen)
            finally:
                if chosen is not port:
                    await call.upload.forget()
        return port.finish(call, request, result)

    async def _settle_in(self, request: Any) -> AsyncPort:
        library = library_of(request)
        if self.inner is None:
            # Nothing awaited in between: one, whatever tasks come together.
            self.inner = library.async_transport(**self._own_limits(library))
            if self._entered:
                await self.inner.__aenter__()
            self._attach()
        return self._ports(AsyncPort, AsyncUploads, library)

    async def __aenter__(self) -> Self:
        self._entered = True
        if self.inner is not None:
            await self.inner.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._entered = False
        if self.inner is not None:
            await self.inner.__aexit__(*error)

    async def aclose(self) -> None:
        if self.inner is not None:
            await self.inner.aclose()
