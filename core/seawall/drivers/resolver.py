"""Name resolution that can be waited for, and left.

`getaddrinfo` knows no timeout and cannot be interrupted. Each lookup has a daemon
thread of its own, shared by all who ask for the same name meanwhile: a name server
that hangs for one host costs one thread, not the event loop's pool (whose threads
are few, and joined when the loop ends), and the others find theirs. Nothing is kept
when a lookup is over: caching is the system's.
"""

from __future__ import annotations

import socket
import threading
from typing import Final

from seawall.drivers.aio import Loops
from seawall.drivers.threads import Threads
from seawall.policies.bulkhead import Ticket
from seawall.runtime import OutOfTime, run_sync

MOST_AT_A_TIME: Final = 256
"""Lookups under way, so that hanging name servers for ever new hosts cannot eat the process; a further one fails."""


class _Lookup:
    """One question under way, and who waits for its answer."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.waiting: list[Ticket] = []
        self.found: list[str] = []
        self.error: OSError | None = None
        self.is_over = False

    def run(self) -> None:
        try:
            infos = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            self.found = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except OSError as error:
            self.error = error
        except UnicodeError as error:  # a label too long for IDNA
            self.error = socket.gaierror(socket.EAI_NONAME, str(error))
        with _lock:
            _under_way.pop((self.host, self.port), None)
            self.is_over = True
            waiting, self.waiting = self.waiting, []
        for ticket in waiting:
            ticket.wake()

    def result(self) -> list[str]:
        if not self.is_over:
            raise OutOfTime(f"the lookup of {self.host} did not end in time")
        if self.error is not None:
            raise type(self.error)(*self.error.args)  # each who waits raises one of their own
        if not self.found:
            raise socket.gaierror(socket.EAI_NONAME, f"no address for {self.host}")
        return self.found


_lock = threading.Lock()
_under_way: dict[tuple[str, int], _Lookup] = {}


def addresses(host: str, port: int, seconds: float) -> list[str]:
    """The addresses of a name, in the system's order. Raises socket.gaierror, or OutOfTime after `seconds`."""
    return run_sync(_addresses(host, port, seconds, Threads()))  # type: ignore[no-any-return]


async def addresses_async(host: str, port: int, seconds: float) -> list[str]:
    """`addresses` in an event loop."""
    return await _addresses(host, port, seconds, Loops())


async def _addresses(host: str, port: int, seconds: float, waiter: Threads | Loops) -> list[str]:
    if _is_literal(host):
        return [host]
    ticket = Ticket(0)
    lookup = _ask(host, port, ticket)
    try:
        await waiter.wait(ticket, seconds)
    finally:
        with _lock:
            if ticket in lookup.waiting:
                lookup.waiting.remove(ticket)
    return lookup.result()


def _ask(host: str, port: int, ticket: Ticket) -> _Lookup:
    with _lock:
        lookup = _under_way.get((host, port))
        if lookup is None:
            if len(_under_way) >= MOST_AT_A_TIME:
                raise socket.gaierror(socket.EAI_AGAIN, f"{MOST_AT_A_TIME} lookups hang already")
            lookup = _under_way[host, port] = _Lookup(host, port)
            thread = threading.Thread(target=lookup.run, name="seawall-resolver", daemon=True)
            try:
                thread.start()
            except BaseException:
                del _under_way[host, port]
                raise
        lookup.waiting.append(ticket)
        return lookup


def _is_literal(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return True
    return False
