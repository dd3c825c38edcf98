"""What the ends of attempts count for: window, circuit, budget, gate, latency. With the lock of their host held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from seawall.classification import TIMEOUT_KINDS
from seawall.outcome import Verdict
from seawall.policies.breaker import Result
from seawall.stats.quantile import Quantiles
from seawall.stats.window import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seawall.admission import Admission
    from seawall.ledger import Ledger

T = TypeVar("T")

MAX_GATE: Final = 300.0
"""Longest a server can hold calls back with one answer, in seconds."""


def fold(ledger: Ledger) -> None:
    """Count the good ends that took no lock, each at its own time."""
    batch = _taken(ledger.done)
    if not batch:
        return
    current, held = ledger.breaker.phase, 0.0
    latencies: list[float] = []
    ends: list[float] = []
    for phase, started, headers_at, ended in batch:
        held += ended - started
        latencies.append(headers_at - started)
        if phase is current:
            phase.run = 0
            ends.append(ended)
        else:
            ledger.window.count(Column.LATE_SUCCESS, ended)
    ledger.window.count_all(Column.SUCCESS, ends)
    ledger.bulkhead.returned += len(batch)
    ledger.bulkhead.held += held
    ledger.budget.deposit(len(batch))
    _time(ledger, latencies)


def turned_away(ledger: Ledger, instants: list[float]) -> None:
    """Count those who took no lock to hear that the circuit is open."""
    ledger.window.count_all(Column.REJECTED, _taken(instants))


def end(ledger: Ledger, admission: Admission, permit: object, verdict: Verdict, now: float) -> None:
    """Count one end that is not the common one."""
    breaker, phase, outcome = ledger.breaker, admission.phase, admission.outcome
    ledger.bulkhead.held += now - admission.started
    ledger.bulkhead.returned += 1
    u = ledger.clock.random()
    if verdict is Verdict.SUCCESS:
        ledger.budget.deposit(1)
        if admission.headers_at:
            _time(ledger, [admission.headers_at - admission.started])
    if admission.paid and verdict is not Verdict.IGNORED:
        ledger.budget.sample(verdict is Verdict.SUCCESS, now)
    asked = outcome.retry_after if outcome is not None and verdict is not Verdict.IGNORED else None
    if asked and verdict is not Verdict.SUCCESS:
        retry = admission.call.policy.retry
        asked = min(asked, MAX_GATE)
        if ledger.opens and retry is not None and retry.share_retry_after:
            ledger.gate = max(ledger.gate, now + asked)
    result = _result(ledger, admission, verdict, now)
    if admission.slow and phase is not None:
        breaker.slow_ended(permit, phase, result, now)
    if phase is None:  # an override switched the breaker off: the window knows, the circuit does not care
        if result is not Result.NEUTRAL:
            ledger.window.count(Column.LATE_SUCCESS if result is Result.SUCCESS else Column.LATE_FAILURE, now)
    elif verdict is Verdict.THROTTLED and result is Result.NEUTRAL:
        breaker.throttled(permit, phase, now, u, now + (asked or 0))
    else:
        breaker.settle(permit, phase, result, now, u, ledger.gate)
        slow_after = ledger.slow_after
        if slow_after is not None and not admission.slow and verdict is not Verdict.IGNORED:
            if (admission.headers_at or now) - admission.started >= slow_after:
                breaker.slow(permit, phase, now, u, in_flight=False)


def hanging(ledger: Ledger, now: float) -> None:
    """Once per bucket of the window: attempts without headers after their limit count before they end."""
    breaker, u = ledger.breaker, ledger.clock.random()
    for permit in list(ledger.bulkhead.live):
        admission: Any = permit()
        if admission is None or admission.headers_at or admission.phase is None:
            continue
        age = now - admission.started
        if ledger.slow_after is not None and age >= ledger.slow_after and not admission.slow:
            admission.slow = True
            breaker.slow(permit, admission.phase, now, u, in_flight=True)
        limit = admission.call.policy.timeouts.attempt
        if isinstance(limit, float) and age > limit and not admission.overdue:
            admission.overdue = breaker.config.count_timeouts_as_failures
            if admission.overdue:
                ledger.window.count(Column.TIMEOUT, now)
                breaker.settle(permit, admission.phase, Result.FAILURE, now, u, ledger.gate)


def _result(ledger: Ledger, admission: Admission, verdict: Verdict, now: float) -> Result:
    """What the verdict means to the breaker; counts the columns it does not."""
    if verdict is Verdict.IGNORED or admission.overdue:
        return Result.NEUTRAL
    if verdict is Verdict.SUCCESS:
        return Result.SUCCESS
    kind = admission.outcome.kind if admission.outcome is not None else None
    timeout, throttled = kind in TIMEOUT_KINDS, verdict is Verdict.THROTTLED
    status = admission.status or 0
    result = ledger.breaker.config.weigh(
        Result.FAILURE, timeout=timeout, status_5xx=status >= 500 and not throttled, status_429=throttled
    )
    if timeout:
        ledger.window.count(Column.TIMEOUT, now)
    if throttled:
        ledger.window.count(Column.THROTTLED, now)
    if result is Result.NEUTRAL:
        ledger.window.count(Column.LEFT_OUT, now)
    return result


def _time(ledger: Ledger, seconds: Sequence[float]) -> None:
    if ledger.quantiles is None:
        ledger.quantiles = Quantiles()
    ledger.quantiles.add(seconds)


def _taken(entries: list[T]) -> list[T]:
    """Take what is in the list; what others append meanwhile stays."""
    batch = entries[:]
    del entries[: len(batch)]
    return batch
