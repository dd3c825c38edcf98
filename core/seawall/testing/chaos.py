"""Faults drawn by a seed: what a test did not think of, and can have again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from seawall.testing.toxics import Bandwidth, Latency, LimitData, ResetPeer, Slicer, SlowClose, Timeout

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from seawall.testing.toxics import Toxic

_KINDS: Final[tuple[Callable[[Random, float], Toxic], ...]] = (
    lambda chance, share: Latency(seconds=chance.uniform(0.01, 0.1), jitter=0.01, toxicity=share),
    lambda chance, share: Bandwidth(rate=chance.randint(20_000, 200_000), toxicity=share),
    lambda chance, share: SlowClose(seconds=chance.uniform(0.05, 0.2), toxicity=share),
    lambda chance, share: Timeout(seconds=chance.uniform(0.05, 0.3), toxicity=share),
    lambda chance, share: ResetPeer(seconds=chance.uniform(0, 0.02), toxicity=share),
    lambda chance, share: Slicer(size=chance.randint(1, 50), delay=0.001, toxicity=share),
    lambda chance, share: LimitData(size=chance.randint(0, 300), toxicity=share),
)


def chaos(seed: int) -> tuple[Toxic, ...]:
    """One to three toxics for a `FaultProxy`, each befalling 5 to 30 % of the connections; the same for the same seed.

    No pause is longer than 0.3 s, so clients with timeouts of some seconds live. `Down` is not among them: it befalls
    all connections.
    """
    chance = random.Random(seed)
    kinds = chance.sample(_KINDS, chance.randint(1, 3))
    return tuple(kind(chance, chance.uniform(0.05, 0.3)) for kind in kinds)
