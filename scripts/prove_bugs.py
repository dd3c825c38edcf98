"""Show what catches the bugs of tests/seeded/bugs.py: `make prove-bugs`, or `python scripts/prove_bugs.py [NAME …]`.

Each bug is made in a copy of the packages, one at a time; then the simulator runs there, and the tests of the core. A
bug that neither sees is a hole in what this project promises, and the command fails.
"""

import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("core", "httpx_resilience", "requests_resilience", "tests", "docs", "pyproject.toml")
AT_A_TIME = 2
CALLS = 30_000
SIMULATOR = ["-m", "seawall.testing", "--total", str(CALLS)]
TESTS = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "tests/core", "tests/spec"]
LONGEST = 600.0
"""Seconds for either. Longer is caught, too: the bug made it hang."""


class Bug(NamedTuple):
    name: str
    does: str
    file: str
    old: str
    new: str


def is_caught(command: Sequence[str], root: Path) -> bool:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(root), str(root / "core"))),
        "PYTHONDONTWRITEBYTECODE": "1",  # an edited file must never leave byte code behind
    }
    with subprocess.Popen(
        [sys.executable, *command], cwd=root, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            return process.wait(LONGEST) != 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return True


def prove(bug: Bug, copies: "Queue[Path]") -> tuple[bool, bool]:
    """Is it seen by the simulator, and by the tests?"""
    root = copies.get()
    path = root / bug.file
    whole = path.read_text(encoding="utf-8")
    started = time.monotonic()
    try:
        if whole.count(bug.old) != 1:
            raise SystemExit(f"{bug.name}: its old text does not stand once in {bug.file}")
        path.write_text(whole.replace(bug.old, bug.new), encoding="utf-8")
        by_simulator, by_tests = is_caught(SIMULATOR, root), is_caught(TESTS, root)
    finally:
        path.write_text(whole, encoding="utf-8")
        copies.put(root)
    marks = ("caught" if by_simulator else "-", "caught" if by_tests else "-")
    print(f"{bug.name:<26} {marks[0]:<10} {marks[1]:<7} {time.monotonic() - started:4.0f} s  {bug.does}", flush=True)
    return by_simulator, by_tests


def copy_to(folder: Path) -> Path:
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


def main(wanted: Sequence[str]) -> int:
    known = runpy.run_path(str(ROOT / "tests" / "seeded" / "bugs.py"))["BUGS"]
    bugs = [Bug(*entry) for entry in known if not wanted or entry[0] in wanted]
    if unknown := set(wanted) - {bug.name for bug in bugs}:
        print(f"no such bug: {', '.join(sorted(unknown))}")
        return 2
    with tempfile.TemporaryDirectory(prefix="prove-bugs-") as place, ThreadPoolExecutor(AT_A_TIME) as pool:
        copies: Queue[Path] = Queue()
        for number in range(AT_A_TIME):
            copies.put(copy_to(Path(place, str(number))))
        if is_caught(SIMULATOR, copies.queue[0]):
            print("the simulator fails without a bug")
            return 1
        print(f"{'bug':<26} {'simulator':<10} {'tests':<7}")
        seen = list(pool.map(lambda bug: prove(bug, copies), bugs))
    missed = [bug.name for bug, by in zip(bugs, seen, strict=True) if not any(by)]
    by_simulator = sum(by[0] for by in seen)
    print(f"{len(bugs)} bugs: {by_simulator} seen by the simulator ({CALLS:,} calls each), {len(missed)} by nothing")
    if missed:
        print(f"seen by nothing: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
