"""What an attempt means for its call: who watches it, its outcome, and whose clock rang.

Everything here is arithmetic on one call; the flow acts on it.
"""

from __future__ import annotations

import math
from copy import copy
from typing import TYPE_CHECKING, Any, Final

from seawall._story import attach
from seawall.classification import of_error, of_event, of_response
from seawall.clocks import EARLY, Watch
from seawall.outcome import Again, Ending, ErrorKind, Reason, Rejection, Sent, Verdict, WrongValue
from seawall.policies.retry import IDEMPOTENT_METHODS
from seawall.runtime import OutOfTime, close_unawaited

if TYPE_CHECKING:
    from seawall._story import Call
    from seawall.admission import Admission
    from seawall.outcome import Outcome
    from seawall.policy import Inspect
    from seawall.runtime import Runtime

_TIMED_OUT: Final = (ErrorKind.TIMEOUT, ErrorKind.CONNECTION_TIMEOUT, ErrorKind.POOL_TIMEOUT)


def watch_for(call: Call, started: float) -> Watch | None:
    """The clocks of an attempt; None: none of ours runs, and nobody will ask what it wrote or when content came."""
    if (
        call.limits.passive
        and call.deadline is None
        and call.policy.inspect_streams is False
        and call.request.method in IDEMPOTENT_METHODS
    ):
        return None
    return Watch(call, started)


def judge_response(call: Call, admission: Admission, response: Any) -> Outcome:
    outcome = of_response(response, call.state.clock.wall())
    _ask_user(call, outcome)
    admission.outcome = outcome
    if outcome.verdict is not Verdict.THROTTLED:
        call.may_be_done = True
    return outcome


def judge_error(call: Call, admission: Admission, error: Exception, runtime: Runtime, now: float) -> Outcome:
    outcome = _meaning(call, error, runtime)
    if isinstance(error, OutOfTime):
        outcome = of_error(error, ErrorKind.TIMEOUT)
    if outcome.kind in _TIMED_OUT:
        _find_clock(call, admission, outcome, now, error)
    if admission.watch is not None:
        _correct(outcome, admission.watch)
    _ask_user(call, outcome)
    admission.outcome = outcome
    if outcome.sent is not Sent.NO:
        call.may_be_done = True
    return outcome


def _meaning(call: Call, error: Exception, runtime: Runtime) -> Outcome:
    """What the request's own body raised is its maker's, whatever error of the library it looks like."""
    broken = call.upload is not None and call.upload.error is not None
    return of_error(error, ErrorKind.FOREIGN) if broken else runtime.error(call, error)


def _correct(outcome: Outcome, watch: Watch) -> None:
    """What the socket saw leave, or not leave, is better evidence than the class of the error."""
    if watch.is_proof and not watch.wrote:
        outcome.sent = Sent.NO
        if outcome.again is Again.SAFE:
            outcome.again = Again.ANY
    elif watch.is_proof and outcome.sent is Sent.NO:  # refused while something underneath sent it again, say
        outcome.sent = Sent.MAYBE
        if outcome.again is Again.ANY:
            outcome.again = Again.SAFE


def came(admission: Admission, piece: bytes) -> None:
    """A piece of a body is here. Raises OutOfTime if its clock ran out between two pieces that each came in time."""
    watch = admission.watch
    if watch is None:
        return
    if watch.ends is not None and watch.now() >= watch.ends:
        raise OutOfTime
    if piece:
        watch.content()
        if admission.inspector is not None:
            inspect(admission, piece)


def body_failed(call: Call, admission: Admission, error: Exception, outcome: Outcome) -> Rejection | None:
    """The body of an answer broke. A rejection: it was a clock of ours, say that instead of the library's error."""
    outcome = _of_body(admission, error, outcome)
    attach(error, call)
    call.ending = Ending.BODY_BROKE
    admission.broke(outcome)
    rejection = clock_rang(call, outcome, error) if outcome.scope is not None else None
    outcome.error = None  # as the flow does when an attempt has ended
    return rejection


def inspects(call: Call, admission: Admission, response: Any) -> bool:
    """Has this answer to be held until its first content? Then there is an inspector for it."""
    asked = call.policy.inspect_streams
    if asked is False or admission.status != 200 or call.request.method == "HEAD":
        return False
    from seawall.inspect_stream import inspector_for

    admission.inspector = inspector_for(response, None if asked is True else _asking(call, asked))
    return admission.inspector is not None


def judge_stream(
    call: Call, admission: Admission, outcome: Outcome, error: Exception | None, runtime: Runtime
) -> Outcome:
    """What an answer was, held until its first content: as its headers said, unless it told of an error or broke."""
    if error is None:
        return _told(call, admission) or outcome
    outcome = _of_body(admission, error, _meaning(call, error, runtime))
    outcome.status = admission.status
    _ask_user(call, outcome)
    admission.outcome = outcome
    return outcome


def inspect(admission: Admission, piece: bytes) -> None:
    """A piece of the body passes. An error it tells of is the verdict that falls at the end of the body."""
    inspector, call = admission.inspector, admission.call
    tells = inspector is not None and inspector.feed(piece) and not admission.settled
    outcome = _told(call, admission) if tells else None
    if outcome is not None:
        call.ending = Ending.BODY_BROKE
        call.amend(call.state.clock.monotonic(), outcome.kind, outcome.verdict)


def _told(call: Call, admission: Admission) -> Outcome | None:
    """What the answer itself said went wrong with it."""
    inspector = admission.inspector
    if inspector is None or inspector.kind is None:
        return None
    outcome = admission.outcome = of_event(inspector.kind, inspector.delay)
    attach(call.request, call)  # all that an SDK's error for such an event may have
    _ask_user(call, outcome)
    return outcome


def too_late(call: Call, now: float) -> Rejection:
    """The deadline is over; or `max_elapsed` is, after which nothing more is tried."""
    if call.deadline is None or now < call.deadline:
        return Rejection(Reason.ATTEMPTS, call.state.name)
    return Rejection(Reason.DEADLINE, call.state.name, scope="total", limit=_length(call, "total"))


def clock_rang(call: Call, outcome: Outcome, error: BaseException | None) -> Rejection:
    scope = outcome.scope or "total"
    return Rejection(Reason.DEADLINE, call.state.name, scope=scope, limit=_length(call, scope), cause=error)


def _length(call: Call, scope: str) -> float | None:
    """The length of the clock that rang; None if it was inherited as an instant."""
    limit = getattr(call.policy.timeouts, scope)
    if scope == "total":
        is_own = isinstance(limit, float) and call.deadline is not None and call.deadline >= call.started + limit
        return limit if is_own else None
    return limit if isinstance(limit, float) else getattr(call.limits, scope)


def _find_clock(call: Call, admission: Admission, outcome: Outcome, now: float, error: Exception) -> None:
    """Was it a clock of ours that ended the attempt, and is the host to blame for it?"""
    outcome.scope = _scope(admission, now, error)
    if outcome.scope == "total":
        limits = call.limits
        share = limits.attempt if limits is not None else None
        if share is None or now - admission.started < share - EARLY:
            outcome.verdict = Verdict.IGNORED  # it was not given its own share of time


def _scope(admission: Admission, now: float, error: Exception) -> str | None:
    """The clock of ours that has rung; None: the library's own, or somebody else's."""
    call, watch = admission.call, admission.watch
    if watch is not None:
        # What we cut off was cut by the clock nearest to its end, even if a replaced clock of the process stands still.
        return watch.rang(now) or (watch.rang(math.inf) if isinstance(error, OutOfTime) else None)
    if call.deadline is not None and now >= call.deadline - EARLY:
        return "total"
    limit = call.limits.attempt if call.limits is not None and not admission.headers_at else None
    return "attempt" if limit is not None and now - admission.started >= limit - EARLY else None


def _ask_user(call: Call, outcome: Outcome) -> None:
    classify = call.policy.classify
    if classify is not None:
        try:
            verdict: object = classify(copy(outcome), call.request)  # his to keep: ours lets go of the error
            if verdict is not None and not isinstance(verdict, Verdict):
                close_unawaited(verdict)
                raise WrongValue("classify= must give a Verdict or None")
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


def _of_body(admission: Admission, error: Exception, outcome: Outcome) -> Outcome:
    """What an error in a body means: `outcome` is the mount's word."""
    if isinstance(error, OutOfTime):
        outcome = of_error(error, ErrorKind.TIMEOUT)
    if outcome.kind is ErrorKind.TIMEOUT:
        outcome.scope = _scope(admission, admission.call.state.clock.monotonic(), error)
        if outcome.scope in ("total", "stream"):  # the pieces came in time: it is the caller's limit
            outcome.verdict = Verdict.IGNORED
    return outcome


def _asking(call: Call, ask: Inspect) -> Inspect:
    """The user's word on events, whatever goes wrong with it."""

    def asking(name: str, data: Any) -> ErrorKind | bool | None:
        try:
            meaning: object = ask(name, data)
            if meaning is None or isinstance(meaning, bool | ErrorKind):
                return meaning
            close_unawaited(meaning)
            raise WrongValue("inspect_streams= must give an ErrorKind, True, False or None")
        except Exception as error:
            call.state.hub.complain(ask, error)
            return None

    return asking
