"""Show that the tests named in docs/specification.md can fail: `python scripts/prove_spec.py [row …]`.

A row is `S1.02`; `S1` means all that begin so; none means everything.

Each edit of tests/spec/sabotages.py is made in a copy of the packages, one at a time, and the tests of its row are run
against the copy. An edit is caught if one of them fails; a row is proved if all its edits are caught and each of its
tests has failed for one of them. First the same tests have to pass without an edit. Needs the development environment
(`.venv/bin/python scripts/prove_spec.py`); two runs at a time, half an hour for everything.
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

from scripts.edited import AT_A_TIME, HUNG, PYTEST, ROOT, Copies, DoesNotApply, run

PAGE = ROOT / "docs" / "specification.md"
SABOTAGES = ROOT / "tests" / "spec" / "sabotages.py"
LONGEST = 60.0
"""Seconds for the tests of one row."""

TEST = re.compile(r"`(tests/[\w/]+\.py::\w+)`")
ROW = re.compile(r"^\| ([SW][\w.]+) \|(?P<said>.*)\|(?P<ours>.*)\|(?P<tests>.*)\|$", re.MULTILINE)
FAILED = re.compile(r"^FAILED (tests/[\w/]+\.py::\w+)", re.MULTILINE)


class Sabotage(NamedTuple):
    """An edit that takes the behaviour of a row out of the product."""

    row: str
    file: str
    old: str
    new: str

    def __str__(self) -> str:
        (old, new) = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.file}: {old[:60]} → {new[:60]}"


def rows() -> dict[str, list[str]]:
    """Row of the page → the tests it names."""
    return {row[1]: TEST.findall(row["tests"]) for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))}


def sabotages() -> list[Sabotage]:
    """The edits, in the order of the file."""
    return [Sabotage(*entry) for entry in runpy.run_path(str(SABOTAGES))["SABOTAGES"]]


def prove(sabotage: Sabotage, tests: Sequence[str], copies: Copies) -> tuple[str, set[str], float]:
    """What came of one sabotage, the tests that failed, and the seconds it took."""
    started = time.monotonic()
    try:
        with copies.edited(sabotage.file, sabotage.old, sabotage.new) as root:
            code, said = run([*PYTEST, *tests], root, LONGEST)
    except DoesNotApply:
        return "does not apply", set(), 0
    failed, seconds = set(FAILED.findall(said)), time.monotonic() - started
    if code == 1 and failed:
        return "caught", failed, seconds
    why = {0: "", HUNG: f": no end within {LONGEST:g} s"}.get(code, f": pytest ended with {code}: {said[-500:]}")
    return f"NOT CAUGHT{why}", failed, seconds


def main(wanted: Sequence[str]) -> int:
    started = time.monotonic()
    named = rows()
    if unknown := [start for start in wanted if not any(row.startswith(start) for row in named)]:
        print(f"no such row: {', '.join(unknown)}")
        return 2
    chosen = [one for one in sabotages() if not wanted or one.row.startswith(tuple(wanted))]
    with tempfile.TemporaryDirectory(prefix="prove-spec-") as folder:
        tests = sorted({test for one in chosen for test in named[one.row]})
        copies = Copies(Path(folder))
        code, said = copies.begin([*PYTEST, *tests], longest=4 * LONGEST)
        if code != 0:
            print(said)
            print(f"without any edit, the tests do not pass: {', '.join(sorted(FAILED.findall(said)))}")
            return 1
        failed_for: dict[str, set[str]] = {one.row: set() for one in chosen}
        bad = 0
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            ends = pool.map(lambda one: prove(one, named[one.row], copies), chosen)
            for one, (verdict, failed, seconds) in zip(chosen, ends, strict=True):
                failed_for[one.row] |= failed
                bad += verdict != "caught"
                print(f"{one.row:<7} {verdict:<10} {seconds:4.1f} s  {one}", flush=True)
    for row, failed in failed_for.items():
        for test in sorted(set(named[row]) - failed):
            bad += 1
            print(f"{row:<7} NEVER FAILED {test}")
    print(
        f"{len(failed_for)} rows, {len(chosen)} edits, {len(tests)} tests in {time.monotonic() - started:.0f} s: ",
        end="",
    )
    print(f"{bad} not proved" if bad else "every edit caught, every test seen to fail")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
