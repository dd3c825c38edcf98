"""Name lookups that are left, interrupted or collected: no lock stays held, no lookup is orphaned, all others hear."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import anyio
import pytest
import trio

from seawall.drivers import resolver
from seawall.drivers.aside import Aside
from seawall.drivers.resolver import addresses, addresses_async
from seawall.policies.bulkhead import Ticket
from seawall.runtime import OutOfTime
from tests.core.interrupting import quick_collections, strikes
from tests.drivers.quick import threads, until

__all__ = ["quick_collections"]

NAME = "api.test"


class NameServer:
    """Answers when `gate` is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked = 0

    def getaddrinfo(self, host: str, *args: Any, **options: Any) -> list[Any]:
        self.asked += 1
        assert self.gate.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80))]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server.getaddrinfo)
    yield server
    server.gate.set()
    until(is_quiet)


def is_quiet() -> bool:
    """No lookup is under way, and nobody holds the lock."""
    free: list[bool] = []
    with threads(
        lambda: free.append(resolver._lookups.lock.acquire(timeout=5) and not resolver._lookups.lock.release())
    ):
        pass
    return free == [True] and not resolver._lookups.under_way


def waiters() -> int:
    return sum(len(lookup._waiting) for lookup in list(resolver._lookups.under_way.values()))


@pytest.mark.usefixtures("quick_collections")
@pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited:RuntimeWarning")
def test__interrupted_anywhere__the_next_who_asks_is_answered(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = resolver.Threads.wait

    async def opening(self: Any, ticket: Ticket, seconds: float) -> None:
        server.gate.set()
        await wait(self, ticket, seconds)

    monkeypatch.setattr(resolver.Threads, "wait", opening)

    def prepare() -> tuple[None, Callable[[], object]]:
        until(is_quiet)
        server.gate.clear()
        return None, lambda: addresses(NAME, 80, 10)

    places = 0
    for where, _ in strikes(prepare):
        places += 1
        found: list[list[str]] = []
        with threads(lambda found=found: found.append(addresses(NAME, 80, 3)), seconds=5):  # type: ignore[misc]
            pass
        assert found == [["10.0.0.1"]], where
        server.gate.set()
    assert places > 10


def test__finaliser_that_leaves_while_its_thread_asks__neither_hangs_nor_is_lost(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forever(self: Any, ticket: Ticket, seconds: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(resolver.Loops, "wait", forever)
    dropped: list[Coroutine[Any, Any, Any]] = [addresses_async("other.test", 80, 10)]
    dropped[0].send(None)
    plain = Aside.__init__

    def collecting(*args: Any) -> None:
        dropped.clear()  # as a collection would, which may begin at any allocation
        plain(*args)

    monkeypatch.setattr(Aside, "__init__", collecting)
    found: list[list[str]] = []
    with threads(lambda: found.append(addresses(NAME, 80, 10)), seconds=5):
        until(lambda: server.asked == 2 and waiters() == 1)
        server.gate.set()
    assert found == [["10.0.0.1"]]


def test__waiter_that_leaves_while_the_others_are_told__hides_nobody(server: NameServer) -> None:
    told: list[str] = []
    with threads(lambda: addresses(NAME, 80, 10)):
        until(lambda: waiters() == 1)
        (lookup,) = resolver._lookups.under_way.values()
        first, second = Ticket(0), Ticket(0)
        lookup._waiting += [first, second]
        first.on_wake(lambda: lookup._waiting.remove(first))
        second.on_wake(lambda: told.append("second"))
        server.gate.set()
    assert told == ["second"]


def test__lookup_over_before_its_asker_waits__is_not_waited_for(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = resolver._Lookups.find

    def find(lookups: Any, *name: Any) -> Any:
        lookup = plain(lookups, *name)
        until(lambda: lookup.is_over)
        return lookup

    server.gate.set()
    monkeypatch.setattr(resolver._Lookups, "find", find)
    started = time.monotonic()
    assert addresses(NAME, 80, 10) == ["10.0.0.1"]
    assert time.monotonic() - started < 5


def test__lookup__ends_and_tells_while_somebody_holds_the_lock(server: NameServer) -> None:
    """The end of the process stops its thread anywhere: it may hold nothing that others need."""
    answers: list[list[str]] = []
    with threads(lambda: answers.append(addresses(NAME, 80, 10))):
        until(lambda: waiters() == 1)
        with resolver._lookups.lock:
            server.gate.set()
            until(lambda: bool(answers), 5)


def test__no_thread_to_be_had__looks_up_in_its_own(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    server.gate.set()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        assert addresses(NAME, 80, 10) == ["10.0.0.1"]
    assert resolver._lookups.under_way == {}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test__cancelled_while_it_waits__leaves_nothing_behind(backend: str, server: NameServer) -> None:
    async def scenario() -> None:
        with anyio.move_on_after(0.02) as scope:
            await addresses_async(NAME, 80, 10)
        assert scope.cancelled_caught
        assert waiters() == 0

    anyio.run(scenario, backend=backend)


def test__thread_loops_and_trio_in_one_lookup__all_hear_though_one_loop_is_closed_and_one_gave_up(
    server: NameServer,
) -> None:
    answers: list[list[str]] = []

    async def ask() -> None:
        answers.append(await addresses_async(NAME, 80, 10))

    def give_up() -> None:
        with pytest.raises(OutOfTime):
            addresses(NAME, 80, 0.02)

    closed = asyncio.new_event_loop()
    task = closed.create_task(ask())
    closed.run_until_complete(asyncio.sleep(0.01))
    assert waiters() == 1
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    closed.close()
    crowd: list[Callable[[], object]] = [
        lambda: asyncio.run(ask()),
        lambda: asyncio.run(ask()),
        lambda: trio.run(ask),
        lambda: answers.append(addresses(NAME, 80, 10)),
        give_up,
    ]
    with threads(*crowd):
        until(lambda: waiters() == 6)
        until(lambda: waiters() == 5)
        started = time.monotonic()
        server.gate.set()
    assert answers == [["10.0.0.1"]] * 4
    assert time.monotonic() - started < 5
    assert server.asked == 1
    del task
