"""One request's journey, top to bottom, for sync and async alike.

Cheap vetoes first, waiting next, the scarce token last. Nothing is held while
sleeping. After the last attempt the caller gets what the bare client would have
given: the answer, or the library's own exception. What no server said comes back
as a `Rejection`; mounts and `execute` make their exceptions of it.

Everything awaited here is a method of the runtime (a test reads the syntax tree).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from seawall import telling
from seawall.classification import is_quota, text
from seawall.judging import clock_rang, judge_error, judge_response, next_step, opens_in, too_late, turn_in
from seawall.outcome import Again, Ending, ErrorKind, Reason, Rejection, Verdict
from seawall.policies.breaker import HalfOpen
from seawall.policies.bulkhead import Ticket
from seawall.scope import earliest

if TYPE_CHECKING:
    from seawall._story import Call
    from seawall.admission import Admission
    from seawall.outcome import Outcome
    from seawall.policies.retry import Retry
    from seawall.runtime import Runtime

# An enum's member is looked up through its class, and its value through a property: too slow where it is hot.
_ANSWERED, _DEADLINE, _REFUSED, _TOO_LATE = Ending.ANSWERED, Ending.DEADLINE, Ending.REFUSED, Reason.DEADLINE

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


def turned_away(call: Call) -> Rejection | None:
    """The refusal of a call whose host is not calm, where one look tells; None: `run` it.

    While a circuit is open every call ends here: none of them costs a coroutine, or an attempt that is never sent.
    """
    now = call.started
    if call.deadline is not None and now >= call.deadline:
        return None
    state = call.state
    refusal = state.turn_away(call, now)
    if refusal is None or state.hub.listening:
        return None if refusal is None else _refused(call, refusal, None)
    call.ending = _REFUSED
    call.reason = refusal.reason._value_
    return refusal


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
            refused = (
                state.admit(admission, now) if call.deadline is None or now < call.deadline else too_late(call, now)
            )
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
            outcome = judge_error(call, admission, error, runtime, now)
            response, failure = None, error
        except BaseException:
            _abandon(call, admission)
            raise
        else:
            try:
                status = response.status_code
                if status < 400 and call.policy.classify is None:
                    call.answer = (number, admission.started, admission.headers_at, status)
                    call.ending = _ANSWERED
                    if type(admission.phase) is HalfOpen:
                        state.headers(admission, clock.monotonic())
                    if admission.is_over:
                        admission.finish()
                    if state.hub.listening:
                        telling.call_ended(call)
                    return response
                outcome, failure = judge_response(call, admission, response), None
            except BaseException:  # a hook was interrupted: nobody will get the answer
                await _drop(call, admission, response, runtime)
                raise
        try:
            if outcome.status == 429 and "json" in text(response, "content-type").lower():
                body = await runtime.peek(response, admission)
                if body is not None and is_quota(body):
                    outcome.kind, outcome.again = ErrorKind.QUOTA_EXCEEDED, Again.NO
            now = clock.monotonic()
            try:
                delay = next_step(call, admission, outcome, runtime, now)
            except BaseException:
                await _drop(call, admission, response, runtime)
                raise
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
                state.count_rejection(now)
                return _refused(call, refused, last)
            began = now
            await _sleep(call, delay, runtime)
        except BaseException:
            _abandon(call, admission)
            raise
        now = clock.monotonic()
        call.waited = now - began
        number += 1


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
                seconds: float | Rejection = turn_in(call, ticket, ends, clock.monotonic())
            else:
                seconds = opens_in(call, refused, ends, clock.monotonic())
            if isinstance(seconds, Rejection):
                refused = seconds
                break
            if ticket is not None:
                await runtime.wait(ticket, seconds)
            else:
                await _sleep(call, seconds, runtime)
            now = clock.monotonic()
            if ends is not None and now >= ends:
                refused = too_late(call, now)
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


async def _sleep(call: Call, seconds: float, runtime: Runtime) -> None:
    """Wait, holding nothing; `close()` ends it."""
    ticket = Ticket(0)
    call.state.rest(ticket)
    try:
        await runtime.wait(ticket, seconds)
    finally:
        call.state.rise(ticket)


async def _stop(call: Call, admission: Admission, last: _Last, ending: Ending, runtime: Runtime) -> Any:
    """No attempt follows: hand over the answer as it is, its verdict falling where its body ends; or the error."""
    call.ending = ending
    outcome, retry = last.outcome, call.policy.retry
    raises = _raises(retry, outcome) and ending in _ENDINGS
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
            telling.call_ended(call)
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
        telling.rejected(call.state, rejection)
    call.ending = _DEADLINE if rejection.reason is _TOO_LATE else _REFUSED
    call.reason = rejection.reason._value_
    if last is not None:
        raises = _raises(call.policy.retry, last.outcome)
        if last.error is not None or raises:
            return _give_up(call, last, raises=raises)
        if last.response is not None:
            if call.state.hub.listening:
                telling.call_ended(call)
            return last.response
    if call.state.hub.listening:
        telling.call_ended(call)
    return rejection


def _raises(retry: Retry | None, outcome: Outcome) -> bool:
    """Is this end a failure that the caller wants as an exception of ours?"""
    if retry is None or retry.on_exhausted != "raise" or outcome.kind is ErrorKind.FOREIGN:
        return False
    return outcome.verdict in (Verdict.FAILURE, Verdict.THROTTLED) or retry.repeats(outcome) is not Again.NO


def _give_up(call: Call, last: _Last, *, raises: bool) -> Rejection | Failed:
    """The call failed: with a rejection that says so, or with the library's own exception."""
    if call.state.hub.listening:
        telling.call_ended(call)
    outcome, name = last.outcome, call.state.name
    if raises and outcome.scope != "total":
        reason = _ENDINGS.get(call.ending or Ending.NOT_RETRYABLE, Reason.NOT_RETRYABLE)
        return Rejection(reason, name, outcome.retry_after, cause=last.error, response=last.response)
    if outcome.scope is not None:
        return clock_rang(call, outcome)
    assert last.error is not None
    return Failed(last.error)


def _settle(call: Call, admission: Admission, outcome: Outcome, now: float) -> None:
    call.note(
        admission.number, admission.started, now, outcome.status, outcome.kind, outcome.verdict, outcome.retry_after
    )
    call.state.settle(admission, outcome.verdict, now)
    call.waited = 0.0


async def _drop(call: Call, admission: Admission, response: Any, runtime: Runtime) -> None:
    """Give back everything, the answer's connection too."""
    _abandon(call, admission)
    if response is not None:
        await runtime.discard(response, admission)


def _abandon(call: Call, admission: Admission) -> None:
    """Cancelled, interrupted: everything goes back, and the host is neither praised nor blamed."""
    if call.paid:
        call.state.give_back()
        call.paid = False
    call.ending = Ending.CANCELLED
    call.state.settle(admission, Verdict.IGNORED, call.state.clock.monotonic())
    if call.state.hub.listening:
        telling.call_ended(call)
