"""Events, made and sent: only when somebody listens, and never with a lock held."""

from __future__ import annotations

import warnings
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from seawall.outcome import Ending, Verdict

if TYPE_CHECKING:
    from seawall._story import Call, Source
    from seawall.admission import Admission
    from seawall.events import AttemptStarted, CallInfo, Event
    from seawall.host import HostState
    from seawall.outcome import Outcome, Rejection
    from seawall.policies.breaker import Change

_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY", "EXECUTE"}
)
_PORTS: Final = {"http": 80, "https": 443}

_ids = count(1)


@cache
def _kinds() -> Any:
    """`seawall.events`, loaded when somebody listens. An import in each function would cost a microsecond a time."""
    from seawall import events

    return events


def info_of(call: Call) -> CallInfo:
    """The one object that stands for this call in its events."""
    info = call.info
    if info is not None:
        return info
    request, address, port = call.request, None, None
    try:
        parts = urlsplit(str(request.url))
        address, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:  # the library will say what is wrong with the URL
        pass
    made: CallInfo = _kinds().CallInfo(
        id=next(_ids),
        method=request.method if request.method in _METHODS else "_OTHER",
        address=address,
        port=port,
        pattern=call.policy.pattern,
    )
    call.info = made
    return made


def _tell(kind: type[Event], state: HostState, now: float, /, **facts: Any) -> None:
    state.hub.emit(kind(host=state.name, host_group=state.group, at=now, **facts))


def _tell_of(call: Call, kind: type[Event], now: float, /, **facts: Any) -> None:
    _tell(kind, call.state, now, call=info_of(call), **facts)


def attempt_started(admission: Admission) -> None:
    call, permit = admission.call, admission.permit
    state, bulkhead = call.state, call.policy.bulkhead
    event = _kinds().AttemptStarted(
        host=state.name,
        host_group=state.group,
        at=admission.started,
        call=info_of(call),
        number=admission.number,
        wait=call.waited,
        limit=bulkhead.max_concurrent if bulkhead is not None else None,
    )
    if (
        permit is not None and permit in state.bulkhead.live
    ):  # if it dies without an end, that is all there is to tell of it
        state.bulkhead.live[permit] = event
    state.hub.emit(event)


def attempt_ended(admission: Admission, verdict: Verdict, now: float) -> None:
    outcome = admission.outcome
    _tell_of(
        admission.call,
        _kinds().AttemptEnded,
        now,
        number=admission.number,
        duration=now - admission.started,
        headers_after=admission.headers_at - admission.started if admission.headers_at else None,
        status=admission.status,
        kind=outcome.kind if outcome is not None else None,
        verdict=verdict,
        budget=admission.call.budget_left,
    )


def retry_scheduled(call: Call, now: float, number: int, delay: float, outcome: Outcome) -> None:
    _tell_of(call, _kinds().RetryScheduled, now, number=number, delay=delay, status=outcome.status, kind=outcome.kind)


def bulkhead_waited(call: Call, now: float, seconds: float, *, admitted: bool) -> None:
    _tell_of(call, _kinds().BulkheadWaited, now, seconds=seconds, admitted=admitted)


def rejected(call: Call, rejection: Rejection) -> None:
    from seawall.errors import BY_REASON

    now = call.state.clock.monotonic()
    policy, reason = BY_REASON[rejection.reason][1], rejection.reason.value
    _tell_of(call, _kinds().Rejected, now, policy=policy, reason=reason, retry_after=rejection.wait(now))


def budget_exhausted(call: Call, now: float) -> None:
    _tell_of(call, _kinds().BudgetExhausted, now)


def _died(state: HostState, started: AttemptStarted) -> None:
    """The end of an attempt nobody saw end."""
    now = state.clock.monotonic()
    _tell(
        _kinds().AttemptEnded,
        state,
        now,
        call=started.call,
        number=started.number,
        duration=now - started.at,
        headers_after=None,
        status=None,
        kind=None,
        verdict=Verdict.IGNORED,
        budget=state.budget_left(),
    )


def call_ended(call: Call) -> None:
    if call.silent:
        return
    now = call.state.clock.monotonic()
    attempts, status, kind = call.ended()
    _tell_of(
        call,
        _kinds().CallEnded,
        now,
        attempts=attempts,
        duration=now - call.started,
        ending=call.ending or Ending.CANCELLED,
        reason=call.reason,
        status=status,
        kind=kind,
        served_from=call.served_from,
    )


def degraded(state: HostState, now: float, source: Source, call: Call | None, instead_of: Ending | None) -> None:
    info = None if call is None else info_of(call)
    _tell(_kinds().Degraded, state, now, call=info, source=source, instead_of=instead_of)


def gate_closed(state: HostState, now: float, seconds: float) -> None:
    _tell(_kinds().GateClosed, state, now, seconds=seconds)


def breaker_changed(state: HostState, change: Change) -> None:
    before, after = change.before.name, change.after.name
    _tell(_kinds().BreakerChanged, state, change.at, before=before, after=after, reason=change.trigger.value)


class _Dropped:
    """Warns where it dies: with `-W error`, the call that is under way must not fail for one of the past."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __del__(self) -> None:
        warnings.warn(self._text, ResourceWarning, stacklevel=2)


def dropped(state: HostState, started: tuple[AttemptStarted | None, ...]) -> None:
    """Answers died unclosed. Told at the next visit of their host: a finaliser may run inside any lock."""
    count = len(started)
    for event in started:
        if event is not None and state.hub.following:
            _died(state, event)
    _Dropped(
        f"seawall: {state.name}: {count} answer{'s' * (count > 1)} dropped, neither read to the end nor closed: what "
        "was held here came back, the client's connection may not have (with client.stream(…) …, response.close())"
    )
