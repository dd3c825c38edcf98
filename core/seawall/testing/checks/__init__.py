"""Checkers of the invariants I1–I18 of the design, written apart from the product: they judge a history.

A history says what the servers saw and what the callers got, and what the client shows
to anybody (snapshots, reports, events). Nothing else is asked of the product, and what
an outcome means is worked out here a second time: a checker that shared code with the
product would agree with its mistakes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

from seawall.testing.checks import accounts, calls, circuits, counts, data, lines, memory, pauses, stores
from seawall.testing.checks.evidence import Evidence

if TYPE_CHECKING:
    from seawall.testing.sim.history import History

CHECKERS: Final[dict[str, Callable[[Evidence], Iterator[str]]]] = {
    "stores": stores.check,  # first: what a store breaks is seen by the others, too, and they cannot say why
    "calls": calls.check,
    "circuits": circuits.check,
    "accounts": accounts.check,
    "lines": lines.check,
    "pauses": pauses.check,
    "counts": counts.check,
    "data": data.check,
    "memory": memory.check,
}


def violations(history: History, most: int = 5) -> list[str]:
    """What is wrong with what happened, in words; at most so many. Empty: every promise was kept."""
    evidence = Evidence(history)
    found = (wrong for check in CHECKERS.values() for wrong in check(evidence))
    return [*history.oddities, *islice(found, most)]
