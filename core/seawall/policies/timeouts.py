"""Timeouts: nested limits of one call, under whatever limits the client has itself.

What a user sets is a cap; what is left out only fills in where the client has no
limit of its own, so that no default cuts healthy traffic. The arithmetic is here;
who enforces it is the mount.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from seawall import _check
from seawall._check import UNSET
from seawall.scope import earliest

if TYPE_CHECKING:
    from seawall._check import Unset

CONNECT_IF_NONE: Final = 5.0
READ_IF_NONE: Final = 90.0

Clock = float | timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds (float or timedelta). None: no clock of ours; left out: inherited, in the end filled in as each says."""

    connect: Clock | Unset = UNSET
    """To a usable connection. Filled in with 5 if the client has no connect timeout."""
    attempt: Clock | Unset = UNSET
    """One attempt, from sending to the headers. Filled in with 90, or the client's read timeout if that is longer."""
    total: Clock | Unset = UNSET
    """The whole call to the last byte: waits, attempts, backoff. Not filled in."""
    idle: Clock | Unset = UNSET
    """Between two pieces of the answer. Filled in with 90 if the client has no read timeout."""

    def __post_init__(self) -> None:
        for field in ("connect", "attempt", "total", "idle"):
            _check.duration(self, field, zero=False, optional=True)
        _check.ordered(self, "connect", "attempt")
        _check.ordered(self, "attempt", "total")
        _check.ordered(self, "connect", "total")

    @classmethod
    def from_request(cls, request: float | timedelta) -> Timeouts:
        """The clocks derived from one request timeout (more than 5 s): attempt = request − 5, total = request + 30."""
        seconds = request.total_seconds() if isinstance(request, timedelta) else request
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 5 < seconds < 1e9:
            raise ValueError(f"Timeouts.from_request({request!r}): give more than 5 seconds, the attempt gets 5 less")
        attempt = float(seconds) - 5
        return cls(connect=min(5.0, attempt), attempt=attempt, total=float(seconds) + 30, idle=90)

    def over(self, base: Timeouts) -> Timeouts:
        """These, with `base`'s clocks where a clock is left out."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        if UNSET not in given.values():
            return self
        merged = {name: getattr(base, name) if value is UNSET else value for name, value in given.items()}
        # Only values set together can contradict: of two that met by inheritance, the wider clock caps the narrower.
        for short, long in (("attempt", "total"), ("connect", "total"), ("connect", "attempt")):
            low, high = merged[short], merged[long]
            if isinstance(low, float) and isinstance(high, float) and low > high:
                merged[short] = high
        return Timeouts(**merged)


class Limits:
    """The clocks of one call, with the client's own folded in. None: unlimited. One per policy and client limits."""

    __slots__ = (
        "attempt",
        "attempt_is_ours",
        "connect",
        "connect_is_ours",
        "idle",
        "idle_is_ours",
        "passive",
        "patience",
    )

    def __init__(self, timeouts: Timeouts, connect: float | None, read: float | None) -> None:
        own = _set(timeouts.connect)
        if timeouts.connect is UNSET and connect is None:
            own = CONNECT_IF_NONE
        attempt = _set(timeouts.attempt)
        if timeouts.attempt is UNSET:
            attempt = READ_IF_NONE if read is None else max(READ_IF_NONE, read)
        total = _set(timeouts.total)
        if total is not None and attempt is not None:
            attempt = min(attempt, total)
        idle = _set(timeouts.idle)
        if timeouts.idle is UNSET and read is None:
            idle = READ_IF_NONE
        if attempt is not None:
            own = attempt if own is None else min(own, attempt)
        self.connect, self.connect_is_ours = _shorter(own, connect)
        self.idle, self.idle_is_ours = _shorter(idle, read)
        self.attempt = attempt
        self.attempt_is_ours = isinstance(timeouts.attempt, float) or total is not None or read is None
        wait = attempt if self.attempt_is_ours and attempt is not None else self.idle
        self.patience = 0.0 if wait is None or math.isinf(wait) else wait
        """Seconds after which a silent host will have been given up, by whoever's clock; 0: nobody has one."""
        self.passive = not (self.connect_is_ours or self.idle_is_ours or self.attempt_is_ours)
        """The client's own limits are the shorter ones: nothing to do, unless a deadline is near."""

    def left_to_connect(self, since: float, now: float, deadline: float | None) -> float | None:
        """Seconds the connect phase of an attempt begun at `since` may still take."""
        limit = None if self.connect is None else since + self.connect
        return _left(earliest(limit, deadline), now)

    def left_to_headers(self, since: float, now: float, deadline: float | None, read: float | None) -> float | None:
        """Seconds one operation before the headers may take, if the client itself allows `read`."""
        limit = None if self.attempt is None else since + self.attempt
        left = _left(earliest(limit, deadline), now)
        if left is None or (self.attempt is None and self.idle is not None):
            left = self.idle if left is None else min(left, self.idle or left)
        return left if read is None or (left is not None and left < read) else read

    def left_to_read(self, now: float, deadline: float | None) -> float | None:
        """Seconds the next piece of the body may take."""
        left = _left(deadline, now)
        return left if self.idle is None or (left is not None and left < self.idle) else self.idle


def _left(instant: float | None, now: float) -> float | None:
    # Zero would mean "do not block" to a socket; a late operation gets one look and then times out.
    return None if instant is None else max(0.001, instant - now)


def _set(value: Clock | Unset) -> float | None:
    return value if isinstance(value, float) else None


def _shorter(ours: float | None, theirs: float | None) -> tuple[float | None, bool]:
    if ours is None or (theirs is not None and theirs <= ours):
        return theirs, False
    return ours, True
