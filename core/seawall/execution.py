"""`execute`: the same journey for operations that are not a client's request.

The runtimes here send by calling the operation; what its exceptions mean is read
from our own story (if a mounted client raised them), a status on them, or their
causes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple

from seawall import classification, errors, scope
from seawall._story import Call, attach, report
from seawall.admission import Admission
from seawall.degrade.values import Value
from seawall.degrading import journey
from seawall.drivers.aio import Loops, within
from seawall.drivers.clock import process_now
from seawall.drivers.threads import Threads
from seawall.flow import REASONS, Failed, turned_away
from seawall.outcome import Again, Ending, ErrorKind, Outcome, Reason, Rejection, Sent, Verdict, reject_async
from seawall.policies.retry import Repeatable
from seawall.runtime import Stopped, plain, run_sync

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from seawall.resilience import Resilience

A = TypeVarTuple("A")
T = TypeVar("T")
U = TypeVar("U")

_ANYTHING: Final = Repeatable("EXECUTE", body=True, has_key=True)

_OURS: Final[dict[type[errors.ResilienceError], ErrorKind]] = {
    errors.CircuitOpen: ErrorKind.CIRCUIT_OPEN,
    errors.RateLimited: ErrorKind.RATE_LIMIT_EXCEEDED,
    errors.BulkheadFull: ErrorKind.BULKHEAD_FULL,
    errors.BulkheadClosed: ErrorKind.CLOSED,
}


class Operation:
    """What `when=` and `classify=` get as the request."""

    __slots__ = ("args", "function", "method", "name", "url")

    def __init__(self, name: str, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.name = name
        self.url = name
        self.method = "EXECUTE"
        self.function = function
        self.args = args


class _Result:
    """A value, shaped as the flow expects an answer."""

    __slots__ = ("value",)
    status_code: Final = 200
    headers: Final[dict[str, str]] = {}

    def __init__(self, value: Any) -> None:
        self.value = value


class _Execution:
    """What both runtimes here share: a value has no body, any exception is the operation's."""

    __slots__ = ("resilience",)
    admission: type[Admission] = Admission

    def __init__(self, resilience: Resilience) -> None:
        self.resilience = resilience

    def around(self, left: float | None) -> scope.inside:
        return scope.inside(self.resilience, None if left is None else process_now() + left)

    def left(self, call: Call, admission: Admission) -> float | None:
        """Seconds the operation may take."""
        limit = call.limits.attempt
        ends = None if limit is None or math.isinf(limit) else admission.started + limit
        ends = scope.earliest(ends, call.deadline)
        return None if ends is None else max(0.0, ends - self.resilience.clock.monotonic())

    def done(self, call: Call, admission: Admission, value: Any) -> _Result:
        now = admission.headers_at = self.resilience.clock.monotonic()
        if call.deadline is not None and now > call.deadline:
            raise TimeoutError
        limit = call.limits.attempt
        if limit is not None and now - admission.started > limit:  # late, but here: the provider is blamed
            admission.outcome = Outcome(Verdict.FAILURE, ErrorKind.TIMEOUT, Again.NO, status=200)
        admission.is_over = True
        if call.slot is not None:
            call.copy = call.slot.came(value, now, self.resilience.clock.wall())
        return _Result(value)

    async def peek(self, response: Any, admission: Admission) -> bytes | None:
        return b""

    async def hold(self, response: Any, admission: Admission) -> Exception | None:
        return None

    async def discard(self, response: Any, admission: Admission) -> None:
        pass

    def error(self, call: Call, error: Exception) -> Outcome:
        return of_operation(error)

    def repeatable(self, call: Call) -> Repeatable:
        return _ANYTHING

    async def forward(self, call: Call, rewrite: Any) -> None:
        return None  # an operation has no origin: `execute_with_fallback` is its other provider

    async def read(self, response: Any) -> Any:
        raise NotImplementedError("nothing is forwarded, so nothing of another origin's is read")

    def fields(self, call: Call) -> list[tuple[Any, Any]]:
        return list(getattr(call.request, "headers", {}).items())

    def identity(self, call: Call) -> str | int:
        return 0

    def content(self, call: Call) -> bytes | None:
        return b""

    def respond(self, call: Call, answer: Any) -> Any:
        return _Result(answer.value if isinstance(answer, Value) else answer)

    def exception(self, call: Call, rejection: Rejection) -> BaseException:
        return errors.dress(call, rejection)


class _SyncExecution(_Execution, Threads):
    __slots__ = ()

    async def call(self, function: Any, *args: Any) -> Any:
        return plain(function, *args)

    async def send(self, call: Call, admission: Admission) -> Any:
        operation: Operation = call.request
        with self.around(self.left(call, admission)):
            try:
                value = operation.function(*operation.args)
            except StopIteration as error:
                raise Stopped from error
        return self.done(call, admission, value)


class _AsyncExecution(_Execution, Loops):
    __slots__ = ()

    async def call(self, function: Any, *args: Any) -> Any:
        value = function(*args)
        return await value if hasattr(value, "__await__") else value

    async def send(self, call: Call, admission: Admission) -> Any:
        operation: Operation = call.request
        left = self.left(call, admission)
        with self.around(left):
            value = await within(left, _awaitable(operation.function, operation.args))
        return self.done(call, admission, value)


class _NotAwaitable(TypeError):
    """A sync operation was given to `aexecute`: the caller's mistake, not the provider's."""


def _awaitable(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    value = function(*args)
    if not hasattr(value, "__await__"):
        name = getattr(function, "__qualname__", type(function).__qualname__)
        raise _NotAwaitable(
            f"aexecute: operation {name} ran and gave {type(value).__name__}, which cannot be awaited: give an async "
            "function, or use execute for a plain one"
        )
    return value


def of_operation(error: Exception) -> Outcome:
    """What an operation's exception means for its provider."""
    if isinstance(error, _NotAwaitable):
        return classification.of_error(error, ErrorKind.FOREIGN)
    for ours, name in _OURS.items():
        if isinstance(error, ours):
            return classification.of_error(error, name)
    story = report(error)
    if story is not None and story.attempts:
        last = story.attempts[-1]
        if last.kind is not None:
            again = Again.SAFE if last.verdict in (Verdict.FAILURE, Verdict.THROTTLED) else Again.NO
            if last.kind in (ErrorKind.QUOTA_EXCEEDED, ErrorKind.CERTIFICATE):
                again = Again.NO
            return Outcome(last.verdict, last.kind, again, error=error, retry_after=last.retry_after)
    for cause in classification.chain(error):
        status = getattr(getattr(cause, "response", cause), "status_code", None)
        if isinstance(status, int):
            row = classification.of_status(status)
            if row is not None:
                kind, verdict, again = row
                return Outcome(verdict, kind, again, error=error, status=status)
    found = classification.of_cause(error)
    if found is ErrorKind.TIMEOUT or isinstance(error, TimeoutError | errors.DeadlineExceeded):
        return classification.of_error(error, ErrorKind.TIMEOUT)
    return classification.of_error(error, found or ErrorKind.UNKNOWN, Sent.MAYBE)


def execute(resilience: Resilience, provider: str, function: Callable[[*A], T], args: tuple[*A]) -> T:
    reject_async(function, "execute: operation", "use aexecute, or give a plain function")
    call = _call(resilience, provider, function, args)
    if call is None:
        return function(*args)
    refusal = None if call.state.is_calm else turned_away(call)
    value: T = _unwrap(call, refusal or run_sync(journey(call, _SyncExecution(resilience))))
    return value


async def aexecute(resilience: Resilience, provider: str, function: Callable[[*A], Awaitable[T]], args: tuple[*A]) -> T:
    call = _call(resilience, provider, function, args)
    if call is None:
        alone: T = await _awaitable(function, args)
        return alone
    refusal = None if call.state.is_calm else turned_away(call)
    value: T = _unwrap(call, refusal or await journey(call, _AsyncExecution(resilience)))
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
    if type(result) is _Result:
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
    if isinstance(error, errors.ResilienceError | _NotAwaitable):
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
