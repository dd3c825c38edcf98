"""The other side of the wire, played by a script: a real loopback HTTP/1.1 server that can lie.

Raw sockets and its own parsing, because a server library would refuse to send half a header or the wrong
length. Each request takes the next step of the script (the last one stays); everything received is recorded.
Nothing waits longer than `LONGEST` and `stop()` ends every thread, so a test cannot hang on its peer.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self

from tests.contract.steps import LONGEST, Exchange, Received, Step, answer


class Peer:
    """The server. `script()` says what it does, `requests` and `connections` what it saw."""

    def __init__(self, *, refusing: bool = False, tls: bool = False, deaf: bool = False) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.expired = False
        self._scripts: dict[str | None, list[Step]] = {None: [answer(200, b"fine")]}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: set[socket.socket] = set()
        self._deaf = deaf
        self._tls = _certificate() if tls else None
        self._listener = self._bind(0)
        self.port: int = self._listener.getsockname()[1]
        if not refusing:
            self.listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Scheme, host and port, without a slash."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __truediv__(self, path: str) -> str:
        return f"{self.url}/{path}"

    @property
    def count(self) -> int:
        """How many requests came in."""
        return len(self.requests)

    @property
    def bodies(self) -> list[bytes]:
        """The body of each request."""
        return [request.body for request in self.requests]

    def script(self, *steps: Step, path: str | None = None) -> Self:
        """Play these steps, one per request, the last one for ever; for one path only, if given."""
        with self._lock:
            self._scripts[path] = list(steps)
        return self

    def forget(self) -> None:
        """Drop what was recorded."""
        with self._lock:
            self.requests.clear()
            self.connections = 0

    def listen(self) -> None:
        """Begin to accept; until then (or after `refuse`) connections are refused."""
        self._listener.listen(512)
        self._spawn(self._accept, self._listener)

    def refuse(self) -> None:
        """Close the port and every connection; it stays ours, so nobody else can answer on it."""
        self._hang_up()
        self._listener = self._bind(self.port)

    def stop(self) -> None:
        """End every connection and thread."""
        self._stopped.set()
        self._hang_up()
        for thread in list(self._threads):
            thread.join(LONGEST)
        if any(thread.is_alive() for thread in self._threads):
            raise AssertionError("the scripted peer did not end")

    def _hang_up(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _bind(self, port: int) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._deaf:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", port))
        return listener

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads = [known for known in self._threads if known.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopped.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets.add(sock)
                self.connections += 1
                number = self.connections
            self._spawn(self._serve, sock, number)

    def _serve(self, sock: socket.socket, number: int) -> None:
        sock.settimeout(LONGEST)
        plain = sock
        reader: BinaryIO | None = None
        try:
            if self._deaf:
                self._stopped.wait(LONGEST)
                return
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            early = self._take(None, early=True)
            if early is not None:
                nothing = Received("", "", (), b"", number, b"")
                early.play(Exchange(nothing, sock, self._stopped))
                return
            reader = sock.makefile("rb")
            keep = True
            while keep and not self._stopped.is_set() and (request := _read(reader, number)) is not None:
                with self._lock:
                    self.requests.append(request)
                step = self._take(request.path)
                exchange = Exchange(request, sock, self._stopped)
                if step is not None:
                    step.play(exchange)
                keep = exchange.keep and (request.header("connection") or "").lower() != "close"
        except OSError:
            return
        finally:
            with self._lock:
                self._sockets.discard(plain)
            if reader is not None:  # it holds the socket open, and a reset is sent by the last close
                reader.close()
            sock.close()

    def _take(self, path: str | None, *, early: bool = False) -> Step | None:
        with self._lock:
            steps = self._scripts.get(path) or self._scripts[None]
            if early and not (steps and steps[0].early):
                return None
            return steps.pop(0) if len(steps) > 1 else steps[0]


def _read(reader: BinaryIO, number: int) -> Received | None:
    """One request, or None when the client has nothing more to say."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = reader.readline()
        if not line:
            return None
        head += line
    first, *rest = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = tuple((key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in rest))
    fields = {key.lower(): value for key, value in headers}
    body = b""
    if "chunked" in fields.get("transfer-encoding", ""):
        while line := reader.readline():
            if not (size := int(line, 16)):
                break
            body += reader.read(size) or b""
            reader.readline()
        if not reader.readline():
            return None
    elif length := int(fields.get("content-length", "0")):
        body = reader.read(length) or b""
        if len(body) < length:
            return None
    return Received(method, target, headers, body, number, head)


def _certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).with_name("selfsigned.pem"))
    return context


class BlackHole:
    """A port that never completes a connection: its queue of one is full, so further SYNs are dropped."""

    def __enter__(self) -> Self:
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._fill: list[socket.socket] = []
        for _ in range(4):
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", self.port))
            self._fill.append(sock)
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (*self._fill, self._listener):
            sock.close()

    @property
    def url(self) -> str:
        """Scheme, host and port, without a slash."""
        return f"http://127.0.0.1:{self.port}"

    def __truediv__(self, path: str) -> str:
        return f"{self.url}/{path}"
