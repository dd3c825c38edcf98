"""A store of remembered answers that fails at times: it raises, forgets, or gives back nonsense."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from seawall.stores.memory import MemoryStore

if TYPE_CHECKING:
    from random import Random

    from seawall.testing.virtual import VirtualClock

KEPT_SECRET: Final = b"the same in each run, to be so too"[:32]


class FailingStore:
    """Works with chance 1 − `share` from one instant to another, else as one whose disk is full, or broken."""

    survives = False

    def __init__(self, clock: VirtualClock, chance: Random, share: float, start: float, end: float) -> None:
        self._store = MemoryStore()
        self.secret = KEPT_SECRET
        self._clock = clock
        self._chance = chance
        self._share = share
        self._start, self._end = start, end

    def get(self, key: bytes, now: float) -> bytes | None:
        found = self._store.get(key, now)
        if not self._fails():
            return found
        kind = self._chance.randrange(4)
        if kind == 0 and found:
            return found[: self._chance.randrange(len(found))]
        if kind == 1:
            return self._chance.randbytes(self._chance.randrange(200))
        if kind == 2:
            return None
        raise OSError("the disk is broken")

    def put(self, key: bytes, record: bytes, now: float, until: float, max_entries: int, max_bytes: int) -> None:
        if not self._fails():
            self._store.put(key, record, now, until, max_entries, max_bytes)
        elif self._chance.random() < 0.5:
            raise OSError("the disk is full")

    def drop(self, what: bytes) -> None:
        self._store.drop(what)
        if self._fails():
            raise OSError("the disk is broken")

    @property
    def bytes(self) -> int:
        """What the records take."""
        return self._store.bytes

    def __len__(self) -> int:
        return len(self._store)

    def _fails(self) -> bool:
        return self._start <= self._clock.now < self._end and self._chance.random() < self._share
