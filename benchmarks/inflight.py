"""How many bytes does a layer hold for each call in flight?

Twice: while the call waits for its headers (3,000 suspended tasks), and while its body is open and unread (3,000
responses), each counted by tracemalloc and compared with bare.
"""

import asyncio
import gc
import importlib
import tracemalloc
from collections.abc import Collection
from functools import partial
from typing import Any

from benchmarks.clients import TIMEOUT, URL, async_canned, canned, made_async, send_once
from benchmarks.measure import BARE, BY_HAND, ESSENTIAL, LEAN, OURS, Goal, table
from benchmarks.subjects import make, sync_subjects

COUNT = 3_000
SUBJECTS = (*ESSENTIAL, LEAN, "httpx-retries", "interlock-cb", "tenacity", "stamina", "hyx breaker", BY_HAND)


def run(quick: bool) -> list[Goal]:
    hx = importlib.import_module("httpx")
    count, subjects = (COUNT // 5, ESSENTIAL) if quick else (COUNT, SUBJECTS)
    waiting = asyncio.run(suspended(hx, count, subjects))
    unread = {
        name: opened(hx, transport, count)
        for name, transport in make(sync_subjects(hx), partial(canned, hx), subjects).items()
    }
    table(
        f"Bytes per call in flight, over bare ({count:,} at once, httpx)",
        ("subject", "waiting for headers (async)", "body unread (sync)"),
        (
            (name, *(f"{found[name] - found[BARE]:+,.0f}" if name in found else "–" for found in (waiting, unread)))
            for name in sorted(waiting.keys() | unread, key=lambda name: waiting.get(name, 0))
        ),
    )
    print(f"\nbare itself: {waiting[BARE]:,.0f} with its task, {unread[BARE]:,.0f} for a response")
    ours = {"waiting for headers": waiting, "body unread": unread}
    measured = {what: found[OURS] - found[BARE] for what, found in ours.items() if OURS in found}
    return [Goal("bytes per call in flight", 900, measured)]


async def suspended(hx: Any, count: int, subjects: Collection[str]) -> dict[str, float]:
    gate = asyncio.Event()
    found = {}
    for name, transport in (await made_async(hx, partial(async_canned, hx, gate.wait), subjects)).items():
        gate.set()
        await send_once(hx, transport)  # what the first call loads or registers is not in flight
        gate.clear()
        gc.collect()
        tracemalloc.start()
        tasks = [asyncio.create_task(send_once(hx, transport)) for _ in range(count)]
        for _ in range(5):
            await asyncio.sleep(0)
        found[name] = tracemalloc.get_traced_memory()[0] / count
        tracemalloc.stop()
        gate.set()
        await asyncio.gather(*tasks)
    return found


def opened(hx: Any, transport: Any, count: int) -> float:
    def respond() -> Any:
        request = hx.Request("GET", URL, extensions={"timeout": TIMEOUT})
        response = transport.handle_request(request)
        response.request = request  # as a client does: the request lives as long as its answer in any case
        return response

    respond().close()
    gc.collect()
    tracemalloc.start()
    responses = [respond() for _ in range(count)]
    used = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    for response in responses:
        response.close()
    return used
