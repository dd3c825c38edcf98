"""Peers that do not speak HTTP, or not in time: raw sockets, played by a function each."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Self

import tests.contract.peer

GAP = 0.02
"""Seconds between two bytes that drip."""
LONGEST = 5.0
Play = Callable[[socket.socket, threading.Event], None]


class Raw:
    """A listener whose connections are all played by the same function."""

    def __init__(self, play: Play, path: str | None = None) -> None:
        self.connections = 0
        self._play = play
        self._stopped = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._listener.bind(path or ("127.0.0.1", 0))
        self._listener.listen(64)
        self.port: int = 0 if path else self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for sock in (self._listener, *self._sockets):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(LONGEST)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._sockets.append(sock)
                self._spawn(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError):
            self._play(sock, self._stopped)


def silent(sock: socket.socket, stopped: threading.Event) -> None:
    """Accept, and say nothing."""
    stopped.wait(LONGEST)


def drips(data: bytes) -> Play:
    """Say this, a byte at a time, without having listened; then nothing."""

    def play(sock: socket.socket, stopped: threading.Event) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(data)):
            sock.send(data[at : at + 1])
            if stopped.wait(GAP):
                return
        stopped.wait(LONGEST)

    return play


def hears_then(play: Play) -> Play:
    """Wait until the client has said something."""

    def heard(sock: socket.socket, stopped: threading.Event) -> None:
        if sock.recv(65536):
            play(sock, stopped)

    return heard


def reads_slowly(sock: socket.socket, stopped: threading.Event) -> None:
    """Take what the client sends in small bites."""
    while not stopped.wait(GAP) and sock.recv(2048):
        pass


def greets_then(play: Play) -> Play:
    """A SOCKS 5 proxy that accepts the greeting, hears the request, and then goes on like this."""

    def greeted(sock: socket.socket, stopped: threading.Event) -> None:
        sock.recv(64)
        sock.send(b"\x05\x00")
        sock.recv(512)
        play(sock, stopped)

    return greeted


def opens_then(then: Play, *, tls: bool = False) -> Play:
    """An HTTP proxy, behind TLS or not, that opens the tunnel and then goes on like this."""

    def opened(sock: socket.socket, stopped: threading.Event) -> None:
        with certificate().wrap_socket(sock, server_side=True) if tls else nullcontext(sock) as inside:
            inside.recv(65536)
            inside.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            then(inside, stopped)

    return opened


def certificate() -> ssl.SSLContext:
    """A server's context, self-signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(tests.contract.peer.__file__).with_name("selfsigned.pem"))
    return context


HEADERS = b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 0\r\n" % n for n in range(100))
"""Well-formed as far as they go, and they never end."""
HANDSHAKE = b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb\x03\x03" + bytes(1000)
"""The beginning of a long TLS record."""
SOCKS_REPLY = b"\x05\x00\x00\x03\xff" + b"x" * 255 + b"\x00\x50"
"""Granted, bound to a name of 255 bytes."""
