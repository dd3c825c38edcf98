"""What does a request cost more than bare, when nothing goes wrong?

Figures are microseconds of the caller's thread; the row of bare itself shows the noise. urllib3's Retry works below
`send`, so only the loopback level sees it.
"""

import asyncio

from benchmarks import server
from benchmarks.clients import CELLS, URL, blocks
from benchmarks.measure import BY_HAND, FLOOR, OURS, Figures, Goal, cheapest_first, known, paired, quotient, table

# Many short blocks tell more than few long ones where the noise comes in bursts.
SIZES = {"direct": 50, "client": 10, "loopback": 4}
WARM = 3
SECONDS = {"direct": 6.0, "client": 6.0, "loopback": 14.0}
QUICK_SECONDS = {"direct": 0.3, "loopback": 0.3}


def run(quick: bool) -> list[Goal]:
    figures: dict[tuple[str, str], dict[str, Figures]] = {}
    with server.running() as real, asyncio.Runner() as runner:
        for level, seconds in (QUICK_SECONDS if quick else SECONDS).items():
            for library, mode in CELLS:
                made = blocks(library, mode, level, runner, real if level == "loopback" else URL)
                figures[level, f"{library} {mode}"] = found = paired(made, SIZES[level], seconds, WARM)
                show(f"{library} {mode}, {level}", found)
    direct = {cell: found for (level, cell), found in figures.items() if level == "direct"}
    loopback = {
        cell: found[OURS].ratio for (level, cell), found in figures.items() if level == "loopback" and OURS in found
    }

    def beside(other: str, mode: str = "") -> dict[str, float]:
        return known(
            {
                cell: quotient(found, other)
                for cell, found in direct.items()
                if cell.endswith(f" {mode}" if mode else "")
            }
        )

    return [
        Goal("overhead direct, × the floor's", 1.5, beside(FLOOR)),
        Goal("overhead direct, × interlock-cb's, sync", 0.8, beside("interlock-cb", "sync")),
        Goal("overhead direct, × interlock-cb's, async", 0.95, beside("interlock-cb", "async")),
        Goal("overhead direct, × by hand, sync", 0.3, beside(BY_HAND, "sync")),
        Goal("overhead direct, × by hand, async", 0.15, beside(BY_HAND, "async")),
        Goal("request over loopback, × bare", 1.07, loopback),
    ]


def show(title: str, found: dict[str, Figures]) -> None:
    floor = found[FLOOR].over
    table(
        f"Overhead per request: {title}",
        ("subject", "µs/request", "overhead µs", "IQR", "ratio to bare", "× the floor's"),
        (
            (name, f"{f.each:.1f}", f"{f.over:+.2f}", f"{f.spread:.2f}", f"{f.ratio:.3f}", f"{f.over / floor:.2f}")
            for name, f in cheapest_first(found)
        ),
    )
