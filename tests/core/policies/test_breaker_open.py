"""How long a circuit stays open: growth, cap, jitter, and what the server itself asked for."""

from __future__ import annotations

import math
from typing import Any

import pytest

from seawall import Breaker
from seawall.policies.breaker import Result
from tests.core.policies.circuit import Circuit

BAD = Result.FAILURE


def openings(circuit: Circuit, count: int) -> list[float]:
    """The lengths of so many openings, each probed in vain."""
    lengths = [circuit.trip().opening]
    for _ in range(count - 1):
        circuit.wait(lengths[-1]).fail()
        lengths.append(circuit.opening)
    return lengths


def test__open_duration__grows_with_each_further_opening_up_to_its_cap() -> None:
    assert openings(Circuit(), 6) == pytest.approx([1, 1.5, 2.25, 3, 3, 3])


def test__open_duration__multiplier_one__is_fixed() -> None:
    assert openings(
        Circuit(open_duration=60, open_multiplier=1, max_open_duration=60, open_jitter=0), 4
    ) == pytest.approx([60] * 4)


@pytest.mark.parametrize(
    ("u", "lengths"), [(0, [0.5, 0.75, 1.125, 1.5, 1.5]), (0.75, [1.25, 1.875, 2.8125, 3.75, 3.75])]
)
def test__open_jitter__comes_after_the_cap_so_that_clients_never_probe_together(u: float, lengths: list[float]) -> None:
    circuit = Circuit(open_jitter=0.5)
    circuit.u = u
    assert openings(circuit, 5) == pytest.approx(lengths)


def test__open_jitter__zero__makes_every_opening_exact() -> None:
    for u in (0, 0.3, math.nextafter(1, 0)):
        circuit = Circuit(open_jitter=0)
        circuit.u = u
        assert openings(circuit, 3) == pytest.approx([1, 1.5, 2.25])


@pytest.mark.parametrize("multiplier", [1, 1.5, 2, 10])
@pytest.mark.parametrize("growth", [0, 1, 400, 10**9])
def test__open_duration__after_any_number_of_openings__stays_within_the_cap(multiplier: float, growth: int) -> None:
    config = Breaker(open_duration=1, open_multiplier=multiplier, max_open_duration=60, open_jitter=0.5)
    assert 0.5 <= config.opening(growth, 0) <= config.opening(growth, 0.9999) <= 90


def recovered(**figures: Any) -> Circuit:
    """After four openings in a row, closed again."""
    circuit = Circuit(**figures)
    openings(circuit, 4)
    circuit.wait(circuit.opening).ok(3)
    assert circuit.phase == "closed"
    return circuit


def test__growth__outlives_the_recovery_so_that_flapping_does_not_start_at_the_base_again() -> None:
    assert recovered(max_open_duration=100).trip().opening == pytest.approx(1.5**4)


@pytest.mark.parametrize(("windows", "steps"), [(0.9, 4), (1, 3), (2.5, 2), (4, 0), (1000, 0)])
def test__growth__is_forgotten_one_step_per_window_spent_closed(windows: float, steps: int) -> None:
    circuit = recovered(max_open_duration=100, min_failure_span=0, sampling_window=10)
    assert circuit.wait(windows * 10 + 0.001).trip().opening == pytest.approx(1.5**steps, rel=0.01)


def test__growth__is_forgotten_at_once_by_reset_and_isolation() -> None:
    reset, restored = recovered(max_open_duration=100), recovered(max_open_duration=100)
    reset.state.reset(reset.now)
    restored.state.isolate(restored.now)
    restored.state.restore(restored.now)
    assert (reset.trip().opening, restored.trip().opening) == (pytest.approx(1), pytest.approx(1))


def test__server_given_time__is_a_lower_bound() -> None:
    for asked, length in ((20, 20), (0.2, 1)):
        circuit = Circuit(failure_threshold=1, min_failure_span=0)
        circuit.settle(circuit.admit(), BAD, not_before=circuit.now + asked)
        assert circuit.opening == pytest.approx(length)


def test__server_given_time__counts_for_an_opening_by_rate_too() -> None:
    circuit = Circuit(failure_rate_threshold=0.5, min_requests=2, failure_threshold=10**6)
    circuit.fail()
    circuit.settle(circuit.admit(), BAD, not_before=circuit.now + 20)
    assert circuit.opening == pytest.approx(20)
