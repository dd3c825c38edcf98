"""`seawall health URL_OR_FILE`: the health of another process as a table, and as an exit status."""

from __future__ import annotations

import argparse
import io
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NoReturn

from seawall.health.model import SEVERITIES, STATUSES
from seawall.health.reading import Entry, Unreadable, read
from seawall.health.words import count, number, share, span, tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EXIT: Final = {"healthy": 0, "warning": 1, "degraded": 1, "critical": 2}
"""Status → exit status."""
CANNOT: Final = 3
"""Exit status if there is nothing to tell: it cannot be read, or the command line is wrong."""

_ROWS: Final = 100
_STATES: Final = ("closed", "open", "half_open", "isolated")
_HEADS: Final = ("HOST", "STATUS", "STATE", "RATE", "FAILED", "P50", "P99", "PERMITS", "WAITING", "BUDGET")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Like argparse's, but its exit status 2 is ours for critical."""
        self.print_usage(sys.stderr)
        self.exit(CANNOT, f"{self.prog}: {message}\n")


def main(argv: Sequence[str]) -> int:
    """Print it; returns 0 healthy, 1 warning or degraded, 2 critical, 3 if it cannot be read."""
    parser = _Parser(
        prog="seawall health",
        description="Prints what a health page shows.",
        epilog="Exit status: 0 healthy, 1 warning or degraded, 2 critical, 3 cannot be read.",
    )
    parser.add_argument("source", metavar="URL_OR_FILE", help="where /health.json is, a file with it, or - for stdin")
    source = parser.parse_args(argv).source
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a sign still shows the rest.
        sys.stdout.reconfigure(errors="replace")  # pyright: ignore[reportUnknownMemberType]
    try:
        health = read(source)
        status, lines = health.word("status", STATUSES), list(_lines(health))
    except Unreadable as error:
        print(f"seawall health: cannot read it: {error}", file=sys.stderr)
        return CANNOT
    print("\n".join(lines))
    return EXIT[status]


def _lines(health: Entry) -> Iterable[str]:
    breakers = health.entries("breakers")
    yield (
        f"{health.word('status', STATUSES)}: {count(len(breakers), 'host')}, "
        f"{count(int(health.number('open_circuit_count')), 'open circuit')}, "
        f"{health.number('degraded_provider_count'):.0f} degraded, at {_moment(health.number('timestamp'))}"
    )
    for one in health.entries("recommendations")[:_ROWS]:
        yield ""
        yield f"{one.word('severity', SEVERITIES)}: {one.text('host', 120)}, {one.text('component', 20)}"
        yield f"  {one.text('message')}"
        yield f"  {one.text('action')} [{one.text('setting', 100)}]"
    if breakers:
        yield ""
        rows = list(_rows(breakers[:_ROWS], health.entries("bulkheads"), health.entries("budgets")))
        yield from _table(rows)
    if len(breakers) > _ROWS:
        yield f"and {count(len(breakers) - _ROWS, 'host')} more, none worse than these"


def _rows(breakers: list[Entry], bulkheads: list[Entry], budgets: list[Entry]) -> Iterable[tuple[str, ...]]:
    if len(bulkheads) < len(breakers) or len(budgets) < len(breakers):
        raise Unreadable("there are fewer bulkheads or budgets than breakers")
    for breaker, bulkhead, budget in zip(breakers, bulkheads, budgets, strict=False):
        parts = [part.word("status", STATUSES) for part in (breaker, bulkhead, budget)]
        limit, most, available = (
            bulkhead.number_or_none("limit"),
            budget.number_or_none("max"),
            budget.number_or_none("available"),
        )
        out = number(bulkhead.number("in_flight"))
        yield (
            breaker.text("host", 60),
            max(parts, key=STATUSES.index),
            breaker.word("state", _STATES).replace("_", "-"),
            f"{number(breaker.number('request_rate'))}/s",
            share(breaker.number("failure_rate")),
            _seconds(breaker.number_or_none("latency_p50")),
            _seconds(breaker.number_or_none("latency_p99")),
            out if limit is None else f"{out} of {number(limit)}",
            number(bulkhead.number("queue_depth")),
            "-" if most is None or available is None else f"{tokens(available)} of {tokens(most)}",
        )


def _table(rows: list[tuple[str, ...]]) -> Iterable[str]:
    """Texts to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(_HEADS, *rows, strict=True)]
    for row in (_HEADS, *rows):
        cells = (
            cell.ljust(width) if place < 3 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells)


def _seconds(value: float | None) -> str:
    return "-" if value is None else span(value)


def _moment(instant: float) -> str:
    try:
        return f"{datetime.fromtimestamp(instant, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, OSError, ValueError):
        raise Unreadable("timestamp is no time") from None
