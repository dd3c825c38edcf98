"""The command of docs/testing.md that shows a promise broken, and what replays it."""

from __future__ import annotations

import pytest

from scripts.show_bug import show


def test__show_bug__finds_it_and_its_replay_fails_with_the_bug_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert show("retry-after-early") == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert "  I6 pauses: " in said
    with_bug, _, without = said.partition("with the bug:")[2].partition("without it:")
    assert ("violations" in with_bug, "no violation" in without) == (True, True)


def test__show_bug__name_that_is_none__is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert show("nonsense") == 2
    assert "no such bug: nonsense; there are probe-lost, " in capsys.readouterr().out
