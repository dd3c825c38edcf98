"""The benchmarks run and print their goals. Their figures are for people: no test looks at them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120
GOALS = 25


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "core")])}
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def test__quick_run__ends_with_every_goal_measured() -> None:
    done = run("--quick")
    assert done.returncode == 0, done.stderr
    assert "skipped: ours" not in done.stdout
    head, *goals = done.stdout.partition("### Goals")[2].strip().splitlines()
    assert head == "| goal | measured | met |"
    rows = [row.strip("| ").split(" | ") for row in goals[1:]]
    assert len(rows) == GOALS
    assert [row for row in rows if row[1] == "not measured"] == []
    assert {row[2].partition(":")[0] for row in rows} <= {"yes", "no"}


def test__unknown_question__is_named_with_those_there_are() -> None:
    done = run("overhaed")
    assert done.returncode == 2
    assert "no such question: overhaed" in done.stderr
    assert "overhead" in done.stderr
