"""What happens to calls, in the log `seawall`, in the words of `str(report)` and of our exceptions.

Changes of a circuit are warnings, retries are info. What comes by the thousand in an outage (refusals, denied retries,
degraded answers) is logged when it begins, and then counted: one line per interval. There is no timer, so the count is
told with the next event after the interval, with a change of the circuit, and at the end. No line has a path, a query,
a header, a body or the text of anybody's exception: events do not know any.
"""

from __future__ import annotations

import logging
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from seawall import _check
from seawall._story import ended_in
from seawall.events import (
    BreakerChanged,
    BudgetExhausted,
    Degraded,
    Event,
    GateClosed,
    Rejected,
    RetryScheduled,
)
from seawall.forks import Lock
from seawall.outcome import Ending
from seawall.telemetry._once import once

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.resilience import Resilience

_KINDS: Final = (BreakerChanged, BudgetExhausted, Degraded, GateClosed, Rejected, RetryScheduled)
_MOST: Final = 1000
"""Different things counted at a time; a further one is logged each time."""


def instrument(
    resilience: Resilience, *, logger: logging.Logger | None = None, interval: float = 60.0
) -> Callable[[], None]:
    """Log what is out of the ordinary; returns what ends it. A call that goes well costs nothing more.

    logger: left out: the one called "seawall".
    interval: seconds for which what repeats itself is only counted.

    Twice for the same logger is once. Thread-safe.
    """
    ours = logging.getLogger("seawall")
    if not ours.handlers:
        ours.addHandler(logging.NullHandler())
    log = ours if logger is None else logger
    lines = Logging(log, interval)

    def begin() -> Callable[[], None]:
        unsubscribe = resilience.subscribe(lines.hear, _KINDS)

        def end() -> None:
            unsubscribe()
            lines.close()

        return end

    return once(resilience, ("logging", log), begin)


_Key = tuple[str, int, str]
"""Host, level, text."""


class Logging:
    """Events to lines."""

    def __init__(self, log: logging.Logger, interval: float) -> None:
        self.interval = interval
        _check.duration(self, "interval", zero=False)
        self._log = log
        self._lock = Lock()
        self._counts: dict[_Key, tuple[float, int]] = {}
        """What was logged once → since when it is only counted, and how often; the oldest first."""

    def hear(self, event: Event) -> None:
        self._tell_counts(event)
        host = event.host
        match event:
            case RetryScheduled():
                ended = ended_in(event.status, event.kind)
                line = f"attempt {event.number - 1}: {ended}, attempt {event.number} after waiting {event.delay:.3g} s"
                self._log.info("%s: %s", host, line)
            case BreakerChanged():
                self._log.warning("%s: circuit %s, was %s: %s", host, event.after, event.before, event.reason)
            case GateClosed():
                self._log.info("%s: the server asked for a pause of %.3g s", host, event.seconds)
            case Rejected():
                wait = "" if event.retry_after is None else f", try again in {event.retry_after:.3g} s"
                self._count(event, logging.WARNING, f"{event.reason} ({event.policy})", wait)
            case BudgetExhausted():
                self._count(event, logging.WARNING, Ending.BUDGET_EXHAUSTED.value)
            case _:
                assert isinstance(event, Degraded), event
                why = "" if event.instead_of is None else f" ({event.instead_of.value})"
                self._count(event, logging.INFO, f"served from: {event.source}{why}")

    def close(self) -> None:
        """Tell what was only counted so far."""
        with self._lock:
            counts, self._counts = self._counts, {}
        for key, (_, times) in counts.items():
            self._tell(key, times)

    def _count(self, event: Event, level: int, text: str, more: str = "") -> None:
        key = (event.host, level, text)
        with self._lock:
            known = self._counts.get(key)
            if known is not None:
                self._counts[key] = (known[0], known[1] + 1)
                return
            if len(self._counts) < _MOST:
                self._counts[key] = (event.at, 0)
        self._log.log(level, "%s: %s%s", event.host, text, more)

    def _tell_counts(self, event: Event) -> None:
        """Of what was counted for an interval; of a host whose circuit closes, at once."""
        closes = isinstance(event, BreakerChanged) and event.after == "closed"
        told: list[tuple[_Key, int, float]] = []
        with self._lock:
            if closes:
                over = [key for key in list(self._counts) if key[0] == event.host]
            else:
                over = list(takewhile(lambda key: self._is_over(key, event.at), list(self._counts)))
            for key in over:
                since, times = self._counts.pop(key, (event.at, 0))
                if times:
                    told.append((key, times, event.at - since))
                    if not closes:
                        self._counts[key] = (event.at, 0)
        for key, times, seconds in told:
            self._tell(key, times, f" in {seconds:.3g} s")

    def _is_over(self, key: _Key, now: float) -> bool:
        known = self._counts.get(key)
        return known is not None and now - known[0] >= self.interval

    def _tell(self, key: _Key, times: int, span: str = "") -> None:
        host, level, text = key
        if times:
            self._log.log(level, "%s: %s, %d times more%s", host, text, times, span)
