"""Name resolution that can be waited for, and left.

Each lookup has a thread of its own, shared by all who ask for the same name
meanwhile: a name server that hangs for one host costs one thread, and the others find
theirs. Nothing is kept when a lookup is over: caching is the system's.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import Final

from seawall.drivers.aio import Loops
from seawall.drivers.aside import Aside
from seawall.drivers.threads import Threads
from seawall.runtime import OutOfTime, run_sync

MOST_AT_A_TIME: Final = 256
"""Lookups under way, so that hanging name servers for ever new hosts cannot eat the process; a further one fails."""

_lock = threading.Lock()
_under_way: dict[tuple[str, int], Aside] = {}


def addresses(host: str, port: int, seconds: float) -> list[str]:
    """The addresses of a name, in the system's order. Raises what getaddrinfo raises, or OutOfTime after `seconds`."""
    return run_sync(_addresses(host, port, seconds, Threads()))  # type: ignore[no-any-return]


async def addresses_async(host: str, port: int, seconds: float) -> list[str]:
    """`addresses` in an event loop."""
    return await _addresses(host, port, seconds, Loops())


async def _addresses(host: str, port: int, seconds: float, waiter: Threads | Loops) -> list[str]:
    if _is_literal(host):
        return [host]
    try:
        found: list[str] = await _lookup(host, port).result(seconds, waiter)
    except OutOfTime as error:
        raise OutOfTime(f"the lookup of {host} did not end in time") from error
    if not found:
        raise socket.gaierror(socket.EAI_NONAME, f"no address for {host}")
    return found


def _lookup(host: str, port: int) -> Aside:
    with _lock:
        known = _under_way.get((host, port))
        if known is not None:
            return known
        if len(_under_way) >= MOST_AT_A_TIME:
            raise socket.gaierror(socket.EAI_AGAIN, f"{MOST_AT_A_TIME} lookups hang already")
        lookup = Aside(lambda: _ask(host, port, lookup))
        try:
            lookup.start()
        except RuntimeError as error:
            raise socket.gaierror(socket.EAI_AGAIN, f"no thread for a lookup: {error}") from error
        _under_way[host, port] = lookup  # it ends behind this lock
        return lookup


def _ask(host: str, port: int, lookup: Aside) -> list[str]:
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(info[4][0]) for info in infos))
    finally:
        with _lock:
            if _under_way.get((host, port)) is lookup:
                del _under_way[host, port]


def _is_literal(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return True
    return False


def _forget() -> None:
    """A child process has none of the threads, and may have been forked while the lock was held."""
    global _lock
    _lock = threading.Lock()
    _under_way.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget)
