"""The outbox's file, rule by rule; how leases and clocks work together is in test_outbox_model.py."""

from __future__ import annotations

import os
import pickle
import re
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import seawall
from seawall.stores import database
from seawall.stores.items import Item, OutboxError, OutboxFull, Receipt, Result
from seawall.stores.outbox import OutboxFile
from seawall.testing.virtual import VirtualClock
from tests.core.stores.files import quick_folder

CORE = Path(seawall.__file__).parent.parent


@pytest.fixture
def folder() -> Iterator[Path]:
    with quick_folder() as found:
        yield found


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def file(folder: Path, clock: VirtualClock) -> OutboxFile:
    return OutboxFile(folder / "outbox.db", clock=clock)


def put(file: OutboxFile, n: int = 0, *, body: bytes | None = b"body", timeout: float = 60.0) -> Receipt:
    return file.put("POST", f"https://api.test/{n}", (("k", "v"),), body, host="api.test", queue_timeout=timeout)


def leased(file: OutboxFile, seconds: float = 10.0) -> Item:
    item = file.lease(seconds)
    assert item is not None
    return item


DONE = Result("done", 200, (("a", "b"),), b"fine")


def test__put__is_there_for_another_process_at_once(file: OutboxFile) -> None:
    receipt = put(file)
    script = f"from seawall.stores.outbox import OutboxFile; print(OutboxFile({file.path!r}).state({receipt.id!r}))"
    told = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | {"PYTHONPATH": str(CORE)},
    )
    assert told.stdout.strip() in ("queued", "expired")  # by its own clock


def test__put__waits_for_the_disk(file: OutboxFile) -> None:
    with file._rows.writing() as rows:
        assert rows.execute("PRAGMA synchronous").fetchone() == (2,)
        assert rows.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test__file__is_for_its_owner_only(file: OutboxFile) -> None:
    put(file)
    for name in ("", "-wal", "-shm"):
        assert stat.S_IMODE(os.stat(file.path + name).st_mode) == 0o600


@pytest.mark.parametrize("path", ["", ":memory:", "folder/"])
def test__path__that_would_not_last__is_refused(path: str, folder: Path) -> None:
    with pytest.raises(ValueError, match="give the name of a file"):
        OutboxFile(path)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_rows": 0}, ValueError),
        ({"max_rows": 1.5}, TypeError),
        ({"max_bytes": 0}, ValueError),
        ({"max_result": -1}, ValueError),
        ({"keep_for": -1}, ValueError),
        ({"keep_for": float("nan")}, ValueError),
        ({"clock": 5}, TypeError),
        ({"clock": time}, TypeError),
    ],
)
def test__options__that_cannot_be_meant__are_refused(options: Any, error: type[Exception], folder: Path) -> None:
    ((name, value),) = options.items()
    with pytest.raises(error, match=re.escape(f"OutboxFile: {name}={value!r}: give ")):
        OutboxFile(folder / "outbox.db", **options)


@pytest.mark.parametrize(
    "request_",
    [
        ("POST\r\n", "https://api.test/", ()),
        ("POST", "ftp://api.test/", ()),
        ("POST", "https://api.test/\r\nHost: b", ()),
        ("POST", "https://api.test/", (("bad name", "v"),)),
        ("POST", "https://api.test/", (("a", "v\nb: c"),)),
    ],
)
def test__request__that_could_not_be_read_back__is_refused(file: OutboxFile, request_: Any) -> None:
    with pytest.raises(ValueError, match="cannot be kept"):
        file.put(*request_, None, host="h", queue_timeout=1)
    assert len(file) == 0


@pytest.mark.parametrize("body", [None, b"", b"\0\xff" * 1000])
def test__body__comes_back_as_it_was(file: OutboxFile, body: bytes | None) -> None:
    put(file, body=body)
    assert leased(file).body == body


def test__ids__cannot_be_guessed(file: OutboxFile) -> None:
    ids = {put(file, n).id for n in range(50)}
    assert all(len(id) == 32 for id in ids)  # noqa: A001
    assert len({id[:8] for id in ids}) == len({id[-8:] for id in ids}) == 50  # noqa: A001


# -- caps ----------------------------------------------------------------------------------------------------------


def test__bytes__reached__refuses_and_says_so(folder: Path) -> None:
    file = OutboxFile(folder / "outbox.db", max_bytes=10_000)
    put(file, body=b"x" * 8_000)
    with pytest.raises(OutboxFull, match="1 requests"):
        put(file, body=b"x" * 1_500)
    assert len(file) == 1
    put(file, body=b"x" * 900)


def test__bytes__a_sent_request_no_longer_counts(folder: Path) -> None:
    file = OutboxFile(folder / "outbox.db", max_bytes=10_000)
    put(file, body=b"x" * 9_000)
    assert file.settle(leased(file), DONE)
    put(file, body=b"x" * 8_000)


def test__results__make_room_for_requests__oldest_first(folder: Path, clock: VirtualClock) -> None:
    file = OutboxFile(folder / "outbox.db", max_rows=3, clock=clock)
    receipts = [put(file, n) for n in range(3)]
    for _ in receipts:
        clock.advance(1)
        file.settle(leased(file), DONE)
    put(file, 3)
    assert [file.state(receipt) for receipt in receipts] == ["gone", "done", "done"]


def test__result__longer_than_max_result__is_cut(folder: Path) -> None:
    file = OutboxFile(folder / "outbox.db", max_result=4)
    receipt = put(file)
    file.settle(leased(file), Result("done", 200, (), b"12345"))
    result = file.result(receipt)
    assert result is not None
    assert (result.content, result.complete) == (b"1234", False)


def test__result__without_room__keeps_the_status(folder: Path) -> None:
    file = OutboxFile(folder / "outbox.db", max_bytes=2_000)
    receipt = put(file)
    put(file, 1, body=b"x" * 800)
    file.settle(leased(file), Result("done", 201, (("a", "b"),), b"x" * 900))
    result = file.result(receipt)
    assert result == Result("done", 201, (), b"", False, 1, None)


def test__settled__request_is_no_longer_in_the_file(file: OutboxFile) -> None:
    put(file, body=b"CANARY" * 100)
    file.settle(leased(file), DONE)
    with file._rows.reading() as rows:
        assert rows.execute("SELECT headers, body FROM outbox").fetchone() == ("[]", None)


# -- who looks and who shares ---------------------------------------------------------------------------------------


def test__unknown_receipt__is_gone(file: OutboxFile) -> None:
    assert (file.state("nobody"), file.result("nobody")) == ("gone", None)


def test__due__says_when_for_each_host(file: OutboxFile, clock: VirtualClock) -> None:
    assert file.due() == {}
    file.put("PUT", "http://a.test/", (), None, host="a", queue_timeout=60, wait=5)
    file.put("PUT", "http://b.test/", (), None, host="b", queue_timeout=60)
    assert file.due() == {"a": 5, "b": 0}
    leased(file, 20)
    assert file.due() == {"a": 5, "b": 20}


def test__empty_file__is_not_false(file: OutboxFile) -> None:
    assert len(file) == 0
    assert file


def test__pickle__opens_the_same_file(file: OutboxFile) -> None:
    receipt = put(file)
    twin = pickle.loads(pickle.dumps(file))
    assert (twin.path, twin.state(receipt.id)) == (file.path, "queued")
    again = pickle.loads(pickle.dumps(receipt))
    assert again == receipt
    assert hash(again) == hash(receipt)


def test__threads__each_item_is_leased_once(file: OutboxFile) -> None:
    receipts = [put(file, n) for n in range(60)]

    def work(_: int) -> list[str]:
        mine: list[str] = []
        while (item := file.lease(100)) is not None:
            mine.append(item.id)
            assert file.settle(item, DONE)
        return mine

    with ThreadPoolExecutor(6) as pool:
        taken = Counter(id for ids in pool.map(work, range(6)) for id in ids)  # noqa: A001
    assert taken == Counter({receipt.id: 1 for receipt in receipts})


def test__threads__open_a_new_file_together(folder: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        files = list(pool.map(lambda n: OutboxFile(folder / "outbox.db"), range(6)))
    put(files[0])
    assert [len(file) for file in files] == [1] * 6


def test__open__while_another_makes_the_file__is_no_strangers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "outbox.db"
    files: Any = database.Database
    ask, others = files._ask, list[threading.Thread]()

    def ask_late(self: Any, connection: Any, question: str) -> Any:
        if not others:
            others.append(threading.Thread(target=OutboxFile, args=(path,)))
            others[0].start()
            others[0].join(0.3)  # its end, if nothing of ours is in its way
        return ask(self, connection, question)

    monkeypatch.setattr(files, "_ask", ask_late)
    file = OutboxFile(path)
    others[0].join()
    put(file)
    assert len(OutboxFile(path)) == 1


def test__fork__both_sides_go_on(folder: Path) -> None:
    script = f"""
        import os
        from seawall.stores.outbox import OutboxFile
        file = OutboxFile({str(folder / "outbox.db")!r})
        def put(n): return file.put("PUT", f"http://a.test/{{n}}", (), None, host="a", queue_timeout=60)
        put(0)
        assert file._rows._idle
        for child in range(5):
            pid = os.fork()
            if not pid:
                assert not file._rows._idle, "a connection crossed the fork"
                put(1)
                os._exit(0)
            put(2)
            assert os.waitpid(pid, 0)[1] == 0
        assert len(file) == 11, len(file)
        file.close()
    """
    program = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
    environment = os.environ | {"PYTHONPATH": str(CORE)}
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# -- another's lock ------------------------------------------------------------------------------------------------


def test__lock_that_is_not_given_back__is_an_error_soon(file: OutboxFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seawall.stores.database._PATIENCE", 0.05)
    file.close()
    holder = sqlite3.connect(file.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(OutboxError, match="locked"):
            put(file)
        assert len(file) == 0  # looking is free
    finally:
        holder.close()
    put(file)


def test__writer__keeps_others_out_before_it_writes(file: OutboxFile, monkeypatch: pytest.MonkeyPatch) -> None:
    other = OutboxFile(file.path)
    other.close()
    with file._rows.writing():
        monkeypatch.setattr("seawall.stores.database._PATIENCE", 0.05)
        with pytest.raises(OutboxError, match="locked"):
            put(other)
    put(other)


def test__query_that_runs_away__is_an_error_soon(file: OutboxFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seawall.stores.database._PATIENCE", 0.05)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    began = time.monotonic()
    with pytest.raises(OutboxError, match="interrupt"), file._rows.reading() as rows:
        rows.execute(endless)
    assert time.monotonic() - began < 3
    put(file)
