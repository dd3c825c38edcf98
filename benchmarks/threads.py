"""How much throughput do threads that share one host lose to a layer's lock?

Requests per second of wall time with 1 to 64 busy threads on a transport that answers from memory, as a ratio to
bare: what counts is that the ratio does not fall as threads are added.
"""

import importlib
import random
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial

from benchmarks.clients import URL, canned, sync_block
from benchmarks.measure import BARE, BY_HAND, ESSENTIAL, LEAN, OURS, Block, Goal, table
from benchmarks.subjects import make, sync_subjects

COUNTS = (1, 4, 16, 64)
FEWEST_ROUNDS = 1
SUBJECTS = (*ESSENTIAL, LEAN, "interlock-cb", BY_HAND)


def run(quick: bool) -> list[Goal]:
    hx = importlib.import_module("httpx")
    transports = make(sync_subjects(hx), partial(canned, hx), ESSENTIAL if quick else SUBJECTS)
    counts, span, budget = ((1, 64), 0.05, 1.0) if quick else (COUNTS, 0.1, 90.0)
    crews = {
        name: [sync_block(hx, transport, "direct", URL) for _ in range(max(counts))]
        for name, transport in transports.items()
    }
    ratios = throughput("Busy threads on one host (httpx, direct)", crews, counts, 10, span, budget)
    measured = {OURS: ratios[OURS, 64] / ratios[OURS, 1]} if OURS in crews else {}
    return [Goal("64 busy threads, ratio to bare as a share of 1 thread's", 0.9, measured, at_least=True)]


def throughput(
    title: str, crews: Mapping[str, Sequence[Block]], counts: Sequence[int], n: int, span: float, budget: float
) -> dict[tuple[str, int], float]:
    """Print and return each subject's rate over that of bare, run right before it, by number of threads.

    Every rate is taken over `span` seconds, again and again until the budget is used up.
    """
    cells = [(name, count) for name in crews for count in counts]
    ratios: dict[tuple[str, int], list[float]] = {cell: [] for cell in cells}
    rates: dict[int, list[float]] = {count: [] for count in counts}
    for crew in crews.values():
        hammer(crew, span / 10, n)
    rounds, end = 0, time.perf_counter() + budget
    while rounds < FEWEST_ROUNDS or time.perf_counter() < end:
        random.shuffle(cells)
        for name, count in cells:
            base = hammer(crews[BARE][:count], span, n)
            rates[count].append(base)
            ratios[name, count].append(hammer(crews[name][:count], span, n) / base)
        rounds += 1
    medians = {cell: statistics.median(values) for cell, values in ratios.items()}
    rows = [(name, *(f"{medians[name, count]:.2f}" for count in counts)) for name in crews]
    rows.append(("bare, requests/s", *(f"{statistics.median(rates[count]):,.0f}" for count in counts)))
    table(
        f"{title}: throughput, ratio to bare",
        ("subject", *(f"{count} thread{'s' * (count > 1)}" for count in counts)),
        rows,
    )
    return medians


def hammer(crew: Sequence[Block], span: float, n: int) -> float:
    """Requests per second of a thread for each block, in steps of n requests."""
    ready, go, stop, done = threading.Barrier(len(crew) + 1), threading.Event(), threading.Event(), [0] * len(crew)

    def work(index: int, block: Block) -> None:
        block(n)  # opens this thread's connection, where there is one
        ready.wait()
        go.wait()
        count = 0
        while not stop.is_set():
            block(n)
            count += n
        done[index] = count

    pool = [threading.Thread(target=work, args=member) for member in enumerate(crew)]
    for thread in pool:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    go.set()
    time.sleep(span)
    stop.set()
    for thread in pool:
        thread.join()
    return sum(done) / (time.perf_counter() - start)
