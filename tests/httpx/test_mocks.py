"""Mocks of httpx and the mount: those below it see every attempt, those above it bypass it (docs/mocks.md)."""

from __future__ import annotations

from typing import Any

import httpx
import httpx2
import pytest
import respx
from pytest_httpx import HTTPXMock

import seawall
from httpx_resilience import ResilientTransport, mount
from seawall import Resilience
from tests.contract.settings import only, quick, tripping

URL = "http://mocked.test/x"


def test__respx__default__is_below_and_sees_each_attempt() -> None:
    with respx.mock as router:
        route = router.get(URL)
        route.side_effect = [httpx.Response(503), httpx.Response(200, json={"a": 1})]
        with mount(httpx.Client(), quick()) as client:
            got = client.get(URL)
    assert (got.status_code, got.json(), route.call_count) == (200, {"a": 1}, 2)


async def _respx_async() -> None:
    with respx.mock as router:
        route = router.get(URL)
        route.side_effect = [httpx.ConnectError("refused"), httpx.Response(200)]
        async with mount(httpx.AsyncClient(), quick()) as client:
            got = await client.get(URL)
    assert (got.status_code, route.call_count) == (200, 2)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test__respx__async_client__is_below_and_sees_each_attempt(backend: str) -> None:
    import anyio

    anyio.run(_respx_async, backend=backend)


def test__respx__error_to_the_end__is_the_mocked_one() -> None:
    with respx.mock as router:
        route = router.get(URL).mock(side_effect=httpx.ReadTimeout)
        with mount(httpx.Client(), quick(max_retries=1)) as client, pytest.raises(httpx.ReadTimeout):
            client.get(URL)
    assert route.call_count == 2


def test__respx__nothing_mocked__its_own_error_passes_unretried() -> None:
    resilience = quick()
    with respx.mock:
        with mount(httpx.Client(), resilience) as client, pytest.raises(respx.models.AllMockedAssertionError):
            client.get(URL)
    assert [snapshot.failures for snapshot in resilience.snapshots()] == [0]


def test__respx__using_httpx__is_above_and_bypasses_the_mount() -> None:
    resilience = quick()
    with respx.mock(using="httpx") as router:
        route = router.get(URL).respond(503)
        with mount(httpx.Client(), resilience) as client:
            got = client.get(URL)
    assert (got.status_code, route.call_count, len(resilience)) == (503, 1, 0)


def test__pytest_httpx__is_below_and_sees_each_attempt(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(status_code=503)
    httpx_mock.add_response(json={"a": 1})
    with mount(httpx.Client(), quick()) as client:
        got = client.get(URL)
    assert (got.status_code, got.json(), len(httpx_mock.get_requests())) == (200, {"a": 1}, 2)


def test__pytest_httpx__extensions__match_as_without_a_mount(httpx_mock: HTTPXMock) -> None:
    timeouts = {"connect": 1, "read": 2, "write": 3, "pool": 4}
    httpx_mock.add_response(match_extensions={"timeout": timeouts})
    with mount(httpx.Client(timeout=httpx.Timeout(connect=1, read=2, write=3, pool=4)), Resilience()) as client:
        assert client.get(URL).status_code == 200


def test__pytest_httpx__stream__verdict_at_its_end(httpx_mock: HTTPXMock) -> None:
    from pytest_httpx import IteratorStream

    httpx_mock.add_response(stream=IteratorStream([b"one", b"two"]))
    resilience = only()
    with mount(httpx.Client(), resilience) as client, client.stream("GET", URL) as got:
        assert resilience.snapshots()[0].in_flight == 1
        assert got.read() == b"onetwo"
        assert resilience.snapshots()[0].in_flight == 0


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
def test__mock_transport__is_below_and_sees_each_attempt(library: Any) -> None:
    seen: list[str] = []

    def handler(request: Any) -> Any:
        seen.append(str(request.url))
        return library.Response(200 if len(seen) == 3 else 503)

    with mount(library.Client(transport=library.MockTransport(handler)), quick()) as client:
        assert client.get(URL).status_code == 200
    assert seen == [URL] * 3


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
def test__app_as_transport__is_retried_like_any_other(library: Any) -> None:
    served: list[str] = []

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        served.append(environ["PATH_INFO"])
        start("200 OK" if len(served) == 2 else "503 Busy", [("Content-Type", "text/plain")])
        return [b"from the app"]

    transport = ResilientTransport(library.WSGITransport(app=app), quick())
    with library.Client(transport=transport) as client:
        assert client.get(URL).text == "from the app"
    assert len(served) == 2


def test__mocked_rejection__keeps_its_class_and_report(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(status_code=503, is_reusable=True)
    with mount(httpx.Client(), only(breaker=tripping())) as client:
        for _ in range(2):
            client.get(URL)
        with pytest.raises(seawall.CircuitOpen) as caught:
            client.get(URL)
    assert isinstance(caught.value, httpx.TransportError)
    assert len(httpx_mock.get_requests()) == 2
