"""Answers in the memory of this process: gone with it."""

from __future__ import annotations

import os
from collections import OrderedDict
from threading import RLock
from typing import Any

from seawall import forks

OVERHEAD = 300
"""Bytes a record costs beside its own, counted against the bound."""


class MemoryStore:
    """The store of a `StaleResponse` that names none. Every method takes the same, short time."""

    survives = False

    def __init__(self) -> None:
        self.secret = os.urandom(32)
        self._start()
        forks.follow(self)

    def _start(self) -> None:
        self._lock: Any = RLock()
        self._records: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        """Key → record, until when; the one used longest ago comes first."""
        self._tags: dict[bytes, dict[bytes, None]] = {}
        self._owed: list[bytes] = []
        """What is to be dropped before anything is read again."""
        self.bytes = 0
        """What the records take, bookkeeping included."""

    def get(self, key: bytes, now: float) -> bytes | None:
        if self._is_inside():
            return None
        with self._lock:
            self._pay()
            found = self._records.get(key)
            if found is None:
                return None
            record, until = found
            if now >= until:
                self._remove(key)
                return None
            self._records.move_to_end(key)
            return record

    def put(self, key: bytes, record: bytes, now: float, until: float, max_entries: int, max_bytes: int) -> None:
        size = len(record) + OVERHEAD
        if size > max_bytes or self._is_inside():
            return
        with self._lock:
            self._pay()
            self._remove(key)
            while self._records and (len(self._records) >= max_entries or self.bytes + size > max_bytes):
                self._remove(next(iter(self._records)))
            self._tags.setdefault(key[:16], {})[key] = None
            self._records[key] = (record, until)
            self.bytes += size

    def drop(self, what: bytes) -> None:
        if what[:16] not in self._tags:  # nearly always: no lock for a caller with nothing to forget
            return
        self._owed.append(what)
        if not self._is_inside():
            with self._lock:
                self._pay()

    def begin_afresh(self) -> None:
        """A lock held by another thread at the fork is held for ever in the child, and what it guards is half done."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._start()

    def __reduce__(self) -> tuple[type[MemoryStore], tuple[()]]:
        return MemoryStore, ()  # a copy of a policy starts empty

    def __len__(self) -> int:
        with self._lock:
            return len(self._records)

    def _is_inside(self) -> bool:
        """Is this a finaliser, or a signal handler, in the midst of a visit of this very thread? It does without."""
        return self._lock._is_owned()  # type: ignore[no-any-return]

    def _pay(self) -> None:
        while self._owed:
            what = self._owed.pop()
            for key in [key for key in self._tags.get(what[:16], ()) if key.startswith(what)]:
                self._remove(key)

    def _remove(self, key: bytes) -> None:
        found = self._records.pop(key, None)
        if found is not None:
            self.bytes -= len(found[0]) + OVERHEAD
            tag = self._tags.get(key[:16], {})
            tag.pop(key, None)
            if not tag:
                self._tags.pop(key[:16], None)
            if not self._records:
                self.bytes = 0  # whatever an interrupt between two of these lines left over
