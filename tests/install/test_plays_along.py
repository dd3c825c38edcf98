"""Beside tracing tools, mocks, gevent and httpx2's alias, in either order of coming and going."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest
import requests
import responses
import respx
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pytest_httpx import HTTPXMock

import seawall
from tests.contract.peer import Peer
from tests.contract.settings import quick
from tests.contract.steps import answer
from tests.install.fresh import run

URL = "http://mocked.test/x"
TRACERS: list[tuple[Any, Any, int]] = [
    # Library, its instrumentation, spans for a call of three attempts: httpx's sees attempts, requests' sees calls.
    (httpx, HTTPXClientInstrumentor, 3),
    (httpx2, HTTPX2ClientInstrumentor, 3),
    (requests, RequestsInstrumentor, 1),
]


class Tracing:
    """One instrumentation and what it saw."""

    def __init__(self, kind: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.kind = kind

    def on(self) -> None:
        self.kind().instrument(tracer_provider=self.provider)

    def off(self) -> None:
        self.kind().uninstrument()

    def spans(self) -> int:
        found = len(self.exporter.get_finished_spans())
        self.exporter.clear()
        return found


@pytest.fixture
def tracing(request: pytest.FixtureRequest) -> Iterator[Tracing]:
    made = Tracing(request.param)
    yield made
    if made.kind().is_instrumented_by_opentelemetry:
        made.off()
    made.provider.shutdown()


@pytest.mark.parametrize(
    ("library", "tracing", "expected"), TRACERS, indirect=["tracing"], ids=[row[0].__name__ for row in TRACERS]
)
@pytest.mark.parametrize("first", ["install", "instrument"])
@pytest.mark.parametrize("first_off", ["uninstall", "uninstrument"])
def test__opentelemetry__in_any_order__both_work_and_both_leave(
    library: Any, tracing: Tracing, expected: int, first: str, first_off: str, peer: Peer
) -> None:
    sends = {kind: _method(kind) for kind in (httpx.HTTPTransport, httpx2.HTTPTransport, requests.Session)}
    peer.script(answer(503))

    def install() -> None:
        seawall.install(quick())

    for step in (install, tracing.on) if first == "install" else (tracing.on, install):
        step()
    library.get(peer / "x")
    assert (peer.count, tracing.spans()) == (3, expected)
    if first_off == "uninstall":
        seawall.uninstall()
        peer.forget()
        library.get(peer / "x")
        assert (peer.count, tracing.spans()) == (1, 1)
        tracing.off()
    else:
        tracing.off()
        peer.forget()
        library.get(peer / "x")
        assert (peer.count, tracing.spans()) == (3, 0)
        seawall.uninstall()
    peer.forget()
    library.get(peer / "x")
    assert (peer.count, tracing.spans()) == (1, 0)
    assert {kind: _method(kind) for kind in sends} == sends


def _method(kind: Any) -> Any:
    return vars(kind)["send" if kind is requests.Session else "handle_request"]


@pytest.mark.parametrize("tracing", [HTTPXClientInstrumentor], indirect=True)
def test__opentelemetry__one_client_instrumented__keeps_its_spans_after_uninstall(tracing: Tracing, peer: Peer) -> None:
    peer.script(answer(503))
    seawall.install(quick())
    with httpx.Client() as client:
        HTTPXClientInstrumentor.instrument_client(client, tracer_provider=tracing.provider)
        client.get(peer / "x")
        assert (peer.count, tracing.spans()) == (3, 1)
        seawall.uninstall()
        client.get(peer / "x")
        assert (peer.count, tracing.spans()) == (4, 1)
        HTTPXClientInstrumentor.uninstrument_client(client)
        client.get(peer / "x")
        assert (peer.count, tracing.spans()) == (5, 0)


@pytest.mark.parametrize("turn", [1, -1], ids=["installed first", "mocked first"])
def test__respx__sees_each_attempt_in_either_order(turn: int) -> None:
    router = respx.MockRouter()
    first, second = [seawall.installed(quick()), router][::turn]
    with first, second:
        route = router.get(URL)
        route.side_effect = [httpx.Response(503), httpx.Response(200)]
        assert httpx.get(URL).status_code == 200
    assert route.call_count == 2


def test__pytest_httpx__sees_each_attempt(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(status_code=503)
    httpx_mock.add_response(json={"a": 1})
    with seawall.installed(quick()):
        assert httpx.get(URL).json() == {"a": 1}


@pytest.mark.parametrize("turn", [1, -1], ids=["installed first", "mocked first"])
def test__responses__sees_each_attempt_in_either_order(turn: int) -> None:
    mock = responses.RequestsMock()
    first, second = [seawall.installed(quick()), mock][::turn]
    with first, second:
        mock.get(URL, status=503)
        mock.get(URL, status=200)
        assert requests.get(URL).status_code == 200
        assert len(mock.calls) == 2


ALIASED = """
    import sys
    import seawall
    from seawall import Policy, Retry
    policy = Policy(retry=Retry(max_retries=1, base_delay=0.01), budget=None)
    {order}
    import httpx, httpx2
    assert httpx is httpx2
    assert httpx.get(sys.argv[1]).status_code == 503
    seawall.uninstall()
    assert httpx.get(sys.argv[1]).status_code == 503
    assert type(vars(httpx.Client)["__init__"]).__name__ == "function"
"""


@pytest.mark.skipif(not hasattr(httpx2, "alias_httpx"), reason="this httpx2 has no alias yet")
@pytest.mark.parametrize(
    "order",
    [
        "seawall.install(policy); import httpx2; httpx2.alias_httpx()",
        "import httpx2; httpx2.alias_httpx(); seawall.install(policy)",
        "import httpx2; seawall.install(policy); httpx2.alias_httpx()",
        "import httpx2; httpx2.alias_httpx(); import httpx; seawall.install(policy); seawall.install(policy)",
    ],
)
def test__httpx2s_alias__one_library_patched_once(order: str, peer: Peer) -> None:
    peer.script(answer(503))
    run(ALIASED.format(order=order), peer / "x")
    assert peer.count == 2 + 1


GEVENT = """
    {order}
    import gevent, sys
    with seawall.installed(policy):
        jobs = [gevent.spawn(requests.get, sys.argv[1]) for _ in range(3)]
        assert [job.get().status_code for job in jobs] == [503] * 3
"""


def test__gevent__patched_before__greenlets_clients_are_resilient(peer: Peer) -> None:
    peer.script(answer(503))
    order = """
    from gevent import monkey; monkey.patch_all()
    import requests, seawall
    from seawall import Policy, Retry
    policy = Policy(retry=Retry(max_retries=1, base_delay=0.01), budget=None)
    """
    run(GEVENT.format(order=order.strip()), peer / "x", warnings="ignore")
    assert peer.count == 6


def test__gevent__patched_too_late__sessions_work_bare_and_the_warning_says_why(peer: Peer) -> None:
    peer.script(answer(503))
    order = """
    import warnings
    import requests, seawall, requests_resilience
    from seawall import Policy
    policy = Policy()
    from gevent import monkey; monkey.patch_all()
    warnings.showwarning = lambda message, *_: print(message)
    """
    said = run(GEVENT.format(order=order.strip()), peer / "x", warnings="default")
    assert said.count("requests.sessions.Session could not be mounted") == 1
    assert "patch_all() first" in said
    assert peer.count == 3
