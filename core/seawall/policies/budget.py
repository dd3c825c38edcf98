"""Retry budget: extra attempts are paid for by calls that succeed.

Retries help when a few calls fail and are the outage when all do: three layers
of three retries make 27 calls of one. A budget bounds the load that retries (and
later hedges) may add to a share of the successful traffic. Source: Finagle's
RetryBudget (deposit and withdraw). Rejected as the default: a bucket refilled by
time, which is a floor per *process* (1,000 idle ones hammer a dead host
together); it is still here, plain and adaptive, for those who want it.

Balances are whole millionths of a token: a fifth, five times, is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from seawall import _check

_ONE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """Deposit by success, withdrawal by extra attempt. The default."""

    ratio: float = 0.2
    """Tokens (0–1) each successful call brings: the share of extra load in the long run."""
    cap: float = 10.0
    """Most tokens kept."""
    start: float = 3.0
    """Tokens a new host begins with, so that a quiet client gets the retries it expects."""
    refill_per_minute: float = 1.0
    """Tokens time brings: small, since it is paid by every process of a fleet."""

    def __post_init__(self) -> None:
        _check.number(self, "ratio", 0, 1)
        _check.number(self, "cap", 0, 1e9)
        _check.number(self, "start", 0)
        _check.number(self, "refill_per_minute", 0, 1e9)
        _check.ordered(self, "start", "cap")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBudget:
    """A token bucket refilled by time: at most `refill_rate` extra attempts a second in the long run."""

    max_tokens: float = 100.0
    """Most tokens kept, and those to start with."""
    refill_rate: float = 10.0
    """Tokens per second."""

    def __post_init__(self) -> None:
        _check.number(self, "max_tokens", 1, 1e9)
        _check.number(self, "refill_rate", 0, 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveBudget:
    """A token bucket whose refill rate follows the success of retries.

    Every `interval` with at least ten settled retries: more than 80 % of them successful → rate × 1.1, less than
    50 % → × 0.9; in between it stays.
    """

    max_tokens: float = 100.0
    """Most tokens kept, and those to start with."""
    refill_rate: float = 10.0
    """Tokens per second at the start."""
    min_refill_rate: float = 1.0
    """The rate never falls below it, however badly retries fare."""
    max_refill_rate: float = 50.0
    """Nor rises above it."""
    interval: float = 60.0
    """Seconds between adaptations."""

    def __post_init__(self) -> None:
        _check.number(self, "max_tokens", 1, 1e9)
        for field in ("refill_rate", "min_refill_rate", "max_refill_rate"):
            _check.number(self, field, 0, 1e9)
        _check.ordered(self, "min_refill_rate", "max_refill_rate")
        _check.ordered(self, "min_refill_rate", "refill_rate")
        _check.ordered(self, "refill_rate", "max_refill_rate")
        _check.duration(self, "interval", zero=False)


Budget = RetryBudget | TokenBudget | AdaptiveBudget


class BudgetState(Protocol):
    """What the host asks of a budget. Not locked: the host is."""

    cap: float
    refill_rate: float

    def deposit(self, calls: int) -> None:
        """So many calls succeeded."""

    def withdraw(self, now: float) -> bool:
        """Pay for one extra attempt."""
        ...

    def give_back(self) -> None:
        """The paid attempt never left."""

    def sample(self, success: bool, now: float) -> None:
        """A paid attempt reached the network and ended."""

    def balance(self, now: float) -> float:
        """Tokens at hand."""
        ...


@lru_cache(64)
def _parts(tokens: float) -> int:
    """Millionths. Remembered, so that a thousand hosts share one number."""
    return round(tokens * _ONE)


class Bucket:
    """Tokens with deposits and a refill; serves all three kinds."""

    __slots__ = ("_deposit", "_level", "_most", "_since", "cap", "refill_rate")

    def __init__(self, cap: float, start: float, deposit: float, refill_rate: float, now: float) -> None:
        self.cap = cap
        self.refill_rate = refill_rate
        self._most = _parts(cap)
        self._deposit = _parts(deposit)
        self._level = _parts(start)
        self._since = now

    def deposit(self, calls: int) -> None:
        level = self._level + calls * self._deposit
        self._level = level if level < self._most else self._most

    def withdraw(self, now: float) -> bool:
        self._refill(now)
        if self._level < _ONE:
            return False
        self._level -= _ONE
        return True

    def give_back(self) -> None:
        self._add(_ONE)

    def sample(self, success: bool, now: float) -> None:
        """Only the adaptive kind learns."""

    def balance(self, now: float) -> float:
        self._refill(now)
        return self._level / _ONE

    def _add(self, amount: int) -> None:
        self._level = min(self._level + amount, self._most)

    def _refill(self, now: float) -> None:
        if self.refill_rate and now > self._since:
            gained = int((now - self._since) * self.refill_rate * _ONE)
            if gained:  # time too short for a whole millionth is left for the next look, never dropped
                self._since += gained / (self.refill_rate * _ONE)
                self._add(gained)


class AdaptiveBucket(Bucket):
    """A bucket that learns from settled retries. Too few samples are kept for the next interval."""

    __slots__ = ("_config", "_samples", "_successes", "_turn")

    def __init__(self, config: AdaptiveBudget, now: float) -> None:
        super().__init__(config.max_tokens, config.max_tokens, 0, config.refill_rate, now)
        self._config = config
        self._samples = self._successes = 0
        self._turn = now + config.interval

    def sample(self, success: bool, now: float) -> None:
        self._samples += 1
        self._successes += success
        if now < self._turn:
            return
        self._turn = now + self._config.interval
        if self._samples < 10:
            return
        self._refill(now)  # the time so far is paid at the old rate
        share = self._successes / self._samples
        if share > 0.8:
            self.refill_rate = min(self._config.max_refill_rate, self.refill_rate * 1.1)
        elif share < 0.5:
            self.refill_rate = max(self._config.min_refill_rate, self.refill_rate * 0.9)
        self._samples = self._successes = 0


class Unlimited:
    """For `budget=None`: everything is paid for."""

    __slots__ = ("cap", "refill_rate")

    def __init__(self) -> None:
        self.cap = math.inf
        self.refill_rate = 0.0

    def deposit(self, calls: int) -> None:
        pass

    def withdraw(self, now: float) -> bool:
        return True

    def give_back(self) -> None:
        pass

    def sample(self, success: bool, now: float) -> None:
        pass

    def balance(self, now: float) -> float:
        return math.inf


def open_budget(config: Budget | None, now: float) -> BudgetState:
    """A new account of that kind."""
    match config:
        case RetryBudget():
            return Bucket(config.cap, config.start, config.ratio, config.refill_per_minute / 60, now)
        case TokenBudget():
            return Bucket(config.max_tokens, config.max_tokens, 0, config.refill_rate, now)
        case AdaptiveBudget():
            return AdaptiveBucket(config, now)
        case None:
            return Unlimited()
