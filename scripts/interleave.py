"""How two threads can come together, by another's explorer: `make interleave` (`scripts/dev.py interleave [SCENE …]`).

The scenes of tests/interleave under frontrun, which follows who reads and writes what and plays every order that makes
a difference, with any number of switches (dynamic partial order reduction). It cannot see what built-in containers do
inside, nor what an operation returned: that is what our own explorer is for.
"""

import sys
import threading
import time
import warnings
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = ("hosts", "named hosts")
"""Nearly a minute for each pair: only if named."""
SECONDS = 20.0
"""The most a pair may take."""


def explore(frontrun: Any, scene: Any, first: str, second: str, *, compares: bool) -> tuple[bool, int]:
    """Was nothing wrong, and how many orders were played?"""

    def worker(name: str, who: int) -> Any:
        def work(world: Any) -> None:
            try:
                scene.operations[name](world, who)
            except AssertionError:  # it has nothing to do there, as one after the other, too
                pass

        return work

    result = frontrun.explore(
        setup=scene.make,
        workers=[worker(first, 0), worker(second, 1)],
        invariant=lambda world: not scene.check(world),
        serializable_invariant=(lambda world: repr(scene.observe(world))) if compares else False,
        trace_packages=["seawall.*"],
        preemption_bound=None,
        total_timeout=SECONDS,
        detect_io=False,
        reproduce_on_failure=0,
    )
    return bool(result.property_holds), int(result.num_explored)


def main(wanted: list[str]) -> int:
    sys.path[:0] = [str(ROOT), str(ROOT / "core")]
    frontrun: Any = import_module("frontrun")
    scenes: dict[str, Any] = import_module("tests.interleave.scenes").SCENES
    nothing: Any = import_module("tests.interleave.others").nothing
    if unknown := set(wanted) - set(scenes):
        print(f"no such scene: {', '.join(sorted(unknown))}; there are {', '.join(scenes)}")
        return 2
    for name in import_module("tests.interleave.switching").LOCKED:
        # Looked up when it is made: frontrun puts locks of its own there while it explores.
        sys.modules[f"seawall.{name}"].RLock = lambda: threading.RLock()  # type: ignore[attr-defined]
    warnings.simplefilter("ignore", ResourceWarning)  # attempts die on purpose
    failed = False
    for name in wanted or [name for name in scenes if name not in LEFT_OUT]:
        scene, began, played, pairs = scenes[name], time.monotonic(), 0, 0
        for first, second in product(scene.core or scene.operations, repeat=2):
            holds, orders = explore(frontrun, scene, first, second, compares=scene.observe is not nothing)
            played, pairs = played + orders, pairs + 1
            if not holds:
                failed = True
                print(f"{name}: {first} | {second}: WRONG", flush=True)
        print(f"{name:<20} {pairs:>4} pairs {played:>8,} orders {time.monotonic() - began:>6.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
