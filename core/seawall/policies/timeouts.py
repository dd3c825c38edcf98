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

if TYPE_CHECKING:
    from seawall._check import Unset

CONNECT_IF_NONE: Final = 5.0
READ_IF_NONE: Final = 90.0

Clock = float | timedelta | None

_NESTED: Final = (
    ("connect", "attempt"),
    ("first_byte", "attempt"),
    ("attempt", "total"),
    ("connect", "total"),
    ("first_byte", "total"),
    ("first_content", "stream"),
)
"""Clocks of which the first runs inside the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds (float or timedelta). None: no clock of ours; left out: inherited, in the end filled in as each says."""

    connect: Clock | Unset = UNSET
    """To a usable connection. Filled in with 5 if the client has no connect timeout."""
    attempt: Clock | Unset = UNSET
    """One attempt, from sending to the headers. Filled in with 90, or the client's read timeout if that is longer."""
    total: Clock | Unset = UNSET
    """The whole call to the last byte: waits, attempts, backoff; if `stream` is set, to the headers of an answer that
    streams. Not filled in."""
    first_byte: Clock | Unset = UNSET
    """From the request's last byte to the headers: what `attempt` measures, without connecting and sending."""
    first_content: Clock | Unset = UNSET
    """An answer that streams: until its first piece, counted from when somebody begins to read; with `inspect_streams`
    until its first content, from the headers on. Not filled in."""
    idle: Clock | Unset = UNSET
    """Between two pieces of the answer. Filled in with 90 if the client has no read timeout."""
    stream: Clock | Unset = UNSET
    """The body of an answer that streams, from its headers to its last byte; `total` then ends at the headers."""
    keep_alive: Clock | Unset = UNSET
    """An unused connection is closed after this long; it raises nothing. Only where the mount makes the transport."""

    def __post_init__(self) -> None:
        for f in fields(self):
            _check.duration(self, f.name, zero=False, optional=True)
        for short, long in _NESTED:
            _check.ordered(self, short, long)

    @classmethod
    def from_request(cls, request: float | timedelta) -> Timeouts:
        """The clocks derived from one request timeout (more than 5 s): attempt = request − 5, total = request + 30.

        The others are the specification's: connect 5 (at most the attempt), stream 60, idle and keep_alive 90.
        """
        seconds = request.total_seconds() if isinstance(request, timedelta) else request
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 5 < seconds < 1e9:
            raise ValueError(f"Timeouts.from_request({request!r}): give more than 5 seconds, the attempt gets 5 less")
        attempt = float(seconds) - 5
        return cls(
            connect=min(5.0, attempt), attempt=attempt, total=float(seconds) + 30, stream=60, idle=90, keep_alive=90
        )

    def over(self, base: Timeouts) -> Timeouts:
        """These, with `base`'s clocks where a clock is left out."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        merged = {name: getattr(base, name) if value is UNSET else value for name, value in given.items()}
        # Only values set together can contradict: of two that met by inheritance, the wider clock caps the narrower.
        for short, long in _NESTED:
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
        "first_byte",
        "first_content",
        "idle",
        "idle_is_ours",
        "passive",
        "patience",
        "stream",
    )

    def __init__(self, timeouts: Timeouts, connect: float | None, read: float | None) -> None:
        own = _set(timeouts.connect)
        if timeouts.connect is UNSET and connect is None:
            own = CONNECT_IF_NONE
        total = _set(timeouts.total)
        self.first_byte = _set(timeouts.first_byte)
        attempt = _set(timeouts.attempt)
        if timeouts.attempt is UNSET:  # filled in; never shorter than what somebody set
            attempt = max(READ_IF_NONE, read or 0.0, self.first_byte or 0.0)
        attempt = _capped(attempt, total)
        idle = _set(timeouts.idle)
        if timeouts.idle is UNSET and read is None:
            idle = READ_IF_NONE
        self.attempt = attempt
        self.attempt_is_ours = attempt is not None and (
            isinstance(timeouts.attempt, float) or total is not None or read is None
        )
        """False: only measured by; the client's read timeout bounds each read, and nothing the whole."""
        if attempt is not None and self.attempt_is_ours:
            own = attempt if own is None else min(own, attempt)
        self.connect, self.connect_is_ours = _shorter(own, connect)
        self.idle, self.idle_is_ours = _shorter(idle, read)
        wait = attempt if self.attempt_is_ours else self.first_byte or self.idle
        self.patience = 0.0 if wait is None or math.isinf(wait) else wait
        """Seconds after which a silent host will have been given up, by whoever's clock; 0: nobody has one."""
        self.first_content = _set(timeouts.first_content)
        self.stream = _set(timeouts.stream)
        self.passive = not (
            self.connect_is_ours
            or self.idle_is_ours
            or self.attempt_is_ours
            or self.first_byte
            or self.first_content
            or self.stream
        )
        """The client's own limits are the shorter ones: nothing to do, unless a deadline is near."""


def _set(value: Clock | Unset) -> float | None:
    return value if isinstance(value, float) else None


def _capped(clock: float | None, cap: float | None) -> float | None:
    return clock if clock is None or cap is None else min(clock, cap)


def _shorter(ours: float | None, theirs: float | None) -> tuple[float | None, bool]:
    if ours is None or (theirs is not None and theirs <= ours):
        return theirs, False
    return ours, True
