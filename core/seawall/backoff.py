"""How long to wait between attempts: four sequences, four jitters, all pure.

Retrying clients that failed together come back together unless chance spreads
them. Jitter is therefore applied *after* the cap: the common order (jitter, then
cap) makes all late delays equal again. Sources: AWS Architecture Blog,
"Exponential Backoff And Jitter" (full, equal, decorrelated).
"""

from __future__ import annotations

from typing import Literal

Growth = Literal["exponential", "linear", "fibonacci", "constant"]
Jitter = Literal["full", "equal", "decorrelated", "none"]


def grow(growth: Growth, base: float, multiplier: float, cap: float, n: int) -> float:
    """The delay before retry `n` (from 0) without jitter, in seconds; never above `cap`, whatever `n`."""
    match growth:
        case "exponential":
            try:
                delay = base * multiplier**n
            except OverflowError:
                delay = cap
        case "linear":
            delay = base * (n + 1)
        case "fibonacci":
            delay = _fibonacci(base, cap, n)
        case "constant":
            delay = base
    return min(delay, cap)


def spread(jitter: Jitter, delay: float, u: float) -> float:
    """`delay` (already capped) with chance `u` in [0, 1) mixed in."""
    match jitter:
        case "full":
            return u * delay
        case "equal":
            return delay / 2 + u * delay / 2
        case "none" | "decorrelated":
            return delay


def decorrelated(base: float, cap: float, previous: float, u: float) -> float:
    """The delay after `previous` (`base` before the first): uniform between `base` and three times the last one.

    The upper bound is capped, not the result, so that delays at the cap still differ.
    """
    low = min(base, cap)
    return low + u * (max(low, min(cap, 3 * previous)) - low)


def obey(server_delay: float, cap: float, room: float, u: float) -> float:
    """A delay the server asked for: never shorter, a little later, so that waiters do not all come at once.

    Later by up to half of it, at most `cap` seconds, and at most half of the `room` a deadline leaves after it.
    """
    return server_delay + u * max(0.0, min(server_delay / 2, cap, room / 2))


def _fibonacci(base: float, cap: float, n: int) -> float:
    a, b = base, base
    for _ in range(n):
        a, b = b, a + b
        if a >= cap:
            return cap
    return a
