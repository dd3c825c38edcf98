"""SPEC 3, retry budget: rows of docs/specification.md that no other test shows."""

from __future__ import annotations

import pytest

import seawall
from seawall import MaxRetriesExceeded, Policy, Resilience, Retry, TokenBudget
from seawall.testing import VirtualClock


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
