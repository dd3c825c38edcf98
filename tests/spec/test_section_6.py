"""SPEC 6, coordinator: rows of docs/specification.md that no other test shows."""

from __future__ import annotations

import pytest

from seawall import Bulkhead, BulkheadFull, CircuitOpen, MaxRetriesExceeded, Policy, Resilience, Retry
from seawall.testing import VirtualClock


def test__each_provider__retries_by_its_own_policy() -> None:
    def retries(most: int) -> Policy:
        return Policy(retry=Retry(max_retries=most, base_delay=0, max_delay=0))

    resilience = Resilience({"primary": retries(1), "secondary": retries(3)}, clock=VirtualClock())
    sent: list[str] = []

    def operation(name: str) -> None:
        sent.append(name)
        raise ConnectionResetError

    for name in ("primary", "secondary"):
        with pytest.raises(MaxRetriesExceeded):
            resilience.execute(name, operation, name)
    assert (sent.count("primary"), sent.count("secondary")) == (2, 4)


def test__reset__of_a_provider__lets_its_calls_through_again() -> None:
    resilience = Resilience(clock=VirtualClock())
    for name in ("primary", "secondary"):
        resilience.isolate(name)
    assert resilience.reset("primary")
    assert resilience.execute("primary", lambda: "let in") == "let in"
    with pytest.raises(CircuitOpen):
        resilience.execute("secondary", lambda: "never")


def test__full_bulkhead__names_the_provider() -> None:
    resilience = Resilience({"primary": Policy(bulkhead=Bulkhead(max_concurrent=1, max_wait=0))}, clock=VirtualClock())
    with pytest.raises(BulkheadFull) as caught:
        resilience.execute("primary", lambda: resilience.execute("primary", lambda: "never"))
    assert (caught.value.host, caught.value.policy, caught.value.max_wait) == ("primary", "bulkhead", 0)
