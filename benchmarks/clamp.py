"""What do clocks cost that nothing makes late? A request on a kept connection, mounted with clocks and without.

Both are ours, over loopback at the transport's own method: the difference is the attempt's watch, the live timeouts,
and what sockets of ours ask it at each operation.
"""

import asyncio
import importlib
from typing import Any

from benchmarks import server
from benchmarks.clients import CELLS, async_block, requests_block, sync_block
from benchmarks.measure import BARE, Block, Figures, Goal, paired, table
from seawall import Policy, Resilience, Timeouts

SIZE, WARM = 8, 4
SECONDS, QUICK_SECONDS = 12.0, 0.3
OFF, ON = "mounted, no clock", "mounted, clocks on"


def run(quick: bool) -> list[Goal]:
    added: dict[str, float] = {}
    with server.running() as url, asyncio.Runner() as runner:
        for library, mode in CELLS:
            made = blocks(library, mode, url, runner)
            found = paired(made, SIZE, QUICK_SECONDS if quick else SECONDS, WARM)
            show(f"{library} {mode}", found)
            added[f"{library} {mode}"] = found[ON].over - found[OFF].over
    return [Goal("clocks on a kept connection, µs a request", 5.0, added)]


def blocks(library: str, mode: str, url: str, runner: asyncio.Runner) -> dict[str, Block]:
    made: dict[str, Block] = {}
    for name, resilience in {BARE: None, OFF: without(), ON: with_clocks()}.items():
        if library == "requests":
            from requests.adapters import HTTPAdapter

            from requests_resilience import ResilientAdapter

            adapter: Any = HTTPAdapter()
            made[name] = requests_block(
                adapter if resilience is None else ResilientAdapter(adapter, resilience), "direct", url
            )
            continue
        from httpx_resilience import AsyncResilientTransport, ResilientTransport

        hx = importlib.import_module(library)
        if mode == "sync":
            transport = hx.HTTPTransport()
            made[name] = sync_block(
                hx, transport if resilience is None else ResilientTransport(transport, resilience), "direct", url
            )
        else:
            transport = hx.AsyncHTTPTransport()
            wrapped = transport if resilience is None else AsyncResilientTransport(transport, resilience)
            made[name] = async_block(hx, wrapped, "direct", url, runner)
    return made


def without() -> Resilience:
    """The client's own limits are the shorter ones, so none of ours runs; and nothing of the library is exchanged."""
    return Resilience({"all://": Policy()}, hard_deadlines=False)


def with_clocks() -> Resilience:
    return Resilience({"all://": Policy(timeouts=Timeouts(attempt=30, total=60, first_byte=20, idle=4))})


def show(title: str, found: dict[str, Figures]) -> None:
    table(
        f"Clocks when nothing is late: {title}",
        ("subject", "µs/request", "over bare µs", "IQR", "ratio to bare"),
        ((name, f"{f.each:.1f}", f"{f.over:+.2f}", f"{f.spread:.2f}", f"{f.ratio:.3f}") for name, f in found.items()),
    )
