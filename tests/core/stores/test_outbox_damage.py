"""Damaged and hostile files: one clear error, soon; and what is sent is what was put, or nothing.

`SEAWALL_FUZZ=5000` makes as many damaged files as that, instead of a few hundred.
"""

from __future__ import annotations

import gc
import os
import random
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from seawall.stores.items import Damaged, Item, OutboxError, Receipt, Result, headers_from_text
from seawall.stores.outbox import OutboxFile
from seawall.testing.virtual import VirtualClock
from tests.core.stores.files import quick_folder

ROUNDS = int(os.environ.get("SEAWALL_FUZZ", "300"))
CLOCK = VirtualClock()
BODIES = {f"http://{n % 3}.test/{n}": b"%d," % n * 400 * (n % 4) for n in range(12)}
HEADERS = (("Idempotency-Key", "k"), ("Content-Type", "text/plain"))


@pytest.fixture
def folder() -> Iterator[Path]:
    with quick_folder() as found:
        yield found


def filled(folder: Path) -> tuple[Path, list[Receipt]]:
    """A file with requests in all states."""
    path = folder / "outbox.db"
    file = OutboxFile(path, clock=CLOCK)
    receipts = [file.put("POST", url, HEADERS, body, host=url[7], queue_timeout=3600) for url, body in BODIES.items()]
    for state in ("done", "failed"):
        item = file.lease(60)
        assert item is not None
        file.settle(item, Result(state, 200, HEADERS, b"fine" * 300))  # type: ignore[arg-type]
    file.lease(60)
    file.close()
    return path, receipts


def use(path: Path, receipts: list[Receipt], seen: Counter[str]) -> None:
    """Everything one can do with a file. Anything but OutboxError, or another request than was put, is a failure."""
    try:
        file = OutboxFile(path, clock=CLOCK)
    except OutboxError:
        seen["refused"] += 1
        return
    kept: list[Item] = []

    def lease() -> None:
        item = file.lease(60)
        if item is not None:
            kept.append(item)

    def settle() -> None:
        if kept:
            file.settle(kept[-1], Result("done", 200, HEADERS, b"fine"))

    steps: list[Callable[[], object]] = [
        lambda: len(file),
        file.due,
        *(lambda receipt=receipt: (file.state(receipt), file.result(receipt)) for receipt in receipts[:4]),
        lambda: file.put("PUT", "http://9.test/", (), b"new", host="9", queue_timeout=60),
        *(
            lease,
            settle,
            lease,
            lambda: kept and file.renew(kept[-1], 5),
            lambda: kept and file.put_back(kept[-1], 1, ""),
        ),
        lease,
    ]
    for step in steps:
        try:
            step()
        except OutboxError:
            seen["error"] += 1
        else:
            seen["fine"] += 1
    for item in kept:
        if item.url != "http://9.test/":
            assert (item.method, item.headers, item.body) == ("POST", HEADERS, BODIES[item.url])
    file.close()


def damage(data: bytearray, chance: random.Random) -> None:
    """What disks, crashes and people do to files."""
    kind = chance.randrange(6)
    if not data:
        return
    at = chance.randrange(len(data))
    if kind == 0:
        for _ in range(chance.choice((1, 1, 3, 20))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        length = chance.choice((1, 16, 4096))
        data[at : at + length] = bytes(len(data[at : at + length]))
    elif kind == 3:
        page = chance.randrange(max(1, len(data) // 4096)) * 4096
        other = chance.randrange(max(1, len(data) // 4096)) * 4096
        data[page : page + 4096] = data[other : other + 4096]
    elif kind == 4:
        data[at : at + 64] = chance.randbytes(len(data[at : at + 64]))
    else:  # where SQLite keeps lengths and offsets
        page = chance.randrange(max(1, len(data) // 4096)) * 4096
        data[min(page + chance.randrange(100), len(data) - 1)] = chance.randrange(256)


def test__damaged_file__is_an_error_or_still_true(folder: Path) -> None:
    path, receipts = filled(folder)
    whole = path.read_bytes()
    seen: Counter[str] = Counter()
    longest = 0.0
    for seed in range(ROUNDS):
        chance = random.Random(seed)
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 5))):
            damage(data, chance)
        for left in folder.glob("outbox.db*"):
            left.unlink()
        path.write_bytes(data)
        began = time.monotonic()
        use(path, receipts, seen)
        longest = max(longest, time.monotonic() - began)
    assert longest < 10
    assert min(seen[what] for what in ("refused", "error", "fine")) > 0, seen


def test__damaged_log__is_an_error_or_still_true(folder: Path) -> None:
    path, _ = filled(folder)
    file = OutboxFile(path, clock=CLOCK)
    receipts = [file.put("POST", url, HEADERS, body, host=url[7], queue_timeout=60) for url, body in BODIES.items()]
    copies = [(name, (folder / name).read_bytes()) for name in ("outbox.db", "outbox.db-wal")]
    file.close()
    assert len(copies[1][1]) > 4096
    seen: Counter[str] = Counter()
    for seed in range(ROUNDS // 3):
        chance = random.Random(seed)
        for left in folder.glob("outbox.db*"):
            left.unlink()
        for name, content in copies:
            data = bytearray(content)
            if name.endswith("wal"):
                damage(data, chance)
            (folder / name).write_bytes(data)
        use(path, receipts, seen)
    assert seen["fine"] > 0


# -- files that are something else ----------------------------------------------------------------------------------


def run_sql(path: Path, *statements: str) -> None:
    rows = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        rows.execute(statement)
    rows.close()


OTHERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("not a database, but long enough to be looked at" * 100),
    "few bytes": lambda path: path.write_bytes(b"SQLite format 3\0"),
    "folder": lambda path: path.mkdir(),
    "other tables": lambda path: run_sql(path, "CREATE TABLE users (name TEXT)"),
    "a view of our name": lambda path: run_sql(path, "CREATE VIEW outbox AS SELECT 1 AS seq"),
    "another version": lambda path: (OutboxFile(path).close(), run_sql(path, "PRAGMA user_version=2")),
    "a trigger": lambda path: (
        OutboxFile(path).close(),
        run_sql(path, "CREATE TRIGGER t AFTER INSERT ON outbox BEGIN DELETE FROM outbox; END"),
    ),
    "one more column": lambda path: (OutboxFile(path).close(), run_sql(path, "ALTER TABLE outbox ADD COLUMN x")),
    "one index less": lambda path: (OutboxFile(path).close(), run_sql(path, "DROP INDEX outbox_due")),
    "one more table": lambda path: (OutboxFile(path).close(), run_sql(path, "CREATE TABLE x (y)")),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test__something_else__is_refused_when_opened_and_left_alone(make: Any, folder: Path) -> None:
    path = folder / "outbox.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(OutboxError, match=r"outbox\.db: "):
        OutboxFile(path)
    assert (path.read_bytes() if path.is_file() else None) == before


def test__no_such_folder__is_the_same_error(folder: Path) -> None:
    with pytest.raises(OutboxError):
        OutboxFile(folder / "nowhere" / "outbox.db")


# -- rows that nobody of ours wrote ---------------------------------------------------------------------------------

COLUMNS = (
    "id", "state", "host", "created", "not_before", "expires", "bytes", "attempts", "fence", "leased", "lease_until",
    "error", "status", "complete", "method", "url", "digest", "headers", "result_headers", "body", "result_body",
)  # fmt: skip
JUNK = ("'junk'", "x'ff00'", "-1", "1e308", "9223372036854775807", "''", '\'[["a","b\\r\\nc"]]\'', "zeroblob(2000000)")


@pytest.mark.parametrize("column", COLUMNS)
def test__junk_in_a_column__is_an_error_or_passed_by(column: str, folder: Path) -> None:
    path, receipts = filled(folder)
    shutil.copy(path, folder / "whole.db")
    seen: Counter[str] = Counter()
    for junk in JUNK:
        for which in ("1 = 1", "seq % 2 = 0"):
            for left in folder.glob("outbox.db*"):
                left.unlink()
            shutil.copy(folder / "whole.db", path)
            try:
                run_sql(path, f"UPDATE OR IGNORE outbox SET {column} = {junk} WHERE {which}")
            except sqlite3.IntegrityError:
                continue
            use(path, receipts, seen)
    assert seen["refused"] == 0


def test__rewritten_request__is_marked_and_never_sent(folder: Path) -> None:
    path, receipts = filled(folder)
    run_sql(path, "UPDATE outbox SET url = 'http://evil.test/' WHERE state <> 'done'")
    file = OutboxFile(path, clock=CLOCK)
    assert file.lease(60) is None
    assert len(file) == 1  # the one that was leased before, not looked at yet
    result = file.result(receipts[-1])
    assert result is not None
    assert (result.state, result.error) == ("failed", "damaged record: digest")


def test__a_value_longer_than_any_of_ours__is_an_error_not_memory(folder: Path) -> None:
    path, _ = filled(folder)
    run_sql(path, "UPDATE outbox SET body = zeroblob(100000000), not_before = 0 WHERE seq = 5")
    with pytest.raises(OutboxError, match="big"):
        OutboxFile(path, clock=CLOCK).lease(60)


def test__junk_sizes__a_full_file_still_makes_room(folder: Path) -> None:
    path, receipts = filled(folder)
    run_sql(path, "UPDATE outbox SET bytes = 'junk'")
    file = OutboxFile(path, max_rows=len(receipts), clock=CLOCK)
    file.put("PUT", "http://9.test/", (), b"new", host="9", queue_timeout=60)
    assert file.state(receipts[0]) == "gone"


def test__nothing_but_damage__is_an_error_not_a_long_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seawall.stores.outbox._MOST_DAMAGED", 5)
    path, _ = filled(folder)
    run_sql(path, "UPDATE outbox SET digest = x'00'")
    file = OutboxFile(path, clock=CLOCK)
    with pytest.raises(OutboxError, match="5 records"):
        file.lease(60)


# -- what a file system may do -------------------------------------------------------------------------------------


def kept_otherwise(folder: Path) -> tuple[Path, sqlite3.Connection]:
    """A file of ours not yet in WAL mode, and somebody who reads it."""
    path, _ = filled(folder)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("PRAGMA journal_mode=DELETE")
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM outbox").fetchone()
    return path, reader


def test__mode_cannot_be_changed_yet__is_tried_until_the_other_is_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, reader = kept_otherwise(folder)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        reader.execute("COMMIT")

    with monkeypatch.context() as patch:
        patch.setattr("seawall.stores.database.time.sleep", pause)
        patch.setattr(sqlite3, "connect", partial(_impatient, sqlite3.connect))
        file = OutboxFile(path, clock=CLOCK)
    assert len(pauses) == 1
    assert len(file) > 0
    reader.close()


def _impatient(connect: Any, path: str, **options: Any) -> sqlite3.Connection:
    """SQLite itself waits for nobody."""
    made: sqlite3.Connection = connect(path, **options | {"timeout": 0.0})
    return made


def test__mode_cannot_be_changed_for_too_long__is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, reader = kept_otherwise(folder)
    monkeypatch.setattr("seawall.stores.database._PATIENCE", 0.05)
    with pytest.raises(OutboxError, match="locked"):
        OutboxFile(path, clock=CLOCK)
    reader.close()


def test__file_system_without_shared_memory__is_an_error_that_says_where_to_put_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda _, **options: real(":memory:", **options))
    with pytest.raises(OutboxError, match="WAL mode: give a file on a local disk"):
        OutboxFile(folder / "outbox.db", clock=CLOCK)


@pytest.mark.parametrize("text", ["[[1, 2]]", '[["x", 2]]', '[["x"]]', "7", "{", '[["x", "a\\nb"]]', None])
def test__headers_that_are_none__are_damage(text: Any) -> None:
    with pytest.raises(Damaged, match="headers"):
        headers_from_text(text)


def test__dropped_where_no_hook_ran_after_a_fork__the_parents_connection_stays_open(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = filled(folder)
    file, process = OutboxFile(path, clock=CLOCK), os.getpid()
    (idle,) = file._rows._idle
    monkeypatch.setattr(os, "getpid", lambda: process + 1)
    del file
    gc.collect()
    assert idle.execute("SELECT 1").fetchone() == (1,), "SQLite forbids to close it in the child"
    idle.close()
