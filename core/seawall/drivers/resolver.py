"""Name resolution that can be waited for, and left.

Each lookup has a thread of its own, shared by all who ask for the same name
meanwhile: a name server that hangs for one host costs one thread, and the others find
theirs. Nothing is kept when a lookup is over: caching is the system's.
"""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from seawall import forks
from seawall.drivers.aio import Loops
from seawall.drivers.aside import Aside
from seawall.drivers.threads import Threads
from seawall.runtime import OutOfTime, run_sync

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.clocks import Left

T = TypeVar("T")

MOST_AT_A_TIME: Final = 256
"""Lookups under way, so that hanging name servers for ever new hosts cannot eat the process; a further one fails."""


class _Lookups:
    """Those under way in this process."""

    def __init__(self) -> None:
        self.begin_afresh()

    def begin_afresh(self) -> None:
        """At the beginning, and in the child of a fork, which has none of the threads that look up."""
        self.lock = threading.RLock()
        """Shared by those who ask; the threads that look up take none."""
        self.under_way: dict[tuple[str, int], Aside] = {}

    def find(self, host: str, port: int) -> Aside:
        """The lookup of this name, begun if need be. It is only found by others when its thread runs."""
        with self.lock:
            known = self.under_way.get((host, port))
            if known is not None and not known.is_over:
                return known
            if len(self.under_way) >= MOST_AT_A_TIME:
                for name, lookup in self.under_way.copy().items():  # a copy: others end meanwhile
                    if lookup.is_over:
                        self.under_way.pop(name, None)  # ended just when it was noted down
            if len(self.under_way) >= MOST_AT_A_TIME:
                raise socket.gaierror(socket.EAI_AGAIN, f"{MOST_AT_A_TIME} lookups hang already")
            lookup = Aside(lambda: self._ask(host, port))
            lookup.start()
            self.under_way[host, port] = lookup
            if lookup.is_over:
                self.under_way.pop((host, port), None)
            return lookup

    def _ask(self, host: str, port: int) -> list[str]:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(str(info[4][0]) for info in infos))
        finally:
            self.under_way.pop((host, port), None)


_lookups: Final = _Lookups()
forks.follow(_lookups)


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
        found: list[str] = await _lookups.find(host, port).result(seconds, waiter)
    except OutOfTime as error:
        raise OutOfTime(f"the lookup of {host} did not end in time") from error
    if not found:
        raise socket.gaierror(socket.EAI_NONAME, f"no address for {host}")
    return found


def connect_in_turn(
    found: list[str], timeout: Left, connect: Callable[[str, float], T], *failures: type[Exception]
) -> T:
    """`connect(address, seconds)` for one address after the other, each with its share of the time: a silent one leaves
    some for the next. Raises what the last one raised; of those before, `failures` are passed over."""
    for parts in range(len(found), 1, -1):
        try:
            return connect(found[-parts], timeout.share(parts))
        except failures:
            continue
    return connect(found[-1], timeout.share(1))


def _is_literal(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return True
    return False
