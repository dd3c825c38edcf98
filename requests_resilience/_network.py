"""Sockets that obey the clocks of the attempt they work for, under urllib3's connections.

urllib3 hands one number to a socket, and http.client reads header after header with
it. Here that number may be a `Left`, which knows its attempt: a socket of ours keeps
it when `settimeout` brings it, and asks it again before each operation. So a body read
in another thread, or a kept-alive connection used by the next call, obeys the right
clocks.

Connection and pool classes are exchanged through `pool_classes_by_scheme`, an attribute
urllib3 documents; what requests adds for proxies is hooked beside it. An adapter that
has neither is left alone, and its clocks hold per phase.
"""

from __future__ import annotations

import socket
import ssl
import time
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util import Timeout, connection

from seawall.clocks import Left
from seawall.drivers.resolver import addresses

if TYPE_CHECKING:
    from seawall.clocks import Watch

_PLAIN: Final = "_seawall_plain"
_HOOK: Final = "proxy_manager_for"


def clamp(adapter: Any, keep_alive: float | None = None) -> bool:
    """Put our connections under an adapter; idle ones of before are retired. False: it is not possible.

    Raises RuntimeError if gevent took the socket module over after it was imported here.
    """
    manager = getattr(adapter, "poolmanager", None)
    if not isinstance(getattr(manager, "pool_classes_by_scheme", None), dict):
        return False
    if socket.socket is not _SOCKET:
        raise RuntimeError(
            "seawall: gevent patched the socket module after requests_resilience was imported, so that its sockets "
            "would block every greenlet: call gevent.monkey.patch_all() first, or use Resilience(hard_deadlines=False)"
        )
    _exchange(manager, keep_alive)
    for proxied in getattr(adapter, "proxy_manager", {}).values():
        _exchange(proxied, keep_alive)
    if hasattr(adapter, _HOOK) and _HOOK not in vars(adapter):
        plain = getattr(adapter, _HOOK)

        def proxy_manager_for(proxy: str, **options: Any) -> Any:
            proxied = plain(proxy, **options)
            _exchange(proxied, keep_alive)
            return proxied

        adapter.proxy_manager_for = proxy_manager_for
    return True


def unclamp(adapter: Any) -> None:
    """Undo `clamp`."""
    adapter.__dict__.pop(_HOOK, None)
    for manager in (adapter.poolmanager, *getattr(adapter, "proxy_manager", {}).values()):
        classes = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {scheme: getattr(kind, _PLAIN, kind) for scheme, kind in classes.items()}
        manager.clear()


def _exchange(manager: Any, keep_alive: float | None) -> None:
    classes = manager.pool_classes_by_scheme
    if not all(hasattr(kind, _PLAIN) for kind in classes.values()):
        manager.pool_classes_by_scheme = {scheme: _pool(kind, keep_alive) for scheme, kind in classes.items()}
        manager.clear()


class Clocks(Timeout):
    """urllib3's timeout for one attempt, whose numbers know it."""

    def __init__(self, watch: Watch, connect: float | None, read: float | None) -> None:
        super().__init__(connect=connect, read=read)
        self.watch = watch
        self.own_connect = connect
        self.own_read = read

    def clone(self) -> Clocks:
        return Clocks(self.watch, self.own_connect, self.own_read)  # urllib3 starts each copy once

    @property
    def connect_timeout(self) -> Any:
        return self.watch.connect_within(self.own_connect)

    @property
    def read_timeout(self) -> Any:
        return self.watch.read_within(self.own_read)


@cache
def _pool(kind: Any, keep_alive: float | None) -> Any:
    """A pool class with our connections, under the same name: it is in every error message."""
    kind = getattr(kind, _PLAIN, kind)

    def urlopen(self: Any, *args: Any, **options: Any) -> Any:
        timeout = options.get("timeout")
        if self.block and type(timeout) is Clocks and options.get("pool_timeout") is None:
            options["pool_timeout"] = timeout.connect_timeout  # requests would wait for a connection for ever
        return kind.urlopen(self, *args, **options)

    parts = {
        _PLAIN: kind,
        "ConnectionCls": _connection(kind.ConnectionCls, keep_alive),
        "urlopen": urlopen,
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
    }
    return type(kind.__name__, (kind,), parts)


@cache
def _connection(kind: Any, keep_alive: float | None) -> Any:
    parts = {"keep_alive": keep_alive, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (_Connection, kind), parts)


if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection as _Base
else:
    _Base = object


class _Connection(_Base):
    """Mixed into a connection class of urllib3's."""

    keep_alive: float | None = None
    _used_at: float = 0.0

    def _new_conn(self) -> Any:
        timeout = self.timeout
        if type(timeout) is Left:
            timeout.watch.is_proof = True
            if _makes_plain_connections(self.__class__):
                return self._connect(timeout)
        return _ours(super()._new_conn(), timeout)

    def _connect(self, timeout: Left) -> Any:
        """As urllib3 does it, with a name that is waited for no longer than there is time."""
        timeout.watch.is_exact = True
        try:
            found = addresses(self._dns_host.strip("[]"), self.port, timeout.seconds())
            for tried, address in enumerate(found, 1):
                share = timeout.seconds() / (len(found) - tried + 1)  # one silent address leaves time for the next
                try:
                    sock = connection.create_connection(
                        (address, self.port), share, self.source_address, self.socket_options
                    )
                    return _ours(sock, timeout)
                except OSError:
                    if tried == len(found):
                        raise
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out.") from error
        except OSError as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error

    def connect(self) -> None:
        timeout = self.timeout
        try:
            super().connect()
        finally:
            if type(timeout) is Left:  # until here only a proxy was spoken to
                timeout.watch.wrote = False
        if type(self.sock) is ssl.SSLSocket:
            self.sock.__class__ = _ClampedTLS
        if type(timeout) is Left and self.sock is not None:
            self.timeout = timeout.watch.write_within(timeout.own)
            self.sock.settimeout(self.timeout)

    def request(self, *args: Any, **options: Any) -> None:
        timeout = self.timeout
        if type(timeout) is Left and self.sock is not None:
            self.timeout = timeout.watch.write_within(timeout.own)
        super().request(*args, **options)

    def getresponse(self) -> Any:
        response = super().getresponse()
        if self.keep_alive is not None:
            self._used_at = time.monotonic()
        return response

    @property
    def is_connected(self) -> bool:
        limit = self.keep_alive
        if limit is not None and self._used_at and time.monotonic() - self._used_at > limit:
            return False
        return super().is_connected


class _Clamp:
    """Mixed into a socket class. Between calls it knows nothing of any."""

    _left: Left | None = None

    def settimeout(self, value: float | None) -> None:
        self._left = value if type(value) is Left else None
        super().settimeout(value)  # type: ignore[misc]

    def recv_into(self, *args: Any, **options: Any) -> int:
        if self._left is not None:
            self._bound(self._left)
        return super().recv_into(*args, **options)  # type: ignore[misc, no-any-return]

    def recv(self, *args: Any, **options: Any) -> bytes:
        if self._left is not None:
            self._bound(self._left)
        return super().recv(*args, **options)  # type: ignore[misc, no-any-return]

    def send(self, *args: Any, **options: Any) -> int:
        if self._left is not None:
            self._bound(self._left)
            self._left.watch.wrote = True
        return super().send(*args, **options)  # type: ignore[misc, no-any-return]

    def sendall(self, *args: Any, **options: Any) -> None:
        # CPython bounds the whole of it: in C for a plain socket; under TLS it is a loop of `send`.
        if self._left is not None:
            self._bound(self._left)
            self._left.watch.wrote = True
        super().sendall(*args, **options)  # type: ignore[misc]

    def _bound(self, left: Left) -> None:
        left.watch.is_exact = left.watch.is_proof = True
        super().settimeout(left.seconds())  # type: ignore[misc]


_SOCKET: Final = socket.socket


class _Clamped(_Clamp, _SOCKET):  # type: ignore[misc, valid-type]
    pass


class _ClampedTLS(_Clamp, ssl.SSLSocket):
    pass


def _ours(sock: Any, timeout: float | None) -> Any:
    """A connected socket of any plain kind, as one of ours."""
    if not isinstance(sock, _SOCKET) or isinstance(sock, ssl.SSLSocket):
        return sock
    clamped: Any = _Clamped(sock.family, sock.type, sock.proto, fileno=sock.detach())
    clamped.settimeout(timeout)
    return clamped


def _makes_plain_connections(kind: type[Any]) -> bool:
    """Does the class connect as urllib3's own does? One for SOCKS or Unix sockets knows better how."""
    made_by = next(base for base in kind.__mro__ if base is not _Connection and "_new_conn" in vars(base))
    return bool(made_by.__module__ == "urllib3.connection")
