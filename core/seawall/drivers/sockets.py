"""Sockets that keep a `Left` when `settimeout` brings one, and ask it again before each operation.

Whatever stands above (http.client, TLS inside TLS, a SOCKS handshake) may read with one
timeout as often as it likes: all of it together ends in time. Which call a connection
works for is told by that number alone, so a body read in another thread, or a kept-alive
connection used by the next call, obeys the right clocks.
"""

from __future__ import annotations

import socket
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from seawall.clocks import LEAST, Left
from seawall.runtime import OutOfTime

if TYPE_CHECKING:
    _Base = socket.socket
else:
    _Base = object

SOCKET: Final = socket.socket
"""The class there was at import; gevent exchanges it."""


class Clamp(_Base):
    """Mixed into a socket class. Between calls it knows nothing of any."""

    _left: Left | None = None

    def settimeout(self, value: float | None) -> None:
        self._left = value if type(value) is Left else None
        super().settimeout(value)

    def gettimeout(self) -> float | None:
        # TLS takes the limit of its handshake from here. Raising would leave two sockets with one descriptor.
        if self._left is None:
            return super().gettimeout()
        try:
            return self._left.seconds()
        except OutOfTime:
            return LEAST

    def recv_into(self, *args: Any, **options: Any) -> int:
        if self._left is not None:
            self._bound(self._left)
        return super().recv_into(*args, **options)

    def recv(self, *args: Any, **options: Any) -> bytes:
        if self._left is not None:
            self._bound(self._left)
        return super().recv(*args, **options)

    def send(self, *args: Any, **options: Any) -> int:
        if self._left is not None:
            self._bound(self._left)
            self._left.watch.wrote = True
        return super().send(*args, **options)

    def sendall(self, *args: Any, **options: Any) -> None:
        # CPython bounds the whole of it: in C for a plain socket; under TLS it is a loop of `send`.
        if self._left is not None:
            self._bound(self._left)
            self._left.watch.wrote = True
        super().sendall(*args, **options)

    def rest(self) -> None:
        """The exchange is over: forget whose it was."""
        self._left = None

    def _bound(self, left: Left) -> None:
        left.watch.is_exact = left.watch.is_proof = True
        super().settimeout(left.seconds())


class _Clamped(Clamp, socket.socket):
    pass


def clamped(sock: Any) -> Any:
    """The same connection as a socket of ours; as it is, if its class cannot be exchanged."""
    if isinstance(sock, Clamp) or not isinstance(sock, SOCKET):
        return sock
    timeout = sock.gettimeout()
    if type(sock) is SOCKET:  # it has no room for an attribute
        sock = _Clamped(sock.family, sock.type, sock.proto, fileno=sock.detach())
        sock.settimeout(timeout)
        return sock
    try:
        kind: Any = type(sock)
        sock.__class__ = _kind(kind)
    except TypeError:
        pass
    return sock


def is_clamped(sock: Any) -> bool:
    """Does every operation end in time? urllib3's TLS inside TLS does what it does on the socket of the outer one."""
    return isinstance(sock, Clamp) or isinstance(getattr(sock, "socket", None), Clamp)


@cache
def _kind(kind: Any) -> Any:
    return type(kind.__name__, (Clamp, kind), {"__module__": kind.__module__, "__qualname__": kind.__qualname__})
