"""What one seed makes of the world: which features are on, the policies, the servers' troubles, the calls.

Swarm testing: each seed switches about half of the features off, since a bug that one
feature shows is often hidden by another. Each concern draws from a source of chance of
its own, so that switching a feature off leaves the rest nearly as it was: that is what
makes a failure small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any, Final

from seawall import (
    AdaptiveBudget,
    Breaker,
    Bulkhead,
    Policy,
    Retry,
    RetryBudget,
    Timeouts,
    TokenBudget,
    override,
)
from seawall.testing.sim.delays import DELAYS
from seawall.testing.sim.server import Condition

if TYPE_CHECKING:
    from seawall.testing.swarm.onlooker import Onlooker

FEATURES: Final = (
    "errors",
    "refused",
    "unreachable",
    "resets",
    "hangs",
    "slowness",
    "few workers",
    "stragglers",
    "rate limits",
    "lies",
    "bodies",
    "replicas",
    "clocks",
    "bulkheads",
    "retries",
    "budgets",
    "breakers",
    "responding",
    "unsafe",
    "keys",
    "deadlines",
    "overrides",
    "cancels",
    "leaving",
    "listening",
    "skew",
    "operators",
    "degrading",
    "tails",
    "drips",
    "crowds",
    "strangers",
    "hooks",
    "failing stores",
)

LONG: Final = bytes(100_000)
"""The body of an error, longer than anybody reads ahead: the answer has to be let go."""
LONGEST_TROUBLE: Final = 20.0
"""Seconds in which servers misbehave, after two in which they do not."""
CALM: Final = 450.0
"""When the calm begins in which everybody must be served: after the longest delay a server can ask for."""


@dataclass(frozen=True)
class Scenario:
    """A seed, and what of it is on."""

    seed: int
    features: frozenset[str]
    calls: int = 300
    """About so many, before the calm."""

    @classmethod
    def of(cls, seed: int, calls: int = 300) -> Scenario:
        """Everything the seed says."""
        chance = Random(f"features {seed}")
        share = chance.choice((0.2, 0.4, 0.6))
        return cls(seed, frozenset(name for name in FEATURES if chance.random() < share), calls)

    def has(self, feature: str) -> bool:
        return feature in self.features

    def chance(self, concern: str) -> Random:
        """Its own source of chance for each concern."""
        return Random(f"{concern} {self.seed}")

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.calls} calls, {', '.join(sorted(self.features)) or 'nothing special'}"


def policy_of(scenario: Scenario, client: int, user: Onlooker | None = None) -> Policy:
    """The policy of one client; `user`: whose code runs in it."""
    chance = scenario.chance(f"policy {client}")
    parts: dict[str, Any] = {
        "retry": _retry(scenario, scenario.chance(f"retry {client}")),
        "breaker": _breaker(scenario, scenario.chance(f"breaker {client}")),
    }
    if scenario.has("clocks"):
        parts["timeouts"] = _timeouts(scenario.chance(f"clocks {client}"))
    if scenario.has("budgets"):
        parts["budget"] = _budget(scenario.chance(f"budget {client}"))
    if scenario.has("bulkheads"):
        parts["bulkhead"] = Bulkhead(
            max_concurrent=chance.randint(1, 5),
            max_wait=chance.choice((0, 0.3, 2)),
            max_queue=chance.choice((1, 3, 1000)),
        )
    if scenario.has("responding") and chance.random() < 0.5:
        parts["rejections"] = "respond"
    if user is not None:
        parts["retry"] = replace(parts["retry"], when=user.when)
        parts["classify"] = user.classify
    return Policy(**parts)


def _timeouts(chance: Random) -> Timeouts:
    attempt = chance.choice((0.2, 0.5, 1.0, 3.0))
    clocks: dict[str, Any] = {"attempt": attempt}
    if chance.random() < 0.6:
        clocks["total"] = attempt * chance.choice((1.0, 2.0, 4.0))
    if chance.random() < 0.3:
        clocks["connect"] = attempt / 2
    if chance.random() < 0.3:
        clocks["first_byte"] = attempt * 0.7
    if chance.random() < 0.5:
        clocks["idle"] = chance.choice((0.3, 1.0))
    return Timeouts(**clocks)


def _retry(scenario: Scenario, chance: Random) -> Retry:
    figures: dict[str, Any] = {}
    if scenario.has("retries"):
        base = chance.choice((0.0, 0.05, 0.1, 0.4))
        figures |= {
            "max_retries": chance.randint(0, 5),
            "base_delay": base,
            "max_delay": max(base, chance.choice((0.2, 1.0, 2.0))),
            "multiplier": chance.choice((1.0, 2.0, 3.0)),
            "backoff": chance.choice(("exponential", "linear", "fibonacci", "constant")),
            "jitter": chance.choice(("full", "equal", "decorrelated", "none")),
            "max_retry_after": chance.choice((0.5, 2.0, 30.0)),
            "share_retry_after": chance.random() < 0.7,
            "max_elapsed": chance.choice((None, 0.5, 2.0, 60.0)),
            "on_exhausted": chance.choice(("return", "return", "raise")),
        }
    if scenario.has("keys"):
        figures["idempotency_key"] = "auto"
    return Retry(**figures)


def _breaker(scenario: Scenario, chance: Random) -> Breaker | None:
    if not scenario.has("breakers"):
        return Breaker()
    if chance.random() < 0.1:
        return None
    first = chance.choice((0.2, 1.0, 3.0))
    return Breaker(
        failure_threshold=chance.choice((1, 2, 3, 5, 1000)),
        min_failure_span=chance.choice((0.0, 0.0, 0.5, 2.0)),
        failure_rate_threshold=chance.choice((0.2, 0.5, 0.8, 1.0)),
        min_requests=chance.choice((1, 5, 10, 20)),
        sampling_window=chance.choice((1.0, 5.0, 10.0)),
        open_duration=first,
        open_multiplier=chance.choice((1.0, 1.5, 3.0)),
        max_open_duration=first * chance.choice((1.0, 2.0, 5.0)),
        open_jitter=chance.choice((0.0, 0.2, 0.5)),
        success_threshold=chance.choice((1, 2, 3, 5)),
        half_open_max_requests=chance.choice((1, 2, 3)),
        half_open_timeout=chance.choice((0.5, 5.0, 30.0)),
        slow_call_duration=chance.choice((None, None, 0.1, 0.5)),
        slow_call_rate_threshold=chance.choice((0.3, 0.7, 1.0)),
        count_timeouts_as_failures=chance.random() < 0.8,
        count_5xx_as_failures=chance.random() < 0.8,
        count_429_as_failures=chance.random() < 0.3,
    )


def _budget(chance: Random) -> Any:
    kind = chance.randrange(4)
    if kind == 0:
        return None
    if kind == 1:
        return TokenBudget(max_tokens=chance.choice((1, 3, 10)), refill_rate=chance.choice((0, 0.5, 5)))
    if kind == 2:
        return AdaptiveBudget(
            max_tokens=chance.choice((2, 20)), refill_rate=2, min_refill_rate=0.5, max_refill_rate=3, interval=2
        )
    cap = chance.choice((1.0, 5.0, 10.0))
    return RetryBudget(
        ratio=chance.choice((0.0, 0.1, 0.2, 0.5)),
        cap=cap,
        start=cap * chance.choice((0.0, 0.5, 1.0)),
        refill_per_minute=chance.choice((0, 1, 30)),
    )


OVERRIDES: Final = {
    "no retries": override(retry=None),
    "no breaker": override(breaker=None),
    "no budget": override(budget=None),
    "no bulkhead": override(bulkhead=None),
    "short": override(timeouts=Timeouts(total=0.4)),
}
"""By name, so that checkers know what was asked."""

STATUSES: Final = (500, 500, 502, 503, 503, 504, 429, 429, 408, 425, 404, 401, 501, 505, 507, 520, 529, 418)

_TROUBLES: Final[dict[str, Callable[[Random], dict[str, Any]]]] = {
    "errors": lambda chance: {"errors": chance.choice((0.2, 0.5, 1.0)), "status": chance.choice(STATUSES)},
    "refused": lambda chance: {"refused": chance.choice((0.3, 1.0))},
    "unreachable": lambda chance: {"unreachable": chance.choice((0.2, 1.0))},
    "resets": lambda chance: {"reset": chance.choice((0.2, 0.7))},
    "hangs": lambda chance: {"hang": chance.choice((0.2, 1.0))},
    "slowness": lambda chance: {"slow": chance.choice((3.0, 10.0, 30.0))},
    "few workers": lambda chance: {"workers": chance.choice((0.1, 0.4))},
    "stragglers": lambda chance: {"stragglers": chance.choice((0.05, 0.2))},
    "rate limits": lambda chance: {"rate": chance.choice((2.0, 10.0))},
    "bodies": lambda _chance: {"breaks": 0.2, "stalls": 0.1},
    "drips": lambda chance: {"drips": chance.choice((0.1, 0.5)), "drip": chance.choice((0.005, 0.05, 0.4))},
}


_TAILS: Final[tuple[Callable[[Random], float], ...]] = (
    lambda chance: chance.uniform(0.01, 0.3),
    lambda chance: chance.uniform(0.01, 0.03) if chance.random() < 0.9 else chance.uniform(0.5, 0.9),
    lambda chance: chance.uniform(0.9, 1.0) * min(1.0, 0.015 * chance.paretovariate(1.1)),
    lambda chance: chance.uniform(0.9, 1.0) * min(1.0, chance.expovariate(20)),
)
"""Seconds a request takes, where no lognormal says it: flat, in two humps, with a long tail.

Never quite a round number: at the very instant of a timeout both may happen."""


def latency_of(scenario: Scenario, chance: Random) -> float | Callable[[Random], float]:
    """How long a server takes for a request."""
    mean = chance.choice((0.02, 0.1))
    return scenario.chance("tails").choice(_TAILS) if scenario.has("tails") else mean


def troubles_of(scenario: Scenario, server: int) -> list[tuple[float, float, Condition]]:
    """When what is wrong with a server."""
    chance, long = scenario.chance(f"trouble {server}"), scenario.chance(f"long errors {server}")
    kinds = [kind for kind in _TROUBLES if scenario.has(kind)]
    found: list[tuple[float, float, Condition]] = []
    for _ in range(chance.randint(1, 4)):
        fields: dict[str, Any] = {}
        for kind in kinds:
            if chance.random() < 0.5:
                fields |= _TROUBLES[kind](chance)
        if scenario.has("lies") and "errors" in fields:
            fields["headers"] = dict(chance.choice(DELAYS)[0])
        if fields.get("status") == 429 and chance.random() < 0.5:
            told = {"content-type": "application/json"}
            fields["headers"] = {**fields.get("headers", {}), **told}
            fields["body"] = chance.choice((b'{"error": "insufficient_quota"}', b'{"error": "too many"}'))
        if "errors" in fields and "body" not in fields and scenario.has("bodies") and long.random() < 0.5:
            fields["body"] = LONG
        if scenario.has("replicas") and chance.random() < 0.5:
            fields["replica"] = 0
        start = 2 + chance.random() * LONGEST_TROUBLE
        end = min(2 + LONGEST_TROUBLE, start + chance.expovariate(0.2))
        found.append((start, end, Condition(**fields)))
    return found
