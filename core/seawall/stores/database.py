"""A SQLite file that several processes and threads share, and that nobody has to trust.

Each operation takes a connection nobody else uses, so any thread may come; idle ones are
closed before a fork, since SQLite's must not cross one. WAL and `synchronous=FULL`: what
was committed survives the loss of power. The file is outside data: another schema than
ours (a trigger, a view, a hidden table), a damaged page, a lock that is not given back,
a query that runs away are one error of the caller's choosing, and bounded in time.
Rejected: a connection per thread, which nobody closes when the thread ends.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from seawall import forks

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Generator

_PATIENCE: Final = 5.0
"""Seconds to wait for a lock, and for a query."""
_KEPT: Final = 8
"""Idle connections that are kept."""
_STEPS: Final = 50_000
"""Steps of SQLite's machine between two looks at the clock: about a millisecond."""


class Database:
    """One file with one fixed schema."""

    def __init__(
        self, path: str, *, schema: tuple[str, ...], version: int, longest: int, error: type[Exception]
    ) -> None:
        """
        schema: the statements that make it, and all that the file may hold.
        version: its `user_version`.
        longest: bytes of the longest value; a longer one in the file is damage.
        error: the class of what is raised, for anything that is wrong with the file.
        """
        self.path = path
        self._schema = schema
        self._version = version
        self._longest = longest
        self._error = error
        self._idle: list[sqlite3.Connection] = []
        self._process = os.getpid()
        forks.prepare(self)
        with self.reading():  # what is wrong with the file is said now, not in an outage
            pass

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """A connection, for single statements."""
        with self._connection() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """A transaction that sees and changes the file alone: on disk when this block ends, or not at all."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def close(self) -> None:
        """Close what is idle. The next operation opens the file again."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:  # that was the last: other threads take and close them too
                return
            connection.close()

    def before_fork(self) -> None:
        self.close()

    @contextmanager
    def _connection(self) -> Generator[sqlite3.Connection]:
        import sqlite3

        connection: sqlite3.Connection | None = None
        kept = False
        try:
            connection = self._take() or self._open()
            ends = time.monotonic() + _PATIENCE
            connection.set_progress_handler(lambda: time.monotonic() > ends, _STEPS)
            yield connection
            kept = len(self._idle) < _KEPT and self._process == os.getpid()
        except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError) as error:
            raise self._error(f"{self.path}: {error}") from error
        finally:
            if connection is not None:
                if kept:
                    self._idle.append(connection)
                else:
                    connection.close()  # whatever was begun is rolled back

    def _take(self) -> sqlite3.Connection | None:
        if self._process != os.getpid():  # forked while another thread gave one back
            self._process, self._idle = os.getpid(), []
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _open(self) -> sqlite3.Connection:
        import sqlite3

        try:  # only for its owner's eyes. Never opened by us once it exists: closing would drop SQLite's locks
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except OSError:
            pass  # it exists, or SQLite shall say what is wrong
        connection = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            ends = time.monotonic() + _PATIENCE
            connection.set_progress_handler(lambda: time.monotonic() > ends, _STEPS)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self._longest)
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute("PRAGMA cell_size_check=ON")
            connection.execute("BEGIN")  # one look at all of it: somebody else may be making the file just now
            is_new = not self._is_ours(connection)
            connection.execute("COMMIT")
            self._keep_in_wal(connection)
            if is_new:
                self._create(connection)
            connection.execute("PRAGMA synchronous=FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        """Has the file exactly our schema? False: it is empty. Raises for anything else. Asked in a transaction."""
        held = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid LIMIT 50")
        found, version = tuple(sql for (sql,) in held), self._ask(connection, "PRAGMA user_version")
        if not found and version == 0:
            return False
        if found != self._schema or version != self._version:
            raise self._error(f"{self.path}: is something else, or was made by another version: give another path")
        return True

    def _keep_in_wal(self, connection: sqlite3.Connection) -> None:
        import sqlite3

        ends = time.monotonic() + _PATIENCE
        while self._ask(connection, "PRAGMA journal_mode") != "wal":
            try:
                if self._ask(connection, "PRAGMA journal_mode=WAL") != "wal":
                    raise self._error(f"{self.path}: cannot be kept in WAL mode: give a file on a local disk")
            except sqlite3.OperationalError:  # several may do this at once, and for that SQLite does not wait by itself
                if time.monotonic() > ends:
                    raise
                time.sleep(0.01)

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        if not self._is_ours(connection):  # nobody else made it meanwhile
            for statement in self._schema:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={self._version}")
        connection.execute("COMMIT")

    def _ask(self, connection: sqlite3.Connection, question: str) -> object:
        row = connection.execute(question).fetchone()
        return row[0] if row else None

    def __del__(self) -> None:
        if self.__dict__.get("_process") == os.getpid():
            self.close()
