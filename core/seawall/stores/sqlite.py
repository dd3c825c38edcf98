"""Answers in a SQLite file: seen by several processes, there after a restart.

A cache may forget, and must not hold up a call: a file that is busy, full, damaged
or gone is a miss, and is then left alone for a second; in an event loop a busy one
is a miss at once. Only opening it complains, once and clearly. The file is taken for
hostile: its schema must be ours to the letter, values are bounded before they are
read, and every record has a checksum over its key and itself. Rejected: a connection
per call (it costs more than the call), one per thread (closed by the collector, when
it likes), and a thread to wait in for each call of an event loop (a lock is held
for a fraction of a millisecond: what is missed meanwhile is not worth it).
"""

from __future__ import annotations

import os
import sqlite3
import sys
from functools import partial
from hashlib import blake2b
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, TypeVar

from seawall import forks
from seawall.stores.tables import COUNT, prepare

if TYPE_CHECKING:
    from collections.abc import Callable

    T = TypeVar("T")

OVERHEAD: Final = 300
"""Bytes a record costs beside its own, counted against the bound."""
_LONGEST: Final = 64 * 1024 * 1024
"""No value longer than this is read."""
_REST: Final = 1.0
"""Seconds the file is left alone after something went wrong."""
_OPEN_WITHIN: Final = 5.0
_MOST_OWED: Final = 1000
"""With more to be dropped, everything is."""


class SqliteStore:
    """A file of remembered answers: `StaleResponse(store=SqliteStore("answers.db"))`. On a local disk.

    Answers lie in it in clear, requests and credentials only as keyed hashes; it is readable by its owner only. Any
    number of processes may use it at the same time. Made before a fork or pickled, it opens the file anew.
    """

    survives = True

    def __init__(self, path: str | os.PathLike[str], *, secret: bytes | None = None, patience: float = 0.025) -> None:
        """
        path: the file; made if it is not there.
        secret: what keys are hashed with, 16 to 64 bytes. Left out: one kept in the file, so whoever can read the file
            can try guesses of a credential.
        patience: seconds a call waits at most for another process that writes (default 0.025). In an event loop it
            waits for nobody: a busy file is a miss there.

        Raises ValueError for a file that is not such a store, OSError for one that cannot be opened.
        """
        if secret is not None and (not isinstance(secret, bytes) or not 16 <= len(secret) <= 64):
            raise ValueError("SqliteStore: secret: give 16 to 64 bytes that nobody can guess")
        if isinstance(patience, bool) or not isinstance(patience, int | float) or not 0 <= patience <= 10:
            raise ValueError(f"SqliteStore: patience={patience!r}: give seconds from 0 to 10")
        self.path: str = os.path.abspath(os.fspath(path))
        self.patience = float(patience)
        self.failures = 0
        """Times something went wrong with the file."""
        self._given = secret
        self._lock: Any = RLock()
        self._connection: sqlite3.Connection | None = None
        self._waits = -1.0
        """Seconds the connection waits for another process, as it was told last."""
        self._process = os.getpid()
        self._rests_until = 0.0
        self._is_well = True
        """Did the last use of the file succeed?"""
        self._owed: list[bytes] = []
        """What is to be dropped before anything is read again: the file was busy when it should have been."""
        self.secret = b""
        self._open(_OPEN_WITHIN)
        forks.prepare(self)
        forks.follow(self)

    def get(self, key: bytes, now: float) -> bytes | None:
        return self._try(lambda connection: self._get(connection, key, now), now)

    def put(self, key: bytes, record: bytes, now: float, until: float, max_entries: int, max_bytes: int) -> None:
        size = len(record) + OVERHEAD
        if size <= min(max_bytes, _LONGEST):
            self._try(lambda connection: self._put(connection, key, record, until, size, max_entries, max_bytes), now)

    def drop(self, what: bytes) -> None:
        if len(self._owed) <= _MOST_OWED:
            self._owed.append(what)
        if self._is_well:
            self._try(lambda _: None, None)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def __len__(self) -> int:
        found = self._try(lambda connection: connection.execute("SELECT entries FROM totals").fetchone()[0], None)
        return found if isinstance(found, int) else 0

    def __del__(self) -> None:
        connection: sqlite3.Connection | None = getattr(self, "_connection", None)
        if connection is not None and self._process == os.getpid():
            connection.close()

    def __reduce__(self) -> tuple[partial[SqliteStore], tuple[()]]:
        return partial(SqliteStore, self.path, secret=self._given, patience=self.patience), ()

    def __repr__(self) -> str:
        return f"SqliteStore({self.path!r})"

    def _try(self, work: Callable[[sqlite3.Connection], T], now: float | None) -> T | None:
        """Do it, or do without."""
        if now is not None and 0 <= self._rests_until - now <= _REST:
            return None
        patience = 0.0 if _in_event_loop() else self.patience
        if not self._lock.acquire(timeout=patience):
            return None
        try:
            if self._process != os.getpid():
                self._abandon()
            if self._connection is None:
                self._open(patience)
            assert self._connection is not None
            if self._waits != patience:
                self._connection.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
                self._waits = patience
            if self._owed:
                self._pay(self._connection)
            done = work(self._connection)
            self._is_well = True
            return done
        except (sqlite3.Error, OSError, ValueError, TypeError, OverflowError) as error:
            self.failures += 1
            self._is_well = False
            if now is not None and (patience > 0 or not _is_busy(error)):  # what cost no time may be tried again
                self._rests_until = now + _REST
            self._roll_back()
            return None
        except BaseException:
            self._roll_back()
            raise
        finally:
            self._lock.release()

    def _roll_back(self) -> None:
        connection = self._connection
        if connection is not None:
            try:
                connection.rollback()  # nothing, if SQLite has done so itself
            except sqlite3.Error:
                self._connection = None
                connection.close()

    def _get(self, connection: sqlite3.Connection, key: bytes, now: float) -> bytes | None:
        row = connection.execute("SELECT record, digest, until FROM answers WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        record, digest, until = row
        if not isinstance(record, bytes) or digest != self._digest(key, record, until):
            self.failures += 1
            return None
        if now >= until:
            return None
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE totals SET tick = tick + 1")
            connection.execute("UPDATE answers SET used = (SELECT tick FROM totals) WHERE key = ?", (key,))
            connection.execute("COMMIT")
        except sqlite3.Error:
            self._roll_back()  # busy: it only counts as a little older
        return record

    def _put(
        self,
        connection: sqlite3.Connection,
        key: bytes,
        record: bytes,
        until: float,
        size: int,
        max_entries: int,
        max_bytes: int,
    ) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM answers WHERE key = ?", (key,))
        entries, used = connection.execute("SELECT entries, bytes FROM totals").fetchone()
        while entries > 0 and (entries >= max_entries or used + size > max_bytes):
            oldest = connection.execute("SELECT key FROM answers ORDER BY used LIMIT 1").fetchone()
            if oldest is None:
                connection.execute(COUNT)
                break
            connection.execute("DELETE FROM answers WHERE key = ?", oldest)
            entries, used = connection.execute("SELECT entries, bytes FROM totals").fetchone()
        connection.execute("UPDATE totals SET tick = tick + 1")
        connection.execute(
            "INSERT INTO answers SELECT ?, tick, ?, ?, ?, ? FROM totals",
            (size, until, key, self._digest(key, record, until), record),
        )
        connection.execute("COMMIT")

    def _pay(self, connection: sqlite3.Connection) -> None:
        owed = self._owed[:]
        for what in owed if len(owed) <= _MOST_OWED else [b""]:
            span = (what, what + b"\xff" * 33)
            if connection.execute("SELECT 1 FROM answers WHERE key BETWEEN ? AND ? LIMIT 1", span).fetchone():
                connection.execute("DELETE FROM answers WHERE key BETWEEN ? AND ?", span)
        del self._owed[: len(owed)]

    def _digest(self, key: bytes, record: bytes, until: Any) -> bytes:
        digest = blake2b(key, digest_size=16, key=self.secret)
        digest.update(repr(until).encode())
        digest.update(record)
        return digest.digest()

    def _open(self, patience: float) -> None:
        """Open the file, made if need be."""
        # Not left to SQLite, which would make it readable by whoever the umask lets.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        first = not self.secret
        connection = sqlite3.connect(self.path, timeout=patience, isolation_level=None, check_same_thread=False)
        try:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
            for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0", "synchronous = NORMAL"):
                connection.execute(f"PRAGMA {pragma}")
            secret = prepare(connection, recount=first)
        except sqlite3.OperationalError as error:
            connection.close()
            raise OSError(f"SqliteStore: {self.path}: {error}") from error
        except (sqlite3.Error, ValueError, TypeError) as error:
            connection.close()
            raise ValueError(
                f"SqliteStore: {self.path}: not a store of answers ({error}): give another path, or delete the file"
            ) from error
        except BaseException:
            connection.close()
            raise
        self._connection, self._waits = connection, patience
        self.secret = self._given or secret

    def _abandon(self) -> None:
        """In a child that inherited an open connection: neither used nor closed there, as SQLite demands."""
        if self._connection is not None:
            _inherited.append(self._connection)
        self._connection = None
        self._process = os.getpid()

    def before_fork(self) -> None:
        """No connection may be carried over a fork, nor a lock somebody else holds."""
        if self._lock.acquire(timeout=1.0):
            try:
                self.close()
            except sqlite3.Error:
                pass  # left open: the child abandons it
            finally:
                self._lock.release()

    def begin_afresh(self) -> None:
        self._lock = RLock()
        self._abandon()


def _in_event_loop() -> bool:
    """Would waiting here hold up other tasks?"""
    trio, asyncio = sys.modules.get("trio"), sys.modules.get("asyncio")
    if trio is not None and trio.lowlevel.in_trio_task():
        return True
    try:
        return asyncio is not None and asyncio.get_running_loop() is not None
    except RuntimeError:
        return False


def _is_busy(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


_inherited: Final[list[sqlite3.Connection]] = []
