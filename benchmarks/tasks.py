"""What do 10,000 calls at once cost on one event loop?

Each is a task that sleeps 1 ms inside the transport; the figure is CPU time of the loop's thread, for the whole
crowd, garbage collection included.
"""

import asyncio
import gc
import importlib
from functools import partial
from typing import Any

from benchmarks.clients import async_canned, clock, made_async, send_once
from benchmarks.measure import BY_HAND, ESSENTIAL, OURS, Block, Goal, cheapest_first, paired, table

SUBJECTS = (*ESSENTIAL, "httpx-retries", "interlock-cb", "tenacity", "stamina", "hyx breaker", BY_HAND)


def run(quick: bool) -> list[Goal]:
    hx = importlib.import_module("httpx")
    count = 1_000 if quick else 10_000
    inner = partial(async_canned, hx, partial(asyncio.sleep, 0.001))
    with asyncio.Runner() as runner:
        transports = runner.run(made_async(hx, inner, ESSENTIAL if quick else SUBJECTS))
        crowds = {name: crowd(hx, transport, runner) for name, transport in transports.items()}
        figures = paired(crowds, count, 0.5 if quick else 50.0)
    table(
        f"{count:,} concurrent async requests over a 1 ms sleep (httpx, direct)",
        ("subject", "µs/request", "overhead µs", "IQR", "ratio to bare"),
        (
            (name, f"{f.each:.1f}", f"{f.over:+.1f}", f"{f.spread:.1f}", f"{f.ratio:.2f}")
            for name, f in cheapest_first(figures)
        ),
    )
    measured = {OURS: figures[OURS].ratio} if OURS in figures else {}
    return [Goal(f"{count:,} concurrent async requests, × bare", 1.4, measured)]


def crowd(hx: Any, transport: Any, runner: asyncio.Runner) -> Block:
    async def together(n: int) -> float:
        gc.collect()  # the last crowd's rubbish is not this one's
        start = clock()
        await asyncio.gather(*[send_once(hx, transport) for _ in range(n)])
        return clock() - start

    return lambda n: runner.run(together(n))
