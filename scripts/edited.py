"""Copies of the tree to break, one edit at a time, and commands that run there and never hang.

What scripts/prove_spec.py, scripts/prove_bugs.py and scripts/show_bug.py have in common.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("core", "httpx_resilience", "requests_resilience")
COPIED = (*PACKAGES, "tests", "docs", "pyproject.toml")
AT_A_TIME = 2
PYTEST = (
    "-m", "pytest", "-q", "-rf", "--tb=line", "--color=no", "-p", "no:cacheprovider",
    "-o", "addopts=--import-mode=importlib",
)  # fmt: skip
HUNG = -1


class DoesNotApply(Exception):
    """The old text of an edit does not stand exactly once in its file."""


class Ended(NamedTuple):
    code: int
    """The exit code, or `HUNG`."""
    said: str


class Copies:
    """`AT_A_TIME` copies of the tree below a folder, one edit in each at a time. Safe from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first = folder / "0"
        self._free: Queue[Path] = Queue()
        for name in COPIED:
            source, target = ROOT / name, self._first / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)

    def begin(self, *checks: Sequence[str], longest: float) -> Ended:
        """Run these without any edit, to the first that fails; then there may be edits.

        Their byte code stays, which shortens all that follows.
        """
        for arguments in checks:
            if (ended := run(arguments, self._first, longest, cached=True)).code != 0:
                break
        self._free.put(self._first)
        for number in range(1, AT_A_TIME):
            self._free.put(shutil.copytree(self._first, self._folder / str(number)))
        return ended

    @contextmanager
    def edited(self, file: str, old: str, new: str) -> Iterator[Path]:
        """A copy in which `new` stands in the place of `old`; `DoesNotApply` if it cannot be made."""
        root = self._free.get()
        try:
            path = root / file
            whole = path.read_bytes()
            text = whole.decode()
            if text.count(old) != 1:
                raise DoesNotApply
            path.write_bytes(text.replace(old, new).encode())
            # A changed file of the same size within the same second would pass for its old byte code.
            for stale in path.parent.glob(f"__pycache__/{path.stem}.*"):
                stale.unlink()
            try:
                yield root
            finally:
                path.write_bytes(whole)
        finally:
            self._free.put(root)


def run(arguments: Sequence[str], root: Path, longest: float, *, cached: bool = False) -> Ended:
    """Python with these arguments in a copy; whatever it started is killed after so many seconds.

    cached: may leave byte code behind: only where nothing is edited.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTEST_ADDOPTS", "CI")}
    environment["PYTHONPATH"] = os.pathsep.join((str(root), str(root / "core")))
    if not cached:
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
    with subprocess.Popen(
        [sys.executable, *arguments], cwd=root, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        try:
            said, _ = process.communicate(timeout=longest)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            return Ended(HUNG, said)
    return Ended(process.returncode, said)
