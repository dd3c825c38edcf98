"""Events, made and sent: only when somebody listens, and never with a lock held."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from seawall.outcome import Ending

if TYPE_CHECKING:
    from seawall._story import Call
    from seawall.admission import Admission
    from seawall.host import HostState
    from seawall.outcome import ErrorKind, Rejection, Verdict
    from seawall.policies.breaker import Change


def attempt_ended(admission: Admission, verdict: Verdict, now: float) -> None:
    from seawall.events import AttemptEnded

    state, outcome = admission.call.state, admission.outcome
    state.hub.emit(
        AttemptEnded(
            host=state.name,
            at=now,
            number=admission.number,
            duration=now - admission.started,
            status=admission.status,
            kind=outcome.kind if outcome is not None else None,
            verdict=verdict,
        )
    )


def gate_closed(state: HostState, now: float, seconds: float) -> None:
    from seawall.events import GateClosed

    state.hub.emit(GateClosed(host=state.name, at=now, seconds=seconds))


def breaker_changed(state: HostState, change: Change) -> None:
    from seawall.events import BreakerChanged

    before, after = change.before.name, change.after.name
    state.hub.emit(
        BreakerChanged(host=state.name, at=change.at, before=before, after=after, reason=change.trigger.value)
    )


def budget_exhausted(state: HostState, now: float) -> None:
    from seawall.events import BudgetExhausted

    state.hub.emit(BudgetExhausted(host=state.name, at=now))


def retry_scheduled(state: HostState, now: float, number: int, delay: float, kind: ErrorKind | None) -> None:
    from seawall.events import RetryScheduled

    state.hub.emit(RetryScheduled(host=state.name, at=now, number=number, delay=delay, kind=kind))


def rejected(state: HostState, rejection: Rejection) -> None:
    from seawall.errors import BY_REASON
    from seawall.events import Rejected

    now = state.clock.monotonic()
    state.hub.emit(
        Rejected(
            host=state.name,
            at=now,
            policy=BY_REASON[rejection.reason][1],
            reason=rejection.reason.value,
            retry_after=rejection.wait(now),
        )
    )


def degraded(state: HostState, source: str) -> None:
    from seawall.events import Degraded

    state.hub.emit(Degraded(host=state.name, at=state.clock.monotonic(), source=source))


class _Dropped:
    """Warns where it dies: with `-W error`, the call that is under way must not fail for one of the past."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __del__(self) -> None:
        warnings.warn(self._text, ResourceWarning, stacklevel=2)


def dropped(state: HostState, count: int) -> None:
    """Answers died unclosed. Told at the next visit of their host: a finaliser may run inside any lock."""
    _Dropped(
        f"seawall: {state.name}: {count} answer{'s' * (count > 1)} dropped, neither read to the end nor closed: what "
        "was held here came back, the client's connection may not have (with client.stream(…) …, response.close())"
    )


def call_ended(call: Call) -> None:
    from seawall.events import CallEnded

    if call.silent:
        return
    now = call.state.clock.monotonic()
    call.state.hub.emit(
        CallEnded(
            host=call.state.name,
            at=now,
            attempts=len(call.attempts),
            duration=now - call.started,
            ending=call.ending or Ending.CANCELLED,
        )
    )
