"""The benchmarks run and print their goals. Their figures are for people: no test looks at them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120
GOALS = 27


def run(*arguments: str, module: str = "benchmarks") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "core")])}
    command = [sys.executable, "-m", module, *arguments]
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


def test__soak__of_a_few_seconds__finds_nothing_left_behind() -> None:
    done = run("--minutes", "0.05", "--every", "1", module="benchmarks.soak")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all came back" in done.stdout
    head, first, *_ = done.stdout.splitlines()
    assert len(first.split()) == len(head.replace("in flight", "in-flight").split())


def test__soak__with_something_left_behind__fails() -> None:
    from benchmarks.soak import Use, grown, left_behind
    from tests.core.stage import Stage, only

    stage = Stage(only())
    attempt = stage.hold()
    assert left_behind(stage.resilience, patience=0) == [
        "https://api.test: 1 in flight",
        "close() found calls in flight",
    ]
    attempt.abandon()
    assert left_behind(stage.resilience, patience=0) == []
    level = [Use(100.0, 50, 9, 1, 1)] * 60
    assert grown(level) == []
    assert grown([*level[:40], *[Use(120.0, 90, 9, 1, 1)] * 20]) == [
        "megabytes grew from 100.0 to 120.0",
        "files grew from 50.0 to 90.0",
    ]


def test__unknown_question__is_named_with_those_there_are() -> None:
    done = run("overhaed")
    assert done.returncode == 2
    assert "no such question: overhaed" in done.stderr
    assert "overhead" in done.stderr
