"""Walks through state machines: round after round until all that is rare was met.

Each round has a seed of its own. (In CI Hypothesis derives the seed from the test's source: without one,
further rounds would be the same again.)
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar, Protocol

from hypothesis import seed, settings
from hypothesis.stateful import run_state_machine_as_test


class Machine(Protocol):
    """A `RuleBasedStateMachine` that counts the rare things it meets."""

    reached: ClassVar[Counter[str]]


def walk(machine: type[Machine], rare: set[str], examples: int, steps: int, rounds: int = 20) -> None:
    """Walk until all of `rare` was met; one that never is fails, for a walk that does not get there shows nothing."""
    machine.reached.clear()
    how: Any = settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    for number in range(rounds):
        run_state_machine_as_test(seed(number)(machine), settings=how)  # type: ignore[arg-type]
        if set(machine.reached) >= rare:
            break
    assert rare - set(machine.reached) == set()
