"""SPEC 3, retry budget: rows of docs/specification.md that no other test shows."""

from __future__ import annotations

import pytest

import seawall
from seawall import AdaptiveBudget, MaxRetriesExceeded, Policy, Resilience, Retry, TokenBudget
from seawall.testing import VirtualClock
from tests.core.stage import Stage, answer, fault, only, steady


def test__budget_left__is_told_by_snapshot_and_report() -> None:
    policy = Policy(
        retry=Retry(max_retries=2, base_delay=0, max_delay=0), budget=TokenBudget(max_tokens=10, refill_rate=0)
    )
    resilience = Resilience({"all://": policy}, clock=VirtualClock())

    def operation() -> None:
        raise ConnectionResetError

    with pytest.raises(MaxRetriesExceeded) as caught:
        resilience.execute("primary", operation)
    host, report = resilience.snapshot("primary"), seawall.report(caught.value)
    assert host is not None
    assert report is not None
    assert (host.budget, host.budget_max, report.budget_left) == (8, 10, 8)


def test__adaptive__nine_samples_are_too_few_and_ten_are_enough() -> None:
    for retries, rate in ((9, 10), (10, 11)):
        stage = Stage(only(retry=steady(max_retries=1), budget=AdaptiveBudget(interval=60)))
        for number in range(retries):
            if number == retries - 1:
                stage.clock.advance(60)
            stage.script(fault(), answer(200))
            assert stage.get().status_code == 200
        assert stage.host.budget_refill_rate == pytest.approx(rate)
