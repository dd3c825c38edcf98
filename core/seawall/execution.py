"""`execute`: the journey of a request for an operation that is none, alone or with another one to fall back on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from seawall import errors, scope
from seawall._story import Call, attach
from seawall.degrading import journey
from seawall.drivers.clock import process_now
from seawall.flow import REASONS, Failed, turned_away
from seawall.operations import (
    AsyncOperations,
    NotAwaitable,
    Operation,
    Result,
    SyncOperations,
    awaitable,
    of_operation,
)
from seawall.outcome import Ending, ErrorKind, Reason, Rejection, Verdict, reject_async
from seawall.runtime import Stopped, run_sync

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from seawall.resilience import Resilience

A = TypeVarTuple("A")
T = TypeVar("T")
U = TypeVar("U")


def execute(resilience: Resilience, provider: str, function: Callable[[*A], T], args: tuple[*A]) -> T:
    reject_async(function, "execute: operation", "use aexecute, or give a plain function")
    call = _call(resilience, provider, function, args)
    if call is None:
        return function(*args)
    refusal = None if call.state.is_calm else turned_away(call)
    value: T = _unwrap(call, refusal or run_sync(journey(call, SyncOperations(resilience))))
    return value


async def aexecute(resilience: Resilience, provider: str, function: Callable[[*A], Awaitable[T]], args: tuple[*A]) -> T:
    call = _call(resilience, provider, function, args)
    if call is None:
        alone: T = await awaitable(function, args)
        return alone
    refusal = None if call.state.is_calm else turned_away(call)
    value: T = _unwrap(call, refusal or await journey(call, AsyncOperations(resilience)))
    return value


def execute_with_fallback(
    resilience: Resilience, primary: str, operation: Callable[[], T], secondary: str, fallback: Callable[[], U]
) -> T | U:
    try:
        with _reserve():
            return execute(resilience, primary, operation, ())
    except Exception as error:
        if not _is_worth_a_fallback(error):
            raise
        first = error
    try:
        answer = execute(resilience, secondary, fallback, ())
    except Exception as second:
        raise _both(first, second) from second
    finally:
        del first  # its traceback leads to this frame
    resilience.provider(primary)[0].count_degraded("fallback")
    return answer


async def aexecute_with_fallback(
    resilience: Resilience,
    primary: str,
    operation: Callable[[], Awaitable[T]],
    secondary: str,
    fallback: Callable[[], Awaitable[U]],
) -> T | U:
    try:
        with _reserve():
            return await aexecute(resilience, primary, operation, ())
    except Exception as error:
        if not _is_worth_a_fallback(error):
            raise
        first = error
    try:
        answer = await aexecute(resilience, secondary, fallback, ())
    except Exception as second:
        raise _both(first, second) from second
    finally:
        del first  # its traceback leads to this frame
    resilience.provider(primary)[0].count_degraded("fallback")
    return answer


def _call(resilience: Resilience, provider: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Call | None:
    if not callable(function):
        raise TypeError(f"execute: operation={function!r}: give a function")
    state, policy = resilience.provider(provider)
    call = resilience.begin(state, policy, Operation(provider, function, args))
    if call is not None:
        call.limits = call.policy.limits(math.inf, math.inf)  # an operation has no limits of a client to fill in
    return call


def _unwrap(call: Call, result: Any) -> Any:
    if type(result) is Result:
        return result.value
    if type(result) is Rejection:
        raise errors.to_raise(call, result)
    assert type(result) is Failed
    error = result.take()
    if isinstance(error, Stopped):
        error = error.__cause__ or error
    attach(error, call)
    if call.slot is not None and call.attempts and call.attempts[-1].verdict is Verdict.SUCCESS:
        call.slot.forget()
    if isinstance(error, errors.ResilienceError | NotAwaitable):
        try:
            raise error  # it says all there is to say
        finally:
            del error
    kind, policy = errors.BY_REASON[REASONS.get(call.ending, Reason.NOT_RETRYABLE)]
    ending = Ending.NOT_RETRYABLE if call.ending is None or call.ending is Ending.ANSWERED else call.ending
    raise kind(
        host=call.state.name,
        policy=policy,
        reason=f"{type(error).__name__}, {ending.value}",
        attempts=len(call.attempts),
        elapsed=call.elapsed,
        last_error=error,
        request=call.request,
        report=call,
    ) from error


def _reserve() -> scope.ScopeBlock:
    """The primary may use half of the time an outer deadline leaves; the rest is the fallback's."""
    around = scope.current()
    now = process_now()
    if around is None or around.deadline is None:
        return scope.inside(None if around is None else around.inside, None)
    return scope.inside(around.inside, now + (around.deadline - now) / 2)


def _is_worth_a_fallback(error: Exception) -> bool:
    """Only a failure of the host or a refusal of ours is; the caller's own mistakes are raised as they are."""
    if isinstance(error, errors.NonRetryable):
        last = error.last_error
        outcome = of_operation(last) if isinstance(last, Exception) else None
        return outcome is None or not (outcome.verdict is Verdict.SUCCESS or outcome.kind is ErrorKind.FOREIGN)
    return isinstance(error, errors.ResilienceError)


def _both(first: Exception, second: Exception) -> errors.AllProvidersFailed:
    waits = [wait for error in (first, second) if (wait := getattr(error, "retry_after", None)) is not None]
    return errors.AllProvidersFailed(
        host=getattr(first, "host", ""),
        policy=errors.BY_REASON[Reason.ALL_FAILED][1],
        reason=Reason.ALL_FAILED.value,
        retry_after=min(waits, default=None),
        primary=first,
        fallback=second,
        errors=(first, second),
        attempts=getattr(first, "attempts", 0) + getattr(second, "attempts", 0),
        elapsed=getattr(first, "elapsed", 0.0) + getattr(second, "elapsed", 0.0),
    )
