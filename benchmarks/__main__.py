"""`python -m benchmarks [names] [--quick]`: ours beside its peers, then one table of goals."""

import argparse
import importlib
import platform
import time

from benchmarks.measure import Goal, goal_table

QUESTIONS = (
    "overhead",
    "clamp",
    "threads",
    "waiting",
    "tasks",
    "inflight",
    "fastfail",
    "hosts",
    "scale",
    "imports",
    "making",
    "stale",
    "streams",
    "listening",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"only some of: {', '.join(QUESTIONS)}")
    parser.add_argument("--quick", action="store_true", help="under a minute, figures too rough to quote")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(QUESTIONS):
        parser.error(f"no such question: {', '.join(sorted(unknown))}; there are {', '.join(QUESTIONS)}")
    print(f"Python {platform.python_version()}, {platform.machine()}")
    goals: list[Goal] = []
    for name in arguments.names or QUESTIONS:
        started = time.perf_counter()
        goals += importlib.import_module(f"benchmarks.{name}").run(arguments.quick)
        print(f"\n({name}: {time.perf_counter() - started:.0f} s)", flush=True)
    goal_table(goals)


if __name__ == "__main__":
    main()
