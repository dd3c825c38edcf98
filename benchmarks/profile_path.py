"""Where does our happy path spend its time? `python -m benchmarks.profile_path`, for tuning.

First a ladder: the mounted transport, its parts switched on one after the other (direct level). Then the stations of
one call, each alone in a tight loop. No profiler: its hooks cost more than what is measured here.
"""

import asyncio
import importlib
import statistics
import timeit
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.clients import URL, async_block, async_canned, canned, clock, sync_block
from benchmarks.measure import BARE, FLOOR, NOOP, Block, paired, table
from benchmarks.subjects import async_subjects, make, sync_subjects

SECONDS, NUMBER, REPEAT = 6.0, 5_000, 15


def policies() -> dict[str, Any]:
    """Each step has the parts of the one before and one more."""
    from seawall import Breaker, Bulkhead, Policy, Retry, RetryBudget, Timeouts

    parts: dict[str, Any] = dict.fromkeys(("timeouts", "retry", "budget", "breaker", "bulkhead"))
    steps = {"mode off": Policy(mode="off"), "every part off": Policy(**parts)}
    names = ("breaker", "retry", "budget", "bulkhead", "timeouts")
    for name, part in zip(names, (Breaker(), Retry(), RetryBudget(), Bulkhead(), Timeouts()), strict=True):
        parts[name] = part
        steps[f"+ {name}"] = Policy(**parts)
    steps["(the default policy)"] = Policy()
    steps["+ a limit of 100 at once"] = Policy(bulkhead=Bulkhead(max_concurrent=100))
    steps["+ a total of 30 s instead"] = Policy(timeouts=Timeouts(total=30))
    return steps


def ladder(mode: str, runner: asyncio.Runner) -> None:
    hx, mount = importlib.import_module("httpx"), importlib.import_module("httpx_resilience")
    if mode == "sync":
        subjects, inner, ours = sync_subjects(hx), partial(canned, hx), mount.ResilientTransport
        block: Callable[..., Block] = sync_block
    else:
        subjects, inner, ours = async_subjects(hx), partial(async_canned, hx), mount.AsyncResilientTransport
        block = partial(async_block, runner=runner)
    made = make(subjects, inner, (BARE, NOOP, FLOOR))
    made |= {step: ours(inner(), policy) for step, policy in policies().items()}
    figures = paired({name: block(hx, transport, "direct", URL) for name, transport in made.items()}, 50, SECONDS)
    rows = ((k, f"{f.over:+.2f}", f"{f.spread:.2f}", f"{f.over / figures[FLOOR].over:.2f}") for k, f in figures.items())
    table(f"The ladder, {mode}", ("step", "µs over bare", "IQR", "× the floor's"), rows)


def stations() -> dict[str, Callable[[], object]]:
    """The pieces of one call, without a client library."""
    from seawall import Resilience, flow
    from seawall.admission import Admission
    from seawall.outcome import Verdict
    from seawall.runtime import run_sync

    resilience = Resilience()
    route, now = resilience.route("here", "http", "api.example.com", None), resilience.clock.monotonic
    state, response = route.state, importlib.import_module("httpx").Response(200)
    call: Any = resilience.call(route, None)

    class Still:
        """A runtime whose answer is there at once, and settled at once."""

        admission = Admission

        async def send(self, call: Any, admission: Any) -> Any:
            state.settle(admission, Verdict.SUCCESS, now())
            return response

    still: Any = Still()

    def visits() -> None:
        admission = Admission(call, 1, now())
        state.admit(admission, now())
        state.settle(admission, Verdict.SUCCESS, now())

    return {
        "the clock, once": now,
        "a Call": lambda: resilience.call(route, None),
        "an Admission": lambda: Admission(call, 1, 0.0),
        "Admission, admit, settle": visits,
        "Call, flow, Admission, admit, settle": lambda: run_sync(flow.run(resilience.call(route, None), still)),
    }


def cost(f: Callable[[], object]) -> float:
    runs = timeit.repeat("f()", globals={"f": f}, timer=clock, number=NUMBER, repeat=REPEAT)
    return statistics.median(runs) / NUMBER * 1e6


if __name__ == "__main__":
    with asyncio.Runner() as one:
        ladder("sync", one)
        ladder("async", one)
    loop = cost(lambda: None)
    table("Stations", ("station", "µs"), [(name, f"{cost(f) - loop:.2f}") for name, f in stations().items()])
