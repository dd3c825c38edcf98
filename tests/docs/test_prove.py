"""`make prove` runs commands and says truly how they ended."""

from __future__ import annotations

import re
from importlib.util import find_spec
from itertools import pairwise

import pytest

from scripts import prove
from scripts.prove import PROOFS, ROOT, Proof


def test__proofs__name_files_that_are_there() -> None:
    for name, proof in PROOFS.items():
        files = [part for part in proof.command if part.endswith(".py")]
        modules = [part for before, part in pairwise(proof.command) if before == "-m" and part != "pytest"]
        assert files or modules, name
        assert all((ROOT / file).exists() for file in files), name
        assert all(find_spec(module) is not None for module in modules), name


def test__figures__are_summed_by_their_words_or_are_the_last_line() -> None:
    assert prove.figures(".figures: 100 kills, 7 effects\n.figures: 50 kills, 8 effects\n2 passed\n") == (
        "150 kills, 15 effects"
    )
    assert prove.figures("one\ntwo rows: every edit caught\n\n") == "two rows: every edit caught"
    assert prove.figures("") == ""


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        pytest.param("print('figures: 1200 cases')", 0, r"proved in \d+ s: 1,200 cases", id="good"),
        pytest.param("print('it broke'); raise SystemExit(1)", 1, r"FAILED in \d+ s", id="bad"),
        pytest.param(
            "import os; print('figures:', os.environ['SEAWALL_N'], 'cases')",
            0,
            r"proved in \d+ s: 7 cases",
            id="setting",
        ),
    ],
)
def test__proof__ends_as_its_command_does(
    program: str, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prove, "PROOFS", {"made": Proof("made up", ("-c", program), {"SEAWALL_N": "7"})})
    assert prove.main([]) == status
    printed = capsys.readouterr().out
    assert re.search(said, printed)
    assert ("it broke" in printed) == bool(status)


def test__unknown_proof__is_named_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert prove.main(["kils"]) == 2
    assert f"no such proof: kils; there are {', '.join(PROOFS)}" in capsys.readouterr().out
