"""What a time of trouble cost, and what callers got: the figures to compare policies by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from seawall.testing.sim.history import CallSeen, History

_BIN: Final = 0.5
_ENOUGH: Final = 0.95


@dataclass(frozen=True, slots=True)
class Figures:
    """Of the calls that began between two seconds, and of the time after."""

    calls: int
    load: float
    """Attempts that left for the servers in that time, for each call begun in it: 1 is a client that does nothing."""
    good: float
    """Share (0–1) of those calls answered with a status below 400, whole, by the server and in time."""
    recovery: float
    """Seconds from the end until no half second has less than 95 % good calls any more; infinite: it never came."""
    failed: float
    """Share of all calls, from the first to the last, that got no such answer, however late."""
    slowest: float
    """99.9th percentile of the seconds those good calls took; nan without any."""


def measure(history: History, start: float, begins: float, ends: float, good_within: float) -> Figures:
    """`start`: the clock's instant of second 0. `good_within`: seconds a good answer may take."""
    during = good = failed = 0
    bins: dict[int, list[bool]] = {}
    times: list[float] = []
    for call in history.calls:
        second = call.began - start
        takes = _answered_after(call)
        is_good = takes is not None and takes <= good_within
        failed += takes is None
        if begins <= second < ends:
            during += 1
            good += is_good
            if is_good and takes is not None:
                times.append(takes)
        elif second >= ends:
            bins.setdefault(int((second - ends) / _BIN), []).append(is_good)
    sent = sum(begins <= sending.at - start < ends for sending in history.sendings)
    bad = [number for number, calls in bins.items() if sum(calls) < _ENOUGH * len(calls)]
    recovery = 0.0 if not bad else float("inf") if max(bad) == max(bins) else (max(bad) + 1) * _BIN
    times.sort()
    return Figures(
        calls=during,
        load=sent / during if during else 0.0,
        good=good / during if during else 0.0,
        recovery=recovery,
        failed=failed / len(history.calls) if history.calls else 0.0,
        slowest=times[int(0.999 * len(times))] if times else float("nan"),
    )


def _answered_after(call: CallSeen) -> float | None:
    """Seconds until the server's whole answer was there; None: there was none."""
    response = call.response
    if response is None or response.status >= 400 or response.source != "origin" or response.sending is None:
        return None
    return None if call.body_error is not None or call.body_ended is None else call.body_ended - call.began
