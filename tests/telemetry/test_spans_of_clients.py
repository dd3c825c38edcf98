"""Spans of real requests, beside the clients' own instrumentations, in either order: the trace that the docs show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
import requests
from opentelemetry import context, trace
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.trace import INVALID_SPAN, StatusCode

from seawall import FallbackProvider, Resilience
from seawall.telemetry import otel
from tests.contract import steps
from tests.contract.clients import KITS, Kit
from tests.contract.peer import Peer
from tests.contract.settings import only, quick, retrying
from tests.contract.steps import answer
from tests.telemetry.spans import Spans, attributes, events

PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"
INSTRUMENTORS = {
    "httpx": HTTPXClientInstrumentor,
    "httpx2": HTTPX2ClientInstrumentor,
    "requests": RequestsInstrumentor,
}


class Traced:
    """The instrumentation of each client, switched on when asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self.spans = Spans()
        self._stack = stack

    def ours(self, resilience: Resilience) -> Resilience:
        self._stack.callback(otel.instrument(resilience, tracer_provider=self.spans.provider))
        return resilience

    def theirs(self, kit: Kit) -> None:
        instrumentor = INSTRUMENTORS[kit.library.__name__]()
        hooks: dict[str, Any] = {"request_hook": otel.request_hook}
        if kit.is_async:
            hooks["async_request_hook"] = otel.async_request_hook
        instrumentor.instrument(tracer_provider=self.spans.provider, **hooks)
        self._stack.callback(instrumentor.uninstrument)


@pytest.fixture
def traced(stack: ExitStack, caplog: pytest.LogCaptureFixture) -> Iterator[Traced]:
    yield Traced(stack)
    told = [record for record in caplog.records if record.name.startswith("opentelemetry")]
    assert told == [], "opentelemetry complains"
    assert trace.get_current_span() is INVALID_SPAN


def documented(library: str) -> str:
    """The trace of a call with two retries, as the page shows it."""
    block = re.search(rf"<!-- trace: {library} -->\n+```text\n(.*?)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    return block[1]


@pytest.mark.parametrize("first", ["ours", "theirs"])
async def test__call_with_two_retries__is_traced_as_documented(
    kit: Kit, peer: Peer, traced: Traced, first: str
) -> None:
    peer.script(answer(503), answer(503), answer(200))
    resilience = quick()
    if first == "theirs":
        traced.theirs(kit)
    async with kit.mounted(traced.ours(resilience)) as client:
        if first == "ours":
            traced.theirs(kit)
        assert (await client.get(peer / "x")).status == 200
    assert traced.spans.drawn() == documented("requests" if kit.library is requests else "httpx")


@pytest.mark.parametrize("kit", [kit for kit in KITS if kit.library is not requests], ids=repr)
async def test__client_instrumented_before_it_is_mounted__has_a_span_per_attempt(
    kit: Kit, peer: Peer, traced: Traced
) -> None:
    peer.script(answer(503), answer(200))
    instrumentor = INSTRUMENTORS[kit.library.__name__]
    hook: Any = otel.async_request_hook if kit.is_async else otel.request_hook
    async with kit.bare() as client:
        instrumentor.instrument_client(client.inner, tracer_provider=traced.spans.provider, request_hook=hook)
        kit.mount_module.mount(client.inner, traced.ours(quick()))
        await client.get(peer / "x")
    names = [(span.name, attributes(span).get("http.request.resend_count")) for span in traced.spans.all]
    assert names == [("seawall GET", None), ("GET", None), ("GET", 1)]


async def test__without_theirs__is_one_span_and_no_header_is_added(kit: Kit, peer: Peer, traced: Traced) -> None:
    peer.script(answer(503), answer(200))
    async with kit.mounted(traced.ours(quick())) as client:
        await client.get(peer / "x")
    (span,) = traced.spans.all
    assert events(span) == ["seawall.attempt", "seawall.retry", "seawall.attempt"]
    assert not [name for request in peer.requests for name, _ in request.headers if name.lower() == "traceparent"]


async def test__exception_of_the_library__passes_and_ends_the_span(kit: Kit, traced: Traced) -> None:
    with Peer(refusing=True) as refusing:
        async with kit.mounted(traced.ours(quick())) as client:
            with pytest.raises(kit.errors.refused):
                await client.get(refusing / "x")
    (span,) = traced.spans.all
    assert attributes(span)["error.type"] == "connection refused"
    assert events(span).count("seawall.attempt") == 3


async def test__stream__is_inside_until_its_end_and_leaves_no_context(kit: Kit, peer: Peer, traced: Traced) -> None:
    peer.script(answer(200, b"x" * 100_000, chunks=10))
    async with kit.mounted(traced.ours(only())) as client, await client.stream("GET", peer / "x") as response:
        assert traced.spans.all == []
        assert trace.get_current_span() is INVALID_SPAN
        await response.read()
    (span,) = traced.spans.all
    assert span.status.status_code is StatusCode.UNSET


async def test__stream_left_early__ends_the_span(kit: Kit, peer: Peer, traced: Traced) -> None:
    peer.script(answer(200, b"x" * 100_000, chunks=10))
    async with kit.mounted(traced.ours(only())) as client:
        response = await client.stream("GET", peer / "x")
        await response.close()
        assert len(traced.spans.all) == 1


async def test__stream_that_breaks__is_an_error(kit: Kit, peer: Peer, traced: Traced) -> None:
    peer.script(steps.short_body())
    async with kit.mounted(traced.ours(only())) as client:
        with pytest.raises(kit.errors.base):
            await (await client.stream("GET", peer / "x")).read()
    (span,) = traced.spans.all
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "the body broke off")


@pytest.mark.parametrize("kit", [kit for kit in KITS if kit.is_async], ids=repr)
async def test__cancelled_call__ends_its_span(kit: Kit, peer: Peer, traced: Traced) -> None:
    peer.script(steps.hang())
    async with kit.mounted(traced.ours(only())) as client:
        with anyio.move_on_after(0.1):
            await client.get(peer / "x")
        assert context.get_current() == {}
    (span,) = traced.spans.all
    assert attributes(span)["seawall.ending"] == "cancelled"


async def test__many_at_once__each_attempt_is_inside_its_own_call(kit: Kit, peer: Peer, traced: Traced) -> None:
    peer.script(*[answer(503), answer(200)] * 8, answer(200))
    traced.theirs(kit)
    resilience = traced.ours(only(retry=retrying(max_retries=8, max_delay=0.01)))
    async with kit.mounted(resilience) as client:

        async def get() -> Any:
            return await client.get(peer / "x")

        ends = await kit.together(*[get] * 8)
    assert {end.status for end in ends} == {200}
    calls = {span.context.span_id: span for span in traced.spans.calls if span.context is not None}
    assert len(calls) == 8
    for span in traced.spans.all:
        if kit.library is requests and span.name == "GET":
            assert span.parent is None
        elif span.name == "GET":
            assert span.parent is not None
            owner = calls[span.parent.span_id]
            assert owner.start_time is not None
            assert span.start_time is not None
            assert owner.start_time <= span.start_time


async def test__another_provider__is_a_call_inside_the_first(kit: Kit, peer: Peer, other: Peer, traced: Traced) -> None:
    peer.script(answer(503))
    async with kit.mounted(traced.ours(only(degrade=[FallbackProvider(other.url)]))) as client:
        assert (await client.get(peer / "x")).status == 200
    primary, second = traced.spans.calls
    assert (attributes(primary)["server.port"], attributes(second)["server.port"]) == (peer.port, other.port)
    assert second.parent == primary.context
    assert events(primary)[-1] == "seawall.degraded"
    assert attributes(primary)["seawall.served_from"] == "fallback"


async def test__redirect__is_a_call_for_each_hop(kit: Kit, peer: Peer, other: Peer, traced: Traced) -> None:
    peer.script(steps.redirect(other / "there"))
    async with kit.mounted(traced.ours(only())) as client:
        await client.get(peer / "x", follow=True)
    assert [attributes(span)["http.response.status_code"] for span in traced.spans.calls] == [302, 200]
