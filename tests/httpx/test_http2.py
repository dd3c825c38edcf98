"""HTTP/2: a stream the server refused was surely not processed; one it reset may have been."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import httpx
import httpx2
import pytest

import seawall
from httpx_resilience import mount
from tests.contract.settings import only, retrying

both = pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
Act = Callable[[h2.connection.H2Connection, int], bool]


def good(connection: h2.connection.H2Connection, stream: int) -> bool:
    connection.send_headers(stream, [(":status", "200"), ("content-length", "2")])
    connection.send_data(stream, b"h2", end_stream=True)
    return True


def busy(connection: h2.connection.H2Connection, stream: int) -> bool:
    connection.send_headers(stream, [(":status", "503"), ("content-length", "0")], end_stream=True)
    return True


def refuse(connection: h2.connection.H2Connection, stream: int) -> bool:
    connection.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
    return True


def reset(connection: h2.connection.H2Connection, stream: int) -> bool:
    connection.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
    return True


def go_away_untouched(connection: h2.connection.H2Connection, stream: int) -> bool:
    connection.close_connection(last_stream_id=0)
    return False


def go_away_while_at_it(connection: h2.connection.H2Connection, stream: int) -> bool:
    """The stream it names may have been processed, whatever code the server gives."""
    connection.close_connection(error_code=h2.errors.ErrorCodes.REFUSED_STREAM, last_stream_id=stream)
    return False


@contextmanager
def served(*acts: Act) -> Iterator[tuple[str, list[str]]]:
    """An HTTP/2 server with prior knowledge: what it does to each request in turn, and the methods it saw."""
    script, seen = list(acts), list[str]()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)
    open_sockets: list[socket.socket] = [listener]

    def serve() -> None:
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                sock.settimeout(10)
                open_sockets.append(sock)
                threading.Thread(target=talk, args=(sock,), daemon=True).start()

    def talk(sock: socket.socket) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        with suppress(OSError, h2.exceptions.ProtocolError):
            sock.sendall(connection.data_to_send())
            listens = True
            while data := sock.recv(65536):  # after GOAWAY too, until the client closes: it must not see a reset
                for event in connection.receive_data(data) if listens else ():
                    if isinstance(event, h2.events.RequestReceived):
                        seen.append(dict(event.headers)[b":method"].decode())
                        act = script.pop(0) if len(script) > 1 else script[0]
                        listens = act(connection, event.stream_id)
                sock.sendall(connection.data_to_send())
        sock.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x", seen
    finally:
        for sock in open_sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        thread.join(5)


def client(library: Any, **parts: Any) -> Any:
    return mount(library.Client(http1=False, http2=True), only(retry=retrying(), **parts))


@both
def test__http2__retried_on_one_connection(library: Any) -> None:
    with served(busy, good) as (url, seen), client(library) as mounted:
        got = mounted.get(url)
    assert (got.status_code, got.text, got.http_version, seen) == (200, "h2", "HTTP/2", ["GET", "GET"])


@both
@pytest.mark.parametrize("act", [refuse, go_away_untouched], ids=["refused-stream", "goaway-0"])
def test__http2__surely_not_processed__post_is_repeated(library: Any, act: Act) -> None:
    with served(act, good) as (url, seen), client(library) as mounted:
        assert mounted.post(url, content=b"pay").status_code == 200
    assert seen == ["POST", "POST"]


@both
@pytest.mark.parametrize("act", [reset, go_away_while_at_it], ids=["reset", "goaway-this"])
def test__http2__maybe_processed__post_is_not_repeated(library: Any, act: Act) -> None:
    with served(act, good) as (url, seen), client(library) as mounted:
        with pytest.raises(library.RemoteProtocolError) as caught:
            mounted.post(url, content=b"pay")
    assert seen == ["POST"]
    report = seawall.report(caught.value)
    assert report is not None
    assert len(report.attempts) == 1


@both
@pytest.mark.parametrize("act", [reset, go_away_while_at_it], ids=["reset", "goaway-this"])
def test__http2__maybe_processed__get_is_repeated(library: Any, act: Act) -> None:
    with served(act, good) as (url, seen), client(library) as mounted:
        assert mounted.get(url).status_code == 200
    assert seen == ["GET", "GET"]
