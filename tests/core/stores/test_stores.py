"""Both stores: the shared suite, and whatever is done to them against a naive model."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seawall.stores import Store
from seawall.stores.memory import OVERHEAD, MemoryStore
from seawall.stores.sqlite import SqliteStore
from seawall.testing import check_store

Make = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    files: list[SqliteStore] = []
    numbers = itertools.count()

    def made() -> Store:
        if request.param == "memory":
            return MemoryStore()
        files.append(SqliteStore(tmp_path / f"{next(numbers)}.db", patience=5))
        return files[-1]

    yield made
    assert [file.failures for file in files] == [0] * len(files)
    for file in files:
        file.close()


def test__store__does_what_the_protocol_says(make: Make) -> None:
    check_store(make)


class Model:
    """A list, oldest used first."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes, bytes, float]] = []

    def get(self, key: bytes, now: float) -> bytes | None:
        for entry in self.records:
            if entry[0] == key and now < entry[2]:
                self.records.remove(entry)
                self.records.append(entry)
                return entry[1]
        return None

    def put(self, key: bytes, record: bytes, until: float, max_entries: int, max_bytes: int) -> None:
        if len(record) + OVERHEAD > max_bytes:
            return
        self.records = [entry for entry in self.records if entry[0] != key]
        self.records.append((key, record, until))
        while len(self.records) > max_entries or self.bytes > max_bytes:
            del self.records[0]

    def drop(self, what: bytes) -> None:
        self.records = [entry for entry in self.records if not entry[0].startswith(what)]

    @property
    def bytes(self) -> int:
        return sum(len(record) + OVERHEAD for _, record, _ in self.records)


keys = st.builds(lambda tag, rest: bytes([tag]) * 16 + bytes([rest]) * 16, st.integers(0, 2), st.integers(0, 2))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), keys, st.integers(0, 700), st.integers(1, 9)),
        st.tuples(st.just("get"), keys),
        st.tuples(st.just("drop"), keys | keys.map(lambda key: key[:16])),
        st.tuples(st.just("time"), st.integers(1, 5)),
    ),
    max_size=40,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps, st.integers(1, 5), st.integers(500, 3000))
def test__store__any_use__is_as_the_naive_model(
    make: Make, steps: list[tuple[object, ...]], entries: int, size: int
) -> None:
    store, model, now = make(), Model(), 1000.0
    for step in steps:
        match step:
            case ("put", bytes() as key, int() as length, int() as life):
                record = os.urandom(length)
                store.put(key, record, now, now + life, entries, size)
                model.put(key, record, now + life, entries, size)
            case ("get", bytes() as key):
                assert store.get(key, now) == model.get(key, now)
            case ("drop", bytes() as what):
                store.drop(what)
                model.drop(what)
            case ("time", int() as seconds):
                now += seconds
        # What is over may go at any time: it is compared when it is looked for.
        if isinstance(store, MemoryStore):
            assert store.bytes <= size
    for key, _, _ in list(model.records):
        assert store.get(key, now) == model.get(key, now)
    if isinstance(store, SqliteStore):
        store.close()


def test__store__many_threads__lose_and_mix_up_nothing(make: Make) -> None:
    store = make()
    wrong: list[object] = []

    def work(mine: int) -> None:
        for n in range(60):
            key = bytes([mine]) * 16 + bytes([n % 5]) * 16
            store.put(key, key * 10, 1000.0, 1010.0, 1000, 10_000_000)
            if store.get(key, 1000.0) != key * 10:
                wrong.append((mine, n))
            if n % 10 == 9:
                store.drop(key[:16])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test__store__after_a_fork__serves_parent_and_child_even_if_its_lock_was_held(make: Make) -> None:
    store = make()
    key, other = b"k" * 32, b"o" * 32
    store.put(key, b"before", 1000.0, 1010.0, 10, 10_000)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with store._lock:  # type: ignore[attr-defined]
            held.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    if isinstance(store, SqliteStore):  # waits for the lock before a fork: not for a whole second here
        release.set()
        thread.join(10)
    child = os.fork()
    if child == 0:
        try:
            store.put(other, b"child", 1000.0, 1010.0, 10, 10_000)
            os._exit(0 if store.get(other, 1000.0) == b"child" else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    release.set()
    thread.join(10)
    assert os.waitstatus_to_exitcode(status) == 0
    assert store.get(key, 1000.0) == b"before"
    assert store.get(other, 1000.0) == (b"child" if store.survives else None)


def test__memory__struck_in_the_middle__is_a_miss_and_what_was_dropped_is_gone_afterwards() -> None:
    store, key = MemoryStore(), b"k" * 32
    store.put(key, b"good", 1000.0, 1010.0, 10, 10_000)
    with store._lock:  # as a finaliser finds it
        assert store.get(key, 1000.0) is None
        store.put(b"o" * 32, b"other", 1000.0, 1010.0, 10, 10_000)
        store.drop(key[:16])
    assert store.get(b"o" * 32, 1000.0) is None
    assert store.get(key, 1000.0) is None
    assert len(store) == 0
