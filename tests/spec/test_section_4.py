"""SPEC 4, bulkhead: rows of docs/specification.md that no other test shows."""

from __future__ import annotations

import pytest

from seawall import Bulkhead, BulkheadFull, Policy, Resilience, Verdict
from seawall.outcome import Reason
from seawall.testing import VirtualClock
from tests.core.stage import Stage, only, word

ONE = Policy(bulkhead=Bulkhead(max_concurrent=1, max_wait=0))


def test__permit__released_twice__is_one_permit() -> None:
    stage = Stage(only(bulkhead=Bulkhead(max_concurrent=2, max_wait=0)))
    first, _ = stage.hold(), stage.hold()
    stage.clock.advance(1)
    for _ in range(3):
        stage.end(first)
    first.abandon()
    first.call.state.settle(first, Verdict.SUCCESS, stage.clock.now)
    host = stage.host
    assert (host.in_flight, host.acquire_successes, host.successes, host.mean_hold) == (1, 2, 1, 1)
    stage.hold()
    assert word(stage.get()) is Reason.BULKHEAD_FULL


def test__bulkheads__of_two_names__are_two() -> None:
    resilience = Resilience({"all://": ONE}, clock=VirtualClock())
    assert resilience.execute("a", lambda: resilience.execute("b", lambda: "let in")) == "let in"
    with pytest.raises(BulkheadFull):
        resilience.execute("a", lambda: resilience.execute("a", lambda: "never"))


def test__turn_that_does_not_come__says_how_long_it_waited() -> None:
    resilience = Resilience({"all://": Policy(bulkhead=Bulkhead(max_concurrent=1, max_wait=0.05))})  # in real time
    with pytest.raises(BulkheadFull) as caught:
        resilience.execute("a", lambda: resilience.execute("a", lambda: "never"))
    assert (caught.value.host, caught.value.max_wait) == ("a", 0.05)
    assert caught.value.elapsed >= 0.05
