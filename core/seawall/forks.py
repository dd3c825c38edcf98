"""Around a fork: what a child may not keep of its parent, and what may not be open meanwhile.

The child has the parent's memory, but of its threads only the one that forked: a lock
that another one held would never be released, and permits, places in line and lookups
of the others would never come back. What they learned (phases, windows, budgets,
totals) holds for the child as well. Its chance does too: Python reseeds the generator
that the system's clock draws from.
"""

from __future__ import annotations

import os
from threading import RLock
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class Heir(Protocol):
    """Something with locks or counts of threads."""

    def begin_afresh(self) -> None:
        """Take new locks, and drop what belongs to threads of the parent."""
        ...


class Owner(Protocol):
    """Something with a file open that must not be open on both sides."""

    def before_fork(self) -> None:
        """Close what cannot cross a fork. Runs in the parent, which goes on with it open anew."""
        ...


class _Living(Generic[T]):
    """Objects, as long as they live. No WeakSet: to go through one fails if another thread adds to it meanwhile."""

    def __init__(self) -> None:
        self._refs: dict[ref[T], None] = {}

    def add(self, thing: T) -> None:
        self._refs[ref(thing, self._forget)] = None

    def _forget(self, gone: ref[T]) -> None:
        self._refs.pop(gone, None)

    def __iter__(self) -> Iterator[T]:
        for living in list(self._refs):
            thing = living()
            if thing is not None:
                yield thing

    def __len__(self) -> int:
        return len(self._refs)


_heirs: _Living[Heir] = _Living()
_owners: _Living[Owner] = _Living()

follow = _heirs.add
"""Call `begin_afresh` of this object in the child of every fork, as long as it lives."""

prepare = _owners.add
"""Call `before_fork` of this object before every fork, as long as it lives."""


class Lock:
    """For `with`: a lock that is free in the child of a fork, unless the thread that forked holds it."""

    def __init__(self) -> None:
        self._lock: Any = RLock()
        follow(self)

    def begin_afresh(self) -> None:
        if not self._lock._is_owned():
            self._lock = RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _before() -> None:
    for owner in _owners:
        owner.before_fork()


def _in_child() -> None:
    for heir in _heirs:
        heir.begin_afresh()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_before, after_in_child=_in_child)
