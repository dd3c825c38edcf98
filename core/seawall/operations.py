"""Operations that are not a client's request, as the flow sends them: by calling them.

What their exceptions mean is read from our own story (if a mounted client raised
them), a status on them, or their causes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from seawall import classification, errors, scope
from seawall._story import report
from seawall.admission import Admission
from seawall.degrade.values import Value
from seawall.drivers.aio import Loops, within
from seawall.drivers.clock import process_now
from seawall.drivers.threads import Threads
from seawall.outcome import Again, ErrorKind, Outcome, Rejection, Sent, Verdict
from seawall.policies.retry import Repeatable
from seawall.runtime import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall._story import Call
    from seawall.resilience import Resilience

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


class Result:
    """A value, shaped as the flow expects an answer."""

    __slots__ = ("value",)
    status_code: Final = 200
    headers: Final[dict[str, str]] = {}

    def __init__(self, value: Any) -> None:
        self.value = value


class _Operations:
    """What both runtimes share: a value has no body, any exception is the operation's."""

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

    def done(self, call: Call, admission: Admission, value: Any) -> Result:
        now = admission.headers_at = self.resilience.clock.monotonic()
        if call.deadline is not None and now > call.deadline:
            raise TimeoutError
        limit = call.limits.attempt
        if limit is not None and now - admission.started > limit:  # late, but here: the provider is blamed
            admission.outcome = Outcome(Verdict.FAILURE, ErrorKind.TIMEOUT, Again.NO, status=200)
        admission.is_over = True
        if call.slot is not None:
            call.copy = call.slot.came(value, now, self.resilience.clock.wall())
        return Result(value)

    async def peek(self, response: Any, admission: Admission) -> bytes | None:
        return b""

    async def hold(self, response: Any, admission: Admission) -> Exception | None:
        raise TypeError("no value is a stream")

    async def discard(self, response: Any, admission: Admission) -> None:
        pass

    def error(self, call: Call, error: Exception) -> Outcome:
        return of_operation(error)

    def repeatable(self, call: Call) -> Repeatable:
        return _ANYTHING

    async def forward(self, call: Call, rewrite: Any) -> None:
        raise TypeError("an operation has no origin: execute_with_fallback is its other provider")

    async def read(self, response: Any) -> Any:
        raise TypeError("nothing is forwarded, so nothing of another origin's is read")

    def fields(self, call: Call) -> list[tuple[Any, Any]]:
        raise TypeError("what is remembered of an operation has the user's key")

    def identity(self, call: Call) -> str | int:
        raise TypeError("what is remembered of an operation has the user's key")

    def content(self, call: Call) -> bytes | None:
        raise TypeError("an operation has no body")

    def respond(self, call: Call, answer: Any) -> Any:
        return Result(answer.value if isinstance(answer, Value) else answer)

    def exception(self, call: Call, rejection: Rejection) -> BaseException:
        return errors.dress(call, rejection)


class SyncOperations(_Operations, Threads):
    __slots__ = ()

    async def send(self, call: Call, admission: Admission) -> Any:
        operation: Operation = call.request
        with self.around(self.left(call, admission)):
            try:
                value = operation.function(*operation.args)
            except StopIteration as error:
                raise Stopped from error
        return self.done(call, admission, value)


class AsyncOperations(_Operations, Loops):
    __slots__ = ()

    async def send(self, call: Call, admission: Admission) -> Any:
        operation: Operation = call.request
        left = self.left(call, admission)
        with self.around(left):
            value = await within(left, awaitable(operation.function, operation.args))
        return self.done(call, admission, value)


class NotAwaitable(TypeError):
    """A sync operation was given to `aexecute`: the caller's mistake, not the provider's."""


def awaitable(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    value = function(*args)
    if not hasattr(value, "__await__"):
        name = getattr(function, "__qualname__", type(function).__qualname__)
        raise NotAwaitable(
            f"aexecute: operation {name} ran and gave {type(value).__name__}, which cannot be awaited: give an async "
            "function, or use execute for a plain one"
        )
    return value


def of_operation(error: Exception) -> Outcome:
    """What an operation's exception means for its provider."""
    if isinstance(error, NotAwaitable):
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
