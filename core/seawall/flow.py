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
from seawall.judging import clock_rang, inspects, judge_error, judge_response, judge_stream, too_late
from seawall.outcome import Again, Ending, ErrorKind, Reason, Rejection, Verdict
from seawall.policies.breaker import HalfOpen
from seawall.retrying import next_step
from seawall.waiting import enter, sleep

if TYPE_CHECKING:
    from seawall._story import Call
    from seawall.admission import Admission
    from seawall.outcome import Outcome
    from seawall.policies.retry import Retry
    from seawall.runtime import Runtime

# An enum's member is looked up through its class, and its value through a property: too slow where it is hot.
_ANSWERED, _DEADLINE, _REFUSED, _TOO_LATE = Ending.ANSWERED, Ending.DEADLINE, Ending.REFUSED, Reason.DEADLINE

REASONS: Final[dict[Ending | None, Reason]] = {
    Ending.ATTEMPTS_EXHAUSTED: Reason.ATTEMPTS,
    Ending.OUT_OF_TIME: Reason.ATTEMPTS,
    Ending.SERVER_DELAY_TOO_LONG: Reason.ATTEMPTS,
    Ending.REFUSED: Reason.ATTEMPTS,
    Ending.NOT_WAITED_FOR: Reason.ATTEMPTS,
    Ending.DEADLINE: Reason.ATTEMPTS,
    Ending.BUDGET_EXHAUSTED: Reason.BUDGET,
    Ending.NOT_RETRYABLE: Reason.NOT_RETRYABLE,
    Ending.NOT_REPEATABLE: Reason.NOT_RETRYABLE,
    Ending.BODY_NOT_REPLAYABLE: Reason.NOT_RETRYABLE,
    Ending.RETRY_OFF: Reason.NOT_RETRYABLE,
    Ending.VETOED: Reason.NOT_RETRYABLE,
}


class _Last:
    """How the last attempt ended, to be handed over if nothing better comes."""

    __slots__ = ("broke", "error", "outcome", "raises", "response")

    def __init__(self, outcome: Outcome, response: Any, error: BaseException | None) -> None:
        self.outcome = outcome
        self.response = response
        self.error = error
        """Once settled held nowhere else, and not after the call: its frames hold us, and who holds it makes a circle,
        which waits for the collector with all that the frames of the client hold."""
        self.broke: Exception | None = None
        """What broke the answer while it was held until its first content."""
        self.raises = False
        """Is it a failure that the caller wants as an exception of ours?"""

    def take_error(self) -> BaseException | None:
        error, self.error = self.error, None
        return error


class Failed:
    """The call ended with the library's own exception, to be raised by whoever started it."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = error

    def take(self) -> BaseException:
        """The exception, to be raised. Frames that it passes hold this, so this must not hold it any more."""
        error, self.error = self.error, None
        assert error is not None
        return error


def turned_away(call: Call) -> Rejection | None:
    """The refusal of a call whose host is not calm, where one look tells; None: `run` it.

    While a circuit is open every call ends here: none of them costs a coroutine, or an attempt that is never sent.
    """
    now = call.started
    if (call.deadline is not None and now >= call.deadline) or call.policy.degrade:
        return None
    state = call.state
    if state.hub.around:  # it belongs to every call, a refused one too
        return None
    refusal = state.turn_away(call, now)
    if refusal is None or state.hub.listening:
        return None if refusal is None else _refused(call, refusal, None)
    call.ending = _REFUSED
    call.reason = refusal.reason._value_
    return refusal


async def run(call: Call, runtime: Runtime, now: float | None = None) -> Any:
    """Send `call` as often as its policy wants. Returns the library's response, a `Failed` or a `Rejection`.

    now: when it goes out, if that is later than it started.
    """
    state, now = call.state, call.started if now is None else now
    last: _Last | None = None
    admission = runtime.admission(call, 1, now)
    while True:
        try:
            refused = (
                state.admit(admission, now) if call.deadline is None or now < call.deadline else too_late(call, now)
            )
            if refused is not None:
                refused = await enter(call, admission, refused, runtime)
                if refused is not None:
                    return _refused(call, refused, last)
            if last is not None:
                admission.paid, call.paid = call.paid, False
            if state.hub.following:
                telling.attempt_started(admission)
            response = await runtime.send(call, admission)
            response = admission.receive(response)
        except Exception as error:
            last = _failed(admission, error, runtime)
        except BaseException:
            _abandon(call, admission)
            raise
        else:
            try:
                status = response.status_code
                if status < 400 and call.policy.trusts_headers:
                    call.answer = (admission.number, admission.started, admission.headers_at, status)
                    call.ending = _ANSWERED
                    if type(admission.phase) is HalfOpen:
                        state.headers(admission, state.now())
                    if admission.is_over:
                        admission.finish()
                    if state.hub.following:
                        telling.call_ended(call)
                    last = None
                    return response
                last = _Last(judge_response(call, admission, response), response, None)
            except BaseException:  # a hook was interrupted: nobody will get the answer
                await _drop(admission, response, runtime)
                raise
        result = await _follow_up(call, admission, last, runtime)
        if result is not None:
            return result
        now = state.now()
        admission = runtime.admission(call, admission.number + 1, now)


def _failed(admission: Admission, error: Exception, runtime: Runtime) -> _Last:
    call = admission.call
    try:
        outcome = judge_error(call, admission, error, runtime, call.state.now())
    except BaseException:  # a hook was interrupted
        _abandon(call, admission)
        raise
    return _Last(outcome, None, error)


async def _follow_up(call: Call, admission: Admission, last: _Last, runtime: Runtime) -> Any:
    """After an attempt that was not plainly good: what the call ends in; or None, when it is time for the next one."""
    state = call.state
    try:
        delay = await _decide(call, admission, last, runtime)
        if isinstance(delay, Ending):
            return await _stop(call, admission, last, delay, runtime)
        if last.response is not None and await runtime.peek(last.response, admission) is None:
            await runtime.discard(last.response, admission)
            last.response = None
        now = state.now()
        last.raises = _raises(call.policy.retry, last.outcome)
        _settle(call, admission, last, now)
        refused = state.refuses(call, now)
        if refused is not None:
            state.count_rejection(now)
            return _refused(call, refused, last)
        if state.hub.listening:
            telling.retry_scheduled(call, now, admission.number + 1, delay, last.outcome)
        await sleep(call, delay, runtime)
        call.waited = state.now() - now
    except BaseException:
        _abandon(call, admission)
        raise
    return None


async def _decide(call: Call, admission: Admission, last: _Last, runtime: Runtime) -> Ending | float:
    """Why to stop here, or the seconds until the next attempt; the body is asked where the headers leave that open."""
    outcome, response = last.outcome, last.response
    if outcome.status == 429 and "json" in text(response, "content-type").lower():
        body = await runtime.peek(response, admission)
        if body is not None and is_quota(body):
            outcome.kind, outcome.again = ErrorKind.QUOTA_EXCEEDED, Again.NO
    if response is not None and outcome.kind is None and inspects(call, admission, response):
        last.broke = await runtime.hold(response, admission)
    now = call.state.now()
    try:
        if admission.inspector is not None:
            outcome = last.outcome = judge_stream(call, admission, outcome, last.broke, runtime)
        return next_step(call, admission, outcome, runtime, now)
    except BaseException:
        await _drop(admission, response, runtime)
        raise


async def _stop(call: Call, admission: Admission, last: _Last, ending: Ending, runtime: Runtime) -> Any:
    """No attempt follows: hand over the answer as it is, its verdict falling where its body ends; or the error."""
    call.ending = ending
    outcome, retry = last.outcome, call.policy.retry
    last.raises = _raises(retry, outcome) and ending in REASONS
    if last.response is not None and not last.raises:
        _note(call, admission, outcome, call.state.now())
        if type(admission.phase) is HalfOpen and outcome.verdict is Verdict.SUCCESS:
            call.state.headers(admission, call.state.now())
        if admission.is_over:
            admission.finish()
        if call.silent:  # a way to degrade may have to let this answer go
            call.last = admission
        if call.state.hub.following:
            telling.call_ended(call)
        return last.response
    if last.response is not None and await runtime.peek(last.response, admission) is None:
        await runtime.discard(last.response, admission)
    _settle(call, admission, last, call.state.now())
    return _give_up(call, last)


def _refused(call: Call, rejection: Rejection, last: _Last | None) -> Any:
    """We refuse the attempt that was to follow: the previous end is the caller's, if it is still at hand."""
    if call.paid:
        call.paid = False
        call.state.give_back()
    hub = call.state.hub
    if hub.listening:
        telling.rejected(call, rejection)
    call.ending = _DEADLINE if rejection.reason is _TOO_LATE else _REFUSED
    call.reason = rejection.reason._value_
    if last is not None:
        if last.error is not None or last.raises:
            return _give_up(call, last)
        if last.response is not None:
            if hub.following:
                telling.call_ended(call)
            return last.response
    if hub.following:
        telling.call_ended(call)
    return rejection


def _raises(retry: Retry | None, outcome: Outcome) -> bool:
    """Is this end a failure that the caller wants as an exception of ours?"""
    if retry is None or retry.on_exhausted != "raise" or outcome.kind is ErrorKind.FOREIGN:
        return False
    return outcome.verdict in (Verdict.FAILURE, Verdict.THROTTLED) or retry.repeats(outcome) is not Again.NO


def _give_up(call: Call, last: _Last) -> Rejection | Failed:
    """The call failed: with a rejection that says so, or with the library's own exception."""
    if call.state.hub.following:
        telling.call_ended(call)
    outcome, name = last.outcome, call.state.name
    if last.raises and outcome.scope != "total":
        reason = REASONS.get(call.ending, Reason.NOT_RETRYABLE)
        cause, last.broke = last.take_error() or last.broke, None
        return Rejection(reason, name, outcome.retry_after, cause=cause, response=last.response)
    error = last.take_error()
    if outcome.scope is not None:
        return clock_rang(call, outcome, error)
    assert error is not None
    return Failed(error)


def _settle(call: Call, admission: Admission, last: _Last, now: float) -> None:
    outcome = last.outcome
    _note(call, admission, outcome, now)
    call.state.settle(admission, outcome.verdict, now)
    outcome.error = None


def _note(call: Call, admission: Admission, outcome: Outcome, now: float) -> None:
    call.note(
        admission.number, admission.started, now, outcome.status, outcome.kind, outcome.verdict, outcome.retry_after
    )


async def _drop(admission: Admission, response: Any, runtime: Runtime) -> None:
    """Give back everything, the answer's connection too."""
    _abandon(admission.call, admission)
    if response is not None:
        await runtime.discard(response, admission)


def _abandon(call: Call, admission: Admission) -> None:
    """Cancelled, interrupted: everything goes back, and the host is neither praised nor blamed. Told once."""
    if call.ending is Ending.CANCELLED:
        return
    if call.paid:
        call.state.give_back()
        call.paid = False
    call.ending = Ending.CANCELLED
    call.state.settle(admission, Verdict.IGNORED, call.state.now())
    if call.state.hub.following:
        call.state.cancelled(call)
