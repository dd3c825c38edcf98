"""After a fork: what a child may not keep of its parent.

The child has the parent's memory, but of its threads only the one that forked: a lock
that another one held would never be released, and permits, places in line and lookups
of the others would never come back. What they learned (phases, windows, budgets,
totals) holds for the child as well. Its chance does too: Python reseeds the generator
that the system's clock draws from.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Heir(Protocol):
    """Something with locks or counts of threads."""

    def begin_afresh(self) -> None:
        """Take new locks, and drop what belongs to threads of the parent."""
        ...


_heirs: WeakSet[Heir] = WeakSet()

follow = _heirs.add
"""Call `begin_afresh` of this object in the child of every fork, as long as it lives."""


def _in_child() -> None:
    for heir in list(_heirs):
        heir.begin_afresh()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_in_child)
