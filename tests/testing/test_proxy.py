"""The fault proxy: each toxic is seen by clients of every library as what it is called."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import httpx2
import pytest
import requests

from seawall.testing import (
    Bandwidth,
    Down,
    FaultProxy,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)

BODY = b"0123456789" * 100


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def proxy(server: str) -> Iterator[FaultProxy]:
    with FaultProxy(server, seed=1) as proxy:
        yield proxy


def took(proxy: FaultProxy, **kwargs: float) -> float:
    began = time.monotonic()
    assert httpx.get(proxy.url, **kwargs).content == BODY  # type: ignore[arg-type]
    return time.monotonic() - began


def test__no_toxic__every_library__passes_everything(proxy: FaultProxy) -> None:
    assert httpx.get(proxy.url).content == httpx2.get(proxy.url).content == requests.get(proxy.url).content == BODY
    assert proxy.accepted == 3


def test__no_toxic__async_client__passes_everything(server: str) -> None:
    async def main() -> bytes:
        async with FaultProxy(server) as proxy, httpx.AsyncClient() as client:
            return (await client.get(proxy.url)).content

    assert asyncio.run(main()) == BODY


def test__latency__is_waited_for_once(proxy: FaultProxy) -> None:
    with proxy.under(Latency(seconds=0.2)):
        assert 0.2 <= took(proxy) < 0.5
    assert took(proxy) < 0.2


def test__latency__upstream__delays_what_the_client_sends(proxy: FaultProxy) -> None:
    with proxy.under(Latency(seconds=0.2, direction="upstream")):
        assert 0.2 <= took(proxy) < 0.5


def test__down__refuses_and_comes_back_on_the_same_port(proxy: FaultProxy) -> None:
    port = proxy.port
    with httpx.Client() as kept:
        kept.get(proxy.url)
        with proxy.under(Down()):
            with pytest.raises(httpx.ConnectError):
                httpx.get(proxy.url)
            with pytest.raises(httpx.TransportError):
                kept.get(proxy.url)
    assert proxy.port == port
    assert took(proxy) < 1


def test__bandwidth__stretches_the_body(proxy: FaultProxy) -> None:
    with proxy.under(Bandwidth(rate=4000)):
        assert 0.2 <= took(proxy) < 1.5


def test__slow_close__end_of_stream__comes_late(proxy: FaultProxy) -> None:
    with proxy.under(SlowClose(seconds=0.3)), socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        raw.settimeout(2)
        raw.sendall(b"GET / HTTP/1.0\r\nConnection: close\r\n\r\n")
        received = b""
        while not received.endswith(BODY):
            received += raw.recv(65536)
        began = time.monotonic()
        assert raw.recv(1) == b""
        assert 0.2 < time.monotonic() - began < 1


def test__timeout__zero__hangs(proxy: FaultProxy) -> None:
    with proxy.under(Timeout()), pytest.raises(httpx.ReadTimeout):
        httpx.get(proxy.url, timeout=0.2)


def test__timeout__some_seconds__closes_then(proxy: FaultProxy) -> None:
    began = time.monotonic()
    with proxy.under(Timeout(seconds=0.2)), pytest.raises(httpx.RemoteProtocolError):
        httpx.get(proxy.url, timeout=2)
    assert 0.2 <= time.monotonic() - began < 1


def test__timeout__silent_connection__is_closed_too(proxy: FaultProxy) -> None:
    with proxy.under(Timeout(seconds=0.2)), socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        raw.settimeout(2)
        assert raw.recv(1) == b""


def test__reset_peer__is_a_reset(proxy: FaultProxy) -> None:
    with proxy.under(ResetPeer(seconds=0.1)), socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        raw.settimeout(2)
        with pytest.raises(ConnectionResetError):
            raw.recv(1)


def test__slicer__bytes_come_in_slices(proxy: FaultProxy) -> None:
    with proxy.under(Slicer(size=100, variation=20, delay=0.01)):
        with httpx.stream("GET", proxy.url) as response:
            pieces = list(response.iter_raw())
    assert b"".join(pieces) == BODY
    assert len(pieces) > 5


def test__limit_data__closes_after_so_many_bytes(proxy: FaultProxy) -> None:
    with proxy.under(LimitData(size=500)), pytest.raises(httpx.RemoteProtocolError):
        httpx.get(proxy.url)


def test__toxicity__same_seed__befalls_the_same_connections(server: str) -> None:
    def befallen() -> list[bool]:
        seen: list[bool] = []
        with FaultProxy(server, seed=7) as proxy, proxy.under(LimitData(size=0, toxicity=0.5)):
            for _ in range(20):
                try:
                    httpx.get(proxy.url, verify=False)  # loading certificates would take longer than all the rest
                except httpx.RemoteProtocolError:
                    seen.append(True)
                else:
                    seen.append(False)
        return seen

    first = befallen()
    assert first == befallen()
    assert 3 < sum(first) < 17


def test__cut__ends_connections_in_use(proxy: FaultProxy) -> None:
    with proxy.under(Timeout()), socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        raw.settimeout(2)
        raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while not proxy.accepted:
            time.sleep(0.01)
        proxy.cut()
        assert raw.recv(1) == b""


def test__server_gone__connection_is_closed() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    with FaultProxy(address) as proxy, pytest.raises(httpx.TransportError):
        httpx.get(proxy.url)


@pytest.mark.parametrize("upstream", ["localhost", "", "http://", None, 8000])
def test__upstream__no_address__says_what_to_give(upstream: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"FaultProxy: upstream=.*: give a URL, or host:port"):
        FaultProxy(upstream)


@pytest.mark.parametrize("upstream", ["localhost:0x1", "localhost:99999"])
def test__upstream__no_port__says_whose(upstream: str) -> None:
    with pytest.raises(ValueError, match=r"FaultProxy: upstream='localhost:.*[Pp]ort"):
        FaultProxy(upstream)


def test__not_entered__says_when_there_is_anything_to_ask_for() -> None:
    proxy = FaultProxy("localhost:80")
    with pytest.raises(RuntimeError, match="once it is entered"):
        _ = proxy.url
    with pytest.raises(RuntimeError, match="once it is entered"):
        proxy.cut()


@pytest.mark.parametrize(
    ("toxic", "given"),
    [(Latency, {"seconds": -1}), (Slicer, {"size": 0}), (LimitData, {"size": 1, "toxicity": 2})],
)
def test__toxic__nonsense__says_which_field(toxic: type[Toxic], given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{toxic.__name__}: {next(reversed(given))}="):
        toxic(**given)  # type: ignore[arg-type]
