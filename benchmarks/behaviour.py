"""`make behaviour`: what clients do to a host that is in trouble, and what they get, simulated in virtual time.

Ten clients together make 200 GET calls a second (Poisson) to one host of 10 workers that need 35 ms each (lognormal):
it can serve 285 a second; 3,000 requests may queue. It is well for 20 s, in trouble for 30 s (the trigger: 10 s), then
well again. Counted: attempts at the host per call made during the trouble (load ×); the share of those calls that the
host answered with a 200 within 2 s (good); seconds from the end of the trouble until no half second has less than 95 %
good calls any more (recovery).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count
from math import inf
from typing import NamedTuple

from benchmarks.rivals import Bare, Breaking, Retrying
from seawall import Policy, Timeouts
from seawall.testing import Condition, Figures, Request, Simulation
from seawall.testing.sim.client import Client

RATE, BEGINS, AFTER = 200.0, 20.0, 60.0
URL = "https://api.test/things"


@dataclass(frozen=True)
class Trouble:
    """What happens to the host."""

    name: str
    condition: Condition | None = None
    lasts: float = 30.0
    clients: int = 10
    surge: float = 1.0
    """The calls made in that time, times this."""
    replicas: int = 1


TROUBLES = (
    Trouble("outage: every answer is a 503", Condition(errors=1.0, status=503)),
    Trouble("hang: no answer ever comes", Condition(hang=1.0)),
    Trouble("20 % errors", Condition(errors=0.2)),
    Trouble("50 % errors", Condition(errors=0.5)),
    Trouble("brown-out: 4 of 10 workers left", Condition(workers=0.4)),
    Trouble("slow × 10", Condition(slow=10.0)),
    Trouble("trigger: 1 of 10 workers, for 10 s", Condition(workers=0.1), lasts=10.0),
    Trouble("surge: three times the calls", surge=3.0),
    Trouble("sick replica: 1 of 10 answers 500", Condition(errors=1.0, replica=0), replicas=10),
    Trouble("stragglers: 1 % take 20 times as long", Condition(stragglers=0.01)),
    Trouble("outage, for 1,000 clients", Condition(errors=1.0, status=503), clients=1000),
)


class Subject(NamedTuple):
    """Who calls."""

    name: str
    kind: type[Client]
    policy: Callable[[], Policy] | None
    own: float | None
    """Timeouts of the library itself, in seconds."""


SUBJECTS = (
    Subject("bare", Bare, None, 1.0),
    Subject("3 retries", Retrying, None, 1.0),
    Subject("retries and breaker", Breaking, None, 1.0),
    Subject("`Policy.gateway()`", Client, Policy.gateway, None),
    Subject("ours", Client, lambda: Policy(timeouts=Timeouts(attempt=1, total=3)), None),
)


def play(trouble: Trouble, subject: Subject, seed: int = 1) -> Figures:
    """One subject in one trouble."""
    simulation = Simulation(seed)
    server = simulation.server(
        "https://api.test", workers=10, latency=0.035, queue=3000 // trouble.replicas, replicas=trouble.replicas
    )
    ends = BEGINS + trouble.lasts
    if trouble.condition is not None:
        server.during(BEGINS, ends, trouble.condition)
    numbers = count()
    for number in range(trouble.clients):
        policy = None if subject.policy is None else subject.policy()
        client = subject.kind(simulation, f"client {number}", policy, subject.own, subject.own, {})
        make = partial(_request, numbers)
        client.traffic(make, RATE / trouble.clients, end=ends + AFTER)
        if trouble.surge > 1:
            client.traffic(make, (trouble.surge - 1) * RATE / trouble.clients, start=BEGINS, end=ends)
    simulation.run()
    return simulation.figures(BEGINS, ends)


def _request(numbers: count[int]) -> Request:
    return Request("GET", f"{URL}/{next(numbers)}")  # each another: what is remembered of one answers no other


def _play(seed: int, pair: tuple[int, int]) -> Figures:
    return play(TROUBLES[pair[0]], SUBJECTS[pair[1]], seed)


def words(figures: Figures) -> str:
    recovery = "never" if figures.recovery == inf else f"{figures.recovery:.1f} s"
    return f"{figures.load:.2f} ×, {figures.good:.1%}, {recovery}"


def table(figures: dict[tuple[int, int], Figures]) -> str:
    """As in docs/behaviour.md."""
    lines = ["| | " + " | ".join(subject.name for subject in SUBJECTS) + " |", "|---" * (1 + len(SUBJECTS)) + "|"]
    for t, trouble in enumerate(TROUBLES):
        cells = [words(figures[t, s]) for s in range(len(SUBJECTS))]
        lines.append(f"| {trouble.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


GOALS: dict[str, Callable[[Figures], bool]] = {
    "outage: every answer is a 503": lambda f: f.load <= 0.08 and f.recovery <= 4.5,
    "hang: no answer ever comes": lambda f: f.load <= 0.12 and f.recovery <= 5,
    "20 % errors": lambda f: f.good >= 0.95 and f.load <= 1.25,
    "50 % errors": lambda f: f.good >= 0.5,
    "trigger: 1 of 10 workers, for 10 s": lambda f: f.load <= 0.3 and f.recovery <= 6,
    "sick replica: 1 of 10 answers 500": lambda f: f.failed <= 0.001,
}
"""What ours has to reach."""


def main(arguments: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(prog="make behaviour", description="Clients and a host in trouble, simulated.")
    parser.add_argument("--seed", type=int, default=1, help="another run of chance (default 1)")
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    pairs = [(t, s) for t in range(len(TROUBLES)) for s in range(len(SUBJECTS))]
    with ProcessPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        figures = dict(zip(pairs, pool.map(partial(_play, options.seed), pairs), strict=True))
    print("Attempts at the host per call, share of good calls, seconds to recover:\n")
    print(table(figures))
    ours = {trouble.name: figures[t, len(SUBJECTS) - 1] for t, trouble in enumerate(TROUBLES)}
    print()
    for name, f in ours.items():
        goal = "" if name not in GOALS else "goal reached" if GOALS[name](f) else "GOAL MISSED"
        print(f"{name:<40} failed over all {f.failed:.2%}, slowest good {f.slowest:.2f} s  {goal}")
    calls = sum(f.calls for f in figures.values())
    print(f"\n{calls} calls in times of trouble, {time.perf_counter() - started:.0f} s")
    return 0 if all(goal(ours[name]) for name, goal in GOALS.items()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
