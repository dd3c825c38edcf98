"""Paired measurement: a block of a subject always runs next to a block of bare.

A machine's speed drifts within seconds (clock frequency, neighbours, caches), so figures of two blocks that ran at
different times say little. Neighbours share their weather; the median over many pairs forgets the storms. Blocks
report CPU seconds of their own thread, so that other processes disturb them as little as possible.
"""

import atexit
import gc
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

Block = Callable[[int], float]
"""Runs that many requests and returns the seconds they took."""

BARE, NOOP, FLOOR, LEAN, BY_HAND, OURS = "bare", "no-op wrapper", "floor", "floor, no lock", "by hand", "ours"

ESSENTIAL = (BARE, NOOP, FLOOR, OURS)

FEWEST_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians over the pairs; `spread` is the interquartile range of the differences."""

    each: float
    over: float
    spread: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the goal table: each of the `measured` figures has to keep the limit."""

    text: str
    limit: float
    measured: Mapping[str, float]
    at_least: bool = False

    @property
    def missed(self) -> list[str]:
        return [k for k, v in self.measured.items() if not (v >= self.limit if self.at_least else v <= self.limit)]


def paired(blocks: Mapping[str, Block], n: int, seconds: float, warm: int = 0) -> dict[str, Figures]:
    """Time every block beside the one called bare, for about that many seconds; figures in microseconds a request.

    `warm` requests go before each block untimed: in a short one, caches still full of its neighbour would count.
    """

    def timed(block: Block) -> float:
        if warm:
            block(warm)
        return block(n)

    names, bare = list(blocks), blocks[BARE]
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for block in blocks.values():  # first calls import lazily and let the interpreter specialise its bytecode
        block(n)
    gc.collect()
    gc.freeze()  # else each collection walks whatever was imported, which is no request's doing
    rounds, end = 0, time.perf_counter() + seconds
    while rounds < FEWEST_ROUNDS or time.perf_counter() < end:
        random.shuffle(names)
        for name in names:
            if rounds % 2:  # whoever runs second finds warmer caches
                base = timed(bare)
                pairs[name].append((base, timed(blocks[name])))
            else:
                own = timed(blocks[name])
                pairs[name].append((timed(bare), own))
        rounds += 1
    gc.unfreeze()
    figures = {}
    for name, values in pairs.items():
        low, middle, high = statistics.quantiles([(own - base) / n * 1e6 for base, own in values], n=4)
        figures[name] = Figures(
            each=statistics.median(own for _, own in values) / n * 1e6,
            over=middle,
            spread=high - low,
            ratio=statistics.median(own / base for base, own in values),
        )
    return figures


def least(blocks: Mapping[str, Block], n: int, seconds: float) -> dict[str, float]:
    """Microseconds a request of the fastest round of each, all taking turns for about that many seconds.

    What disturbs only ever adds: the minimum of many short rounds is what the work itself takes, and differences of
    two such minima are steady where those of medians are not.
    """
    names, best = list(blocks), dict.fromkeys(blocks, float("inf"))
    for block in blocks.values():
        block(n)
    gc.collect()
    gc.freeze()
    rounds, end = 0, time.perf_counter() + seconds
    while rounds < FEWEST_ROUNDS or time.perf_counter() < end:
        random.shuffle(names)
        for name in names:
            best[name] = min(best[name], blocks[name](n) / n * 1e6)
        rounds += 1
    gc.unfreeze()
    return best


def cheapest_first(figures: Mapping[str, Figures]) -> list[tuple[str, Figures]]:
    return sorted(figures.items(), key=lambda item: item[1].over)


def quotient(figures: Mapping[str, Figures], other: str) -> float | None:
    """Our overhead as a multiple of another's; None if one of the two was not measured."""
    if OURS not in figures or other not in figures:
        return None
    return figures[OURS].over / figures[other].over


def known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table; a row may come late (a generator), each is shown at once."""
    print(f"\n### {title}\n")
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def goal_table(goals: Iterable[Goal]) -> None:
    def cells(goal: Goal) -> tuple[str, str, str]:
        form = "{:,.0f}" if isinstance(goal.limit, int) else "{:.2f}"
        text = f"{goal.text} {'≥' if goal.at_least else '≤'} {goal.limit:,}"
        if not goal.measured:
            return text, "not measured", "–"
        figures = " · ".join(f"{name} {form.format(value)}" for name, value in goal.measured.items())
        missed = goal.missed
        met = "yes" if not missed else "no" if len(missed) == len(goal.measured) else f"no: {', '.join(missed)}"
        return text, figures, met

    table("Goals", ("goal", "measured", "met"), map(cells, goals))


@cache
def say_once(line: str) -> None:
    print(line, flush=True)


@cache
def bytecode() -> str:
    """Where children keep theirs: a checkout may have none, and would pay for the compiler where a wheel does not."""
    directory = tempfile.mkdtemp(prefix="bytecode-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def child(subject: str, *arguments: str) -> str | None:
    """The output of a fresh interpreter that imports what this one can; None (and a line saying so) if it failed."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path])),
        "PYTHONPYCACHEPREFIX": bytecode(),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        say_once(f"skipped: {subject} ({reason})")
        return None
    return done.stdout
