"""One small driver for every client, so that a scenario is written once.

A scenario is an `async def` that talks to `Client`. Under a sync library nothing in it ever suspends, so one
`send(None)` runs it to its end; under an async one it runs in asyncio or trio. `bare()` makes the library's own
client and `mounted()` the same client with the resilience mounted: no other difference, so the two compare.
"""

from __future__ import annotations

import contextvars
import io
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import isawaitable
from types import ModuleType
from typing import Any, Self, TypedDict, Unpack

import anyio
import httpx
import httpx2
import pytest
import requests

from tests.contract.classes import REQUESTS_ERRORS, Errors, httpx_errors
from tests.contract.fakes import Handler, Httpx2Fake, HttpxFake, RequestsFake, always_fine

LIMIT = 10.0
Job = Callable[[], Awaitable[Any]]


@dataclass(slots=True)
class Answer:
    """What a user sees of a response, in the same words for every library."""

    raw: Any
    status: int
    reason: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes
    cookies: dict[str, str]
    encoding: str | None
    http_version: str
    elapsed: float
    history: list[Answer]

    def header(self, name: str) -> str | None:
        """The first field of that name, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def seen(self) -> dict[str, Any]:
        """Everything but the clock and the object, to compare with a bare client's."""
        told = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("raw", "elapsed")}
        return told | {"type": type(self.raw), "history": [older.seen() for older in self.history]}


class AsyncFile:
    """A file for async clients: read once, it gives nothing more and does not say so."""

    def __init__(self, file: io.BufferedReader) -> None:
        self.file = file

    async def aread(self, size: int) -> bytes:
        """The next bytes."""
        return self.file.read(size)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := self.file.read(65536):
            yield chunk


async def settle(value: Any) -> Any:
    """The value, awaited if the library is async."""
    return await value if isawaitable(value) else value


class Stream:
    """A response whose body is still to be read."""

    def __init__(self, kit: Kit, raw: Any) -> None:
        self.kit = kit
        self.raw = raw
        self.status: int = raw.status_code

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def read(self) -> bytes:
        """All that is left."""
        return b"".join([chunk async for chunk in self.chunks()])

    async def some(self, size: int = 5) -> bytes:
        """The first piece only."""
        chunks = self.chunks(size)
        try:
            return await anext(chunks)
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]

    async def chunks(self, size: int | None = None) -> AsyncIterator[bytes]:
        """The body in pieces as they come; requests would wait for all of it without a size."""
        if self.kit.library is requests:
            for chunk in self.raw.iter_content(size):
                yield chunk
        elif self.kit.is_async:
            iterator = self.raw.aiter_bytes()
            try:
                async for chunk in iterator:
                    yield chunk
            finally:
                await iterator.aclose()
        else:
            for chunk in self.raw.iter_bytes():
                yield chunk

    async def close(self) -> None:
        """Leave."""
        await settle(self.raw.aclose() if self.kit.is_async else self.raw.close())


class Client(ABC):
    """A client of one library, entered and left like the library's own."""

    def __init__(self, kit: Kit, inner: Any, timeout: float | tuple[float, float] | None) -> None:
        self.kit = kit
        self.inner = inner
        self.timeout = timeout

    async def __aenter__(self) -> Self:
        await settle(self.inner.__aenter__() if self.kit.is_async else self.inner.__enter__())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.kit.is_async:
            await self.inner.__aexit__(None, None, None)
        else:
            self.inner.__exit__(None, None, None)

    @property
    @abstractmethod
    def slot(self) -> Any:
        """What stands where the library keeps its transport or adapter."""

    @slot.setter
    @abstractmethod
    def slot(self, transport: Any) -> None: ...

    @abstractmethod
    async def send(self, method: str, url: str, *, stream: bool, **options: Any) -> Any:
        """The library's own response."""

    async def request(self, method: str, url: str, **options: Any) -> Answer:
        """One call, body read."""
        return self.kit.told(await self.send(method, url, stream=False, **options))

    async def get(self, url: str, **options: Any) -> Answer:
        """GET, the usual case."""
        return await self.request("GET", url, **options)

    async def stream(self, method: str, url: str, **options: Any) -> Stream:
        """One call, body still to come: read it, `async with` it, or drop it."""
        return Stream(self.kit, await self.send(method, url, stream=True, **options))


class HttpxClient(Client):
    @property
    def slot(self) -> Any:
        return self.inner._transport

    @slot.setter
    def slot(self, transport: Any) -> None:
        self.inner._transport = transport

    async def send(self, method: str, url: str, *, stream: bool, **options: Any) -> Any:
        auth = options.pop("auth", None)
        follow = options.pop("follow", False)
        if "timeout" not in options:
            options["timeout"] = self.timeout
        options["timeout"] = _httpx_timeout(self.kit.library, options["timeout"])
        if not isinstance(options.get("cookies"), dict):
            options.pop("cookies", None)
        if auth is not None:
            kind, user, password = auth
            maker = self.kit.library.DigestAuth if kind == "digest" else self.kit.library.BasicAuth
            auth = maker(user, password)
        request = self.inner.build_request(method, url, **options)
        return await settle(self.inner.send(request, stream=stream, auth=auth, follow_redirects=follow))


def _httpx_timeout(library: Any, timeout: Any) -> Any:
    if isinstance(timeout, tuple):
        return library.Timeout(timeout[1], connect=timeout[0])
    return library.Timeout(timeout)


class RequestsClient(Client):
    @property
    def slot(self) -> Any:
        return self.inner.get_adapter("http://127.0.0.1/")

    @slot.setter
    def slot(self, adapter: Any) -> None:
        self.inner.mount("http://", adapter)

    async def send(self, method: str, url: str, *, stream: bool, **options: Any) -> Any:
        auth = options.pop("auth", None)
        if auth is not None:
            kind, user, password = auth
            auth = requests.auth.HTTPDigestAuth(user, password) if kind == "digest" else (user, password)
        if "content" in options:
            options["data"] = options.pop("content")
        options.setdefault("timeout", self.timeout)
        return self.inner.request(
            method, url, stream=stream, auth=auth, allow_redirects=options.pop("follow", False), **options
        )


class Options(TypedDict, total=False):
    """How a client is made; the same words for every library."""

    timeout: float | tuple[float, float] | None
    pool: int | None
    retries: int
    fake: Any
    proxy: str | None
    trust_env: bool
    max_redirects: int
    on_response: Callable[[Any], None] | None


DEFAULTS: Options = {
    "timeout": 5.0,
    "pool": None,
    "retries": 0,
    "fake": None,
    "proxy": None,
    "trust_env": False,
    "max_redirects": 20,
    "on_response": None,
}


class Kit(ABC):
    """One variant: how to make its clients, run its scenarios and name its errors."""

    library: ModuleType
    is_async = False
    errors: Errors

    def __init__(self, name: str, backend: str | None = None) -> None:
        self.name = name
        self.backend = backend
        self.is_async = backend is not None

    def __repr__(self) -> str:
        return self.name

    @abstractmethod
    def bare(self, **given: Unpack[Options]) -> Client:
        """The library's own client."""

    @abstractmethod
    def wrap(self, inner: Any, resilience: Any) -> Any:
        """The explicit transport or adapter around `inner`."""

    @abstractmethod
    def fake(self, handler: Handler = always_fine) -> Any:
        """A transport or adapter that answers from a function."""

    @abstractmethod
    def told(self, raw: Any) -> Answer:
        """The library's response in our words."""

    @property
    @abstractmethod
    def mount_module(self) -> Any:
        """The package that mounts on this library."""

    def mounted(self, resilience: Any, **given: Unpack[Options]) -> Client:
        """The same client as `bare(**given)`, mounted in place."""
        client = self.bare(**given)
        assert self.mount_module.mount(client.inner, resilience) is client.inner
        return client

    def run(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run one scenario to its end."""
        if self.backend is None:
            step(scenario())
        else:
            anyio.run(scenario, backend=self.backend)

    async def sleep(self, seconds: float) -> None:
        """Let real time pass."""
        if self.is_async:
            await anyio.sleep(seconds)
        else:
            time.sleep(seconds)

    async def until(self, condition: Callable[[], bool], limit: float = 3.0) -> None:
        """Wait for something another thread or task does."""
        end = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < end, "it never happened"
            await self.sleep(0.005)

    async def together(self, *jobs: Job) -> list[Any]:
        """Run the jobs at once, as threads or tasks; what each returned, or the exception it ended with."""
        ends: list[Any] = [None] * len(jobs)

        async def note(number: int) -> None:
            try:
                ends[number] = await jobs[number]()
            except Exception as error:
                ends[number] = error

        if self.is_async:
            async with anyio.create_task_group() as tasks:
                for number in range(len(jobs)):
                    tasks.start_soon(note, number)
            return ends
        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(step, note(number)), daemon=True)
            for number in range(len(jobs))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
            assert not thread.is_alive(), "a job did not end"
        return ends

    async def execute(self, resilience: Any, name: str, operation: Job) -> Any:
        """`resilience.execute`, or its async twin."""
        if self.is_async:
            return await resilience.aexecute(name, operation)
        return resilience.execute(name, lambda: step(operation()))

    def source(self, chunks: Sequence[bytes]) -> Any:
        """A body that can be read once: a generator of the kind the client takes."""

        def plain() -> Iterator[bytes]:
            yield from chunks

        async def waiting() -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

        return waiting() if self.is_async else plain()

    def file(self, opened: io.BufferedReader) -> Any:
        """An open file as the body, as the client takes it."""
        return AsyncFile(opened) if self.is_async else opened


class HttpxKit(Kit):
    def __init__(self, library: Any, name: str, backend: str | None = None) -> None:
        super().__init__(name, backend)
        self.library = library
        self.errors = httpx_errors(library)

    @property
    def mount_module(self) -> Any:
        import httpx_resilience

        return httpx_resilience

    def bare(self, **given: Unpack[Options]) -> Client:
        options = DEFAULTS | given
        pool, on_response = options["pool"], options["on_response"]
        made = self.library.AsyncClient if self.is_async else self.library.Client
        transport = options["fake"]
        if options["retries"]:
            kind = self.library.AsyncHTTPTransport if self.is_async else self.library.HTTPTransport
            transport = kind(verify=_certificates(), retries=options["retries"])
        inner = made(
            verify=_certificates(),
            limits=self.library.Limits(max_connections=pool or 100, max_keepalive_connections=pool or 20),
            transport=transport,
            proxy=options["proxy"],
            trust_env=options["trust_env"],
            max_redirects=options["max_redirects"],
        )
        if on_response is not None:
            inner.event_hooks = {"response": [_async_hook(on_response) if self.is_async else on_response]}
        return HttpxClient(self, inner, options["timeout"])

    def wrap(self, inner: Any, resilience: Any) -> Any:
        module = self.mount_module
        kind = module.AsyncResilientTransport if self.is_async else module.ResilientTransport
        return kind(inner, resilience)

    def fake(self, handler: Handler = always_fine) -> Any:
        return HttpxFake(handler) if self.library is httpx else Httpx2Fake(handler)

    def told(self, raw: Any) -> Answer:
        return Answer(
            raw=raw,
            status=raw.status_code,
            reason=raw.reason_phrase,
            url=str(raw.url),
            headers=list(raw.headers.multi_items()),
            body=raw.content,
            cookies=dict(raw.cookies),
            encoding=raw.encoding,
            http_version=raw.http_version,
            elapsed=raw.elapsed.total_seconds(),
            history=[self.told(older) for older in raw.history],
        )


def _async_hook(hook: Callable[[Any], None]) -> Callable[[Any], Awaitable[None]]:
    async def call(response: Any) -> None:
        hook(response)

    return call


class RequestsKit(Kit):
    library = requests
    errors = REQUESTS_ERRORS

    @property
    def mount_module(self) -> Any:
        import requests_resilience

        return requests_resilience

    def bare(self, **given: Unpack[Options]) -> Client:
        options = DEFAULTS | given
        pool, on_response = options["pool"], options["on_response"]
        session = requests.Session()
        session.trust_env = options["trust_env"]
        session.max_redirects = options["max_redirects"]
        adapter = options["fake"]
        if pool is not None or options["retries"]:
            adapter = requests.adapters.HTTPAdapter(
                pool_connections=1,
                pool_maxsize=pool or 10,
                pool_block=pool is not None,
                max_retries=options["retries"],
            )
        if adapter is not None:
            session.mount("http://", adapter)
            session.mount("https://", adapter)
        if options["proxy"] is not None:
            session.proxies = {"http": options["proxy"], "https": options["proxy"]}
        if on_response is not None:
            session.hooks["response"].append(lambda response, **_: on_response(response))
        return RequestsClient(self, session, options["timeout"])

    def wrap(self, inner: Any, resilience: Any) -> Any:
        return self.mount_module.ResilientAdapter(inner, resilience)

    def fake(self, handler: Handler = always_fine) -> Any:
        return RequestsFake(handler)

    def told(self, raw: Any) -> Answer:
        return Answer(
            raw=raw,
            status=raw.status_code,
            reason=raw.reason,
            url=raw.url,
            headers=list(raw.raw.headers.items()),
            body=raw.content,
            cookies=raw.cookies.get_dict(),
            encoding=raw.encoding,
            http_version=f"HTTP/{(raw.raw.version or 11) / 10}",
            elapsed=raw.elapsed.total_seconds(),
            history=[self.told(older) for older in raw.history if older is not raw],  # older requests: itself too
        )


def step(coroutine: Any) -> Any:
    """Run a scenario of a sync client: nothing in it may suspend."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise AssertionError("a scenario of a sync client suspended")


@cache
def _certificates() -> ssl.SSLContext:
    # Loading the CA file takes longer than most scenarios.
    return ssl.create_default_context()


KITS: list[Kit] = [
    HttpxKit(httpx, "httpx-sync"),
    HttpxKit(httpx, "httpx-asyncio", "asyncio"),
    HttpxKit(httpx, "httpx-trio", "trio"),
    HttpxKit(httpx2, "httpx2-sync"),
    HttpxKit(httpx2, "httpx2-asyncio", "asyncio"),
    HttpxKit(httpx2, "httpx2-trio", "trio"),
    RequestsKit("requests"),
]
SYNC_ONLY = pytest.mark.parametrize("kit", [kit for kit in KITS if not kit.is_async], ids=repr)
ASYNC_ONLY = pytest.mark.parametrize("kit", [kit for kit in KITS if kit.is_async], ids=repr)
"""For a scenario that only tasks know: a thread cannot be cancelled, say."""
