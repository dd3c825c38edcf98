"""A probe may take as long as its attempt may: the lease on its slot is no shorter than the call's own clocks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seawall import Policy, Timeouts
from tests.core.stage import Stage, answer, brittle, fault, only


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        (only(timeouts=Timeouts(attempt=60)), 55),
        (only(timeouts=Timeouts(attempt=None, idle=90)), 85),
        (replace(Policy.llm(), retry=None, budget=None), 300),
    ],
    ids=["attempt=60", "idle=90", "llm"],
)
def test__probe__slower_than_half_open_timeout_but_within_its_own_clocks__closes(
    policy: Policy, seconds: float
) -> None:
    stage = Stage(replace(policy, breaker=brittle()), fault())
    for _ in range(2):
        stage.get()
    assert stage.host.state == "open"
    stage.clock.advance(10)
    stage.script(answer(200, after=seconds))
    seen: list[str] = []
    stage.together(
        stage.start(),
        *[stage.at(10 + second, lambda: seen.append(stage.host.state)) for second in (29, 31, seconds - 1)],
    )
    assert seen == ["half_open"] * 3
    assert stage.host.state == "closed"


def test__probe__slower_than_its_own_clocks_allow__is_given_up() -> None:
    stage = Stage(only(timeouts=Timeouts(attempt=60), breaker=brittle()), fault())
    for _ in range(2):
        stage.get()
    stage.clock.advance(10)
    stage.hold()
    stage.clock.advance(59)
    assert stage.host.state == "half_open"
    stage.clock.advance(1)
    assert stage.host.state == "open"
