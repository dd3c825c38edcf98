"""The list of mutants that nobody can kill fits the source: `make mutants` says whether it is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = [
    [line for line in entry.splitlines() if not line.startswith("#")]
    for entry in (Path(__file__).parent / "equivalent.txt").read_text("utf-8").split("\n\n")
]
ENTRIES = [entry for entry in ENTRIES if entry]


@pytest.mark.parametrize("entry", ENTRIES, ids=[f"{n}: {entry[0]}" for n, entry in enumerate(ENTRIES)])
def test__entry__names_lines_of_the_source_and_a_reason(entry: list[str]) -> None:
    module, _, function = entry[0].partition(" ")
    source = {line.strip() for line in (ROOT / f"core/seawall/{module}.py").read_text("utf-8").splitlines()}
    assert function
    assert [line for line in entry[1:] if line.startswith("- ") and line[2:] not in source] == []
    assert any(line.startswith(("- ", "+ ")) for line in entry)
    assert not entry[-1].startswith(("- ", "+ "))


def test__there_are_entries() -> None:
    assert ENTRIES
