"""`python -m seawall.testing`: the simulator's swarm, from the command line.

python -m seawall.testing                        50,000 calls: scenario after scenario, each judged
python -m seawall.testing --total 1000000        more
python -m seawall.testing 42                     the scenario of one seed
python -m seawall.testing 42 --calls 30 --only errors,retries    a part of it: what a failure is told as
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from seawall.testing.swarm.runs import Verdict, play, shrink
from seawall.testing.swarm.scenario import FEATURES, Scenario


def command(scenario: Scenario) -> str:
    """What replays it."""
    only = ",".join(sorted(scenario.features)) or "nothing"
    return f"python -m seawall.testing {scenario.seed} --calls {scenario.calls} --only {only!r}"


def tell(verdict: Verdict) -> None:
    for wrong in verdict.wrong:
        print(f"  {wrong}")


def run(first: int, total: int) -> int:
    """Scenario after scenario until so many calls were made, or one fails."""
    started, done, seed = time.perf_counter(), 0, first
    while done < total:
        verdict = play(Scenario.of(seed))
        done += verdict.calls
        if verdict.wrong:
            print(f"FAILED: {verdict.scenario}")
            tell(verdict)
            print("making it smaller")
            small = shrink(verdict.scenario)
            print(f"the smallest that fails: {small.scenario}")
            tell(small)
            print(f"replay: {command(small.scenario)}")
            return 1
        seed += 1
    seconds = time.perf_counter() - started
    print(f"seeds {first} to {seed - 1}: no violation, {done / seconds:.0f} calls/s")
    print(f"figures: {done} simulated calls, {seed - first} scenarios")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m seawall.testing", description="Simulated calls, each judged.")
    parser.add_argument("seed", type=int, nargs="?", help="replay this one; left out: one after the other from --first")
    parser.add_argument("--calls", type=int, default=300, help="calls of a scenario, about (default 300)")
    parser.add_argument("--only", help="features, with commas between; left out: what the seed says; 'nothing': none")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--total", type=int, default=50_000, help="calls of all scenarios (default 50,000)")
    options = parser.parse_args(arguments)
    if options.seed is None:
        return run(options.first, options.total)
    scenario = Scenario.of(options.seed, options.calls)
    if options.only is not None:
        features = frozenset(options.only.split(",")) - {"nothing"}
        if unknown := features - set(FEATURES):
            parser.error(f"no such feature: {', '.join(sorted(unknown))}; there are {', '.join(FEATURES)}")
        scenario = Scenario(options.seed, features, options.calls)
    verdict = play(scenario, traced=True)
    print(
        f"{scenario}: {verdict.calls} calls, trace {verdict.trace}: {'violations' if verdict.wrong else 'no violation'}"
    )
    tell(verdict)
    return 1 if verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
