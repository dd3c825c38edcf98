"""The client libraries at three levels, each as blocks of requests to time.

direct: the transport's own method, body read and closed; no client, no socket.
client: `client.get` on a transport that answers from memory.
loopback: `client.get` to a real server in another process.
"""

import asyncio
import importlib
import io
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from functools import partial
from typing import Any

from benchmarks import subjects
from benchmarks.measure import Block
from benchmarks.server import BODY

URL = "http://api.example.com/v1/things?page=1"
TIMEOUT = {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
CELLS = (("httpx", "sync"), ("httpx", "async"), ("httpx2", "sync"), ("httpx2", "async"), ("requests", "sync"))
clock = time.thread_time


def blocks(
    library: str, mode: str, level: str, runner: asyncio.Runner, url: str = URL, only: Collection[str] | None = None
) -> dict[str, Block]:
    """A block for each subject of that library and mode; async ones run on the runner's loop."""
    if library == "requests":
        from requests.adapters import HTTPAdapter

        base = HTTPAdapter if level == "loopback" else canned_adapter()
        made = subjects.make(subjects.requests_subjects(), lambda: base, only)
        return {name: requests_block(adapter, level, url) for name, adapter in made.items()}
    hx = importlib.import_module(library)
    if mode == "sync":
        inner = hx.HTTPTransport if level == "loopback" else partial(canned, hx)
        made = subjects.make(subjects.sync_subjects(hx), inner, only)
        return {name: sync_block(hx, transport, level, url) for name, transport in made.items()}
    inner = hx.AsyncHTTPTransport if level == "loopback" else partial(async_canned, hx)
    made = runner.run(made_async(hx, inner, only))
    return {name: async_block(hx, transport, level, url, runner) for name, transport in made.items()}


async def made_async(hx: Any, inner: Callable[[], Any], only: Collection[str] | None = None) -> dict[str, Any]:
    """On the loop, because some peers look for it when they are made."""
    return subjects.make(subjects.async_subjects(hx), inner, only)


def canned(hx: Any, before: Callable[[], object] | None = None) -> Any:
    """A transport that answers from memory, after calling `before`."""

    class Stream(hx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield BODY

        def close(self) -> None:
            pass

    class Canned(hx.BaseTransport):
        def handle_request(self, request: Any) -> Any:
            if before:
                before()
            return hx.Response(200, headers=HEADERS, stream=Stream())

    return Canned()


def async_canned(hx: Any, before: Callable[[], Any] | None = None) -> Any:
    """The same for tasks; `before` is awaited."""

    class Stream(hx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield BODY

        async def aclose(self) -> None:
            pass

    class Canned(hx.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any:
            if before:
                await before()
            return hx.Response(200, headers=HEADERS, stream=Stream())

    return Canned()


def canned_adapter() -> Any:
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPResponse

    class Canned(HTTPAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            headers = {"content-type": "application/json"}
            return self.build_response(
                request, HTTPResponse(io.BytesIO(BODY), headers=headers, status=200, preload_content=False)
            )

    return Canned


def sync_block(hx: Any, transport: Any, level: str, url: str) -> Block:
    """Direct: for one thread (it has one request object). Else: for any number, which share a client."""
    if level == "direct":
        request = hx.Request("GET", url)

        def direct(n: int) -> float:
            start = clock()
            for _ in range(n):
                request.extensions = {"timeout": TIMEOUT}
                response = transport.handle_request(request)
                for _chunk in response.stream:
                    pass
                response.close()
            return clock() - start

        return direct
    client = hx.Client(transport=transport)

    def whole(n: int) -> float:
        get = client.get
        start = clock()
        for _ in range(n):
            get(url)
        return clock() - start

    return whole


def async_block(hx: Any, transport: Any, level: str, url: str, runner: asyncio.Runner) -> Block:
    if level == "direct":
        request = hx.Request("GET", url)

        async def direct(n: int) -> float:
            start = clock()
            for _ in range(n):
                request.extensions = {"timeout": TIMEOUT}
                response = await transport.handle_async_request(request)
                async for _chunk in response.stream:
                    pass
                await response.aclose()
            return clock() - start

        return lambda n: runner.run(direct(n))
    client = hx.AsyncClient(transport=transport)

    async def whole(n: int) -> float:
        get = client.get
        start = clock()
        for _ in range(n):
            await get(url)
        return clock() - start

    return lambda n: runner.run(whole(n))


async def send_once(hx: Any, transport: Any) -> None:
    """A task of its own, for questions about many at once."""
    request = hx.Request("GET", URL, extensions={"timeout": TIMEOUT})
    response = await transport.handle_async_request(request)
    async for _chunk in response.stream:
        pass
    await response.aclose()


def requests_block(adapter: Any, level: str, url: str) -> Block:
    import requests

    session = requests.Session()
    session.trust_env = False
    session.mount("http://", adapter)
    request = session.prepare_request(requests.Request("GET", url))

    def direct(n: int) -> float:
        send = adapter.send
        start = clock()
        for _ in range(n):
            _ = send(request, stream=False, timeout=5.0, verify=True, cert=None, proxies=None).content
        return clock() - start

    def whole(n: int) -> float:
        get = session.get
        start = clock()
        for _ in range(n):
            get(url, timeout=5.0)
        return clock() - start

    return direct if level == "direct" else whole
