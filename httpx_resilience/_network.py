"""Putting our connections under a transport's pool, and taking them out again.

httpx has no argument for httpcore's network backend, so the pool's private
`_network_backend` is exchanged; where that attribute is missing (a future version, a
transport of somebody else's) nothing is touched and the clocks hold per phase
(docs/decisions/0013).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from httpx_resilience._backend import AnyBackend, AsyncBackend, Backend
from httpx_resilience._connection import AnyStream
from seawall.forks import Lock

if TYPE_CHECKING:
    from collections.abc import Callable

_mounting: Final = Lock()


def clamp(transport: Any) -> bool:
    """Put our backend under a transport of httpx or httpx2, its open connections too. False: it is not possible."""
    pool: Any = getattr(transport, "_pool", None)
    core, is_async = _core_of(pool), hasattr(pool, "handle_async_request")
    with _mounting:
        backend = getattr(pool, "_network_backend", None)
        if core is None or not hasattr(backend, "connect_tcp"):
            return False
        if isinstance(backend, AnyBackend):
            backend.users += 1
            return True
        ours: Any = AsyncBackend(backend, core, pool) if is_async else Backend(backend, core, pool)
        pool._network_backend = ours
        _exchange(pool, ours, lambda stream: stream if isinstance(stream, AnyStream) else ours.stream(stream))
    return True


def unclamp(transport: Any) -> None:
    """Undo `clamp`, when the last who asked for it does."""
    pool: Any = getattr(transport, "_pool", None)
    with _mounting:
        backend = getattr(pool, "_network_backend", None)
        if isinstance(backend, AnyBackend):
            backend.users -= 1
            if backend.users == 0:
                pool._network_backend = backend.inner
                _exchange(pool, backend.inner, lambda stream: stream.inner if isinstance(stream, AnyStream) else stream)


def needs_scopes(transport: Any) -> bool:
    """May an async transport have connections whose reads must not, or cannot, be cut short one by one?"""
    pool: Any = getattr(transport, "_pool", None)
    backend = getattr(pool, "_network_backend", None)
    return bool(getattr(pool, "_http2", False)) or not isinstance(backend, AnyBackend) or not backend.is_native


def goes_straight(transport: Any) -> bool:
    """Does each request go to the host its URL names, by no proxy, Unix socket or address of this transport's own?"""
    pool: Any = getattr(transport, "_pool", None)
    core = _core_of(pool)
    if core is None or type(pool) not in (core.ConnectionPool, core.AsyncConnectionPool):
        return False
    if getattr(pool, "_proxy", None) is not None:  # of newer versions; older ones have pools of other classes
        return False
    return getattr(pool, "_uds", "unknown") is None and getattr(pool, "_local_address", "unknown") is None


def left_behind(transport: Any) -> list[Any]:
    """Connections to be closed, after an error before there was one.

    httpcore leaves two kinds in its pool, each a place taken for ever: a tunnel whose TLS failed, and (httpcore 1) a
    connection assigned to a call at the moment it stopped waiting, which nobody will ever connect.
    """
    pool, closing = transport._pool, list[Any]()
    connections = list(pool.connections)
    wanted = [request.connection for request in getattr(pool, "_requests", ())]  # read after: what is new has an owner
    for connection in connections:
        leaf = connection
        while (inner := getattr(leaf, "_connection", None)) is not None:
            leaf = inner
        stream = getattr(leaf, "_network_stream", None)
        if isinstance(stream, AnyStream) and stream.is_dead:
            closing.append(connection)
        elif hasattr(leaf, "_connect_failed") and connection not in wanted:
            leaf._connect_failed = True
    return closing


def _core_of(pool: Any) -> Any:
    """httpcore or httpcore2, whichever the pool is from."""
    for kind in type(pool).__mro__:
        root = kind.__module__.partition(".")[0]
        if root in ("httpcore", "httpcore2"):
            return import_module(root)
    return None


def _exchange(pool: Any, backend: Any, change: Callable[[Any], Any]) -> None:
    """Change the streams of open connections, as far as they can be found: they are looked up at each operation."""
    for connection in getattr(pool, "connections", ()):
        while connection is not None:
            if hasattr(connection, "_network_stream"):
                connection._network_stream = change(connection._network_stream)
            if hasattr(connection, "_network_backend"):  # not connected yet, perhaps
                connection._network_backend = backend
            connection = getattr(connection, "_connection", None)
