"""The running clocks of one attempt, as its sockets obey them.

HTTP libraries read a timeout once per phase and hand the number on to every socket
operation of it, so a server that drips single bytes stretches the phase without
bound. Here the number handed on is a float that knows its attempt: a socket of ours
asks it again before each operation, one of somebody else's sees a plain float.
Nothing is looked up by thread or context, so a body read in another thread, or a
kept-alive connection used by the next call, obeys the right clocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from seawall.runtime import OutOfTime
from seawall.scope import earliest

if TYPE_CHECKING:
    from seawall._story import Call

EARLY: Final = 0.01
"""Seconds a timer may be early: a clock of ours that has less left is the one that rang."""
NO_LIMIT: Final = 1_000_000.0
"""Seconds that stand for "no limit" where a number is needed; sockets take no infinity."""
LEAST: Final = 0.001
"""Zero would mean "do not block" to a socket; a late operation gets one look and then times out."""


class Watch:
    """The clocks of one attempt: which is running, and how long the next operation may take."""

    # Read at each operation: class attributes as defaults would be cheaper to make and dearer to read.
    __slots__ = (
        "_attempt_by",
        "_call",
        "_connect_by",
        "_content_by",
        "_headers_at",
        "_pause",
        "_reads_since",
        "_since",
        "_started",
        "_waits_for_content",
        "ends",
        "is_connecting",
        "is_exact",
        "is_proof",
        "now",
        "wrote",
    )

    def __init__(self, call: Call, started: float) -> None:
        limits = call.limits
        self._call = call
        self._started = self._since = started
        self.now = call.state.clock.monotonic
        # Only clocks of ours run here: the client's own limits come with each operation, and bound no more than that.
        self._attempt_by: float | None = started + limits.attempt if limits.attempt_is_ours else None
        self.ends = earliest(call.deadline, self._attempt_by)
        """The instant by which the phase under way has to be over."""
        idles = limits.idle_is_ours and limits.attempt is None and limits.first_byte is None
        self._pause: float | None = limits.idle if idles else None
        """Longest single operation, where no clock bounds the phase."""
        self._connect_by: float | None = started + limits.connect if limits.connect_is_ours else None
        self._reads_since: float | None = None
        self._headers_at: float | None = None
        self._content_by: float | None = None
        self._waits_for_content = False
        self.is_connecting = True
        self.is_exact = False
        """A socket of ours, or a cancel scope, holds the clocks for every operation."""
        self.is_proof = False
        """A socket of ours would have seen it if anything of the request had been written. Connecting and writing
        prove that, reading does not: what was written before it may have gone by unseen."""
        self.wrote = False
        """Something of the request was handed to the system, or may have been. Never taken back."""

    def pool_within(self, own: float | None, *, is_exact: bool) -> Left | None:
        """The limit of waiting for a connection; `own` is the client's. One wait, so nothing can stretch it."""
        self.is_connecting, self.is_exact = True, is_exact
        return self._left(own, self._connect_by)

    def connect_within(self, own: float | None) -> Left | None:
        """The limit of connecting."""
        self.is_connecting, self.is_exact = True, False
        return self._left(own, self._connect_by)

    def speaks_to(self, *, proxy: bool) -> None:
        """What goes over the wire is for a proxy, so there is no connection yet; or, for the first time, it is not."""
        self.is_connecting = proxy
        if self._reads_since is not None:  # that was the proxy's answer
            self._reads_since, self.ends = None, earliest(self._call.deadline, self._attempt_by)

    def write_within(self, own: float | None) -> Left:
        """The limit of sending. Always one that knows its attempt: it is how a socket of ours tells of a write."""
        self.is_connecting = self.is_exact = False
        return self._left(own, None) or self._left(NO_LIMIT, None)  # type: ignore[return-value]

    def read_within(self, own: float | None) -> Left | None:
        """The limit of reading: the headers, then the body."""
        self.is_connecting = False
        if self._reads_since is None:
            self._reads_since = self.now()
            first_byte = self._call.limits.first_byte
            if first_byte is not None:
                self.ends = earliest(self.ends, self._reads_since + first_byte)
        return self._left(own, None)

    def whole_within(self) -> float | None:
        """The limit of everything up to the headers, where the single steps cannot be seen."""
        if self._reads_since is None:
            self._reads_since = self._started
            first_byte = self._call.limits.first_byte
            if first_byte is not None:
                self.ends = earliest(self.ends, self._started + first_byte)
        self.is_connecting = False
        return self.seconds(None, None)

    @property
    def is_reading(self) -> bool:
        """Does the clock of the first byte run, or has it?"""
        return self._reads_since is not None

    @property
    def is_running(self) -> bool:
        """Is there any clock of ours, or is it watched only for what it writes?"""
        return self._call.deadline is not None or not self._call.limits.passive

    def report(self) -> None:
        """The sending is over: tell the call if some clock was held only per phase."""
        if not self.is_exact and self.is_running:
            self._call.deadline_precision = "phase"

    def headers(self, *, streamed: bool) -> None:
        """The headers are here: the clocks of the body run."""
        call, limits = self._call, self._call.limits
        now = self._headers_at = self.now()
        self.ends, self.is_connecting = call.whole or call.deadline, False
        self._pause = limits.idle if limits.idle_is_ours else None
        if streamed:
            if limits.stream is not None:
                self.ends = earliest(call.outer, now + limits.stream)
            self._waits_for_content = limits.first_content is not None

    def body_wanted(self) -> None:
        """Somebody begins to read: until now the first piece was not late, whatever the reader did meanwhile."""
        if self._waits_for_content and self._content_by is None:
            self._content_by = self.now() + self._call.limits.first_content

    def content(self) -> None:
        """Content of the body is here."""
        if self._waits_for_content:
            self._waits_for_content, self._content_by = False, None

    def left(self, own: float | None = None) -> float | None:
        """Seconds the next operation may take; None: no limit. Raises OutOfTime if there is no time left."""
        return self.seconds(own, self._connect_by if self.is_connecting else None)

    def rang(self, now: float) -> str | None:
        """Which clock of ours ended the attempt at `now`: its scope; None: none of ours did."""
        call, limits = self._call, self._call.limits
        if self._headers_at is None:
            first_byte = None
            if self._reads_since is not None and limits.first_byte is not None:
                first_byte = self._reads_since + limits.first_byte
            connect = self._connect_by if self.is_connecting else None
            candidates = [(call.deadline, "total"), (connect, "connect"), (self._attempt_by, "attempt")]
            candidates.append((first_byte, "first_byte"))
        else:
            stream = limits.stream if self.ends != call.deadline else None
            total = call.deadline if stream is None else call.outer
            candidates = [(total, "total"), (None if stream is None else self._headers_at + stream, "stream")]
            candidates.append((self._content_by, "first_content"))
        over = [(instant, scope) for instant, scope in candidates if instant is not None and now >= instant - EARLY]
        if over:
            return min(over, key=_instant)[1]
        if self._pause is not None and now - self._since >= self._pause - EARLY:
            return "idle"
        return None

    def _left(self, own: float | None, until: float | None) -> Left | None:
        try:
            seconds = self.seconds(own, until)
        except OutOfTime:
            seconds = LEAST
        if seconds is None:
            return None
        left = Left(seconds if seconds > LEAST else LEAST)  # its own __new__ would cost three times as much
        left.watch, left.own, left.until = self, own, until
        return left

    def seconds(self, own: float | None, until: float | None) -> float | None:
        """What the next operation may take, if the client gives `own` and its step has to end by `until`."""
        now = self._since = self.now()
        ends = self.ends
        if self._content_by is not None:
            until = self._content_by
        if until is not None and (ends is None or until < ends):
            ends = until
        pause = None if self._content_by is not None else self._pause
        if pause is not None and (own is None or pause < own):
            own = pause
        if ends is None:
            return own
        left = ends - now
        if left <= 0:
            raise OutOfTime
        return left if own is None or left < own else own


class Left(float):
    """Seconds an operation may take, as a float; a socket of ours asks again before each of its own."""

    __slots__ = ("own", "until", "watch")

    watch: Watch
    own: float | None
    """What the client itself would have given."""
    until: float | None
    """When the step it is for has to be over, if that is sooner than the phase."""

    def seconds(self) -> float:
        """What is left now. Raises OutOfTime if nothing is."""
        left = self.watch.seconds(self.own, self.until)
        return NO_LIMIT if left is None else left if left > LEAST else LEAST

    def share(self, parts: int) -> float:
        """What is left now for one of `parts` steps. Our clocks are divided among them, the client's limit is not."""
        left = self.watch.seconds(None, self.until)
        share = NO_LIMIT if left is None else max(left / parts, LEAST)
        return share if self.own is None else min(share, self.own)

    def for_proxy(self, own: float | None) -> float | None:
        """What is left now for a step of a proxy's handshake, which is part of connecting; `own` is the client's."""
        return self.watch.seconds(own, self.until)

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        return float, (float(self),)


def _instant(candidate: tuple[float, str]) -> float:
    return candidate[0]
