"""The floor's transports for httpx and httpx2, and its adapter for requests."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from benchmarks.floor import BAD, REPEATABLE, Host, Policy, Registry, ambient, clamp, monotonic


class Refusal:
    """What a rejection says, put together only when someone reads it."""

    name: str
    retry_after: float | None

    def __str__(self) -> str:
        why = "full" if self.retry_after is None else f"open, retry in {self.retry_after:.3f} s"
        return f"{self.name} is {why}"


def of_httpx(hx: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Sync and async floor transports for that library."""

    class Rejected(Refusal, hx.TransportError):
        _request = None

        def __init__(self, name: str, retry_after: float | None) -> None:
            self.name, self.retry_after = name, retry_after

    class Body(hx.SyncByteStream):
        __slots__ = ("done", "generation", "host", "inner", "ok", "started")

        def __init__(self, inner: Any, host: Host, started: float, generation: int, ok: bool) -> None:
            self.inner, self.host, self.started = inner, host, started
            self.generation, self.ok, self.done = generation, ok, False

        def __iter__(self) -> Iterator[bytes]:
            try:
                yield from self.inner
            except Exception:
                self.ok = False
                raise

        def close(self) -> None:
            try:
                self.inner.close()
            finally:
                if not self.done:
                    self.done = True
                    self.host.settle(self.ok, self.started, self.generation)

        def __del__(self) -> None:
            if not self.done:
                self.host.release()

    class AsyncBody(hx.AsyncByteStream):
        __slots__ = ("done", "generation", "host", "inner", "inner_next", "ok", "started")

        def __init__(self, inner: Any, host: Host, started: float, generation: int, ok: bool) -> None:
            self.inner, self.host, self.started = inner, host, started
            self.generation, self.ok, self.done = generation, ok, False

        # A plain iterator: an async generator costs several times as much.
        def __aiter__(self) -> AsyncIterator[bytes]:
            self.inner_next = self.inner.__aiter__().__anext__
            return self

        async def __anext__(self) -> bytes:
            try:
                return await self.inner_next()
            except StopAsyncIteration:
                raise
            except Exception:
                self.ok = False
                raise

        async def aclose(self) -> None:
            try:
                await self.inner.aclose()
            finally:
                if not self.done:
                    self.done = True
                    self.host.settle(self.ok, self.started, self.generation)

        def __del__(self) -> None:
            if not self.done:
                self.host.release()

    class Floor(hx.BaseTransport):
        def __init__(self, inner: Any, policy: Policy | None = None) -> None:
            self.inner, self.registry = inner, Registry(policy or Policy())

        def handle_request(self, request: Any) -> Any:
            url = request.url
            key = url.scheme, url.host, url.port
            host = self.registry.hosts.get(key) or self.registry.create(key)
            now = monotonic()
            deadline = now + host.policy.total
            outer = ambient.get()
            if outer is not None and outer < deadline:
                deadline = outer
            extensions = request.extensions
            attempt = 0
            while True:
                attempt += 1
                generation = host.admit(now, Rejected)
                left = deadline - now
                timeout = extensions["timeout"]
                for value in timeout.values():
                    if value is None or value > left:
                        extensions["timeout"] = clamp(timeout, left)
                        break
                try:
                    response = self.inner.handle_request(request)
                except BaseException as error:
                    if isinstance(error, Exception):
                        host.settle(False, now, generation)
                    else:
                        host.release()
                    if attempt < 3 and isinstance(error, hx.TransportError) and request.method in REPEATABLE:
                        now = monotonic()
                        continue
                    raise
                response.stream = Body(response.stream, host, now, generation, response.status_code not in BAD)
                return response

        def close(self) -> None:
            self.inner.close()

    class AsyncFloor(hx.AsyncBaseTransport):
        def __init__(self, inner: Any, policy: Policy | None = None) -> None:
            self.inner, self.registry = inner, Registry(policy or Policy())

        async def handle_async_request(self, request: Any) -> Any:
            url = request.url
            key = url.scheme, url.host, url.port
            host = self.registry.hosts.get(key) or self.registry.create(key)
            now = monotonic()
            deadline = now + host.policy.total
            outer = ambient.get()
            if outer is not None and outer < deadline:
                deadline = outer
            extensions = request.extensions
            attempt = 0
            while True:
                attempt += 1
                generation = host.admit(now, Rejected)
                left = deadline - now
                timeout = extensions["timeout"]
                for value in timeout.values():
                    if value is None or value > left:
                        extensions["timeout"] = clamp(timeout, left)
                        break
                try:
                    response = await self.inner.handle_async_request(request)
                except BaseException as error:
                    if isinstance(error, Exception):
                        host.settle(False, now, generation)
                    else:
                        host.release()
                    if attempt < 3 and isinstance(error, hx.TransportError) and request.method in REPEATABLE:
                        now = monotonic()
                        continue
                    raise
                response.stream = AsyncBody(response.stream, host, now, generation, response.status_code not in BAD)
                return response

        async def aclose(self) -> None:
            await self.inner.aclose()

    return Floor, AsyncFloor


def of_requests(base: Any) -> Callable[..., Any]:
    """A floor adapter on top of that HTTPAdapter class."""
    from requests.exceptions import ConnectionError as RequestsConnectionError

    class Rejected(Refusal, RequestsConnectionError):
        def __init__(self, name: str, retry_after: float | None) -> None:
            super().__init__()
            self.name, self.retry_after = name, retry_after

    class Raw:
        __slots__ = ("__weakref__", "done", "generation", "host", "inner", "ok", "started")

        def __init__(self, inner: Any, host: Host, started: float, generation: int, ok: bool) -> None:
            self.inner, self.host, self.started = inner, host, started
            self.generation, self.ok, self.done = generation, ok, False

        def _finish(self, ok: bool) -> None:
            if not self.done:
                self.done = True
                self.host.settle(ok, self.started, self.generation)

        def stream(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
            try:
                yield from self.inner.stream(*args, **kwargs)
            except Exception:
                self._finish(False)
                raise
            self._finish(self.ok)

        def close(self) -> None:
            self.inner.close()
            self._finish(self.ok)

        def release_conn(self) -> None:
            self.inner.release_conn()
            self._finish(self.ok)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def __del__(self) -> None:
            if not self.done:
                self.host.release()

    class FloorAdapter(base):
        def __init__(self, policy: Policy | None = None) -> None:
            super().__init__()
            self.registry = Registry(policy or Policy())

        def send(
            self,
            request: Any,
            stream: bool = False,
            timeout: Any = None,
            verify: Any = True,
            cert: Any = None,
            proxies: Any = None,
        ) -> Any:
            parts = urlsplit(request.url)
            key = parts[0], parts[1]
            host = self.registry.hosts.get(key) or self.registry.create(key)
            now = monotonic()
            left = host.policy.total
            outer = ambient.get()
            if outer is not None and outer - now < left:
                left = outer - now
            if timeout is None:
                timeout = left
            elif isinstance(timeout, tuple):
                timeout = tuple([left if t is None or t > left else t for t in timeout])
            elif timeout > left:
                timeout = left
            generation = host.admit(now, Rejected)
            try:
                response = super().send(request, stream, timeout, verify, cert, proxies)
            except BaseException as error:
                if isinstance(error, Exception):
                    host.settle(False, now, generation)
                else:
                    host.release()
                raise
            response.raw = Raw(response.raw, host, now, generation, response.status_code not in BAD)
            return response

    return FloorAdapter
