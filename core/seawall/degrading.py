"""The journey of a call whose policy has ways to degrade: when the host failed, they are asked in order.

Around the flow, so that a policy without them pays nothing. "Failed" is what the host
is blamed for, and our refusals: an error status of 500 or more, 408, 425, 429, an
exception of the network, a stream that failed before its first content. What is the
caller's own (a 404, a bad URL, a cancellation) is handed over as it is: a stale answer
there would hide a mistake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seawall import telling
from seawall.coalescing import run_together
from seawall.degrade.step import Trouble
from seawall.flow import REASONS, Failed, run
from seawall.outcome import Ending, ErrorKind, Reason, Rejection, Verdict
from seawall.scope import earliest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from seawall._story import Call
    from seawall.degrade.step import Step
    from seawall.runtime import Runtime

_WORTH_IT = frozenset({408, 425, 429})
_NOT_LET_IN = frozenset({401, 403, 407})
"""From another provider: the credentials configured for it are wrong, which is no answer to the caller."""


def journey(call: Call, runtime: Runtime) -> Coroutine[Any, Any, Any]:
    """The way of a call to its response, `Failed` or `Rejection`."""
    way = run_degrading if call.policy.degrade else run
    return _enclosed(call, runtime, way) if call.state.hub.around else way(call, runtime)


async def _enclosed(call: Call, runtime: Runtime, way: Callable[[Call, Runtime], Coroutine[Any, Any, Any]]) -> Any:
    """The way of a call, inside what somebody wants around every call."""
    hub = call.state.hub
    leave = hub.enter(telling.info_of(call))
    try:
        result = await way(call, runtime)
    except BaseException as error:
        hub.leave(leave, error)
        raise
    hub.leave(leave, None)
    return result


async def run_degrading(call: Call, runtime: Runtime) -> Any:
    steps, deadline = call.policy.degrade, call.deadline
    call.silent = True
    for step in steps:
        step.begin(call, runtime)
    if deadline is not None:
        call.whole, call.deadline = deadline, deadline - _reserved(call, steps, deadline)
    if call.policy.degrade_after is not None and any(step.could_answer(call) for step in steps):
        call.hurry = call.policy.degrade_after
    try:
        if call.slot is not None and call.slot.coalesces:
            result = await run_together(call, runtime)
        else:
            result = await run(call, runtime)
        call.deadline = deadline
        trouble = _trouble(call, runtime, result)
        if call.copy is not None and (call.answer is not None or call.last is not None):
            call.copy.keep(None if call.last is None else call.last.outcome)
        if trouble is not None:
            try:
                await _read_ahead(call, trouble)
                result = await _degrade(call, trouble, steps, result)
            except BaseException as error:  # cancelled, interrupted: nobody will get the host's own answer
                await _let_go(call, trouble, awaits=not isinstance(error, GeneratorExit))
                raise
    finally:
        _end(call)
    return result


async def _read_ahead(call: Call, trouble: Trouble) -> None:
    """Free the connection of the host's own answer, which a step may need, and all else it holds, if it is short."""
    if trouble.response is not None and call.last is not None:
        if await trouble.runtime.peek(trouble.response, call.last) is not None:
            call.last.finish()


async def _degrade(call: Call, trouble: Trouble, steps: tuple[Step, ...], result: Any) -> Any:
    runtime, ending = trouble.runtime, None
    for step in steps:
        try:
            answer = await step.answer(trouble)
            if answer is not None and not isinstance(answer, Rejection):
                answer = runtime.respond(call, answer)
        except Exception as error:  # the step is broken, not the call: the next one is asked
            call.state.hub.complain(step, error)
            continue
        if answer is None:
            continue
        if isinstance(answer, Rejection) and answer.reason is Reason.ALL_FAILED:
            ending = answer  # unless a later step has something better
            continue
        original = trouble.error
        await _let_go(call, trouble)
        if isinstance(answer, Rejection):
            return answer
        instead_of = call.ending or Ending.CANCELLED
        call.ending, call.error, call.served_from = Ending.DEGRADED, original, step.source
        call.answer = None
        call.state.count_degraded(step.source, call, instead_of)
        return answer
    if ending is not None:
        await _let_go(call, trouble)
        return ending
    return result


async def _let_go(call: Call, trouble: Trouble, *, awaits: bool = True) -> None:
    """The host's own answer is not wanted: its verdict falls, its connection goes back, if there is still awaiting."""
    admission = call.last
    if admission is not None and trouble.response is not None:
        admission.finish()
        if awaits:
            await trouble.runtime.discard(trouble.response, admission)


async def on_behalf(call: Call, other: Call, runtime: Runtime) -> Any:
    """Run `other`, a call to another host, for `call`: its answer, or the exception it failed with."""
    other.deadline = earliest(other.deadline, call.deadline)
    other.silent = True
    try:
        if other.state.hub.around:
            result = await _enclosed(other, runtime, run)
        else:
            result = await run(other, runtime)
        call.join(other)
        if isinstance(result, Failed):
            return result.error
        if isinstance(result, Rejection):
            return runtime.exception(other, result)
        trouble = _trouble(other, runtime, result)
        if trouble is None and result.status_code not in _NOT_LET_IN:
            return result
        rejection = Rejection(Reason.NOT_RETRYABLE, other.state.name, response=result)
        error = trouble.error if trouble is not None else runtime.exception(other, rejection)
        await _let_go(other, Trouble(other, runtime, rejection=rejection, response=result))
        return error
    finally:
        _end(other)


def _end(call: Call) -> None:
    """The call is over; who drops its answer unread gets its permit back, so nothing may hold that."""
    call.silent, call.last = False, None
    if call.slot is not None:
        call.copy = None  # whoever waits for it sees that it is gone
        call.slot.over()
    if call.state.hub.following:
        telling.call_ended(call)


def _trouble(call: Call, runtime: Runtime, result: Any) -> Trouble | None:
    """What a step is to be told; None: there is nothing to degrade from."""
    if isinstance(result, Rejection):
        return None if result.reason is Reason.CLOSED else Trouble(call, runtime, rejection=result)
    if isinstance(result, Failed):
        last = call.attempts[-1:]
        if last and (last[0].kind is ErrorKind.FOREIGN or last[0].verdict is Verdict.SUCCESS):
            return None  # an answer, as an exception of an operation of `execute`
        return Trouble(call, runtime, error=result.error)
    status = result.status_code
    if status < 500 and status not in _WORTH_IT and not _is_blamed(call):
        return None
    said = call.attempts[-1].retry_after if call.attempts else None
    rejection = Rejection(REASONS.get(call.ending, Reason.NOT_RETRYABLE), call.state.name, said, response=result)
    return Trouble(call, runtime, rejection=rejection, response=result)


def _is_blamed(call: Call) -> bool:
    """Is it the host's failure whatever its status says: an error told inside a 200, or by `classify`?"""
    return call.last is not None and call.attempts[-1].verdict in (Verdict.FAILURE, Verdict.THROTTLED)


def _reserved(call: Call, steps: tuple[Step, ...], deadline: float) -> float:
    """Seconds of the deadline that are not the primary's."""
    left = max(0.0, deadline - call.started)
    wanted = min(left, sum(step.reserve or 0.0 for step in steps))
    return wanted + (left - wanted) / 2 if any(step.reserve is None for step in steps) else wanted
