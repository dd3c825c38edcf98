"""The tables of the file of remembered answers: made in an empty one, else to be ours to the letter.

A trigger or a view of somebody else's would run in our statements.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

_APPLICATION: Final = 0x5EA3A11
_VERSION: Final = 1
_SCHEMA: Final = {
    # Small columns first: they are then read without walking through the record.
    "answers": "CREATE TABLE answers (size INTEGER NOT NULL, used INTEGER NOT NULL, until REAL NOT NULL,"
    " key BLOB NOT NULL, digest BLOB NOT NULL, record BLOB NOT NULL)",
    "answers_key": "CREATE UNIQUE INDEX answers_key ON answers (key)",
    "answers_used": "CREATE INDEX answers_used ON answers (used)",
    "totals": "CREATE TABLE totals (entries INTEGER NOT NULL, bytes INTEGER NOT NULL, tick INTEGER NOT NULL)",
    "secret": "CREATE TABLE secret (secret BLOB NOT NULL)",
    "answer_in": "CREATE TRIGGER answer_in AFTER INSERT ON answers BEGIN"
    " UPDATE totals SET entries = entries + 1, bytes = bytes + new.size; END",
    "answer_out": "CREATE TRIGGER answer_out AFTER DELETE ON answers BEGIN"
    " UPDATE totals SET entries = entries - 1, bytes = bytes - old.size; END",
}
COUNT: Final = (
    "UPDATE totals SET (entries, bytes, tick) ="
    " (SELECT count(*), coalesce(sum(size), 0), coalesce(max(used), 0) FROM answers)"
)


def prepare(connection: sqlite3.Connection, *, recount: bool) -> bytes:
    """Make the tables in an empty file, or see that they are ours to the letter. Returns the file's secret."""
    (application,), (version,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    if (application, version) not in ((0, 0), (_APPLICATION, _VERSION)):
        raise ValueError(f"it is another application's, or of another version: {application:x}, {version}")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise ValueError("it cannot be shared by processes there: put it on a local disk")
    connection.execute("BEGIN IMMEDIATE")
    try:
        schema = _schema(connection)
        if not schema and not application:
            for statement in _SCHEMA.values():
                connection.execute(statement)
            connection.execute("INSERT INTO totals VALUES (0, 0, 0)")
            connection.execute("INSERT INTO secret VALUES (?)", (os.urandom(32),))
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        elif schema != _SCHEMA:
            raise ValueError("it has other tables")
        elif recount:
            connection.execute(COUNT)
        secrets = connection.execute("SELECT secret FROM secret LIMIT 2").fetchall()
        totals = connection.execute("SELECT * FROM totals LIMIT 2").fetchall()
        if len(secrets) != 1 or not isinstance(secrets[0][0], bytes) or len(secrets[0][0]) != 32 or len(totals) != 1:
            raise ValueError("its tables do not hold what they should")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()  # nothing, if SQLite has done so itself
        raise
    secret: bytes = secrets[0][0]
    return secret


def _schema(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT name, sql FROM sqlite_master LIMIT 100").fetchall())
