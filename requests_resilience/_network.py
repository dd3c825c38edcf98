"""Sockets that obey the clocks of the attempt they work for, under urllib3's connections.

urllib3 hands one number to a socket, and http.client reads header after header with
it. Here that number may be a `Left`, which knows its attempt; our sockets keep it
(seawall.drivers.sockets).

Connection and pool classes are exchanged through `pool_classes_by_scheme`, an attribute
urllib3 documents; what requests adds for proxies is hooked beside it. An adapter that
has neither is left alone, and its clocks hold per phase (docs/decisions/0013).
"""

from __future__ import annotations

import socket
import sys
import time
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util import Timeout, connection

from seawall.clocks import Left
from seawall.drivers.aside import Aside
from seawall.drivers.resolver import addresses, connect_in_turn
from seawall.drivers.sockets import SOCKET, Clamp, clamped, is_clamped
from seawall.drivers.threads import Threads
from seawall.forks import Lock
from seawall.runtime import OutOfTime, run_sync

if TYPE_CHECKING:
    from seawall.clocks import Watch

_HOOK: Final = "proxy_manager_for"

_mounting: Final = Lock()


class _Classes(dict[str, Any]):
    """A manager's pool classes, with ours in their place."""

    def __init__(self, plain: dict[str, Any], keep_alive: float | None) -> None:
        super().__init__({scheme: _pool(kind, keep_alive) for scheme, kind in plain.items()})
        self.plain = plain
        self.users = 1


def clamp(adapter: Any, keep_alive: float | None = None) -> bool:
    """Put our connections under an adapter; idle ones of before are retired. False: it is not possible.

    Raises RuntimeError if gevent took the socket module over after it was imported here.
    """
    manager: Any = getattr(adapter, "poolmanager", None)
    if not isinstance(getattr(manager, "pool_classes_by_scheme", None), dict):
        return False
    if socket.socket is not SOCKET:
        raise RuntimeError(
            "seawall: gevent patched the socket module after seawall was imported, so that its sockets would block "
            "every greenlet: call gevent.monkey.patch_all() first, or use Resilience(hard_deadlines=False)"
        )
    with _mounting:
        if isinstance(manager.pool_classes_by_scheme, _Classes):
            manager.pool_classes_by_scheme.users += 1
            return True
        for each in (manager, *getattr(adapter, "proxy_manager", {}).values()):
            _exchange(each, keep_alive)
        if hasattr(adapter, _HOOK):
            plain = getattr(adapter, _HOOK)

            def proxy_manager_for(proxy: str, **options: Any) -> Any:
                proxied = plain(proxy, **options)
                _exchange(proxied, keep_alive)
                return proxied

            proxy_manager_for.plain = vars(adapter).get(_HOOK)  # type: ignore[attr-defined]
            adapter.proxy_manager_for = proxy_manager_for
    return True


def unclamp(adapter: Any) -> None:
    """Undo `clamp`, when the last who asked for it does."""
    manager = adapter.poolmanager
    with _mounting:
        classes = manager.pool_classes_by_scheme
        if not isinstance(classes, _Classes):
            return
        classes.users -= 1
        if classes.users:
            return
        plain: Any = getattr(vars(adapter).pop(_HOOK, None), "plain", None)  # pyright: ignore
        if plain is not None:
            setattr(adapter, _HOOK, plain)
        for each in (manager, *getattr(adapter, "proxy_manager", {}).values()):
            if isinstance(each.pool_classes_by_scheme, _Classes):
                each.pool_classes_by_scheme = each.pool_classes_by_scheme.plain
                each.clear()


def _exchange(manager: Any, keep_alive: float | None) -> None:
    classes: Any = getattr(manager, "pool_classes_by_scheme", None)
    if type(classes) is dict:
        manager.pool_classes_by_scheme = _Classes(classes, keep_alive)  # pyright: ignore[reportUnknownArgumentType]
        manager.clear()


class Clocks(Timeout):
    """urllib3's timeout for one attempt, whose numbers know it."""

    def __init__(self, watch: Watch, connect: float | None, read: float | None) -> None:
        # Nothing is checked again, and what urllib3 keeps for itself is never looked at.
        self._connect = self._read = self.total = self._start_connect = None
        self.watch = watch
        self.own_connect = connect
        self.own_read = read

    def clone(self) -> Clocks:
        return self  # urllib3 makes a copy for each request, to start a stopwatch in it; nothing here needs one

    def start_connect(self) -> float:
        return 0.0

    @property
    def connect_timeout(self) -> Any:
        return self.watch.connect_within(self.own_connect)

    @property
    def pool_timeout(self) -> Any:
        """For a pool that blocks; requests would wait for ever, and with clocks of its own only it still does."""
        return self.watch.pool_within(None, is_exact=True)

    @property
    def read_timeout(self) -> Any:
        return self.watch.read_within(self.own_read)


@cache
def _pool(kind: Any, keep_alive: float | None) -> Any:
    """A pool class with our connections, under the same name: it is in every error message."""

    def urlopen(self: Any, *args: Any, **options: Any) -> Any:
        timeout = options.get("timeout")
        if self.block and type(timeout) is Clocks and options.get("pool_timeout") is None:
            options["pool_timeout"] = timeout.pool_timeout
        return kind.urlopen(self, *args, **options)

    def _put_conn(self: Any, conn: Any) -> None:
        if isinstance(conn, _Connection):
            conn.rest()
        kind._put_conn(self, conn)

    parts = {
        "ConnectionCls": _connection(kind.ConnectionCls, keep_alive),
        "urlopen": urlopen,
        "_put_conn": _put_conn,
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
    }
    return type(kind.__name__, (kind,), parts)


@cache
def _connection(kind: Any, keep_alive: float | None) -> Any:
    parts = {"keep_alive": keep_alive, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (_Connection, kind), parts)


if TYPE_CHECKING:
    from urllib3.connection import HTTPSConnection as _Base
else:
    _Base = object


class _Connection(_Base):
    """Mixed into a connection class of urllib3's."""

    keep_alive: float | None = None
    _used_at: float = 0.0

    def _new_conn(self) -> Any:
        timeout = self.timeout
        if type(timeout) is not Left:
            return clamped(super()._new_conn())
        timeout.watch.is_exact = timeout.watch.is_proof = True
        sock = clamped(self._connect(timeout) if _connects_plainly(type(self)) else self._connect_aside(timeout))
        sock.settimeout(timeout)
        return sock

    def _connect(self, timeout: Left) -> Any:
        """As urllib3 does it, with a name that is waited for no longer than there is time."""
        host = self._dns_host.strip("[]")
        try:
            found = addresses(host, self.port, timeout.seconds())
            sock = connect_in_turn(found, timeout, self._to, OSError)
        except UnicodeError:  # no name at all: urllib3 shall say so
            return super()._new_conn()
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out.") from error
        except OSError as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error
        sys.audit("http.client.connect", self, self.host, self.port)
        return sock

    def _to(self, address: str, seconds: float) -> Any:
        return connection.create_connection((address, self.port), seconds, self.source_address, self.socket_options)

    def _connect_aside(self, timeout: Left) -> Any:
        """A class that connects in its own way (SOCKS, a Unix socket) may take its time, in a thread of its own."""
        try:
            work = Aside(super()._new_conn, lambda sock: sock.close())
            work.start()
            return run_sync(work.result(timeout.seconds(), Threads()))
        except OutOfTime as error:
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out.") from error

    def _connect_tls_proxy(self, *args: Any, **options: Any) -> Any:
        timeout = self.timeout
        sock = clamped(super()._connect_tls_proxy(*args, **options))  # pyright: ignore[reportUnknownMemberType]
        if type(timeout) is Left:
            sock.settimeout(timeout)
        return sock

    def connect(self) -> None:
        timeout = self.timeout
        wrote = type(timeout) is Left and timeout.watch.wrote
        try:
            super().connect()
        finally:
            if type(timeout) is Left:  # until here only a proxy was spoken to
                timeout.watch.wrote = wrote
        self.sock = clamped(self.sock)
        if type(timeout) is Left and self.sock is not None:
            watch = timeout.watch
            self.timeout = watch.write_within(timeout.own)
            watch.is_exact = watch.is_proof = is_clamped(self.sock)
            self.sock.settimeout(self.timeout)

    def request(self, *args: Any, **options: Any) -> None:
        timeout = self.timeout
        if type(timeout) is Left and self.sock is not None:
            self.timeout = timeout.watch.write_within(timeout.own)
        super().request(*args, **options)

    def rest(self) -> None:
        """The exchange is over: forget whose it was."""
        self._used_at = time.monotonic()
        if type(self.timeout) is Left:
            self.timeout = float(self.timeout)
        for sock in (self.sock, getattr(self.sock, "socket", None)):
            if isinstance(sock, Clamp):
                sock.rest()

    @property
    def is_connected(self) -> bool:
        limit = self.keep_alive
        if limit is not None and self._used_at and time.monotonic() - self._used_at > limit:
            return False
        return super().is_connected


def _connects_plainly(kind: type[Any]) -> bool:
    """Does the class connect as urllib3's own does? One for SOCKS or Unix sockets knows better how."""
    made_by = next(base for base in kind.__mro__ if base is not _Connection and "_new_conn" in vars(base))
    return bool(made_by.__module__ == "urllib3.connection")
