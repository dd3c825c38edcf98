"""Requests kept until they can be sent: one SQLite table, leases, fences.

Whoever wants to send an item leases it: for some seconds nobody else gets it. If the
holder dies, the lease lapses and the next one gets the item with a higher fencing
number; the old holder, should it only have been slow, can then write nothing any more
(Kleppmann, "How to do distributed locking"). So each item is sent at least once, and
only an idempotency key, or a method that may be repeated, makes that once.

Times are wall-clock seconds, as several processes must agree on them. A clock that steps
back cannot lock an item away: a lease from the future counts as lapsed, and a wait is
never longer than `LONGEST_WAIT`.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final, cast

from seawall import _check
from seawall.stores.database import Database
from seawall.stores.items import (
    Damaged,
    Fields,
    Item,
    OutboxError,
    OutboxFull,
    Receipt,
    Result,
    State,
    digest,
    headers_to_text,
    item_of,
    result_of,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection
    from datetime import timedelta

    from seawall.outbox import Outbox
    from seawall.runtime import Clock

LONGEST_WAIT: Final = 3600.0
"""Seconds: the longest that a server, or a backoff, can keep an item from being tried again."""
_ROW: Final = 500
"""Bytes a row counts for besides what is in it."""

_MOST_DAMAGED: Final = 1000
"""Rows; each is marked and passed by, but a file of nothing else is no outbox."""

_SCHEMA: Final = (
    "CREATE TABLE outbox (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, state TEXT NOT NULL, host TEXT NOT NULL, "
    "created REAL NOT NULL, not_before REAL NOT NULL, expires REAL NOT NULL, bytes INTEGER NOT NULL, "
    "attempts INTEGER NOT NULL, fence INTEGER NOT NULL, leased REAL, lease_until REAL, error TEXT, "
    "status INTEGER, complete INTEGER, method TEXT NOT NULL, url TEXT NOT NULL, digest BLOB NOT NULL, "
    "headers TEXT NOT NULL, result_headers TEXT, body BLOB, result_body BLOB)",
    "CREATE INDEX outbox_due ON outbox (state, not_before, host, bytes, expires, leased, lease_until)",
    "CREATE INDEX outbox_expiry ON outbox (state, expires)",
)
_ITEM: Final = "id, fence, attempts, host, method, url, headers, body, digest"
_LAPSED: Final = "state = 'leased' AND (lease_until <= :now OR leased > :now)"
_OVERDUE: Final = f"expires <= :now AND (state = 'queued' OR ({_LAPSED}))"
_CANDIDATES: Final = (
    (_LAPSED, "seq"),
    ("state = 'queued' AND not_before <= :now", "not_before, seq"),
    ("state = 'queued' AND not_before > :now + :longest", "not_before, seq"),
)
"""Where the next item to send is looked for: what a dead holder left, what is due, what a clock has locked away."""


class _SystemTime:
    """As the drivers' clock, which this room may not know. Chance only spreads retries: its quality does not matter."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)

    @staticmethod
    def random() -> float:
        return int.from_bytes(os.urandom(4), "big") / 2**32


class OutboxFile:
    """The rows. Safe from any number of processes, threads and forks; each write is on disk when it returns."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_rows: int = 10_000,
        max_bytes: int = 64 * 1024 * 1024,
        max_result: int = 64 * 1024,
        keep_for: float | timedelta = 86_400.0,
        clock: Clock | None = None,
    ) -> None:
        """
        path: the file, on a local disk; made if it is not there, readable by its owner only.
        max_rows, max_bytes: what may be kept, requests and results together (default 10,000 and 64 MiB). A new
            request takes the place of the oldest results; when only waiting ones are left it is refused.
        max_result: bytes of an answer's body that are kept (default 64 KiB).
        keep_for: seconds a result can be read (default a day).
        clock: time and chance; left out: the system's.

        Raises OutboxError if the file is damaged or something else, ValueError or TypeError for what cannot be meant.
        """
        name: str = os.fspath(path)
        self.path: str = os.path.abspath(name)
        if not isinstance(name, str) or not os.path.basename(name) or name == ":memory:":
            raise ValueError(
                f"Outbox: path={path!r}: give the name of a file: what is queued has to outlive the process"
            )
        self.max_rows = max_rows
        self.max_bytes = max_bytes
        self.max_result = max_result
        self.keep_for: float = keep_for  # type: ignore[assignment]
        _check.count(self, "max_rows", 1)
        _check.count(self, "max_bytes", 1)
        _check.count(self, "max_result", 0)
        _check.duration(self, "keep_for")
        _check.clock(self, clock)
        self.clock: Clock = _SystemTime() if clock is None else clock
        self._own_time = clock
        self._rows = Database(
            self.path,
            schema=_SCHEMA,
            version=1,
            longest=max(max_bytes, 1_000_000),
            error=OutboxError,
        )

    # -- putting in ----------------------------------------------------------------------------------------------------

    def put(
        self,
        method: str,
        url: str,
        headers: Fields,
        body: bytes | None,
        *,
        host: str,
        queue_timeout: float,
        wait: float = 0.0,
    ) -> Receipt:
        """Keep a request: when this returns, it is on disk. Raises OutboxFull, OutboxError.

        host: requests of one host are held back together while it is ill.
        queue_timeout: seconds after which it is not sent any more.
        wait: seconds before which it is not sent.
        """
        now = self.clock.wall()
        id, told = os.urandom(16).hex(), headers_to_text(headers)  # noqa: A001 - nobody can guess another's
        size = _ROW + len(url) + len(told) + len(body or b"")
        written = digest(id, method, url, told, body)
        try:
            item_of((id, 0, 0, host, method, url, told, body, written))
        except Damaged as error:  # what could not be read back would be lost
            raise ValueError(f"Outbox: this request cannot be kept: {error}") from error
        wait = min(wait, LONGEST_WAIT)
        with self._rows.writing() as rows:
            self._sweep(rows, now)
            self._make_room(rows, size)
            rows.execute(
                "INSERT INTO outbox (id, state, host, created, not_before, expires, bytes, attempts, fence, "
                "method, url, digest, headers, body) VALUES (?, 'queued', ?, ?, ?, ?, ?, 0, 0, ?, ?, ?, ?, ?)",
                (id, host, now, now + wait, now + queue_timeout, size, method, url, written, told, body),
            )
        return Receipt(cast("Outbox", self), id)

    def _make_room(self, rows: sqlite3.Connection, size: int) -> None:
        """Let the oldest results go until `size` bytes fit."""
        held, used = rows.execute("SELECT count(*), total(bytes) FROM outbox").fetchone()
        if held < self.max_rows and used + size <= self.max_bytes:
            return
        over_rows, over_bytes = held + 1 - self.max_rows, used + size - self.max_bytes
        settled = rows.execute(
            "SELECT seq, total(bytes) FROM outbox WHERE state IN ('done', 'failed', 'expired') GROUP BY seq "
            "ORDER BY expires, seq"
        )
        for seq, freed in settled.fetchall():
            if over_rows <= 0 and over_bytes <= 0:
                return
            rows.execute("DELETE FROM outbox WHERE seq = ?", (seq,))
            over_rows -= 1
            over_bytes -= freed
        if over_rows > 0 or over_bytes > 0:
            raise OutboxFull(f"{self.path}: {held} requests ({used:.0f} bytes) wait, and no more may")

    def _sweep(self, rows: sqlite3.Connection, now: float) -> None:
        """What was not sent in time has expired; results nobody may read any more go."""
        rows.execute(
            "UPDATE outbox SET state = 'expired', expires = :now + :keep, headers = '[]', body = NULL, bytes = :row "
            f"WHERE {_OVERDUE}",
            {"now": now, "keep": self.keep_for, "row": _ROW},
        )
        rows.execute("DELETE FROM outbox WHERE state IN ('done', 'failed', 'expired') AND expires <= ?", (now,))

    # -- sending -------------------------------------------------------------------------------------------------------

    def lease(self, seconds: float, skip: Collection[str] = ()) -> Item | None:
        """The next item that may be sent, nobody else's for so many seconds; None: nothing is due.

        skip: hosts that are left alone for now.
        """
        now = self.clock.wall()
        with self._rows.writing() as rows:
            self._sweep(rows, now)
            for _ in range(_MOST_DAMAGED):
                row = self._next(rows, now, skip)
                if row is None:
                    return None
                seq, *stored = row
                try:
                    item = item_of(tuple(stored))
                except Damaged as error:
                    self._give_up(rows, seq, now, f"damaged record: {error}")
                    continue
                item = item._replace(fence=item.fence + 1, attempts=item.attempts + 1)
                rows.execute(
                    "UPDATE outbox SET state = 'leased', fence = ?, attempts = ?, leased = ?, lease_until = ? "
                    "WHERE seq = ?",
                    (item.fence, item.attempts, now, now + seconds, seq),
                )
                return item
        raise OutboxError(f"{self.path}: damaged: {_MOST_DAMAGED} records, one after the other")

    def _next(self, rows: sqlite3.Connection, now: float, skip: Collection[str]) -> tuple[Any, ...] | None:
        names = {f"skip{n}": host for n, host in enumerate(skip)}
        others = f"AND host NOT IN ({', '.join(f':{name}' for name in names)})" if names else ""
        for where, order in _CANDIDATES:
            found = rows.execute(
                f"SELECT seq, {_ITEM} FROM outbox WHERE {where} {others} ORDER BY {order} LIMIT 1",
                {"now": now, "longest": LONGEST_WAIT, **names},
            ).fetchone()
            if found is not None:
                return found  # type: ignore[no-any-return]
        return None

    def _give_up(self, rows: sqlite3.Connection, seq: int, now: float, error: str) -> None:
        rows.execute(
            "UPDATE outbox SET state = 'failed', expires = ?, error = ?, headers = '[]', body = NULL, bytes = ?, "
            "attempts = 0 WHERE seq = ?",
            (now + self.keep_for, error, _ROW, seq),
        )

    def renew(self, item: Item, seconds: float) -> bool:
        """Hold an item longer. False: it is somebody else's by now."""
        now = self.clock.wall()
        return self._change(item, "leased = ?, lease_until = ?", (now, now + seconds))

    def put_back(self, item: Item, wait: float, error: str) -> bool:
        """It could not be sent: not before `wait` seconds again. False: it is somebody else's by now."""
        at = self.clock.wall() + min(max(wait, 0.0), LONGEST_WAIT)
        return self._change(item, "state = 'queued', not_before = ?, error = ?", (at, error))

    def settle(self, item: Item, result: Result) -> bool:
        """It was answered for good. False: it is somebody else's by now, and this answer is lost."""
        told = headers_to_text(result.headers)
        content = result.content[: self.max_result]
        size = _ROW + len(item.url) + len(told) + len(content)
        with self._rows.writing() as rows:
            (used,) = rows.execute("SELECT total(bytes) FROM outbox").fetchone()
            (own,) = rows.execute("SELECT total(bytes) FROM outbox WHERE id = ?", (item.id,)).fetchone()
            if used - own + size > self.max_bytes:
                told, content, size = "[]", b"", _ROW
            whole = result.complete and len(content) == len(result.content)
            new = (result.state, self.clock.wall() + self.keep_for, result.status, told, content, whole, result.error)
            changed = rows.execute(
                "UPDATE outbox SET state = ?, expires = ?, status = ?, result_headers = ?, result_body = ?, "
                "complete = ?, error = ?, headers = '[]', body = NULL, bytes = ? "
                "WHERE id = ? AND fence = ? AND state = 'leased'",
                (*new, size, item.id, item.fence),
            )
            return changed.rowcount == 1

    def _change(self, item: Item, what: str, values: tuple[Any, ...]) -> bool:
        with self._rows.writing() as rows:
            changed = rows.execute(
                f"UPDATE outbox SET {what} WHERE id = ? AND fence = ? AND state = 'leased'",
                (*values, item.id, item.fence),
            )
            return changed.rowcount == 1

    def due(self) -> dict[str, float]:
        """Host → seconds until one of its items may be sent, those leased by somebody included."""
        now = self.clock.wall()
        with self._rows.reading() as rows:
            found = rows.execute(
                "SELECT host, min(CASE state WHEN 'queued' THEN not_before ELSE lease_until END) FROM outbox "
                "WHERE state IN ('queued', 'leased') GROUP BY host"
            ).fetchall()
        return {host: min(max(0.0, at - now), LONGEST_WAIT) for host, at in found if isinstance(at, float | int)}

    # -- looking -------------------------------------------------------------------------------------------------------

    def state(self, receipt: Receipt | str) -> State:
        """Where a request is; "gone": not kept any longer."""
        row = self._look(receipt, "state")
        if row is None:
            return "gone"
        if row[0] not in ("queued", "leased", "done", "failed", "expired"):
            raise OutboxError(f"{self.path}: damaged record: state")
        return row[0]  # type: ignore[no-any-return]

    def result(self, receipt: Receipt | str) -> Result | None:
        """What became of a request; None: it waits, or is not kept any longer."""
        row = self._look(
            receipt,
            "state, status, coalesce(result_headers, '[]'), coalesce(result_body, x''), coalesce(complete, 1), "
            "attempts, error",
        )
        if row is None or row[0] in ("queued", "leased"):
            return None
        try:
            return result_of(row)
        except Damaged as error:
            raise OutboxError(f"{self.path}: damaged record: {error}") from error

    def _look(self, receipt: Receipt | str, what: str) -> tuple[Any, ...] | None:
        """Columns of a row, as they are now: its time may be over, though nobody has swept."""
        wanted = receipt if isinstance(receipt, str) else receipt.id
        now = self.clock.wall()
        with self._rows.reading() as rows:
            row = rows.execute(
                f"SELECT {what}, {_OVERDUE}, "
                "expires <= :now AND state IN ('done', 'failed', 'expired') FROM outbox WHERE id = :id",
                {"now": now, "id": wanted},
            ).fetchone()
        if row is None or row[-1]:
            return None
        return ("expired", *row[1:-2]) if row[-2] else row[:-2]

    def __len__(self) -> int:
        """Requests that wait to be sent, those being sent among them."""
        with self._rows.reading() as rows:
            (held,) = rows.execute(
                f"SELECT count(*) FROM outbox WHERE state IN ('queued', 'leased') AND NOT ({_OVERDUE})",
                {"now": self.clock.wall()},
            ).fetchone()
        return int(held)

    def __bool__(self) -> bool:
        return True

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        self._rows.close()

    def __reduce__(self) -> tuple[Any, ...]:
        options = {
            "max_rows": self.max_rows,
            "max_bytes": self.max_bytes,
            "max_result": self.max_result,
            "keep_for": self.keep_for,
            "clock": self._own_time,
        }
        return _reopen, (type(self), self.path, options)

    def __repr__(self) -> str:
        return f"<Outbox {self.path}>"


def _reopen(kind: type[OutboxFile], path: str, options: dict[str, Any]) -> OutboxFile:
    return kind(path, **options)
