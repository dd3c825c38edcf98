"""A bank that counts what it did, and the ways a payment can go wrong on its way there and back.

Each call has a number, and its fate for every attempt is drawn from it beforehand; the last
one is always good, so that a call that may be repeated is answered in the end. The bank
knows keys: a payment asked for again under one is not made again.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class How(NamedTuple):
    """What a fate means: does the payment happen, and may a request without a key go out again after it?"""

    word: str
    pays: bool
    allows: bool


class Fate(Enum):
    """One attempt. What allows another for any request: nothing left, or the server says so."""

    FINE = How("fine", True, False)
    REFUSED = How("connection refused", False, True)
    UNRESOLVED = How("no such name", False, True)
    CONNECT_LATE = How("connect timeout", False, True)
    NO_CONNECTION = How("no connection free", False, True)
    RESET_HALF_READ = How("reset before all was read", False, False)
    WRITE_LATE = How("write timeout", False, False)
    RESET_BEFORE = How("reset before it was done", False, False)
    CLOSED_BEFORE = How("closed before it was done", False, False)
    LATE_BEFORE = How("read timeout before it was done", False, False)
    RESET_AFTER = How("reset after it was done", True, False)
    CLOSED_AFTER = How("closed after it was done", True, False)
    LATE_AFTER = How("read timeout after it was done", True, False)
    GARBAGE_AFTER = How("garbage after it was done", True, False)
    MID_RESPONSE = How("the answer breaks off", True, False)
    BUSY = How("503 instead of doing it", False, False)
    BROKEN = How("500 instead of doing it", False, False)
    BUSY_AFTER = How("503 after it was done", True, False)
    GATEWAY_AFTER = How("504 after it was done", True, False)
    THROTTLED = How("429", False, True)
    SHOULD_RETRY = How("500 with x-should-retry: true", False, True)
    SHOULD_NOT_RETRY = How("503 with x-should-retry: false", False, False)


STATUSES: dict[Fate, tuple[int, dict[str, str]]] = {
    Fate.FINE: (200, {}),
    Fate.BUSY: (503, {}),
    Fate.BROKEN: (500, {}),
    Fate.BUSY_AFTER: (503, {}),
    Fate.GATEWAY_AFTER: (504, {}),
    Fate.THROTTLED: (429, {}),
    Fate.SHOULD_RETRY: (500, {"x-should-retry": "true"}),
    Fate.SHOULD_NOT_RETRY: (503, {"x-should-retry": "false"}),
    Fate.MID_RESPONSE: (200, {}),
}
BEFORE_SENDING = (Fate.REFUSED, Fate.UNRESOLVED, Fate.CONNECT_LATE, Fate.NO_CONNECTION)
ON_THE_WIRE = tuple(fate for fate in Fate if fate not in (*BEFORE_SENDING, Fate.WRITE_LATE))
"""What a server can do to a request that reached it."""

RETRIES = 3
"""More than the faults of any call."""
METHODS = ("POST", "POST", "POST", "PATCH", "PUT", "DELETE", "GET")
BODIES = ("bytes", "generator", "remembered", "made anew")
KEYS = ("none", "none", "own", "auto")


@dataclass(slots=True)
class Payment:
    """One call: what is asked, what will happen to it, and what the bank saw."""

    number: int
    method: str
    body: str
    key: str
    fates: tuple[Fate, ...]
    seen: list[tuple[Fate, str | None, bytes | None]] = field(default_factory=list)
    """Of each attempt: its fate, the key, and the body if it was read to its end."""
    effects: int = 0
    attempts: int | None = None
    """That may have left, as the client tells, where it was asked."""

    @property
    def pieces(self) -> list[bytes]:
        """What is to be sent."""
        return [b"payment %d: " % self.number, b"x" * (self.number % 50), b" end"]

    @property
    def is_safe(self) -> bool:
        """May it be sent again whatever happens?"""
        return self.key != "none" or self.method in ("PUT", "DELETE", "GET")


def payments(seed: int, count: int, fates: tuple[Fate, ...]) -> list[Payment]:
    """Calls of every kind, with up to three faults each."""
    chance = random.Random(seed)
    faults = [fate for fate in fates if fate is not Fate.FINE]
    made: list[Payment] = []
    for number in range(count):
        method = chance.choice(METHODS)
        body = "none" if method in ("GET", "DELETE") else chance.choice(BODIES)
        troubles = chance.choices(faults, k=chance.choice((0, 1, 1, 2, 3)))
        made.append(Payment(number, method, body, chance.choice(KEYS), (*troubles, Fate.FINE)))
    return made


class Bank:
    """Does payments, once per key, and keeps the books."""

    def __init__(self, calls: list[Payment]) -> None:
        self.calls = calls
        self._paid: set[str] = set()
        self._lock = threading.Lock()

    def fate(self, number: int) -> Fate:
        """What is to happen to the next attempt of this call."""
        call = self.calls[number]
        return call.fates[min(len(call.seen), len(call.fates) - 1)]

    def take(self, number: int, key: str | None, body: bytes | None) -> Fate:
        """An attempt has come, or has failed to: its fate. A body of None did not arrive whole."""
        with self._lock:
            call, fate = self.calls[number], self.fate(number)
            call.seen.append((fate, key, body))
            if fate.value.pays and (key is None or key not in self._paid):
                call.effects += 1
                if key is not None:
                    self._paid.add(key)
            return fate


class Books(NamedTuple):
    """What a run came to."""

    calls: int
    attempts: int
    repeated: int
    effects: int
    doubled_safe: int
    """Of safe methods without a key, where twice is once."""


def check(calls: list[Payment], retries: int = RETRIES) -> Books:
    """Raise AssertionError if any call was paid for twice, changed on its way, or went out again when it must not."""
    keys: Counter[str] = Counter()
    for call in calls:
        seen, whole = call.seen, b"".join(call.pieces) if call.body != "none" else b""
        if not seen:  # reset before anything of it was read, and that was the end of it
            assert call.is_safe or call.attempts == 1, call
            continue
        assert len(seen) <= retries + 1, call
        assert len({key for _, key, _ in seen}) == 1, f"the key changed: {call}"
        assert {body for _, _, body in seen if body is not None} <= {whole}, f"the body changed: {call}"
        key = seen[0][1]
        keyed = call.method not in ("PUT", "DELETE", "GET") if call.key == "auto" else call.key == "own"
        assert (key is not None) is keyed, call
        if key is not None:
            keys[key] += 1
        if not call.is_safe:
            for fate, _, _ in seen[:-1]:
                assert fate.value.allows, f"sent again after {fate.value.word}: {call}"
            # An attempt the bank never read (it reset the connection) can only have been the last.
            unread = 0 if call.attempts is None else call.attempts - len(seen)
            assert unread == 0 or (unread == 1 and seen[-1][0].value.allows), f"sent again after a reset: {call}"
            assert call.effects <= 1, f"paid {call.effects} times: {call}"
        if key is not None:
            ends_early = call.body == "generator" or any(f is Fate.SHOULD_NOT_RETRY for f, _, _ in seen)
            assert call.effects == 1 or (ends_early and call.effects == 0), f"paid {call.effects} times: {call}"
    assert all(times == 1 for times in keys.values()), "two calls under one key"
    return Books(
        calls=len(calls),
        attempts=sum(len(call.seen) for call in calls),
        repeated=sum(len(call.seen) > 1 for call in calls),
        effects=sum(call.effects for call in calls),
        doubled_safe=sum(call.effects > 1 for call in calls),
    )
