"""The swarm: the product against every checker, scenario after scenario; and a failure is found, made small, told."""

from __future__ import annotations

import re
import shlex

import pytest

from seawall import Resilience
from seawall.policies.breaker import BreakerState
from seawall.policies.budget import Bucket
from seawall.testing import __main__ as command_line
from seawall.testing.swarm import runs
from seawall.testing.swarm.scenario import FEATURES, Scenario

CALLS = 50_000


def test__fifty_thousand_calls__no_violation(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["--total", str(CALLS)]) == 0, capsys.readouterr().out
    figures = re.search(r"figures: (\d+) simulated calls, (\d+) scenarios", capsys.readouterr().out)
    assert figures is not None
    assert int(figures[1]) >= CALLS
    assert int(figures[2]) > 50


@pytest.mark.parametrize("seed", [3, 8, 24, 81])
def test__same_seed__same_trace(seed: int) -> None:
    """I15."""
    first, again = (runs.play(Scenario.of(seed, 100), traced=True) for _ in range(2))
    assert (first.trace, first.wrong) == (again.trace, [])
    assert first.trace != runs.play(Scenario.of(seed + 1000, 100), traced=True).trace


def test__every_feature__comes_up_and_is_left_out() -> None:
    scenarios = [Scenario.of(seed) for seed in range(60)]
    for feature in FEATURES:
        assert 5 < sum(scenario.has(feature) for scenario in scenarios) < 55, feature


def break_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every retry is free."""
    monkeypatch.setattr(Bucket, "withdraw", lambda budget, now: True)


def test__broken_product__is_told_with_a_command_that_replays_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    break_the_budget(monkeypatch)
    assert command_line.main(["--first", "4", "--total", "20000"]) == 1
    said = capsys.readouterr().out
    assert "tokens" in said
    replay = re.search(r"replay: python -m seawall\.testing (.+)", said)
    assert replay is not None
    arguments = shlex.split(replay[1])
    assert command_line.main(arguments) == 1
    assert "tokens" in capsys.readouterr().out
    monkeypatch.undo()
    assert command_line.main(arguments) == 0
    small = re.search(r"the smallest that fails: seed \d+, (\d+) calls, (.+)", said)
    assert small is not None
    assert int(small[1]) < 300
    assert len(small[2].split(", ")) < 6


def test__product_that_raises__is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Resilience, "snapshots", broken)
    assert "ZeroDivisionError" in runs.play(Scenario.of(1)).wrong[0]
    monkeypatch.undo()
    monkeypatch.setattr(BreakerState, "settle", broken)
    assert "ZeroDivisionError" in str(runs.play(Scenario.of(1)).wrong)


@pytest.mark.parametrize(
    ("arguments", "said"), [(["5", "--only", "nonsense"], "no such feature: nonsense"), (["x"], "invalid int")]
)
def test__wrong_arguments__are_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test__one_seed__says_what_is_on_and_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["7", "--calls", "40", "--only", "nothing"]) == 0
    assert re.match(
        r"seed 7, 40 calls, nothing special: \d+ calls, trace [0-9a-f]{16}: no violation", capsys.readouterr().out
    )
