"""What does a request cost more when somebody listens, and what because somebody could?

The first is measured beside ours without a listener. The second is too small for that: each request asks a few times
whether anybody listens, so the questions are counted, and their price is that of one in a loop. Figures are
microseconds of the caller's thread.
"""

import asyncio
import importlib
import logging
import timeit
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.clients import CELLS, URL, async_block, async_canned, canned, canned_adapter, requests_block, sync_block
from benchmarks.measure import BARE, Block, Figures, Goal, cheapest_first, paired, say_once, table

NOBODY = "nobody"
LIMIT = 0.1
LOOPS = 200_000


def run(quick: bool) -> list[Goal]:
    off: dict[str, float] = {}
    price = price_of_a_question(LOOPS // 10 if quick else LOOPS)
    with asyncio.Runner() as runner:
        for library, mode in CELLS:
            cell = f"{library} {mode}"
            show(cell, paired(subjects(library, mode, runner), 50, 0.2 if quick else 5.0, warm=3))
            off[cell] = questions(library, mode, runner) * price
    return [Goal("a request that nobody listens to, µs for asking", LIMIT, off)]


def subjects(library: str, mode: str, runner: asyncio.Runner) -> dict[str, Block]:
    """Requests under each listener; as bare, under none."""
    made: dict[str, Block] = {}
    for name, listen in LISTENERS.items():
        try:
            made[BARE if name == NOBODY else name] = mounted(library, mode, runner, listen)[1]
        except ImportError as error:
            say_once(f"skipped: {name} ({error})")
    return made


def mounted(library: str, mode: str, runner: asyncio.Runner, listen: Callable[[Any], object]) -> tuple[Any, Block]:
    """A Resilience that somebody listens to, and requests through a mount on it."""
    from seawall import Resilience

    resilience = Resilience()
    listen(resilience)
    if library == "requests":
        from requests_resilience import ResilientAdapter

        return resilience, requests_block(ResilientAdapter(canned_adapter()(), resilience), "direct", URL)
    from httpx_resilience import AsyncResilientTransport, ResilientTransport

    hx = importlib.import_module(library)
    if mode == "sync":
        return resilience, sync_block(hx, ResilientTransport(canned(hx), resilience), "direct", URL)
    return resilience, async_block(hx, AsyncResilientTransport(async_canned(hx), resilience), "direct", URL, runner)


def questions(library: str, mode: str, runner: asyncio.Runner) -> float:
    """How often a request asks whether anybody listens."""
    from seawall.hub import Hub

    asked = 0

    def answer(value: object) -> Any:
        def ask(hub: Hub) -> object:
            nonlocal asked
            asked += 1
            return value

        return property(ask, lambda hub, given: None)

    counting = type("Counting", (Hub,), {"listening": answer(False), "following": answer(False), "around": answer(())})
    resilience, block = mounted(library, mode, runner, lambda resilience: None)
    block(1)
    (route,) = resilience.routes.values()
    route.state.hub = counting()
    block(100)
    return asked / 100


def price_of_a_question(loops: int) -> float:
    """Microseconds."""
    from seawall import Resilience

    route = Resilience().route("api", "https", "api.example.com", None)
    asking = timeit.repeat("if state.hub.following: pass", globals={"state": route.state}, number=loops, repeat=20)
    nothing = timeit.repeat("pass", number=loops, repeat=20)
    return (min(asking) - min(nothing)) / loops * 1e6


def rare(resilience: Any) -> None:
    from seawall.events import BreakerChanged

    resilience.subscribe(lambda event: None, [BreakerChanged])


def logged(resilience: Any) -> None:
    from seawall.telemetry import logging as telemetry

    telemetry.instrument(resilience, logger=logging.Logger("benchmark"))


def counted(resilience: Any) -> None:
    from prometheus_client import CollectorRegistry

    from seawall.telemetry import prometheus

    prometheus.instrument(resilience, registry=CollectorRegistry())


def traced(resilience: Any, *, sampled: bool) -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

    from seawall.telemetry import otel

    tracers, meters = (
        TracerProvider(sampler=ALWAYS_ON if sampled else ALWAYS_OFF),
        MeterProvider([InMemoryMetricReader()]),
    )
    otel.instrument(resilience, tracer_provider=tracers, meter_provider=meters)


LISTENERS: dict[str, Callable[[Any], object]] = {
    NOBODY: lambda resilience: None,
    "one, to rare events": rare,
    "the log": logged,
    "one, to everything": lambda resilience: resilience.subscribe(lambda event: None),
    "prometheus": counted,
    "opentelemetry, not sampled": partial(traced, sampled=False),
    "opentelemetry": partial(traced, sampled=True),
}


def show(title: str, found: dict[str, Figures]) -> None:
    table(
        f"A request while somebody listens: {title}",
        ("who", "µs/request", "over nobody", "IQR", "ratio"),
        (
            (NOBODY if name == BARE else name, f"{f.each:.1f}", f"{f.over:+.2f}", f"{f.spread:.2f}", f"{f.ratio:.2f}")
            for name, f in cheapest_first(found)
        ),
    )
