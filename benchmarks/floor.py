"""The floor: the cheapest correct pipeline in pure Python, a yardstick and not a product.

One record per origin, one lock, two short visits per request: `admit` (state, permit, budget deposit) and `settle`
(window of ten buckets, latency histogram, permit back, trip). Around them: deadline arithmetic that clamps the
client's own timeouts, an ambient deadline, a bounded attempt loop, and a body wrapper that gives the verdict where
the body ends. It has no backoff, probes, events, call object or story, so nothing that has them can cost less.

`LeanHost` goes without the lock while all is well: a success cannot open a closed breaker, so successes queue
(`deque.append` is atomic) and are folded into the window in batches.
"""

from collections import deque
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Any

CLOSED, OPEN = 0, 1
BUCKETS = 10
BATCH = 32
HISTOGRAM = 96  # 24 octaves of microseconds in quarters
BAD = frozenset((429, 500, 502, 503, 504))
REPEATABLE = frozenset(("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"))
UNLIMITED = 1 << 30

ambient: ContextVar[float | None] = ContextVar("deadline", default=None)


@dataclass(slots=True)
class Policy:
    lean: bool = False
    limit: int = UNLIMITED
    total: float = 30.0
    width: float = 1.0
    ratio: float = 0.5
    minimum: int = 20
    open_for: float = 30.0
    deposit: float = 0.1
    cap: float = 10.0


class Host:
    """All state of one origin; the lock guards every field that changes."""

    __slots__ = (
        "bad",
        "bad_at",
        "count",
        "count_at",
        "generation",
        "histogram",
        "in_flight",
        "lock",
        "name",
        "policy",
        "reopen",
        "slot",
        "slot_end",
        "state",
        "tokens",
    )

    def __init__(self, name: str, policy: Policy) -> None:
        self.name, self.policy, self.lock = name, policy, Lock()
        self.state = CLOSED
        self.generation = self.in_flight = self.count = self.bad = self.slot = 0
        self.slot_end = self.reopen = 0.0
        self.tokens = policy.cap
        self.count_at, self.bad_at = [0] * BUCKETS, [0] * BUCKETS
        self.histogram = [0] * HISTOGRAM

    def admit(self, now: float, error: type[Exception]) -> int:
        with self.lock:
            if self.state and now < self.reopen:
                raise error(self.name, self.reopen - now)
            if self.in_flight >= self.policy.limit:
                raise error(self.name, None)
            self.in_flight += 1
            tokens = self.tokens + self.policy.deposit
            self.tokens = tokens if tokens < self.policy.cap else self.policy.cap
            return self.generation

    def settle(self, ok: bool, started: float, generation: int) -> None:
        now = monotonic()
        us = int((now - started) * 1e6)
        octave = us.bit_length()
        with self.lock:
            self.in_flight -= 1
            if octave > 2:
                index = (octave << 2) | ((us >> (octave - 3)) & 3)
                self.histogram[index if index < HISTOGRAM else HISTOGRAM - 1] += 1
            else:
                self.histogram[octave] += 1
            if generation != self.generation:
                return
            if now >= self.slot_end:
                self._rotate(now)
            self.count += 1
            self.count_at[self.slot] += 1
            if not ok:
                self.bad += 1
                self.bad_at[self.slot] += 1
                if self.count >= self.policy.minimum and self.bad >= self.policy.ratio * self.count:
                    self._trip(now)

    def release(self) -> None:
        with self.lock:
            self.in_flight -= 1

    def _rotate(self, now: float) -> None:
        for _ in range(min(BUCKETS, int((now - self.slot_end) / self.policy.width) + 1)):
            self.slot = (self.slot + 1) % BUCKETS
            self.count -= self.count_at[self.slot]
            self.bad -= self.bad_at[self.slot]
            self.count_at[self.slot] = self.bad_at[self.slot] = 0
        self.slot_end = now + self.policy.width

    def _trip(self, now: float) -> None:
        self.state = OPEN
        self.generation += 1
        self.reopen = now + self.policy.open_for


class LeanHost(Host):
    """Takes the lock for failures and for one success in BATCH; permits are a list, whose pop and append are atomic."""

    __slots__ = ("done", "permits")

    def __init__(self, name: str, policy: Policy) -> None:
        super().__init__(name, policy)
        self.done: deque[tuple[float, float]] = deque()
        self.permits = None if policy.limit >= UNLIMITED else [None] * policy.limit

    def admit(self, now: float, error: type[Exception]) -> int:
        if self.state and now < self.reopen:
            raise error(self.name, self.reopen - now)
        if self.permits is not None:
            try:
                self.permits.pop()
            except IndexError:
                raise error(self.name, None) from None
        return self.generation

    def settle(self, ok: bool, started: float, generation: int) -> None:
        now = monotonic()
        if self.permits is not None:
            self.permits.append(None)
        if ok:
            if generation == self.generation:
                done = self.done
                done.append((now, started))
                if len(done) >= BATCH:
                    with self.lock:
                        self._drain()
            return
        with self.lock:
            if generation == self.generation:
                self._drain()
                self._count(now, started, False)

    def release(self) -> None:
        if self.permits is not None:
            self.permits.append(None)

    def _drain(self) -> None:
        done = self.done
        while done:
            now, started = done.popleft()
            self._count(now, started, True)

    def _count(self, now: float, started: float, ok: bool) -> None:
        us = int((now - started) * 1e6)
        octave = us.bit_length()
        index = (octave << 2) | ((us >> (octave - 3)) & 3) if octave > 2 else octave
        self.histogram[index if index < HISTOGRAM else HISTOGRAM - 1] += 1
        tokens = self.tokens + self.policy.deposit
        self.tokens = tokens if tokens < self.policy.cap else self.policy.cap
        if now >= self.slot_end:
            self._rotate(now)
        self.count += 1
        self.count_at[self.slot] += 1
        if not ok:
            self.bad += 1
            self.bad_at[self.slot] += 1
            if self.count >= self.policy.minimum and self.bad >= self.policy.ratio * self.count:
                self._trip(now)


class Registry:
    __slots__ = ("host", "hosts", "lock", "policy")

    def __init__(self, policy: Policy) -> None:
        self.hosts: dict[tuple[Any, ...], Host] = {}
        self.lock, self.policy = Lock(), policy
        self.host = LeanHost if policy.lean else Host

    def create(self, key: tuple[Any, ...]) -> Host:
        with self.lock:
            host = self.hosts.get(key)
            if host is None:
                host = self.hosts[key] = self.host(f"{key[0]}://{key[1]}", self.policy)
            return host


def clamp(timeout: Mapping[str, float | None], left: float) -> dict[str, float]:
    """The client's timeouts, none longer than what is left of the deadline."""
    clamped = {}
    for name in ("connect", "read", "write", "pool"):
        value = timeout.get(name)
        clamped[name] = left if value is None or value > left else value
    return clamped
