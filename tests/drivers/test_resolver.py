"""Lookups of names: waited for and left, shared by those who ask at once, never kept."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from seawall.drivers import resolver
from seawall.drivers.aside import Aside
from seawall.drivers.threads import Threads
from seawall.runtime import OutOfTime, run_sync


class Names:
    """A name server under control: `hangs.test` hangs until released, the others answer as they are told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.release = threading.Event()
        self.answers: dict[str, list[str] | BaseException] = {}

    def __call__(self, host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        self.asked.append(host)
        if host.startswith("hangs"):
            self.release.wait(5)
        found = self.answers.get(host, ["10.0.0.1"])
        if isinstance(found, BaseException):
            raise found
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    played = Names()
    monkeypatch.setattr(socket, "getaddrinfo", played)
    yield played
    played.release.set()
    end = time.monotonic() + 5
    while resolver._lookups.under_way:
        assert time.monotonic() < end
        time.sleep(0.002)


def test__literal_address__is_not_looked_up(names: Names) -> None:
    for literal in ("127.0.0.1", "::1"):
        assert resolver.addresses(literal, 80, 1) == [literal]
    assert names.asked == []


def test__addresses__in_the_systems_order_each_once(names: Names) -> None:
    names.answers["a.test"] = ["10.0.0.2", "10.0.0.1", "10.0.0.2"]
    assert resolver.addresses("a.test", 80, 5) == ["10.0.0.2", "10.0.0.1"]


def test__lookup_that_hangs__is_left_in_time_and_others_go_on(names: Names) -> None:
    started = time.monotonic()
    with pytest.raises(OutOfTime, match=r"hangs\.test"):
        resolver.addresses("hangs.test", 80, 0.05)
    assert 0.04 < time.monotonic() - started < 1
    assert resolver.addresses("a.test", 80, 5) == ["10.0.0.1"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test__lookup_that_hangs__does_not_hold_the_end_of_a_loop(names: Names, backend: str) -> None:
    async def main() -> None:
        with pytest.raises(OutOfTime):
            await resolver.addresses_async("hangs.test", 80, 0.05)
        assert await resolver.addresses_async("a.test", 80, 5) == ["10.0.0.1"]

    started = time.monotonic()
    anyio.run(main, backend=backend)
    assert time.monotonic() - started < 2


def test__asked_at_once__is_one_lookup_and_each_gets_the_answer(names: Names) -> None:
    ends: list[Any] = []
    threads = [threading.Thread(target=lambda: ends.append(resolver.addresses("hangs.test", 80, 5))) for _ in range(4)]
    for thread in threads:
        thread.start()
    while not names.asked:
        time.sleep(0.001)
    time.sleep(0.02)
    names.release.set()
    for thread in threads:
        thread.join()
    assert (names.asked, ends) == (["hangs.test"], [["10.0.0.1"]] * 4)


def test__answer__is_not_kept(names: Names) -> None:
    resolver.addresses("a.test", 80, 5)
    resolver.addresses("a.test", 80, 5)
    assert names.asked == ["a.test", "a.test"]


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        UnicodeEncodeError("idna", "x", 0, 1, "label too long"),
        ValueError("embedded null byte"),
        SystemExit(3),
    ],
    ids=lambda error: type(error).__name__,
)
def test__whatever_the_lookup_raises__is_raised_to_who_asked(names: Names, error: BaseException) -> None:
    names.answers["a.test"] = error
    with pytest.raises(type(error)) as caught:
        resolver.addresses("a.test", 80, 5)
    assert caught.value.args == error.args
    assert caught.value is not error


def test__no_address__is_no_such_name(names: Names) -> None:
    names.answers["a.test"] = []
    with pytest.raises(socket.gaierror, match=r"no address for a\.test"):
        resolver.addresses("a.test", 80, 5)


def test__too_many_at_a_time__a_further_one_fails_at_once(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "MOST_AT_A_TIME", 2)
    for number in range(2):
        with pytest.raises(OutOfTime):
            resolver.addresses(f"hangs{number}.test", 80, 0.02)
    with pytest.raises(socket.gaierror, match="2 lookups hang already"):
        resolver.addresses("a.test", 80, 5)


def test__too_many_are_noted__those_that_ended_make_room(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "MOST_AT_A_TIME", 1)
    ended = Aside(list)
    ended.start()
    assert run_sync(ended.result(5, Threads())) == []
    resolver._lookups.under_way["ended.test", 80] = ended  # as if it had ended just when it was noted down
    assert resolver.addresses("a.test", 80, 5) == ["10.0.0.1"]
    assert ("ended.test", 80) not in resolver._lookups.under_way


class Shares(float):
    """Time left, that tells how it was shared."""

    def share(self, parts: int) -> float:
        return self / parts


def test__addresses__are_tried_in_turn_each_with_its_share_and_the_last_one_tells() -> None:
    tried: list[tuple[str, float]] = []

    def connect(address: str, seconds: float) -> str:
        tried.append((address, seconds))
        if address != "good":
            raise ConnectionRefusedError(address)
        return address

    left: Any = Shares(6.0)
    assert resolver.connect_in_turn(["a", "good", "c"], left, connect, OSError) == "good"
    assert tried == [("a", 2.0), ("good", 3.0)]
    with pytest.raises(ConnectionRefusedError, match="b"):
        resolver.connect_in_turn(["a", "b"], left, connect, OSError)
    with pytest.raises(ConnectionRefusedError, match="a"):
        resolver.connect_in_turn(["a", "good"], left, connect, TimeoutError)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test__child_process__does_not_wait_for_a_lookup_of_its_parents(names: Names) -> None:
    with pytest.raises(OutOfTime):
        resolver.addresses("hangs.test", 80, 0.02)
    with resolver._lookups.lock:
        child = os.fork()
        if child == 0:  # nothing here may reach pytest
            code = 1
            try:
                names.release.set()
                code = 0 if resolver.addresses("hangs.test", 80, 3) == ["10.0.0.1"] else 2
            finally:
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
