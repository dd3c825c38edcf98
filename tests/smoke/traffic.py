"""Callers that go on calling whatever comes of it, and what came of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import seawall
from seawall import Breaker, Policy, Resilience, Retry, Timeouts
from seawall.testing import assert_no_leaks
from tests.contract.clients import Client

PACE = 0.01
"""Seconds between two calls of one caller."""
OPENING = 0.2
"""Seconds a circuit of these scenarios stays open."""


def _breaker(**changes: Any) -> Breaker:
    """The defaults, with openings of one length, five times as short."""
    length: dict[str, Any] = {"open_duration": OPENING, "max_open_duration": OPENING, "open_jitter": 0}
    return Breaker(**(length | {"min_failure_span": 0.02} | changes))


def hurried(**changes: Any) -> Policy:
    """The defaults on shorter clocks."""
    parts: dict[str, Any] = {"retry": Retry(base_delay=0.01, max_delay=0.05), "breaker": _breaker()}
    return Policy(**(parts | changes))


def gateway() -> Policy:
    """`Policy.gateway()` on shorter clocks."""
    retry = Retry(base_delay=0.01, max_delay=0.05, jitter="decorrelated", max_elapsed=None)
    breaker = _breaker(failure_threshold=5, min_failure_span=0, failure_rate_threshold=0.5, min_requests=10)
    return Policy.gateway(timeouts=Timeouts(connect=0.5, attempt=0.5, total=1.5), retry=retry, breaker=breaker)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How one call ended: an answer of the host below 500 is good; `error` is the library's, or ours."""

    is_good: bool
    is_degraded: bool
    attempts: int
    seconds: float
    error: Exception | None


class Traffic:
    """What callers saw of their calls."""

    def __init__(self, ends: list[End], took: float) -> None:
        self.took = took
        self.calls = len(ends)
        self.good = sum(end.is_good for end in ends)
        self.degraded = sum(end.is_degraded for end in ends)
        """Those answered from elsewhere."""
        self.refused = sum(not end.attempts for end in ends)
        """Those for which nothing was sent."""
        self.attempts = sum(end.attempts for end in ends)
        self.longest = max(end.seconds for end in ends)
        self.errors = [end.error for end in ends if end.error is not None]

    def probes(self, at_a_time: int = 3) -> int:
        """The most that an open circuit lets through in that time, however long this machine took."""
        return at_a_time * (1 + int(self.took / OPENING))


async def traffic(client: Client, url: str, *, callers: int = 4, each: int = 15) -> Traffic:
    """So many callers at once, each making so many calls with a short pause after each."""

    async def caller() -> list[End]:
        ends: list[End] = []
        for _ in range(each):
            ends.append(await _call(client, url))
            await client.kit.sleep(PACE)
        return ends

    began = time.monotonic()
    told = await client.kit.together(*[caller] * callers)
    took = time.monotonic() - began
    for ends in told:
        if isinstance(ends, Exception):
            raise ends
    return Traffic([end for ends in told for end in ends], took)


async def _call(client: Client, url: str) -> End:
    began = time.monotonic()
    told: object
    try:
        answer = await client.get(url)
    except client.kit.errors.base as error:  # anything else is no way for a call to end
        told, is_answered = error, False
    else:
        told, is_answered = answer.raw, answer.status < 500
    seconds = time.monotonic() - began
    report = seawall.report(told)
    assert report is not None
    is_degraded = report.served_from != "origin"
    return End(
        is_good=is_answered and not is_degraded,
        is_degraded=is_degraded,
        attempts=len(report.attempts),
        seconds=seconds,
        error=told if isinstance(told, Exception) else None,
    )


async def recovers(client: Client, url: str, resilience: Resilience, within: float = 5.0) -> None:
    """The host is well: soon a call is good, the circuit closes, and then all are."""
    end = time.monotonic() + within
    with seawall.override(timeouts=None):  # a busy machine is not the host's fault
        while not (await _call(client, url)).is_good or state(resilience) != "closed":
            assert time.monotonic() < end, f"still {state(resilience)} after {within} s"
            await client.kit.sleep(PACE)
        after = await traffic(client, url, each=2)
    assert (after.good, after.attempts) == (after.calls, after.calls)
    rests(resilience)


def state(resilience: Resilience) -> str:
    """Of the one host there is."""
    [snapshot] = resilience.snapshots()
    return snapshot.state


def rests(resilience: Resilience) -> None:
    """Nothing was left behind."""
    assert_no_leaks(resilience)
    assert all(snapshot.in_flight == snapshot.queue_depth == 0 for snapshot in resilience.snapshots())
