"""Name resolution that can be waited for, and left.

`getaddrinfo` knows no timeout and cannot be interrupted. Each lookup has a daemon
thread of its own, shared by all who ask for the same name meanwhile: a name server
that hangs for one host costs one thread, not the event loop's pool (whose threads
are few, and joined when the loop ends), and the others find theirs. Nothing is kept
when a lookup is over: caching is the system's.

Only those who ask share a lock. The threads that look up take none, so that one which
the end of the process stops in its tracks holds none; nor do those who leave, who may
be finalisers. Each step may be the last before an interrupt: a lookup is only found by
others when its thread runs.
"""

from __future__ import annotations

import socket
import threading
from typing import Final

from seawall.drivers import forks
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
        self.has_thread = True

    def run(self) -> None:
        try:
            infos = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            self.found = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except OSError as error:
            self.error = error
        except UnicodeError as error:  # a label too long for IDNA
            self.error = socket.gaierror(socket.EAI_NONAME, str(error))
        finally:
            self.is_over = True
            _lookups.forget(self)
            for ticket in list(self.waiting):  # who leaves meanwhile must not shift the next one out of sight
                ticket.wake()

    def tell(self, ticket: Ticket) -> None:
        """Wake this ticket at the end."""
        self.waiting.append(ticket)
        if self.is_over:  # set before `run` looked who waits, or after: one of the two sees the other
            ticket.wake()

    def result(self) -> list[str]:
        if not self.is_over:
            raise OutOfTime(f"the lookup of {self.host} did not end in time")
        if self.error is not None:
            raise type(self.error)(*self.error.args)  # each who waits raises one of their own
        if not self.found:
            raise socket.gaierror(socket.EAI_NONAME, f"no address for {self.host}")
        return self.found


class _Lookups:
    """Those under way in this process."""

    def __init__(self) -> None:
        self.begin_afresh()

    def begin_afresh(self) -> None:
        """At the beginning, and in the child of a fork, which has none of the threads that look up."""
        self.lock = threading.RLock()
        self.under_way: dict[tuple[str, int], _Lookup] = {}

    def find(self, host: str, port: int) -> _Lookup:
        """The lookup of this name, begun if need be."""
        with self.lock:
            lookup = self.under_way.get((host, port))
            if lookup is None or lookup.is_over:
                if len(self.under_way) >= MOST_AT_A_TIME:
                    raise socket.gaierror(socket.EAI_AGAIN, f"{MOST_AT_A_TIME} lookups hang already")
                lookup = _Lookup(host, port)
                try:
                    threading.Thread(target=lookup.run, name="seawall-resolver", daemon=True).start()
                except RuntimeError:  # there is none to be had; at the end of the process, for one
                    lookup.has_thread = False
                    return lookup
                self.under_way[host, port] = lookup
                if lookup.is_over:
                    self.forget(lookup)
            return lookup

    def forget(self, lookup: _Lookup) -> None:
        self.under_way.pop((lookup.host, lookup.port), None)


_lookups: Final = _Lookups()
forks.follow(_lookups)


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
    lookup = _lookups.find(host, port)
    if not lookup.has_thread:
        lookup.run()  # late is better than never
    lookup.tell(ticket)
    try:
        await waiter.wait(ticket, seconds)
    finally:
        try:
            lookup.waiting.remove(ticket)
        except ValueError:
            pass
    return lookup.result()


def _is_literal(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return True
    return False
