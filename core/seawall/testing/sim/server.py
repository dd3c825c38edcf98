"""A scripted server: workers, a queue, replicas, and what is wrong with them when.

What comes of a request is decided when it arrives: with workers taken in the order of
arrival, its start and its end can be worked out at once, so that the server costs no
event of its own. A server goes on with a request whose caller has given up: that is
what makes an overload feed itself.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final

from seawall import _check
from seawall.outcome import ErrorKind, Sent
from seawall.testing.sim.messages import BREAKS, HANGS, Exchange, Headers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from seawall.testing.sim.messages import Request

FOR_EVER: Final = float("inf")
_SHARES: Final = (
    "refused", "unreachable", "reset", "hang", "errors", "stragglers", "workers", "breaks", "stalls", "drips",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What is wrong with a server for a while. Shares are of the requests that arrive, 0–1; each has its own chance."""

    refused: float = 0.0
    """Share of connections refused."""
    unreachable: float = 0.0
    """Share of connections that never come about."""
    reset: float = 0.0
    """Share of connections reset instead of an answer: every second time after the server did what it was asked."""
    hang: float = 0.0
    """Share never answered; a worker is not busy with them."""
    errors: float = 0.0
    """Share answered with `status`, without doing what was asked."""
    status: int = 500
    headers: Mapping[str, str] | None = None
    """Fields of those answers: a Retry-After, true or not."""
    body: bytes = b""
    """The body of those answers."""
    slow: float = 1.0
    """The time a request takes, times this."""
    stragglers: float = 0.0
    """Share of requests that take `straggle` times as long."""
    straggle: float = 20.0
    workers: float = 1.0
    """Share of the workers at work."""
    rate: float | None = None
    """Requests a second it takes; with more it answers 429 and a `Retry-After` in whole seconds."""
    breaks: float = 0.0
    """Share of bodies that break off half way."""
    stalls: float = 0.0
    """Share of bodies whose second half never comes."""
    drips: float = 0.0
    """Share of bodies that come in single bytes, one in `drip` seconds."""
    drip: float = 0.5
    replica: int | None = None
    """Only this one is concerned; the others are well."""

    def __post_init__(self) -> None:
        for share in _SHARES:
            _check.number(self, share, 0, 1)
        for times in ("slow", "straggle"):
            _check.number(self, times, 0, open_below=True)
        _check.count(self, "status", 100)
        _check.duration(self, "drip")
        if self.rate is not None:
            _check.number(self, "rate", 0, open_below=True)
        _check.count(self, "replica", 0, optional=True)


WELL: Final = Condition()


def _steady(seconds: float) -> Callable[[Random], float]:
    """About `seconds`, with the tail that servers have: lognormal, its 99th percentile about three times the median."""
    return lambda chance: seconds * chance.lognormvariate(0.0, 0.5) / 1.133


class Server:
    """One origin. Every method may be called before the simulation runs, and while it does."""

    def __init__(
        self,
        origin: str,
        *,
        start: float,
        workers: int | None = None,
        latency: float | Callable[[Random], float] = 0.035,
        queue: int = 1000,
        replicas: int = 1,
        answer: Callable[[Request], Any] | None = None,
        seed: int | str = 0,
    ) -> None:
        """
        origin: `scheme://host`, as requests name it.
        start: the clock's instant that counts as second 0 for `during`.
        workers: requests worked on at a time, over all replicas; None: any number.
        latency: mean seconds a request takes (lognormal), or a function that draws them.
        queue: requests that may wait for a worker of their replica; the next is answered 503 at once.
        replicas: equal shares of the workers behind one name; each request meets one by chance.
        answer: `answer(request)` gives the body of a good answer, or status, headers and pieces (bytes, or seconds of
            silence before the next).
        """
        if "://" not in origin:
            raise ValueError(f"server: origin={origin!r}: give scheme and host, as in https://api.test")
        self.origin = origin
        self._start = start
        self._latency = _steady(latency) if isinstance(latency, int | float) else latency
        self._queue = queue
        self._answer = answer
        self._chance = Random(f"server {origin} {seed}")
        size = None if workers is None else max(1, workers // replicas)
        self._replicas = [_Replica(size) for _ in range(replicas)]
        self._conditions: list[tuple[float, float, Condition]] = []
        self._allowance = 0.0
        self._allowed_at = start

    def during(self, start: float, end: float, condition: Condition) -> Server:
        """What is wrong from second `start` to second `end`. Where two overlap the later said holds."""
        if not isinstance(condition, Condition):
            raise TypeError(f"during: {condition!r}: give a Condition")
        if not start < end:
            raise ValueError(f"during: from {start!r} to {end!r}: the end has to be later than the start")
        self._conditions.append((self._start + start, self._start + end, condition))
        return self

    def condition(self, now: float) -> Condition:
        """What is wrong at that instant."""
        for start, end, condition in reversed(self._conditions):
            if start <= now < end:
                return condition
        return WELL

    def receive(self, request: Request, now: float) -> Exchange:
        """What will come of a request that was sent now."""
        exchange, chance = Exchange(now), self._chance
        condition = self.condition(now) if self._conditions else WELL
        if len(self._replicas) > 1:
            exchange.replica = int(chance.random() * len(self._replicas))
            if condition.replica not in (None, exchange.replica):
                condition = WELL
        if condition is not WELL and self._turns_away(condition, exchange, now):
            return exchange
        replica = self._replicas[exchange.replica]
        started = now
        if replica.size is not None:
            if replica.waiting(now) >= self._queue:
                self._say(exchange, now, 503)
                return exchange
            started = self._starts(replica, now)
        condition = self.condition(started) if self._conditions else WELL
        if condition.replica not in (None, exchange.replica):
            condition = WELL
        takes = self._latency(chance)
        if condition is not WELL:
            takes *= condition.slow
            if condition.stragglers and chance.random() < condition.stragglers:
                takes *= condition.straggle
        ended = started + takes
        replica.take(started, ended)
        if condition.errors and chance.random() < condition.errors:
            self._say(exchange, ended, condition.status, condition.headers, condition.body)
        elif condition.reset and chance.random() < condition.reset:
            exchange.headers_at, exchange.error = ended, (ErrorKind.CONNECTION_RESET, Sent.MAYBE)
            if chance.random() < 0.5:
                exchange.acted_at = ended
        else:
            exchange.headers_at = exchange.acted_at = ended
            self._give(exchange, request)
            if exchange.pieces and condition is not WELL:
                self._spoil(exchange, condition)
        return exchange

    def _turns_away(self, condition: Condition, exchange: Exchange, now: float) -> bool:
        """Refused, unreachable, hanging, over the rate: what costs no worker."""
        chance = self._chance.random
        if condition.refused and chance() < condition.refused:
            exchange.headers_at = now + 0.0005
            exchange.error = (ErrorKind.CONNECTION_REFUSED, Sent.NO)
        elif condition.unreachable and chance() < condition.unreachable:
            exchange.connected_at = exchange.headers_at = FOR_EVER
        elif condition.hang and chance() < condition.hang:
            exchange.headers_at = FOR_EVER
        elif condition.rate is not None and not self._allows(condition.rate, now):
            self._say(exchange, now + 0.002, 429, {"retry-after": "1"})
        else:
            return False
        return True

    def _allows(self, rate: float, now: float) -> bool:
        """A bucket of one second's requests."""
        self._allowance = min(rate, self._allowance + (now - self._allowed_at) * rate)
        self._allowed_at = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _starts(self, replica: _Replica, now: float) -> float:
        """When a worker is free, those counted that are at work then."""
        assert replica.size is not None
        if not self._conditions:
            return replica.free_at(now, replica.size)
        while True:
            at_work = max(1, round(replica.size * self.condition(now).workers))
            started = replica.free_at(now, at_work)
            turns = [t for s, e, _ in self._conditions for t in (s, e) if now < t <= started]
            if not turns:
                return started
            now = min(turns)

    def _say(
        self, exchange: Exchange, at: float, status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        exchange.headers_at, exchange.status = at, status
        if headers:
            exchange.headers = Headers(headers)
        if body:
            exchange.pieces, exchange.body = [(at, body)], body

    def _give(self, exchange: Exchange, request: Request) -> None:
        """A good answer."""
        if self._answer is None:
            return
        given = self._answer(request)
        if isinstance(given, bytes):
            exchange.pieces, exchange.body = [(exchange.headers_at, given)] if given else [], given
            return
        exchange.status, headers, pieces = given
        exchange.headers = Headers(headers)
        at = exchange.headers_at
        for piece in pieces:
            if isinstance(piece, bytes):
                exchange.pieces.append((at, piece))
            else:
                at += piece
        exchange.body = b"".join(piece for _, piece in exchange.pieces)

    def _spoil(self, exchange: Exchange, condition: Condition) -> None:
        chance = self._chance.random
        pieces = exchange.pieces
        if condition.drips and chance() < condition.drips:
            whole, at = b"".join(piece for _, piece in pieces), pieces[0][0]
            exchange.pieces = [(at + n * condition.drip, whole[n : n + 1]) for n in range(len(whole))]
        elif condition.breaks and chance() < condition.breaks:
            exchange.pieces, exchange.body_ends = _half(pieces), BREAKS
        elif condition.stalls and chance() < condition.stalls:
            exchange.pieces, exchange.body_ends = _half(pieces), HANGS


def _half(pieces: list[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    if len(pieces) > 1:
        return pieces[: len(pieces) // 2]
    at, whole = pieces[0]
    return [(at, whole[: len(whole) // 2])] if len(whole) > 1 else []


class _Replica:
    """Workers, and the requests that wait for one."""

    __slots__ = ("_free", "_starts", "size")

    def __init__(self, size: int | None) -> None:
        self.size = size
        self._free = [0.0] * (size or 0)
        """When each worker is free, in order."""
        self._starts: deque[float] = deque()
        """Of those who wait, or did when somebody last looked."""

    def waiting(self, now: float) -> int:
        starts = self._starts
        while starts and starts[0] <= now:
            starts.popleft()
        return len(starts)

    def free_at(self, now: float, at_work: int) -> float:
        """When fewer than `at_work` are busy."""
        return max(now, self._free[len(self._free) - at_work])

    def take(self, started: float, ended: float) -> None:
        if self.size is not None:
            del self._free[0]
            insort(self._free, ended)
            self._starts.append(started)
