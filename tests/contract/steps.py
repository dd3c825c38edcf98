"""The lines of a peer's script: what it can answer, and every way it can lie.

A step is given the exchange (request and socket) and does something to it; it never waits longer than `LONGEST`.
"""

from __future__ import annotations

import gzip
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

LONGEST = 10.0
REASONS = {200: "OK", 204: "No Content", 302: "Found", 303: "See Other", 401: "Unauthorized", 429: "Too Many Requests"}
Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came over the wire."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connection: int
    head: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """The first field of that name, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Exchange:
    """What a step may touch: the request, the socket, and whether the connection is kept."""

    def __init__(self, request: Received, sock: socket.socket, stopped: threading.Event) -> None:
        self.request = request
        self.sock = sock
        self.stopped = stopped
        self.keep = True

    def send(self, data: bytes) -> None:
        """Write to the client; one that has gone is no failure of the script."""
        try:
            self.sock.sendall(data)
        except OSError:
            self.keep = False

    def wait(self, seconds: float) -> None:
        """Stay silent, until the time is over, the client has gone or the peer is stopped."""
        self.sock.settimeout(0.02)
        rounds = int(min(seconds, LONGEST) / 0.02)
        for _ in range(rounds):
            if self.stopped.is_set():
                break
            try:
                if not self.sock.recv(65536):
                    self.keep = False
                    break
            except TimeoutError:
                continue
            except OSError:
                self.keep = False
                break
        with suppress(OSError):
            self.sock.settimeout(LONGEST)

    def hang_up(self) -> None:
        """End our half cleanly, then wait for the client to end its half, so that it sees EOF and never a reset."""
        self.keep = False
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        self.wait(1.0)


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a script; `early` steps act on a new connection before anything is read from it."""

    play: Callable[[Exchange], None]
    early: bool = False


def head_of(status: int, headers: Headers, version: str = "1.1") -> bytes:
    """Status line and fields, with the empty line after them."""
    lines = [f"HTTP/{version} {status} {REASONS.get(status, 'Said So')}", *(f"{k}: {v}" for k, v in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(status: int = 200, body: bytes = b"", headers: Headers = (), *, keep: bool = True, chunks: int = 0) -> Step:
    """A well-formed answer; `chunks` > 0 sends the body chunked in that many pieces."""

    def play(exchange: Exchange) -> None:
        fields = list(headers)
        bodiless = exchange.request.method == "HEAD" or status in (204, 304) or status < 200
        if chunks:
            fields.append(("Transfer-Encoding", "chunked"))
        elif not bodiless or exchange.request.method == "HEAD":
            fields.append(("Content-Length", str(len(body))))
        if not keep:
            fields.append(("Connection", "close"))
        if bodiless:
            payload = b""
        elif chunks:
            size = max(1, -(-len(body) // chunks))
            parts = [body[at : at + size] for at in range(0, len(body), size)]
            payload = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        else:
            payload = body
        exchange.send(head_of(status, fields) + payload)
        if not keep:
            exchange.hang_up()

    return Step(play)


def redirect(location: str, status: int = 302, headers: Headers = ()) -> Step:
    """Send the client elsewhere."""
    return answer(status, b"over there", [("Location", location), *headers])


def gzipped(body: bytes) -> Step:
    """A compressed answer."""
    return answer(200, gzip.compress(body), [("Content-Encoding", "gzip")])


def raw(data: bytes, *, reset: bool = False) -> Step:
    """Exactly these bytes, then the end: EOF, or a reset."""

    def play(exchange: Exchange) -> None:
        if data:
            exchange.send(data)
        if reset:
            exchange.keep = False
            exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            exchange.hang_up()

    return Step(play)


def close() -> Step:
    """Read the request, say nothing, hang up."""
    return raw(b"")


def close_unread() -> Step:
    """Hang up on a new connection before reading anything."""
    return Step(Exchange.hang_up, early=True)


def reset() -> Step:
    """Read the request, then reset the connection."""
    return raw(b"", reset=True)


def hang(seconds: float = LONGEST) -> Step:
    """Read the request and say nothing for so long, then hang up."""

    def play(exchange: Exchange) -> None:
        exchange.wait(seconds)
        exchange.keep = False

    return Step(play)


def half_headers() -> Step:
    """Stop in the middle of the fields."""
    return raw(b"HTTP/1.1 200 OK\r\nContent-Le")


def garbage() -> Step:
    """No HTTP at all."""
    return raw(b"\x00\x01 this is not http \xff\r\n\r\n")


def short_body(sent: bytes = b"only this", claimed: int = 1000) -> Step:
    """Claim more bytes than are sent."""
    return raw(head_of(200, [("Content-Length", str(claimed))]) + sent)


def bad_chunk() -> Step:
    """A chunk size that is no number."""
    return raw(head_of(200, [("Transfer-Encoding", "chunked")]) + b"5\r\nhello\r\nxyz\r\n")


def bad_gzip() -> Step:
    """Claim gzip, send none."""
    return answer(200, b"this was never compressed", [("Content-Encoding", "gzip")])


def bomb(fields: int = 10_000) -> Step:
    """A well-formed answer with far too many fields."""
    return answer(200, b"many", [(f"X-Field-{n}", "value") for n in range(fields)])


class Crowd:
    """How many requests a server was working on at once."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.peak = max(self.peak, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


def slow(seconds: float, then: Step, crowd: Crowd | None = None) -> Step:
    """Think for a while, counted in `crowd`, then go on with another step."""

    def play(exchange: Exchange) -> None:
        with crowd or Crowd():
            exchange.stopped.wait(min(seconds, LONGEST))
        then.play(exchange)

    return Step(play)


def held(gate: threading.Event, then: Step) -> Step:
    """Go on with another step when the test opens the gate."""

    def play(exchange: Exchange) -> None:
        gate.wait(LONGEST)
        then.play(exchange)

    return Step(play)


def drip(
    first: bytes = b"first", rest: bytes = b"rest", *, gate: threading.Event | None = None, gap: float = 0.0
) -> Step:
    """Headers and a first chunk at once; the rest, a byte per `gap`, after the gate if there is one."""

    def play(exchange: Exchange) -> None:
        exchange.send(head_of(200, [("Content-Length", str(len(first) + len(rest)))]) + first)
        if gate is not None:
            gate.wait(LONGEST)
        for at in range(len(rest)):
            if exchange.stopped.wait(gap) or not exchange.keep:
                break
            exchange.send(rest[at : at + 1])

    return Step(play)


def judged(choose: Callable[[Received], Step]) -> Step:
    """Let the request decide which step it gets."""
    return Step(lambda exchange: choose(exchange.request).play(exchange))
