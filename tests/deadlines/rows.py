"""Every way a server, a proxy or a name server can take its time, and how each client is brought to meet it."""

from __future__ import annotations

import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Unpack
from unittest import mock

import requests
import urllib3.connection

from tests.contract import steps
from tests.contract.clients import Client, Kit, Options
from tests.contract.peer import BlackHole, Peer
from tests.contract.settings import one_at_a_time, retrying
from tests.contract.steps import Exchange, Step, answer
from tests.deadlines.peers import (
    GAP,
    HANDSHAKE,
    HEADERS,
    SOCKS_REPLY,
    Raw,
    drips,
    greets_then,
    hears_then,
    opens_then,
    reads_slowly,
    silent,
)

PATIENT = 30.0
"""The client's own limit, which nothing here comes near."""


@dataclass(slots=True)
class Scene:
    """A client that has not been mounted yet, and what it is to ask for."""

    client: Client
    url: str
    heal: Callable[[], object] | None = None
    """Make the next call of the same client succeed; None: that cannot be played."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way to be late."""

    name: str
    arrange: Callable[[ExitStack, Kit], Scene]
    kits: Callable[[Kit], bool] = lambda kit: True
    method: str = "GET"
    options: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    together: int = 3
    may_answer: bool = False
    """The last answer there is may come back instead, in time."""
    failures: int | None = 0
    """What the host is blamed for; None: some of the answers were failures of its own."""

    def __repr__(self) -> str:
        return self.name


def is_requests(kit: Kit) -> bool:
    return kit.name == "requests"


def is_httpx(kit: Kit) -> bool:
    return kit.name != "requests"


class NoCertificates(requests.adapters.HTTPAdapter):
    """urllib3 loads the CA file for each connection it has no context for: 0.1 s of computing, which nothing cuts."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=_unverified())

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        contexts = {
            "ssl_context": _unverified(),
            "proxy_ssl_context": _unverified() if proxy.startswith("https") else None,
        }
        return super().proxy_manager_for(proxy, **options, **contexts)


def client(kit: Kit, *, insecure: bool = False, **given: Unpack[Options]) -> Client:
    if insecure and is_requests(kit):
        made = kit.bare(timeout=PATIENT, fake=NoCertificates(), **given)
        made.inner.verify = False
        return made
    return kit.bare(timeout=PATIENT, **given)


def plays(*script: Step) -> Callable[[ExitStack, Kit], Scene]:
    def arrange(stack: ExitStack, kit: Kit) -> Scene:
        peer = stack.enter_context(Peer())
        peer.script(*script)
        return Scene(client(kit), peer / "x", lambda: peer.script(answer(200, b"well")))

    return arrange


def dripping(data: bytes) -> Step:
    """These bytes, one at a time."""

    def play(exchange: Exchange) -> None:
        for at in range(len(data)):
            exchange.send(data[at : at + 1])
            if exchange.stopped.wait(GAP) or not exchange.keep:
                return

    return Step(play)


def dripping_body(headers: list[tuple[str, str]], piece: bytes) -> Step:
    """Headers at once, then the body, a piece at a time."""

    def play(exchange: Exchange) -> None:
        exchange.send(steps.head_of(200, headers))
        while exchange.keep and not exchange.stopped.wait(GAP):
            exchange.send(piece)

    return Step(play)


def black_hole(stack: ExitStack, kit: Kit) -> Scene:
    return Scene(client(kit), stack.enter_context(BlackHole()) / "x")


def raw_tls(play: Any) -> Callable[[ExitStack, Kit], Scene]:
    def arrange(stack: ExitStack, kit: Kit) -> Scene:
        peer = stack.enter_context(Raw(play))
        return Scene(client(kit, insecure=True), f"https://127.0.0.1:{peer.port}/x")

    return arrange


def hung_lookup(stack: ExitStack, kit: Kit) -> Scene:
    real, ended = socket.getaddrinfo, threading.Event()

    def resolve(host: Any, *args: Any, **options: Any) -> Any:
        if host in ("hangs.test", b"hangs.test"):
            ended.wait(5)
            raise socket.gaierror(socket.EAI_AGAIN, "gave up at last")
        return real(host, *args, **options)

    stack.enter_context(mock.patch("socket.getaddrinfo", resolve))
    stack.callback(ended.set)
    return Scene(client(kit), "http://hangs.test/x")


def forward_proxy(stack: ExitStack, kit: Kit) -> Scene:
    proxy = stack.enter_context(Peer())
    proxy.script(dripping(HEADERS))
    heal = lambda: proxy.script(answer(200, b"well"))  # noqa: E731
    return Scene(client(kit, proxy=proxy.url), "http://behind.test/x", heal)


def tunnel(play: Any, *, tls: bool = False) -> Callable[[ExitStack, Kit], Scene]:
    """Over a proxy that is asked to open a tunnel; its own TLS makes TLS inside TLS of it."""

    def arrange(stack: ExitStack, kit: Kit) -> Scene:
        port = stack.enter_context(Raw(play)).port
        proxy: Any = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        if tls and is_httpx(kit):
            proxy = kit.library.Proxy(proxy, ssl_context=_unverified())
        return Scene(client(kit, insecure=True, proxy=proxy), "https://behind.test/x")

    return arrange


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def socks(play: Any) -> Callable[[ExitStack, Kit], Scene]:
    def arrange(stack: ExitStack, kit: Kit) -> Scene:
        port = stack.enter_context(Raw(play)).port
        scheme = "socks5h" if is_requests(kit) else "socks5"
        return Scene(client(kit, proxy=f"{scheme}://127.0.0.1:{port}"), "http://behind.test/x")

    return arrange


def unix_socket(stack: ExitStack, kit: Kit) -> Scene:
    path = f"{stack.enter_context(tempfile.TemporaryDirectory())}/s"
    stack.enter_context(Raw(hears_then(drips(HEADERS)), path))
    return Scene(over_unix_socket(kit, path), "http://unix.test/x")


def over_unix_socket(kit: Kit, path: str) -> Client:
    """A client whose connections go to a socket in the file system."""
    if is_httpx(kit):
        kind = kit.library.AsyncHTTPTransport if kit.is_async else kit.library.HTTPTransport
        return client(kit, fake=kind(uds=path))

    class Connection(urllib3.connection.HTTPConnection):
        def _new_conn(self) -> socket.socket:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(self.timeout)
            sock.connect(path)
            return sock

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = Connection

    adapter = requests.adapters.HTTPAdapter()
    adapter.poolmanager.pool_classes_by_scheme = {"http": Pool}
    return client(kit, fake=adapter)


def slow_reader(stack: ExitStack, kit: Kit) -> Scene:
    port = stack.enter_context(Raw(reads_slowly)).port
    return Scene(client(kit), f"http://127.0.0.1:{port}/x")


def redirects(stack: ExitStack, kit: Kit) -> Scene:
    peer = stack.enter_context(Peer())
    peer.script(steps.slow(0.04, steps.redirect("/again")))
    return Scene(client(kit, max_redirects=1000), peer / "x", lambda: peer.script(answer(200, b"well")))


def one_connection(stack: ExitStack, kit: Kit) -> Scene:
    peer = stack.enter_context(Peer())
    peer.script(steps.hang())
    return Scene(client(kit, pool=1), peer / "x", lambda: peer.script(answer(200, b"well")))


LENGTH = [("Content-Length", "1000000")]
CHUNKED = [("Transfer-Encoding", "chunked")]

ROWS = [
    Row("hang", plays(steps.hang())),
    Row("drip headers", plays(dripping(HEADERS))),
    Row("drip body, length", plays(dripping_body(LENGTH, b"."))),
    Row("drip body, chunked", plays(dripping_body(CHUNKED, b"1\r\n.\r\n"))),
    Row("drip one endless chunk size", plays(dripping_body(CHUNKED, b"0"))),
    Row("body stops", plays(dripping_body(LENGTH, b""))),
    Row("black-hole connect", black_hole),
    Row("silent TLS", raw_tls(silent)),
    Row("dripping TLS", raw_tls(hears_then(drips(HANDSHAKE)))),
    Row("hung lookup", hung_lookup),
    Row("redirects", redirects, options={"follow": True}),
    Row(
        "retries",
        plays(steps.slow(0.04, answer(503))),
        policy={"retry": retrying(max_retries=1000)},
        may_answer=True,
        failures=None,
    ),
    Row("bulkhead", plays(steps.hang()), policy={"bulkhead": one_at_a_time(max_wait=20)}),
    Row("proxy drips", forward_proxy),
    Row("silent tunnel", tunnel(hears_then(silent))),
    Row("dripping tunnel", tunnel(hears_then(drips(HEADERS)))),
    Row("tunnel to silent TLS", tunnel(opens_then(silent))),
    Row("TLS proxy drips", tunnel(opens_then(hears_then(drips(HANDSHAKE)), tls=True), tls=True)),
    Row("silent SOCKS", socks(silent)),
    Row("SOCKS silent after its greeting", socks(greets_then(silent))),
    Row("dripping SOCKS", socks(greets_then(drips(SOCKS_REPLY))), is_requests),  # the others want it in one piece
    Row("drip headers behind SOCKS", socks(greets_then(lambda sock, stopped: _granted(sock, stopped)))),
    Row("Unix socket", unix_socket),
    Row("slow reader of an upload", slow_reader, method="POST", options={"content": bytes(8_000_000)}),
    Row("one connection for all", one_connection),
]


def _granted(sock: socket.socket, stopped: threading.Event) -> None:
    sock.send(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
    hears_then(drips(HEADERS))(sock, stopped)
