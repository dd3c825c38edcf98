"""The SQLite store: several processes, restarts; busy, damaged and hostile files are a miss, or an error at opening."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import pickle
import random
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any

import anyio
import pytest

import seawall
from seawall.stores import sqlite
from seawall.stores.sqlite import SqliteStore

KEY = b"k" * 32


def put(store: SqliteStore, key: bytes = KEY, record: bytes = b"good", now: float = 1000.0) -> None:
    store.put(key, record, now, now + 100, 1000, 10_000_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(path, patience=0.02)
    yield made
    made.close()


def raw(path: Path) -> Any:
    return closing(sqlite3.connect(path, isolation_level=None))


def test__restart__records_and_secret_are_still_there(path: Path, store: SqliteStore) -> None:
    put(store)
    store.close()
    again = SqliteStore(path)
    assert (again.get(KEY, 1000.0), again.secret) == (b"good", store.secret)
    again.close()


def test__closed__opens_again(store: SqliteStore) -> None:
    put(store)
    store.close()
    assert store.get(KEY, 1000.0) == b"good"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test__file__is_its_owners_only(path: Path, store: SqliteStore) -> None:
    put(store)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert path.name in modes


def test__secret__given__is_used_and_not_kept(path: Path) -> None:
    secret = b"0123456789abcdef"
    store = SqliteStore(path, secret=secret)
    put(store)
    assert store.secret == secret
    store.close()
    assert not any(secret in file.read_bytes() for file in path.parent.iterdir())
    other = SqliteStore(path, secret=secret[::-1])
    assert other.get(KEY, 1000.0) is None, "somebody else's record"
    other.close()


def test__pickled__opens_the_same_file(store: SqliteStore) -> None:
    put(store)
    copy = pickle.loads(pickle.dumps(store))
    assert (copy.get(KEY, 1000.0), copy.patience) == (b"good", store.patience)
    copy.close()


def test__dropped_by_its_owner__is_closed_without_a_warning(path: Path) -> None:
    store = SqliteStore(path)
    put(store)
    del store
    gc.collect()
    assert not path.with_name("answers.db-wal").exists()


@pytest.mark.parametrize(
    "wrong",
    [{"secret": b"short"}, {"secret": "text" * 8}, {"patience": -1}, {"patience": True}, {"patience": 11}],
    ids=str,
)
def test__configuration__wrong__raises_with_the_cure(path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        SqliteStore(path, **wrong)


def test__file_that_cannot_be_opened__raises_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        SqliteStore(tmp_path / "no" / "folder.db")
    with pytest.raises(OSError):
        SqliteStore(tmp_path)


def script(*statements: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with raw(path) as connection:
            for statement in statements:
                connection.execute(statement)

    return spoil


def fresh(*statements: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        for file in path.parent.iterdir():
            file.unlink()
        script(*statements)(path)

    return spoil


NOT_OURS = {
    "random bytes": lambda path: path.write_bytes(random.Random(1).randbytes(20_000)),
    "text": lambda path: path.write_bytes(b"hello\n" * 1000),
    "another application's": fresh("CREATE TABLE users (name)", "PRAGMA user_version = 7"),
    "tables of somebody's": fresh("CREATE TABLE users (name)"),
    "a newer version": script("PRAGMA user_version = 2"),
    "one more table": script("CREATE TABLE more (x)"),
    "one more trigger": script("CREATE TRIGGER evil AFTER INSERT ON answers BEGIN DELETE FROM answers; END"),
    "a view instead of a table": script(
        "ALTER TABLE secret RENAME TO hidden", "CREATE VIEW secret AS SELECT * FROM hidden"
    ),
    "another column": script("ALTER TABLE answers ADD COLUMN x"),
    "no index": script("DROP INDEX answers_used"),
    "no secret": script("DELETE FROM secret"),
    "two secrets": script("INSERT INTO secret SELECT * FROM secret"),
    "a secret of another kind": script("UPDATE secret SET secret = 'text'"),
    "a short secret": script("UPDATE secret SET secret = x'00'"),
    "a huge secret": script("UPDATE secret SET secret = zeroblob(70000000)"),
    "no totals": script("DELETE FROM totals"),
}


@pytest.mark.parametrize("spoil", NOT_OURS.values(), ids=NOT_OURS)
def test__file_that_is_not_ours__is_one_clear_error_at_opening(
    path: Path, store: SqliteStore, spoil: Callable[[Path], None]
) -> None:
    put(store)
    store.close()
    spoil(path)
    with pytest.raises((ValueError, OSError), match=r"SqliteStore: .*answers\.db"):
        SqliteStore(path)
    for _ in range(2):  # opened before: a miss
        assert store.get(KEY, 1000.0) is None
        put(store)


DAMAGE = {
    "a record": "UPDATE answers SET record = x'00'",
    "a record's kind": "UPDATE answers SET record = 'good'",
    "a huge record": "UPDATE answers SET record = zeroblob(67108865)",
    "a digest": "UPDATE answers SET digest = x'00'",
    "a digest's kind": "UPDATE answers SET digest = 7",
    "an end": "UPDATE answers SET until = 1e300",
    "an end's kind": "UPDATE answers SET until = 'never'",
    "a record under another key": f"UPDATE answers SET key = x'{(b'o' * 32).hex()}'",
}


@pytest.mark.parametrize("statement", DAMAGE.values(), ids=DAMAGE)
def test__damaged_record__is_a_miss(path: Path, store: SqliteStore, statement: str) -> None:
    put(store)
    with raw(path) as connection:
        connection.execute(statement)
    assert [store.get(key, 1000.0) for key in (KEY, b"o" * 32)] == [None, None]
    put(store, now=1010.0)
    assert store.get(KEY, 1010.0) == b"good"


@pytest.mark.parametrize(
    "totals", ["entries = 1000000", "entries = -5, bytes = -1e15", "bytes = 1e15", "entries = 'x'"]
)
def test__damaged_totals__are_counted_again(path: Path, store: SqliteStore, totals: str) -> None:
    put(store)
    with raw(path) as connection:
        connection.execute(f"UPDATE totals SET {totals}")
    store.close()
    again = SqliteStore(path)
    assert len(again) == 1
    put(again, b"o" * 32)
    assert (again.get(b"o" * 32, 1000.0), len(again)) == (b"good", 2)
    again.close()


def test__totals_wrong_while_it_runs__do_not_stop_it(path: Path, store: SqliteStore) -> None:
    with raw(path) as connection:
        connection.execute("UPDATE totals SET entries = 1000000, bytes = 1e15")
    put(store)
    assert (store.get(KEY, 1000.0), len(store)) == (b"good", 1)


@pytest.mark.parametrize("seed", range(60))
def test__file_with_random_damage__is_a_miss_or_one_clear_error(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    store = SqliteStore(path)
    for n in range(30):
        put(store, bytes([n]) * 32, bytes([n]) * chance.randrange(3000))
    store.close()
    data = bytearray(path.read_bytes())
    if seed % 4 == 0:
        del data[chance.randrange(len(data)) :]
    for _ in range(chance.choice([1, 5, 200])):
        if data:
            data[chance.randrange(len(data))] = chance.randrange(256)
    path.write_bytes(data)
    try:
        damaged = SqliteStore(path)
    except (ValueError, OSError):
        return
    for n in range(30):
        found = damaged.get(bytes([n]) * 32, 1000.0 + 2 * n)
        assert found is None or set(found) <= {n}
        put(damaged, bytes([n + 100]) * 32, now=1000.0 + 2 * n)
    damaged.drop(bytes([3]) * 16)
    damaged.close()


@pytest.fixture
def writer(path: Path, store: SqliteStore) -> Iterator[sqlite3.Connection]:
    """Somebody who writes, and does not end."""
    put(store)
    with raw(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


class TestBusy:
    """Another process holds the file."""

    def test__writing__gives_up_soon_and_rests_a_second(self, store: SqliteStore, writer: sqlite3.Connection) -> None:
        began = perf_counter()
        for n in range(50):
            put(store, record=b"new", now=1000.0 + n / 100)
        assert perf_counter() - began < 1.0, "fifty times its patience"
        writer.execute("ROLLBACK")
        assert store.failures == 1
        put(store, record=b"new", now=1000.9)
        assert store.get(KEY, 1000.9) is None
        put(store, record=b"new", now=1001.1)
        assert store.get(KEY, 1001.1) == b"new"

    def test__reading__goes_on(self, store: SqliteStore, writer: sqlite3.Connection) -> None:
        assert store.get(KEY, 1000.0) == b"good"

    def test__dropping__is_made_up_for_before_anything_is_read(
        self, store: SqliteStore, writer: sqlite3.Connection
    ) -> None:
        store.drop(KEY[:16])
        assert store.get(KEY, 1000.0) is None, "still busy: better none than one that is no longer true"
        writer.execute("ROLLBACK")
        assert store.get(KEY, 1002.0) is None
        put(store, now=1003.0)
        assert store.get(KEY, 1003.0) == b"good", "dropped once only"

    def test__more_owed_than_can_be_listed__everything_is_dropped(
        self, store: SqliteStore, writer: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite, "_MOST_OWED", 3)
        store.drop(KEY)
        began = perf_counter()
        for n in range(200):
            store.drop(n.to_bytes(16, "big"))
        assert perf_counter() - began < 1.0, "two hundred times its patience"
        put(store, b"o" * 32, now=1000.5)
        writer.execute("ROLLBACK")
        assert store.get(KEY, 1002.0) is None
        assert len(store) == 0

    def test__clock_set_back__does_not_prolong_the_rest(self, store: SqliteStore, writer: sqlite3.Connection) -> None:
        put(store, now=9000.0)
        writer.execute("ROLLBACK")
        assert store.get(KEY, 1000.0) == b"good"


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test__in_an_event_loop__nothing_is_waited_for_and_all_goes_on_when_the_other_is_done(
    path: Path, writer: sqlite3.Connection, loop: str
) -> None:
    writer.execute("ROLLBACK")
    patient = SqliteStore(path, patience=10)
    put(patient)

    async def use() -> None:
        writer.execute("BEGIN IMMEDIATE")
        began = perf_counter()
        put(patient, record=b"new")
        assert patient.get(KEY, 1000.0) == b"good", "reading waits for nobody"
        patient.drop(b"o" * 16)
        assert patient.get(KEY, 1000.0) == b"good", "what is to be dropped is not there"
        patient.drop(KEY[:16])
        assert patient.get(KEY, 1000.0) is None
        assert perf_counter() - began < 5, "half its patience, for a machine that is busy"
        writer.execute("ROLLBACK")
        put(patient, record=b"new")
        assert patient.get(KEY, 1000.0) == b"new", "at once: a file that cost no time is not left alone"

    anyio.run(use, backend=loop)
    patient.close()


def test__in_an_event_loop__a_thread_that_waits_for_the_file_is_not_waited_for(path: Path) -> None:
    held, release = threading.Event(), threading.Event()
    patient = SqliteStore(path, patience=10)

    def hold() -> None:
        with patient._lock:
            held.set()
            release.wait(10)

    async def use() -> None:
        began = perf_counter()
        assert patient.get(KEY, 1000.0) is None
        assert perf_counter() - began < 5

    put(patient)
    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        held.wait(10)
        try:
            asyncio.run(use())
        finally:
            release.set()
        holding.result()
    assert patient.get(KEY, 1000.0) == b"good"
    patient.close()


def test__file_deleted_while_open__no_error(path: Path, store: SqliteStore) -> None:
    for file in path.parent.iterdir():
        file.unlink()
    put(store)
    assert store.get(KEY, 1000.0) in (None, b"good")
    store.close()
    put(store, now=1002.0)
    assert store.get(KEY, 1002.0) == b"good"


def interrupted(*_: object) -> bytes:
    raise KeyboardInterrupt


def test__interrupted_in_the_middle__the_next_use_is_well(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_digest", interrupted)
        with pytest.raises(KeyboardInterrupt):
            put(store, record=b"new")
    assert store.get(KEY, 1000.0) == b"good"
    put(store, record=b"new")
    assert store.get(KEY, 1000.0) == b"new"


def crowd(path: str, number: int, rounds: int, results: Any) -> None:
    store = SqliteStore(path, patience=2)
    bad = 0
    for n in range(rounds):
        own = bytes([number]) * 16 + bytes([n % 7]) * 16
        store.put(own, own * 20, 1000.0, 1100.0, 1000, 10_000_000)
        shared = b"s" * 31 + bytes([n % 3])
        store.put(shared, shared * 30, 1000.0, 1100.0, 1000, 10_000_000)
        bad += store.get(own, 1000.0) != own * 20
        bad += store.get(shared, 1000.0) != shared * 30
    results.put((bad, store.failures, store.secret))
    store.close()


def test__several_processes_at_once__see_the_same_records_and_lose_none(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=crowd, args=(str(path), n, 50, results)) for n in range(3)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert [(bad, failures) for bad, failures, _ in found] == [(0, 0)] * 3
    assert len({secret for _, _, secret in found}) == 1
    store = SqliteStore(path)
    assert len(store) == 3 * 7 + 3
    store.close()


def test__killed_in_the_middle_of_writing__the_file_is_well(path: Path) -> None:
    program = f"""
import itertools
from seawall.stores.sqlite import SqliteStore
store = SqliteStore({str(path)!r})
for n in itertools.count():
    key = bytes([n % 200]) * 32
    store.put(key, key * 200, 1000.0, 1100.0, 100, 10_000_000)
    if n == 300:
        print("running", flush=True)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(seawall.__file__).parent.parent)}
    worker = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "running\n"
    worker.kill()
    worker.wait(30)
    worker.stdout.close()
    store = SqliteStore(path)
    found = [store.get(bytes([n]) * 32, 1000.0) for n in range(200)]
    assert all(record in (None, bytes([n]) * 32 * 200) for n, record in enumerate(found))
    assert len(store) == sum(record is not None for record in found) == 100
    store.close()


class Broken:
    """A connection to which something that SQLite should always manage fails."""

    def __init__(self, connection: sqlite3.Connection, *methods: str) -> None:
        self.connection = connection
        self.methods = methods
        self.was_closed = False

    def __getattr__(self, name: str) -> Any:
        if name == "close":
            self.was_closed = True
        if name in self.methods:
            raise sqlite3.OperationalError("disk I/O error")
        return getattr(self.connection, name)


def test__cannot_even_roll_back__the_connection_is_given_up_and_the_next_use_is_well(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store)
    assert store._connection is not None
    broken = store._connection = Broken(store._connection, "rollback")  # type: ignore[assignment]
    with monkeypatch.context() as patch:
        patch.setattr(store, "_digest", interrupted)
        with pytest.raises(KeyboardInterrupt):
            put(store, record=b"new")
    assert broken.was_closed  # type: ignore[attr-defined]
    assert store.get(KEY, 1000.0) == b"good"


def test__interrupted_while_it_opens__leaves_no_connection_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[sqlite3.Connection] = []

    def prepare(connection: sqlite3.Connection, *, recount: bool) -> bytes:
        opened.append(connection)
        raise KeyboardInterrupt

    monkeypatch.setattr(sqlite, "prepare", prepare)
    with pytest.raises(KeyboardInterrupt):
        SqliteStore(path)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


def test__forked_where_no_hook_runs__the_child_leaves_the_parents_connection_alone(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store)
    parents, process = store._connection, os.getpid()
    assert parents is not None
    monkeypatch.setattr(os, "getpid", lambda: process + 1)
    assert store.get(KEY, 1000.0) == b"good"
    assert store._connection is not parents
    assert parents.execute("SELECT 1").fetchone() == (1,), "SQLite forbids to close it in the child"
    parents.close()


def test__fork__a_file_in_use_is_left_open(store: SqliteStore) -> None:
    put(store)
    before = store._connection
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with store._lock:
            held.set()
            release.wait(10)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        held.wait(10)
        store.before_fork()  # gives up after a second
        release.set()
        holding.result()
    assert store._connection is before
    assert store.get(KEY, 1000.0) == b"good"


def test__fork__a_file_that_cannot_be_closed__holds_nobody_up(store: SqliteStore) -> None:
    put(store)
    assert store._connection is not None
    broken: Any = Broken(store._connection, "close")
    store._connection = broken
    store.before_fork()
    broken.connection.close()
    assert store.get(KEY, 1000.0) == b"good"
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(store.get, KEY, 1000.0).result(10) == b"good", "the lock is free"


def test__repr__says_where_and_no_secret(path: Path) -> None:
    store = SqliteStore(path, secret=b"CANARY" * 4)
    assert repr(store) == f"SqliteStore({str(path)!r})"
    store.close()


def test__file_that_cannot_be_in_wal_mode__is_one_clear_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda _, **options: real(":memory:", **options))  # as on a network's disk
    with pytest.raises(ValueError, match=r"answers\.db: .*cannot be shared.*local disk.*give another path"):
        SqliteStore(path)
