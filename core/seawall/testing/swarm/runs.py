"""Many seeds, each a scenario of its own, judged by every checker; a failing one is made small and can be replayed."""

from __future__ import annotations

import gc
import hashlib
import logging
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from seawall.testing.checks import violations
from seawall.testing.swarm import recovery
from seawall.testing.swarm.scenario import Scenario
from seawall.testing.swarm.world import World

if TYPE_CHECKING:
    from seawall.testing.sim.history import History


class Verdict(NamedTuple):
    """What came of one scenario."""

    scenario: Scenario
    calls: int
    wrong: list[str]
    trace: str
    """A digest of all that happened, if it was asked for: the same seed gives the same."""


def play(scenario: Scenario, *, traced: bool = False) -> Verdict:
    """Play it and judge it. What escapes the product is a violation too."""
    was_on, log = gc.isenabled(), logging.getLogger("seawall")
    was_disabled, log.disabled = log.disabled, True  # user code raises on purpose
    gc.disable()  # it would take a third of the time; dropped answers go by their reference counts
    try:
        return _play(scenario, traced)
    finally:
        log.disabled = was_disabled
        if was_on:
            gc.enable()


def _play(scenario: Scenario, traced: bool) -> Verdict:
    world = World(scenario)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # answers are dropped on purpose
        try:
            history = world.play().history
        except Exception:
            return Verdict(scenario, 0, ["it broke: " + traceback.format_exc(limit=-3)], "")
    wrong = [*violations(history), *recovery.check(history)]
    return Verdict(scenario, len(history.calls), wrong, digest(history) if traced else "")


def digest(history: History) -> str:
    """A digest of everything that happened."""
    digest = hashlib.blake2b(digest_size=8)
    for kind, now, what in history.log:
        text = what if kind == "act" else (what.client, what.hosts) if kind == "picture" else what
        digest.update(f"{kind} {now!r} {text}\n".encode())
    return digest.hexdigest()


def shrink(scenario: Scenario, tell: Callable[[str], object] = print) -> Verdict:
    """The smallest scenario found that fails still: without features, with fewer calls."""
    best = play(scenario)
    smaller = True
    while smaller and best.wrong:
        smaller = False
        for candidate in _smaller(best.scenario):
            verdict = play(candidate)
            if verdict.wrong:
                tell(f"  still fails with {candidate}")
                best, smaller = verdict, True
                break
    return best


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """What to try next, the greatest steps first."""
    features = sorted(scenario.features)
    half = len(features) // 2
    if half > 1:
        yield replace(scenario, features=frozenset(features[:half]))
        yield replace(scenario, features=frozenset(features[half:]))
    if scenario.calls > 8:
        yield replace(scenario, calls=scenario.calls // 2)
    for feature in features:
        yield replace(scenario, features=scenario.features - {feature})
