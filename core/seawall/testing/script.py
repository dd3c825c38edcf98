"""A real server on loopback that answers by a script: the other side of a test, under any client, sync or async."""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final, Self

from seawall import _check

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Any, BinaryIO

_POLL: Final = 0.02
"""Seconds in which it notices that it is to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One line of a script."""

    status: int = 200
    body: bytes | str = b""
    """Text is sent as UTF-8."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    delay: float = 0.0
    """Seconds of silence before it."""

    def __post_init__(self) -> None:
        if not isinstance(self.status, int) or not 200 <= self.status <= 999:
            raise ValueError(f"Answer: status={self.status!r}: give a final status, 200 to 999")
        _check.duration(self, "delay")


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request as the server saw it."""

    method: str
    path: str
    """With its query."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class ScriptedServer:
    """`with ScriptedServer(503, Answer(body="fine")) as server:` answers so at `server.url`, whatever it is asked.

    Each request takes the next line of the script, the last one stays. A line is an `Answer`, or a status. It knows
    HTTP/1.1 only and always tells the truth; for a network that does not, put a `FaultProxy` in front of it. Every
    method is safe from any thread.
    """

    def __init__(self, *script: Answer | int) -> None:
        """script: the answers; none: 200 to everything."""
        self.requests: list[Received] = []
        """What came in, in the order of the answers."""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.script(*script)
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"scripted": self}))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL,), name="seawall-scripted-server", daemon=True
        )

    @property
    def url(self) -> str:
        """Scheme, host and port, without a slash."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def script(self, *script: Answer | int) -> None:
        """From the next request on, these answers."""
        lines = [line if isinstance(line, Answer) else Answer(status=line) for line in script or (200,)]
        with self._lock:
            self._script = lines

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.hang_up()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def take(self, received: Received) -> Answer:
        """The answer whose turn it is, when it is to come; for the server's own threads."""
        with self._lock:
            self.requests.append(received)
            answer = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        self._ended.wait(answer.delay)
        return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """A client may keep its connection for as long as it likes, and a thread of ours with it."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that goes away is no news
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # fields and body are written one after the other
    scripted: ScriptedServer

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = _body(self.rfile, headers)  # type: ignore[arg-type]
        answer = self.scripted.take(Received(method=self.command, path=self.path, headers=headers, body=body))
        content = answer.body.encode() if isinstance(answer.body, str) else answer.body
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and answer.status not in (204, 304):
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_QUERY = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """A test's output is its own."""


def _body(stream: BinaryIO, headers: Mapping[str, str]) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", ""):
        return stream.read(int(headers.get("content-length", 0)))
    body = b""
    while size := int(stream.readline().partition(b";")[0] or b"0", 16):
        body += stream.read(size)
        stream.readline()
    while stream.readline().strip():  # trailers
        pass
    return body
