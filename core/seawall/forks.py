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
from typing import Any, Protocol
from weakref import ref


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


_heirs: dict[ref[Heir], None] = {}
_owners: dict[ref[Owner], None] = {}
# Not WeakSets: to go through one fails if another thread adds to it meanwhile, and then nobody would be told of a fork.


def follow(heir: Heir) -> None:
    """Call `begin_afresh` of this object in the child of every fork, as long as it lives."""
    _heirs[ref(heir, _gone_heir)] = None


def prepare(owner: Owner) -> None:
    """Call `before_fork` of this object before every fork, as long as it lives."""
    _owners[ref(owner, _gone_owner)] = None


def _gone_heir(heir: ref[Heir]) -> None:
    _heirs.pop(heir, None)


def _gone_owner(owner: ref[Owner]) -> None:
    _owners.pop(owner, None)


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
    for living in list(_owners):
        owner = living()
        if owner is not None:
            owner.before_fork()


def _in_child() -> None:
    for living in list(_heirs):
        heir = living()
        if heir is not None:
            heir.begin_afresh()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_before, after_in_child=_in_child)
