"""The seeded bugs fit the product: each old text stands exactly once, and what takes its place is Python."""

import time
from pathlib import Path

import pytest

from scripts import edited, prove_bugs
from tests.seeded.bugs import BUGS, TESTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug[0])
def test__seeded_bug__applied__is_another_program(bug: tuple[str, str, str, str, str]) -> None:
    _, _, file, old, new = bug
    text = (ROOT / file).read_text(encoding="utf-8")
    assert text.count(old) == 1
    changed = text.replace(old, new)
    assert changed != text
    compile(changed, file, "exec")


def test__seeded_bugs__names__are_unique() -> None:
    assert len({bug[0] for bug in BUGS}) == len(BUGS) >= 40


def test__file_with_bugs__names_tests_that_are_there() -> None:
    assert TESTS.keys() == {bug[2] for bug in BUGS}
    assert all((ROOT / test).is_file() for tests in TESTS.values() for test in tests)


def test__prove_bugs__tells_what_sees_a_bug_and_fails_if_nothing_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, tests = "core/seawall/stats/window.py", ("tests/core/test_window.py",)
    bugs = tmp_path / "bugs.py"
    monkeypatch.setattr(prove_bugs, "BUGS", bugs)
    monkeypatch.setattr(
        prove_bugs, "SIMULATOR", ("-c", "from seawall.stats.window import BUCKETS; assert BUCKETS < 20")
    )

    def proved(*changes: tuple[str, str]) -> tuple[int, list[str]]:
        found = [(name, "it is wrong", file, "BUCKETS = 10\n", new) for name, new in changes]
        bugs.write_text(f"BUGS, TESTS = {found!r}, {{{file!r}: {tests!r}}}", encoding="utf-8")
        code = prove_bugs.main([name for name, _ in changes])
        return code, capsys.readouterr().out.splitlines()

    code, said = proved(("seen", "BUCKETS = 20\n"), ("unseen-by-the-simulator", "BUCKETS = 5\n"))
    lines = {line.split()[0]: line for line in said}
    assert code == 0
    assert lines["seen"].split()[1] == "caught"
    assert lines["unseen-by-the-simulator"].split()[1] == "-"
    assert "test_window.py test__ten_buckets__as_specified" in lines["unseen-by-the-simulator"]
    code, said = proved(("unseen", "BUCKETS = 5 + 5\n"))
    assert (code, said[-1]) == (1, "seen by nothing: unseen")


def test__command_that_hangs__is_killed_with_what_it_started(tmp_path: Path) -> None:
    inner = "[sys.executable, '-c', 'import time; time.sleep(600)']"  # it would keep what is read from open
    began = time.monotonic()
    ended = edited.run(
        ["-c", f"import subprocess, sys; print('begun', flush=True); subprocess.run({inner})"], tmp_path, 2
    )
    assert ended == (edited.HUNG, "begun\n")
    assert time.monotonic() - began < 60
