"""A check for stores of remembered answers, ours and yours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.stores import Store


def check_store(make: Callable[[], Store]) -> None:
    """Raise AssertionError unless the stores that `make` returns, empty ones, do what `seawall.stores.Store` says."""
    _remembers(make())
    _lets_go(make())
    _forgets(make())
    _is_bounded(make())
    store = make()
    assert isinstance(store.survives, bool)
    assert 16 <= len(store.secret) <= 64, "secret: 16 to 64 bytes"


def _key(tag: int, rest: int = 0) -> bytes:
    return tag.to_bytes(16, "big") + rest.to_bytes(16, "big")


def _put(store: Store, key: bytes, record: bytes = b"x", now: float = 1000.0, *, entries: int = 100) -> None:
    store.put(key, record, now, now + 10, entries, 1_000_000)


def _remembers(store: Store) -> None:
    assert (len(store), store.get(_key(1), 1000.0)) == (0, None), "a new store is empty"
    for n, record in enumerate((b"", b"\0\xff\n", os.urandom(100_000))):
        _put(store, _key(n), record)
        assert store.get(_key(n), 1000.0) == record, "a record comes back as it was put"
    _put(store, _key(1), b"newer")
    assert (store.get(_key(1), 1000.0), len(store)) == (b"newer", 3), "a record replaces that of its key"
    assert store.get(_key(1, 1), 1000.0) is None, "a key is all its bytes"


def _lets_go(store: Store) -> None:
    _put(store, _key(1), now=1000.0)
    assert store.get(_key(1), 1009.5) == b"x"
    assert store.get(_key(1), 1010.0) is None, "no record is given at or after its end"
    _put(store, _key(1), b"again", now=2000.0)
    assert store.get(_key(1), 2001.0) == b"again"


def _forgets(store: Store) -> None:
    for tag in (1, 2):
        for rest in (0, 1, 2**128 - 1):
            _put(store, _key(tag, rest))
    store.drop(_key(1, 1))
    found = [store.get(_key(1, rest), 1000.0) for rest in (0, 1, 2**128 - 1)]
    assert found == [b"x", None, b"x"], "drop(key) forgets that record only"
    store.drop(_key(1)[:16])
    found = [store.get(_key(tag, rest), 1000.0) for tag in (1, 2) for rest in (0, 1, 2**128 - 1)]
    assert found == [None] * 3 + [b"x"] * 3, "drop(tag) forgets all records under it, and no others"
    store.drop(_key(9)[:16])
    assert len(store) == 3, "dropping what is not there does nothing"


def _is_bounded(store: Store) -> None:
    for n in range(3):
        _put(store, _key(n), entries=3)
    store.get(_key(0), 1000.0)
    _put(store, _key(3), entries=3)
    found = [store.get(_key(n), 1000.0) is not None for n in range(4)]
    assert found == [True, False, True, True], "the record used longest ago makes room, and reading is using"
    store.put(_key(4), b"x" * 50_000, 1000.0, 1010.0, 100, 60_000)
    store.put(_key(5), b"x" * 50_000, 1000.0, 1010.0, 100, 60_000)
    assert [store.get(_key(n), 1000.0) is not None for n in (4, 5)] == [False, True], "bytes are bounded"
    store.put(_key(6), b"x" * 60_001, 1000.0, 1010.0, 100, 60_000)
    assert store.get(_key(6), 1000.0) is None, "a record that cannot fit is not kept"
    assert store.get(_key(5), 1000.0) is not None, "nor does it make the others go"
