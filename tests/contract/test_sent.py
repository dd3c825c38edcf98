"""A POST that never left may go out again; one whose first byte was handed to the system may not."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import httpx2
import pytest
import requests
import urllib3

import requests_resilience
import seawall
from httpx_resilience._network import clamp
from seawall import AsyncReplayable, ErrorKind, Replayable, Timeouts
from seawall.clocks import Watch
from seawall.drivers.clock import SystemClock
from seawall.policies.timeouts import Limits
from tests.contract import steps
from tests.contract.clients import Client, HttpxClient, HttpxKit, Kit, RequestsClient
from tests.contract.peer import Peer
from tests.contract.settings import only, quick, retrying
from tests.contract.steps import Exchange, Step, answer

TUNNEL = b"HTTP/1.1 200 Connection established\r\n\r\n"
both = pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
CERTIFICATE = Path(__file__).with_name("selfsigned.pem")

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")


def trusting(kit: Kit, proxy: str | None = None) -> Client:
    """A client that takes any certificate, mounted."""
    inner: Any
    if isinstance(kit, HttpxKit):
        made = kit.library.AsyncClient if kit.is_async else kit.library.Client
        where: Any = proxy
        if proxy is not None and proxy.startswith("https"):
            where = kit.library.Proxy(proxy, ssl_context=_insecure())
        inner = made(verify=False, proxy=where, trust_env=False)
        client: Client = HttpxClient(kit, inner, 5.0)
    else:
        inner = requests.Session()
        inner.trust_env = inner.verify = False
        if proxy is not None:
            inner.proxies = {"http": proxy, "https": proxy}
            if proxy.startswith("https"):
                inner.get_adapter(proxy).proxy_manager_for(proxy, proxy_ssl_context=_insecure())
        client = RequestsClient(kit, inner, 5.0)
    kit.mount_module.mount(inner, quick(max_retries=1))
    return client


def _insecure() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def attempts_of_a_post(client: Client, url: str, **options: Any) -> int:
    with pytest.raises(Exception) as caught:
        await client.request("POST", url, **({"content": b"pay"} | options))
    report = seawall.report(caught.value)
    assert report is not None
    return len(report.attempts)


def reset_socket(exchange: Exchange) -> None:
    exchange.keep = False
    exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def tunnel(then: Callable[[Exchange], None]) -> Step:
    """Open the tunnel a client asks for and go on with what it sends through it."""

    def play(exchange: Exchange) -> None:
        exchange.send(TUNNEL)
        then(exchange)
        exchange.keep = False

    return Step(play)


def server_side() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def read_encrypted(sock: socket.socket) -> bytes:
    """Play the TLS server on a socket, encrypted or not, until the client has sent something; what it sent."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = server_side().wrap_bio(incoming, outgoing, server_side=True)
    done = False
    while True:
        try:
            if done:
                return tls.read(65536)
            tls.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            pass
        sock.sendall(outgoing.read())
        with suppress(ssl.SSLWantReadError):
            if done:
                return tls.read(65536)
        data = sock.recv(65536)
        if not data:
            return b""
        incoming.write(data)


async def test__tls_handshake_broken_off__nothing_left_it_goes_out_again(kit: Kit, peer: Peer) -> None:
    def play(exchange: Exchange) -> None:
        exchange.sock.recv(65536)
        reset_socket(exchange)

    peer.script(Step(play, early=True))
    async with trusting(kit) as client:
        assert await attempts_of_a_post(client, f"https://127.0.0.1:{peer.port}/x") == 2


async def test__tunnel_opened_and_tls_broken_off__nothing_left_it_goes_out_again(kit: Kit, peer: Peer) -> None:
    peer.script(tunnel(Exchange.hang_up))
    async with trusting(kit, peer.url) as client:
        assert await attempts_of_a_post(client, "https://far.test/x") == 2
    assert [request.method for request in peer.requests] == ["CONNECT"] * 2


async def test__tunnel_refused__nothing_left_it_goes_out_again(kit: Kit, peer: Peer) -> None:
    peer.script(answer(502))
    async with trusting(kit, peer.url) as client:
        assert await attempts_of_a_post(client, "https://far.test/x") == 2


@pytest.mark.parametrize("proxy", ["http", "https"])
async def test__reset_after_the_first_bytes_in_a_tunnel__goes_out_once(kit: Kit, stack: ExitStack, proxy: str) -> None:
    read: list[bytes] = []

    def talk(exchange: Exchange) -> None:
        read.append(read_encrypted(exchange.sock))
        reset_socket(exchange)

    peer = stack.enter_context(Peer(tls=proxy == "https"))
    peer.script(tunnel(talk))
    async with trusting(kit, peer.url) as client:
        assert await attempts_of_a_post(client, "https://far.test/x") == 1
    assert [data.split(b" ")[0] for data in read] == [b"POST"]


async def test__forward_proxy_that_read_it__may_have_passed_it_on(kit: Kit, peer: Peer) -> None:
    peer.script(steps.reset())
    async with trusting(kit, peer.url) as client:
        assert await attempts_of_a_post(client, "http://far.test/x") == 1


async def test__forward_proxy_refused__nothing_left_it_goes_out_again(kit: Kit, stack: ExitStack) -> None:
    async with trusting(kit, stack.enter_context(Peer(refusing=True)).url) as client:
        assert await attempts_of_a_post(client, "http://far.test/x") == 2


@pytest.mark.parametrize("ends", [steps.close, steps.reset], ids=["close", "reset"])
async def test__kept_connection_that_ends__bytes_were_written_it_goes_out_once(
    kit: Kit, peer: Peer, ends: Callable[[], Step]
) -> None:
    peer.script(answer(200), ends())
    async with kit.mounted(quick(max_retries=1)) as client:
        await client.get(peer / "x")
        assert await attempts_of_a_post(client, peer / "x") == 1
    assert (peer.connections, peer.count) == (1, 2)


async def test__no_clock_while_writing__a_late_answer_proves_nothing(kit: Kit, peer: Peer) -> None:
    peer.script(steps.hang())
    clocks = Timeouts(connect=None, attempt=None, idle=None)
    resilience = only(retry=retrying(max_retries=1), timeouts=clocks)
    async with kit.mounted(resilience, timeout=(None, 0.1)) as client:  # type: ignore[typeddict-item]
        assert await attempts_of_a_post(client, peer / "x") == 1
    assert peer.count == 1


async def test__reset_in_the_middle_of_a_chunked_body__goes_out_once(kit: Kit, peer: Peer) -> None:
    def play(exchange: Exchange) -> None:
        exchange.sock.recv(100)
        reset_socket(exchange)

    peer.script(Step(play, early=True))
    made = (AsyncReplayable if kit.is_async else Replayable)(lambda: kit.source([b"x" * 65536] * 200))
    async with kit.mounted(quick(max_retries=1)) as client:
        assert await attempts_of_a_post(client, peer / "x", content=made) == 1
    assert peer.connections == 1


ERRORS = {
    "value": lambda kit: ValueError("mine"),
    "refused elsewhere": lambda kit: kit.errors.refused("another host's"),
    "late elsewhere": lambda kit: kit.errors.connect_timeout("another host's"),
    "the system's": lambda kit: ConnectionRefusedError(111, "another host's"),
}


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("first", [0, 1], ids=["before", "after"])
async def test__body_that_raises__is_its_makers_error_and_nobody_is_asked_again(
    kit: Kit, peer: Peer, name: str, first: int
) -> None:
    made: list[int] = []

    def raising() -> Iterator[bytes]:
        made.append(1)
        yield from [b"first"] * first
        raise ERRORS[name](kit)

    async def raising_later() -> Any:
        for piece in raising():
            yield piece

    body = AsyncReplayable(raising_later) if kit.is_async else Replayable(raising)
    resilience = quick()
    async with kit.mounted(resilience) as client:
        with pytest.raises(Exception, match=r"mine|another host's"):
            await client.request("POST", peer / "x", content=body, headers={"Idempotency-Key": "k"})
    assert made == [1]
    (snapshot,) = resilience.snapshots()
    assert (snapshot.successes, snapshot.failures, snapshot.in_flight) == (0, 0, 0)


async def test__body_that_raised_once__a_later_attempt_is_judged_by_what_happens_to_it(kit: Kit, peer: Peer) -> None:
    peer.script(steps.reset())
    broken = iter([ValueError("mine")])

    def raising_once() -> Iterator[bytes]:
        yield b"first"
        for error in broken:
            raise error

    async def raising_once_later() -> Any:
        for piece in raising_once():
            yield piece

    body = AsyncReplayable(raising_once_later) if kit.is_async else Replayable(raising_once)
    resilience = quick(max_retries=1, retry_on={ValueError})
    async with kit.mounted(resilience) as client:
        with pytest.raises(kit.errors.reset):
            await client.request("PUT", peer / "x", content=body)
    (snapshot,) = resilience.snapshots()
    assert (snapshot.failures, peer.count) == (1, 1)


async def test__generator_nobody_began_to_read__goes_out_again(kit: Kit, stack: ExitStack) -> None:
    peer = stack.enter_context(Peer(refusing=True))

    def now_it_listens(attempt: seawall.Attempt, _: Any) -> None:
        assert attempt.kind is ErrorKind.CONNECTION_REFUSED
        peer.listen()

    async with kit.mounted(quick(when=now_it_listens)) as client:
        got = await client.request("POST", peer / "x", content=kit.source([b"one", b"two"]))
    assert (got.status, peer.bodies) == (200, [b"onetwo"])


class Behind:
    """A socket of somebody else's."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, data: bytes) -> None:
        socket.socket.sendall(self._sock, data)


class OwnConnection(urllib3.connection.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock = Behind(self.sock)  # type: ignore[assignment]


class OwnPool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = OwnConnection


@pytest.mark.parametrize("reused", [False, True])
def test__connection_class_of_the_users__proves_nothing(peer: Peer, reused: bool) -> None:
    adapter = requests.adapters.HTTPAdapter()
    adapter.poolmanager.pool_classes_by_scheme = {"http": OwnPool}  # type: ignore[attr-defined]
    with requests.Session() as session:
        session.mount("http://", adapter)
        requests_resilience.mount(session, quick(max_retries=1))
        if reused:
            session.get(peer / "x")
            peer.forget()
        peer.script(steps.reset())
        with pytest.raises(requests.ConnectionError):
            session.post(peer / "x", data=b"pay")
    assert peer.count == 1


def sending_twice(kit: Kit, elsewhere: str) -> Any:
    """A transport or adapter of the user's, that tries another address when the first fails."""
    library: Any = kit.library
    if library is requests:

        class Adapter(requests.adapters.HTTPAdapter):
            def send(self, request: Any, *args: Any, **options: Any) -> Any:
                try:
                    return super().send(request, *args, **options)
                except requests.ConnectionError:
                    other = request.copy()
                    other.url = elsewhere
                    return super().send(other, *args, **options)

        return Adapter()

    def other(request: Any) -> Any:
        return library.Request(request.method, elsewhere, content=b"pay", extensions=request.extensions)

    class Transport(library.HTTPTransport):  # type: ignore[misc, name-defined]
        def handle_request(self, request: Any) -> Any:
            try:
                return super().handle_request(request)
            except library.TransportError:
                return super().handle_request(other(request))

    class AsyncTransport(library.AsyncHTTPTransport):  # type: ignore[misc, name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            try:
                return await super().handle_async_request(request)
            except library.TransportError:
                return await super().handle_async_request(other(request))

    return AsyncTransport() if kit.is_async else Transport()


async def test__refused_after_something_underneath_had_sent_it__goes_out_once(
    kit: Kit, peer: Peer, stack: ExitStack
) -> None:
    peer.script(steps.reset())
    elsewhere = stack.enter_context(Peer(refusing=True)) / "x"
    async with kit.mounted(quick(max_retries=1), fake=sending_twice(kit, elsewhere)) as client:
        assert await attempts_of_a_post(client, peer / "x") == 1
    assert peer.count == 1


@pytest.fixture
def watch() -> Watch:
    call: Any = SimpleNamespace(limits=Limits(Timeouts(attempt=5), None, None), deadline=None, outer=None)
    call.state = SimpleNamespace(clock=SystemClock())
    return Watch(call, call.state.clock.monotonic())


class Wire:
    """A stream of a network backend."""

    def __init__(self, protocol: str | None = None) -> None:
        self.protocol = protocol

    def get_extra_info(self, info: str) -> Any:
        return SimpleNamespace(selected_alpn_protocol=lambda: self.protocol) if info == "ssl_object" else None

    def read(self, max_bytes: int, timeout: float | None) -> bytes:
        return b""

    def write(self, buffer: bytes, timeout: float | None) -> None: ...

    def start_tls(self, **_: Any) -> Wire:
        return Wire("h2")


class Network:
    """A network backend that leads nowhere."""

    def connect_tcp(self, *_: Any, **__: Any) -> Wire:
        return Wire()


def network(library: Any, **options: Any) -> Any:
    """Ours around it, as a transport with these options has it."""
    transport = library.HTTPTransport(**options)
    transport._pool._network_backend = Network()
    assert clamp(transport)
    return transport._pool._network_backend


@both
def test__reading__proves_nothing_of_what_was_written_before(library: Any, watch: Watch) -> None:
    stream = network(library).connect_tcp("a.test", 80, timeout=None)
    stream.read(1, timeout=watch.read_within(None))
    assert (watch.is_proof, watch.wrote) == (False, False)
    stream.write(b"x", timeout=watch.write_within(None))
    assert (watch.is_proof, watch.wrote) == (True, True)


def test__reading__proves_nothing_in_requests_either(peer: Peer, watch: Watch) -> None:
    adapter = requests.adapters.HTTPAdapter()
    requests_resilience.ResilientAdapter(adapter)
    connection = adapter.poolmanager.connection_from_url(peer.url)._new_conn()
    connection.connect()
    connection.sock.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    connection.sock.settimeout(watch.read_within(None))
    assert connection.sock.recv(1) == b"H"
    assert (watch.is_proof, watch.wrote) == (False, False)
    connection.sock.sendall(b"x")
    assert (watch.is_proof, watch.wrote) == (True, True)
    connection.close()


@both
def test__connection_that_turns_out_to_be_shared__proves_nothing_even_to_who_opened_it(
    library: Any, watch: Watch
) -> None:
    left = watch.connect_within(None)
    stream = network(library, http2=True).connect_tcp("a.test", 443, timeout=left)
    assert (watch.is_proof, watch.wrote) == (True, False)
    stream.start_tls(ssl_context=_insecure(), server_hostname="a.test", timeout=left)
    assert watch.wrote or not watch.is_proof


@both
@pytest.mark.parametrize("http1", [True, False])
def test__connection_that_speaks_http2_without_asking__proves_nothing_even_to_who_opened_it(
    library: Any, watch: Watch, http1: bool
) -> None:
    left = watch.connect_within(None)
    network(library, http1=http1, http2=True).connect_tcp("a.test", 80, timeout=left)
    assert (watch.wrote or not watch.is_proof) is not http1
