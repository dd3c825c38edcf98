"""One request's journey, top to bottom, for sync and async alike.

Cheap vetoes first, waiting next, the scarce token last. Nothing is held while
sleeping. After the last attempt the caller gets what the bare client would have
given: the answer, or the library's own exception. What no server said comes back
as a `Rejection`; mounts and `execute` make their exceptions of it.

Everything awaited here is a method of the runtime (a test reads the syntax tree).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from seawall import backoff
from seawall.classification import is_quota, of_response, text
from seawall.outcome import Again, Attempt, Ending, ErrorKind, Reason, Rejection, Verdict
from seawall.policies.breaker import HalfOpen
from seawall.policies.bulkhead import CLAIM_WITHIN, Ticket
from seawall.policies.retry import may_repeat
from seawall.scope import earliest

if TYPE_CHECKING:
    from seawall._story import Call
    from seawall.admission import Admission
    from seawall.outcome import Outcome
    from seawall.policies.retry import Retry
    from seawall.runtime import Runtime

_EARLY: Final = 0.01
"""Seconds a timer may be early: a clock of ours that has less left is the one that rang."""

_ENDINGS: Final = {
    Ending.ATTEMPTS_EXHAUSTED: Reason.ATTEMPTS,
    Ending.OUT_OF_TIME: Reason.ATTEMPTS,
    Ending.SERVER_DELAY_TOO_LONG: Reason.ATTEMPTS,
    Ending.REFUSED: Reason.ATTEMPTS,
    Ending.DEADLINE: Reason.ATTEMPTS,
    Ending.BUDGET_EXHAUSTED: Reason.BUDGET,
    Ending.NOT_RETRYABLE: Reason.NOT_RETRYABLE,
    Ending.NOT_REPEATABLE: Reason.NOT_RETRYABLE,
    Ending.BODY_NOT_REPLAYABLE: Reason.NOT_RETRYABLE,
    Ending.RETRY_OFF: Reason.NOT_RETRYABLE,
    Ending.VETOED: Reason.NOT_RETRYABLE,
}


class _Last:
    """How the previous attempt ended, to be handed over if nothing better comes."""

    __slots__ = ("error", "outcome", "response")

    def __init__(self, outcome: Outcome, response: Any, error: BaseException | None) -> None:
        self.outcome = outcome
        self.response = response
        self.error = error


class Failed:
    """The call ended with the library's own exception, to be raised by whoever started it."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def run(call: Call, runtime: Runtime) -> Any:
    """Send `call` as often as its policy wants. Returns the library's response, a `Failed` or a `Rejection`."""
    state, clock = call.state, call.state.clock
    now = call.started
    number = 1
    last: _Last | None = None
    failure: Exception | None
    response: Any
    refused: Rejection | Ticket | float | None
    while True:
        admission = runtime.admission(call, number, now)
        try:
            refused = state.admit(admission, now) if call.deadline is None or now < call.deadline else _too_late(call)
            if refused is not None:
                if not isinstance(refused, Rejection):
                    refused = await _enter(call, admission, refused, runtime)
                elif refused.reason is Reason.DEADLINE:
                    state.count_rejection(now)
                if refused is not None:
                    return _refused(call, refused, last)
            if last is not None:
                admission.paid, call.paid = call.paid, False
            response = await runtime.send(call, admission)
        except Exception as error:
            now = clock.monotonic()
            outcome = _judge_error(call, admission, error, runtime, now)
            response, failure = None, error
        except BaseException:
            _abandon(call, admission)
            raise
        else:
            status = response.status_code
            if status < 400 and call.policy.classify is None:
                call.answer = (number, admission.started, admission.headers_at, status)
                call.ending = Ending.ANSWERED
                if type(admission.phase) is HalfOpen:
                    state.headers(admission, clock.monotonic())
                if admission.is_over:
                    admission.finish()
                if state.hub.listening:
                    _ended(call)
                return response
            outcome, failure = _judge_response(call, admission, response), None
        try:
            if outcome.status == 429 and "json" in text(response, "content-type").lower():
                body = await runtime.peek(response, admission)
                if body is not None and is_quota(body):
                    outcome.kind, outcome.again = ErrorKind.QUOTA_EXCEEDED, Again.NO
            now = clock.monotonic()
            delay = _next(call, admission, outcome, runtime, now)
            if isinstance(delay, Ending):
                return await _stop(call, admission, _Last(outcome, response, failure), delay, runtime)
            if response is not None and await runtime.peek(response, admission) is None:
                await runtime.discard(response, admission)
                response = None
            now = clock.monotonic()
            _settle(call, admission, outcome, now)
            last = _Last(outcome, response, failure)
            refused = state.refuses(call, now)
            if refused is not None:
                return _refused(call, refused, last)
            began = now
            await _sleep(call, delay, runtime)
        except BaseException:
            _abandon(call, admission)
            raise
        now = clock.monotonic()
        call.waited = now - began
        number += 1


def _judge_response(call: Call, admission: Admission, response: Any) -> Outcome:
    outcome = of_response(response, call.state.clock.wall())
    _ask_user(call, outcome)
    admission.outcome = outcome
    return outcome


def _judge_error(call: Call, admission: Admission, error: Exception, runtime: Runtime, now: float) -> Outcome:
    outcome = runtime.error(call, error)
    if outcome.kind in (ErrorKind.TIMEOUT, ErrorKind.CONNECTION_TIMEOUT):
        _find_clock(call, admission, outcome, now)
    _ask_user(call, outcome)
    admission.outcome = outcome
    return outcome


def _find_clock(call: Call, admission: Admission, outcome: Outcome, now: float) -> None:
    """Was it a clock of ours that ended the attempt, and is the host to blame for it?"""
    limits, spent = call.limits, now - admission.started
    if call.deadline is not None and now >= call.deadline - _EARLY:
        outcome.scope = "total"
        share = limits.attempt if limits is not None else None
        if share is None or spent < share - _EARLY:
            outcome.verdict = Verdict.IGNORED  # it was not given its own share of time
    elif limits is None:
        pass
    elif outcome.kind is ErrorKind.CONNECTION_TIMEOUT and limits.connect_is_ours and spent >= limits.connect - _EARLY:
        outcome.scope = "connect"
    elif limits.attempt_is_ours and limits.attempt is not None and spent >= limits.attempt - _EARLY:
        outcome.scope = "attempt"
    elif limits.idle_is_ours and limits.idle is not None and spent >= limits.idle - _EARLY:
        outcome.scope = "idle"


def _ask_user(call: Call, outcome: Outcome) -> None:
    classify = call.policy.classify
    if classify is not None:
        try:
            verdict = classify(outcome, call.request)
        except Exception as error:
            call.state.hub.complain(classify, error)
            return
        if isinstance(verdict, Verdict):
            _overrule(outcome, verdict)


def _overrule(outcome: Outcome, verdict: Verdict) -> None:
    """The user's verdict; a failure where the table saw none may be repeated, a success need not."""
    if verdict is Verdict.SUCCESS:
        outcome.again = Again.NO
    elif outcome.verdict is Verdict.SUCCESS and verdict in (Verdict.FAILURE, Verdict.THROTTLED):
        outcome.again = Again.SAFE
        outcome.kind = outcome.kind or ErrorKind.INVALID_RESPONSE
    outcome.verdict = verdict


def _next(call: Call, admission: Admission, outcome: Outcome, runtime: Runtime, now: float) -> Ending | float:
    """Why to stop here, or the seconds until the next attempt, paid for."""
    retry, state = call.policy.retry, call.state
    if outcome.kind is None or (
        outcome.verdict is Verdict.SUCCESS and outcome.again is Again.NO and _is_default(retry)
    ):
        return Ending.ANSWERED
    if outcome.scope == "total":
        return Ending.DEADLINE
    if retry is None or call.nested:
        return Ending.RETRY_OFF
    stop = may_repeat(
        retry, outcome, admission.number, _repeatable(call, runtime), _when(call, retry, admission, outcome, now)
    )
    if stop is not None:
        return stop
    asked = outcome.retry_after
    if asked is not None and asked > retry.max_retry_after:
        return Ending.SERVER_DELAY_TOO_LONG
    delay = _delay(call, retry, asked, now)
    start = now + delay
    if (call.deadline is not None and start >= call.deadline) or (
        retry.max_elapsed is not None and start - call.started > retry.max_elapsed
    ):
        return Ending.OUT_OF_TIME
    if state.refuses(call, now) is not None:
        return Ending.REFUSED
    if "budget" not in call.exempt:
        if not state.withdraw(now):
            if state.hub.listening:
                from seawall.events import BudgetExhausted

                state.hub.emit(BudgetExhausted(host=state.name, at=now))
            return Ending.BUDGET_EXHAUSTED
        call.paid = True
    if state.hub.listening:
        from seawall.events import RetryScheduled

        state.hub.emit(
            RetryScheduled(host=state.name, at=now, number=admission.number + 1, delay=delay, kind=outcome.kind)
        )
    return delay


def _is_default(retry: Retry | None) -> bool:
    """Only the default rules know that an answer the host is well with is not retried."""
    return retry is None or (retry.retry_on is None and retry.when is None)


def _repeatable(call: Call, runtime: Runtime) -> Any:
    if call.repeatable is None:
        call.repeatable = runtime.repeatable(call)
    return call.repeatable


def _when(call: Call, retry: Retry, admission: Admission, outcome: Outcome, now: float) -> bool | None:
    if retry.when is None:
        return None
    attempt = Attempt(
        admission.number,
        call.state.name,
        admission.started - call.started,
        now - admission.started,
        call.waited,
        outcome.status,
        outcome.kind,
        outcome.verdict,
        outcome.retry_after,
    )
    try:
        return retry.when(attempt, call.request)
    except Exception as error:
        call.state.hub.complain(retry.when, error)
        return None


def _delay(call: Call, retry: Retry, asked: float | None, now: float) -> float:
    u = call.state.clock.random()
    if asked is not None:
        call.own_delays, call.last_delay = 0, None  # after a delay of the server's, ours starts over
        return backoff.obey(asked, retry.max_delay, _room(call, now + asked), u)
    delay = retry.delay(call.own_delays, retry.base_delay if call.last_delay is None else call.last_delay, u)
    call.own_delays += 1
    call.last_delay = delay
    return delay


def body_failed(call: Call, admission: Admission, outcome: Outcome) -> Rejection | None:
    """The body of an answer broke. A rejection: it was a clock of ours, say that instead of the library's error."""
    now = call.state.clock.monotonic()
    if outcome.kind is ErrorKind.TIMEOUT:
        if call.deadline is not None and now >= call.deadline - _EARLY:
            outcome.scope, outcome.verdict = (
                "total",
                Verdict.IGNORED,
            )  # the headers were in time, it is the caller's limit
        elif call.limits.idle_is_ours:
            outcome.scope = "idle"
    admission.broke(outcome)
    return _clock_rang(call, outcome) if outcome.scope is not None else None


def _clock_rang(call: Call, outcome: Outcome) -> Rejection:
    scope = outcome.scope or "total"
    return Rejection(Reason.DEADLINE, call.state.name, scope=scope, limit=_length(call, scope), cause=outcome.error)


async def _enter(
    call: Call, admission: Admission, refused: Rejection | Ticket | float | None, runtime: Runtime
) -> Rejection | None:
    """Wait for the gate and the bulkhead, as long as both and the time allow. None: `admission` is let in."""
    state, clock = call.state, call.state.clock
    began = clock.monotonic()
    ends = call.deadline
    if admission.number > 1 and call.policy.retry is not None and call.policy.retry.max_elapsed is not None:
        ends = earliest(ends, call.started + call.policy.retry.max_elapsed)
    ticket: Ticket | None = None
    try:
        while refused is not None and not isinstance(refused, Rejection):
            if isinstance(refused, Ticket):
                ticket = refused
                seconds: float | Rejection = _turn_in(call, ticket, ends, clock.monotonic())
            else:
                seconds = _opens_in(call, refused, ends, clock.monotonic())
            if isinstance(seconds, Rejection):
                refused = seconds
                break
            if ticket is not None:
                await runtime.wait(ticket, seconds)
                ticket.sleep_on()
            else:
                await _sleep(call, seconds, runtime)
            now = clock.monotonic()
            if ends is not None and now >= ends:
                refused = _too_late(call)
                break
            refused = state.enter(admission, ticket, now)
            ticket = refused if isinstance(refused, Ticket) else None
    except BaseException:
        if ticket is not None:
            state.leave(ticket, clock.monotonic(), refused=False)
        raise
    now = clock.monotonic()
    if refused is not None and ticket is not None:
        state.leave(ticket, now, refused=True)
    elif refused is not None and refused.reason in (Reason.GATE, Reason.DEADLINE):
        state.count_rejection(now)
    call.waited += now - began
    admission.started = now
    return refused


def _turn_in(call: Call, ticket: Ticket, ends: float | None, now: float) -> float | Rejection:
    """Seconds to wait for a turn before looking again; a rejection when the patience is over."""
    bulkhead = call.policy.bulkhead
    patience = bulkhead.max_wait if bulkhead is not None else 0.0
    if ends is not None and now >= ends:
        return _too_late(call)
    left = ticket.joined_at + patience - now
    if left <= 0:
        return Rejection(Reason.BULKHEAD_TIMEOUT, call.state.name, limit=patience)
    return min(left, CLAIM_WITHIN) if ends is None else min(left, CLAIM_WITHIN, ends - now)


def _opens_in(call: Call, gate: float, ends: float | None, now: float) -> float | Rejection:
    """Seconds to wait for the gate; a rejection if that is longer than this call may."""
    retry = call.policy.retry
    pause = max(0.0, gate - now)
    room = math.inf if ends is None else ends - gate
    if retry is None or pause > retry.max_retry_after or room <= 0:
        return Rejection(Reason.GATE, call.state.name, pause)
    return backoff.obey(pause, retry.max_delay, room, call.state.clock.random())


async def _sleep(call: Call, seconds: float, runtime: Runtime) -> None:
    """Wait, holding nothing; `close()` ends it."""
    ticket = Ticket(0)
    call.state.rest(ticket)
    try:
        await runtime.wait(ticket, seconds)
    finally:
        call.state.rise(ticket)


def _room(call: Call, instant: float) -> float:
    """Seconds the deadline leaves after an instant."""
    return math.inf if call.deadline is None else call.deadline - instant


def _too_late(call: Call) -> Rejection:
    return Rejection(Reason.DEADLINE, call.state.name, scope="total", limit=_length(call, "total"))


def _length(call: Call, scope: str) -> float | None:
    """The length of the clock that rang; None if it was inherited as an instant."""
    limit = getattr(call.policy.timeouts, scope)
    if scope == "total":
        is_own = isinstance(limit, float) and call.deadline is not None and call.deadline >= call.started + limit
        return limit if is_own else None
    return limit if isinstance(limit, float) else getattr(call.limits, scope)


async def _stop(call: Call, admission: Admission, last: _Last, ending: Ending, runtime: Runtime) -> Any:
    """No attempt follows: hand over the answer as it is, its verdict falling where its body ends; or the error."""
    call.ending = ending
    outcome, retry = last.outcome, call.policy.retry
    failed = outcome.verdict in (Verdict.FAILURE, Verdict.THROTTLED) or last.error is not None
    raises = failed and retry is not None and retry.on_exhausted == "raise" and ending in _ENDINGS
    if last.response is not None and not raises:
        call.note(
            admission.number,
            admission.started,
            call.state.clock.monotonic(),
            outcome.status,
            outcome.kind,
            outcome.verdict,
            outcome.retry_after,
        )
        if type(admission.phase) is HalfOpen and outcome.verdict is Verdict.SUCCESS:
            call.state.headers(admission, call.state.clock.monotonic())
        if admission.is_over:
            admission.finish()
        if call.state.hub.listening:
            _ended(call)
        return last.response
    if last.response is not None and await runtime.peek(last.response, admission) is None:
        await runtime.discard(last.response, admission)
    _settle(call, admission, outcome, call.state.clock.monotonic())
    return _give_up(call, last, raises=raises)


def _refused(call: Call, rejection: Rejection, last: _Last | None) -> Any:
    """We refuse the attempt that was to follow: the previous end is the caller's, if it is still at hand."""
    if call.paid:
        call.paid = False
        call.state.give_back()
    if call.state.hub.listening:
        from seawall.errors import BY_REASON
        from seawall.events import Rejected

        call.state.hub.emit(
            Rejected(
                host=call.state.name,
                at=call.state.clock.monotonic(),
                policy=BY_REASON[rejection.reason][1],
                reason=rejection.reason.value,
                retry_after=rejection.retry_after,
            )
        )
    call.ending = Ending.DEADLINE if rejection.reason is Reason.DEADLINE else Ending.REFUSED
    call.reason = rejection.reason.value
    if last is not None:
        retry = call.policy.retry
        raises = retry is not None and retry.on_exhausted == "raise"
        if last.error is not None or raises:
            return _give_up(call, last, raises=raises)
        if last.response is not None:
            if call.state.hub.listening:
                _ended(call)
            return last.response
    if call.state.hub.listening:
        _ended(call)
    return rejection


def _give_up(call: Call, last: _Last, *, raises: bool) -> Rejection | Failed:
    """The call failed: with a rejection that says so, or with the library's own exception."""
    if call.state.hub.listening:
        _ended(call)
    outcome, name = last.outcome, call.state.name
    if raises and outcome.scope != "total":
        reason = _ENDINGS.get(call.ending or Ending.NOT_RETRYABLE, Reason.NOT_RETRYABLE)
        return Rejection(reason, name, outcome.retry_after, cause=last.error, response=last.response)
    if outcome.scope is not None:
        return _clock_rang(call, outcome)
    assert last.error is not None
    return Failed(last.error)


def _settle(call: Call, admission: Admission, outcome: Outcome, now: float) -> None:
    call.note(
        admission.number, admission.started, now, outcome.status, outcome.kind, outcome.verdict, outcome.retry_after
    )
    call.state.settle(admission, outcome.verdict, now)
    call.waited = 0.0


def _abandon(call: Call, admission: Admission) -> None:
    """Cancelled, interrupted: everything goes back, and the host is neither praised nor blamed."""
    if call.paid:
        call.state.give_back()
        call.paid = False
    call.ending = Ending.CANCELLED
    call.state.settle(admission, Verdict.IGNORED, call.state.clock.monotonic())
    if call.state.hub.listening:
        _ended(call)


def _ended(call: Call) -> None:
    from seawall.events import CallEnded

    state = call.state
    now = state.clock.monotonic()
    state.hub.emit(
        CallEnded(
            host=state.name,
            at=now,
            attempts=len(call.attempts),
            duration=now - call.started,
            ending=call.ending or Ending.CANCELLED,
        )
    )
