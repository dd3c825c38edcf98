"""Show that the tests named in docs/specification.md can fail: `python scripts/prove_spec.py [row …]`.

A row is `S1.02`; `S1` means all that begin so; none means everything.

Each edit of tests/spec/sabotages.py is made in a copy of the packages, one at a time, and the tests of its row are run
against the copy. An edit is caught if one of them fails; a row is proved if all its edits are caught and each of its
tests has failed for one of them. First the same tests have to pass without an edit. Needs the development environment
(`.venv/bin/python scripts/prove_spec.py`); two runs at a time, half an hour for everything.
"""

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "specification.md"
SABOTAGES = ROOT / "tests" / "spec" / "sabotages.py"
PACKAGES = ("core", "httpx_resilience", "requests_resilience")
COPIED = (*PACKAGES, "tests", "pyproject.toml")
AT_A_TIME = 2
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

    def apply(self, root: Path) -> bool:
        """Make the edit below `root`; False if the old text is not there exactly once."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            return False
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")
        # A changed file of the same size within the same second would pass for its old byte code.
        for stale in path.parent.glob(f"__pycache__/{path.stem}.*"):
            stale.unlink()
        return True

    def __str__(self) -> str:
        (old, new) = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.file}: {old[:60]} → {new[:60]}"


def rows() -> dict[str, list[str]]:
    """Row of the page → the tests it names."""
    return {row[1]: TEST.findall(row["tests"]) for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))}


def sabotages() -> list[Sabotage]:
    """The edits, in the order of the file."""
    return [Sabotage(*entry) for entry in runpy.run_path(str(SABOTAGES))["SABOTAGES"]]


def run_tests(root: Path, tests: Iterable[str], longest: float, *, cached: bool) -> tuple[int, set[str], str]:
    """Pytest's exit code below `root` (-1: it hung), which tests failed, and what it said."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTEST_ADDOPTS", "CI")}
    environment["PYTHONPATH"] = os.pathsep.join((str(root), str(root / "core")))
    if not cached:  # an edited file must never leave byte code behind
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
    options = [
        "-q",
        "-rf",
        "--tb=line",
        "--color=no",
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=--import-mode=importlib",
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=root, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        try:
            said, _ = process.communicate(timeout=longest)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            return -1, set(FAILED.findall(said)), said
    return process.returncode, set(FAILED.findall(said)), said


def prove(sabotage: Sabotage, tests: Sequence[str], copies: "Queue[Path]") -> tuple[str, set[str], float]:
    """What came of one sabotage, the tests that failed, and the seconds it took."""
    root = copies.get()
    started = time.monotonic()
    path = root / sabotage.file
    whole = path.read_bytes()
    try:
        if not sabotage.apply(root):
            return "does not apply", set(), 0
        code, failed, said = run_tests(root, tests, LONGEST, cached=False)
    finally:
        path.write_bytes(whole)
        copies.put(root)
    seconds = time.monotonic() - started
    if code == 1 and failed:
        return "caught", failed, seconds
    why = {0: "", -1: f": no end within {LONGEST:g} s"}.get(code, f": pytest ended with {code}: {said[-500:]}")
    return f"NOT CAUGHT{why}", failed, seconds


def main(wanted: Sequence[str]) -> int:
    started = time.monotonic()
    named = rows()
    if unknown := [start for start in wanted if not any(row.startswith(start) for row in named)]:
        print(f"no such row: {', '.join(unknown)}")
        return 2
    chosen = [one for one in sabotages() if not wanted or one.row.startswith(tuple(wanted))]
    with tempfile.TemporaryDirectory(prefix="prove-spec-") as folder:
        first = Path(folder, "0")
        for name in COPIED:
            source, target = ROOT / name, first / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        tests = sorted({test for one in chosen for test in named[one.row]})
        code, failed, said = run_tests(first, tests, 4 * LONGEST, cached=True)
        if code != 0:
            print(said)
            print(f"without any edit, the tests do not pass: {', '.join(sorted(failed))}")
            return 1
        copies: Queue[Path] = Queue()
        copies.put(first)
        for number in range(1, AT_A_TIME):
            copies.put(shutil.copytree(first, Path(folder, str(number))))
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
