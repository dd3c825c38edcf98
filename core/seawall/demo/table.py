"""The figures of a scene as words: cells for a table, the table as plain text, and the sentence below it.

Nothing here is written by hand per scene. A figure is coloured, and a gain or a price is named, only if the rows say
so: a table that praises itself whatever happened would be worth nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from seawall.demo.scenes import Row

Tone = Literal["good", "bad", "plain", "faint"]
_RAMP = "▁▂▃▄▅▆▇█"
_BAR = 8


class Cell(NamedTuple):
    """One cell of the table: what it says, and how it compares with the other side's."""

    text: str
    tone: Tone = "plain"


def headings(rows: Sequence[Row], wide: bool) -> list[str]:
    """What stands above the columns; a narrow table leaves the drawings out."""
    drawn = ["over time"] if wide else []
    last = ["remembered", "backup saw"] if _bridges(rows) else ["breaker", "recovery"]
    return ["client", "", "answered", *drawn, "p99", "sick host saw", *last]


def cells(row: Row, rows: Sequence[Row], wide: bool) -> list[Cell]:
    """One line of the table; `rows` are all of the scene: the other side to compare with, and the longest bar."""
    other = next((r for r in rows if r.client == row.client and r.side != row.side), row)
    drawn = [Cell("".join(_level(share) for share in row.timeline), "faint")] if wide else []
    return [
        Cell(row.client),
        Cell(row.side, "plain" if row.side == "seawall" else "faint"),
        Cell(f"{row.answered:>3}/{row.calls} {row.answered / row.calls:>4.0%}", _tone(-row.answered, -other.answered)),
        *drawn,
        Cell(_seconds(row.p99), _tone(row.p99, other.p99, least=0.05)),
        Cell(
            (_bar(row.sick_attempts, max(r.sick_attempts for r in rows)) if wide else "") + f"{row.sick_attempts:>5}",
            _tone(row.sick_attempts, other.sick_attempts),
        ),
        *_last(row, rows),
    ]


def _last(row: Row, rows: Sequence[Row]) -> list[Cell]:
    if _bridges(rows):
        return [Cell("-", "faint") if n is None else Cell(f"{n:>4}") for n in (row.remembered, row.backup)]
    return [
        Cell(_breaker(row), "plain" if row.opened else "faint"),
        Cell("-", "faint") if row.recovery is None else Cell(_seconds(row.recovery)),
    ]


def _bridges(rows: Sequence[Row]) -> bool:
    return any(row.backup is not None for row in rows)


def _tone(figure: float, other: float, least: float = 0) -> Tone:
    """Smaller is better; within 5 %, or within `least`, neither is."""
    if abs(figure - other) <= max(least, 0.05 * max(abs(figure), abs(other))):
        return "plain"
    return "good" if figure < other else "bad"


def _level(share: float | None) -> str:
    return " " if share is None else _RAMP[min(len(_RAMP) - 1, int(share * len(_RAMP)))]


def _bar(count: int, longest: int) -> str:
    blocks = math.ceil(_BAR * count / longest) if count else 0
    return ("█" * blocks).ljust(_BAR)


def _seconds(duration: float) -> str:
    return f"{duration:.2f} s"


def _breaker(row: Row) -> str:
    if row.opened is None:
        return "-"
    return f"opened {row.opened}x, {row.state}" if row.opened else f"{row.state} throughout"


def plain(rows: Sequence[Row], wide: bool) -> str:
    """The table as text of fixed width, for pipes and for terminals without rich."""
    gap = "  " if wide else " "
    lines = [headings(rows, wide)] + [[cell.text for cell in cells(row, rows, wide)] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(*lines, strict=True)]
    texts = [gap.join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([texts[0], gap.join("-" * width for width in widths), *texts[1:]])


class _Sums:
    """What one side of a scene comes to, over all its clients."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.calls = sum(row.calls for row in rows)
        self.answered = sum(row.answered for row in rows)
        self.attempts = sum(row.attempts for row in rows)
        self.sick_attempts = sum(row.sick_attempts for row in rows)
        self.wasted = sum(row.wasted for row in rows)
        self.p99 = max((row.p99 for row in rows), default=0.0)
        self.recovery = max((row.recovery for row in rows if row.recovery is not None), default=0.0)
        self.remembered = sum(row.remembered or 0 for row in rows)
        self.backup = sum(row.backup or 0 for row in rows)


def verdict(rows: Sequence[Row]) -> str:
    """What mounting seawall changed in one scene, gains and prices, summed over its clients."""
    bare = _Sums([row for row in rows if row.side == "bare"])
    ours = _Sums([row for row in rows if row.side == "seawall"])
    gains: list[str] = []
    prices: list[str] = []
    if _differ(ours.answered, bare.answered, 0.01):
        side = gains if ours.answered > bare.answered else prices
        bridged = f", {ours.remembered} of them from memory" if ours.remembered else ""
        side.append(f"{ours.answered} of {ours.calls} calls answered instead of {bare.answered}{bridged}")
    if _differ(ours.sick_attempts, bare.sick_attempts, 0.05):
        side = gains if ours.sick_attempts < bare.sick_attempts else prices
        side.append(f"the sick hosts saw {ours.sick_attempts} attempts instead of {bare.sick_attempts}")
    if _differ(ours.wasted, bare.wasted, 0.2) and max(ours.wasted, bare.wasted) > 5:
        side = gains if ours.wasted < bare.wasted else prices
        side.append(f"callers waited {ours.wasted:.0f} s in vain instead of {bare.wasted:.0f} s")
    if ours.p99 > 1.5 * bare.p99 + 0.05:
        prices.append(f"a p99 of {_seconds(ours.p99)} instead of {_seconds(bare.p99)}")
    if ours.recovery > bare.recovery + 0.2:
        prices.append(f"the slowest answers again {ours.recovery:.1f} s after its host is well")
    if ours.backup:
        prices.append(f"the backups saw {ours.backup} attempts")
    gained = ", ".join(gains) or "no gain"
    return f"{rows[0].scene}: {gained}." + (f" The price: {', '.join(prices)}." if prices else "")


def _differ(one: float, other: float, share: float) -> bool:
    return abs(one - other) > share * max(one, other)
