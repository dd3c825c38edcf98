"""Show what catches the bugs of tests/seeded/bugs.py: `make prove-bugs`, or `python scripts/prove_bugs.py [NAME …]`.

Each bug is made in a copy of the packages, one at a time; then the simulator runs there, and the tests named for it. A
bug that neither sees is a hole in what this project promises, and the command fails; so it does if the simulator sees
fewer than `BY_SIMULATOR` of them.
"""

import re
import runpy
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from scripts.edited import AT_A_TIME, PYTEST, ROOT, Copies, run

BUGS = ROOT / "tests" / "seeded" / "bugs.py"
CALLS = 30_000
SIMULATOR = ("-m", "seawall.testing", "--total", str(CALLS))
BY_SIMULATOR = 25
LONGEST = 300.0
"""Seconds for either. Longer is caught, too: the bug made it hang."""
FAILED = re.compile(r"^(?:FAILED|ERROR) \S+?/(test_\w+\.py)::(\w+)", re.MULTILINE)


class Bug(NamedTuple):
    name: str
    does: str
    file: str
    old: str
    new: str


def known() -> tuple[list[Bug], dict[str, tuple[str, ...]]]:
    """The bugs, in the order of the file, and the tests named for each file they are in."""
    told = runpy.run_path(str(BUGS))
    return [Bug(*entry) for entry in told["BUGS"]], told["TESTS"]


class Seen(NamedTuple):
    by_simulator: bool
    by_tests: bool


def prove(bug: Bug, tests: Sequence[str], copies: Copies) -> Seen:
    """What sees it; prints its line."""
    started = time.monotonic()
    with copies.edited(bug.file, bug.old, bug.new) as root:
        simulated = run(SIMULATOR, root, LONGEST)
        tested = run([*PYTEST, "-x", *tests], root, LONGEST)
    seen = Seen(simulated.code != 0, tested.code != 0)
    first = FAILED.search(tested.said)
    by = f"{first[1]} {first[2]}" if first else "caught" if seen.by_tests else "-"
    mark = "caught" if seen.by_simulator else "-"
    print(f"{bug.name:<24} {mark:<9} {time.monotonic() - started:4.0f} s  {bug.does}: {by}", flush=True)
    return seen


def main(wanted: Sequence[str]) -> int:
    started = time.monotonic()
    all_bugs, tests = known()
    bugs = [bug for bug in all_bugs if not wanted or bug.name in wanted]
    if unknown := set(wanted) - {bug.name for bug in bugs}:
        print(f"no such bug: {', '.join(sorted(unknown))}")
        return 2
    named = sorted({test for bug in bugs for test in tests[bug.file]})
    with tempfile.TemporaryDirectory(prefix="prove-bugs-") as place, ThreadPoolExecutor(AT_A_TIME) as pool:
        copies = Copies(Path(place))
        code, said = copies.begin(SIMULATOR, [*PYTEST, *named], longest=LONGEST)
        if code != 0:
            print(said)
            print("without a bug, something fails")
            return 1
        print(f"{'bug':<24} simulator")
        seen = list(pool.map(lambda bug: prove(bug, tests[bug.file], copies), bugs))
    missed = [bug.name for bug, by in zip(bugs, seen, strict=True) if not any(by)]
    by_simulator = sum(by.by_simulator for by in seen)
    print(
        f"{len(bugs)} bugs: {by_simulator} seen by the simulator ({CALLS:,} calls each), "
        f"{sum(by.by_tests for by in seen)} by the tests named for them, {len(missed)} by nothing; "
        f"{time.monotonic() - started:.0f} s"
    )
    if missed:
        print(f"seen by nothing: {', '.join(missed)}")
    return 1 if missed or by_simulator < min(BY_SIMULATOR, len(bugs) if not wanted else 0) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
