"""Streams held over transports that are not the library's own: no socket of ours obeys the clocks there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import httpx
import pytest

import seawall
from httpx_resilience import mount
from seawall import Resilience, Timeouts, Verdict
from tests.contract.settings import retrying
from tests.streams.scripts import HELLO, OVERLOADED, PING, START, inspecting

SSE = {"content-type": "text/event-stream"}
URL = "http://a.test/x"


class Pings(httpx.SyncByteStream):
    """Says that it is alive, and nothing else."""

    closed = 0

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(200):
            yield PING
            time.sleep(0.02)

    def close(self) -> None:
        self.closed += 1


class Stalling(httpx.AsyncByteStream):
    """Announces an answer and falls silent."""

    closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield START
        await anyio.sleep(10)

    async def aclose(self) -> None:
        self.closed += 1


class Sync(httpx.BaseTransport):
    """Gives these answers, one after the other."""

    def __init__(self, *bodies: Any) -> None:
        self.bodies = list(bodies)

    def answer(self) -> httpx.Response:
        body = self.bodies.pop(0)
        if isinstance(body, bytes):
            return httpx.Response(200, headers=SSE, content=body)
        return httpx.Response(200, headers=SSE, stream=body)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self.answer()


class Async(Sync, httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self.answer()


def quick() -> Resilience:
    return inspecting(timeouts=Timeouts(first_content=0.2), retry=retrying(max_retries=1))


def test__pings_from_a_foreign_transport__end_by_the_clock_and_are_repeated() -> None:
    first = Pings()
    with mount(httpx.Client(transport=Sync(first, START + HELLO)), quick()) as client:
        started = time.monotonic()
        response = client.get(URL)
    assert 0.15 < time.monotonic() - started < 1.5
    assert (response.content, first.closed) == (START + HELLO, 1)
    report = seawall.report(response)
    assert report is not None
    assert [attempt.verdict for attempt in report.attempts] == [Verdict.FAILURE, Verdict.SUCCESS]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test__silence_from_a_foreign_async_transport__ends_by_the_clock_and_is_repeated(backend: str) -> None:
    first = Stalling()

    async def scenario() -> bytes:
        async with mount(httpx.AsyncClient(transport=Async(first, START + HELLO)), quick()) as client:
            return (await client.get(URL)).content

    started = time.monotonic()
    assert anyio.run(scenario, backend=backend) == START + HELLO
    assert 0.15 < time.monotonic() - started < 1.5
    assert first.closed >= 1


def test__answer_read_before__is_inspected_too() -> None:
    resilience = quick()
    with mount(httpx.Client(transport=Sync(OVERLOADED, START + HELLO)), resilience) as client:
        assert client.get(URL).content == START + HELLO
    (host,) = resilience.snapshots()
    assert (host.failures, host.successes, host.in_flight) == (1, 1, 0)
