"""A probe may take as long as its attempt may: its slot's lease is no shorter than its clocks, ours or the client's."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from seawall import Policy, Timeouts
from seawall.admission import Admission
from tests.core.stage import Stage, answer, brittle, fault, only


@pytest.mark.parametrize(
    ("policy", "read", "seconds"),
    [
        (only(timeouts=Timeouts(attempt=60)), 5, 55),
        (only(timeouts=Timeouts(attempt=None, idle=90)), None, 85),
        (replace(Policy.llm(), retry=None, budget=None), None, 300),
        (only(), 120, 115),
        (only(), None, 85),
        (only(timeouts=Timeouts(attempt=None)), 120, 115),
    ],
    ids=["attempt=60", "idle=90", "llm", "client's read=120", "90 filled in", "client's alone"],
)
def test__probe__slower_than_half_open_timeout_but_within_its_own_clocks__closes(
    policy: Policy, read: float | None, seconds: float
) -> None:
    stage = Stage(replace(policy, breaker=brittle()), fault())
    stage.client = (None, read)
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


@pytest.mark.parametrize(
    ("timeouts", "read", "lease"),
    [
        (Timeouts(attempt=60), None, 60),
        (Timeouts(), 60, 60),
        (Timeouts(), 5, 30),
        (Timeouts(attempt=None, idle=None), None, 30),
        (None, None, 30),
        (Timeouts(), math.inf, 30),
    ],
    ids=["ours", "the client's", "a shorter one", "none", "no timeouts", "an operation's"],
)
def test__probe__slower_than_its_own_clocks_allow__is_given_up(
    timeouts: Timeouts | None, read: float | None, lease: float
) -> None:
    stage = Stage(only(timeouts=timeouts, breaker=brittle()), fault())
    stage.client = (None, read)
    for _ in range(2):
        stage.get()
    stage.clock.advance(10)
    stage.hold()
    stage.clock.advance(lease - 1)
    assert stage.host.state == "half_open"
    stage.clock.advance(1)
    assert stage.host.state == "open"


def test__probe__of_a_call_that_brings_no_clocks__has_half_open_timeout() -> None:
    stage = Stage(only(breaker=brittle(half_open_timeout=0.5)), fault())
    for _ in range(2):
        stage.get()
    stage.clock.advance(10)
    call = stage.call()
    call.limits = None
    probe = Admission(call, 1, stage.clock.now)
    assert call.state.admit(probe, stage.clock.now) is None
    stage.clock.advance(0.25)
    assert stage.host.state == "half_open"
    stage.clock.advance(0.25)
    assert stage.host.state == "open"
