"""Where remembered answers are kept: one file per kind of store."""

from __future__ import annotations

from typing import Protocol


class Store(Protocol):
    """Bytes under keys of 32 bytes, for a while, within bounds. Safe from any thread; never raises, never waits long.

    A cache may forget: whatever goes wrong inside is a miss. `now` and `until` are seconds of the caller's clock: of
    the wall if the store `survives` the process, else of one that never goes back.
    """

    @property
    def survives(self) -> bool:
        """Do its records outlive the process, or are they seen by others?"""
        ...

    @property
    def secret(self) -> bytes:
        """What keys are hashed with, 32 bytes; the same for everybody who is to share the records."""
        ...

    def get(self, key: bytes, now: float) -> bytes | None:
        """The record, which now counts as used; None if there is none, or no more."""
        ...

    def put(self, key: bytes, record: bytes, now: float, until: float, max_entries: int, max_bytes: int) -> None:
        """Keep the record instead of another under its key; those used longest ago make room."""
        ...

    def drop(self, what: bytes) -> None:
        """Forget the record under this key; 16 bytes: all under keys that begin with them."""
        ...

    def __len__(self) -> int: ...
