"""What the flow needs from outside, and the one-step driver that runs it without a loop.

The flow is one `async def` for both worlds. An async mount awaits it; a sync mount
steps it once: its runtime's methods are `async` by name only and never suspend, so
the first `send` ends the coroutine. (gel's blocking client showed this bridge.) It
measured faster than a generator of effects, with natural types and tracebacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from seawall._story import Call
    from seawall.admission import Admission
    from seawall.degrade.answer import Answer
    from seawall.degrade.fallback import Rewrite
    from seawall.outcome import Outcome, Rejection
    from seawall.policies.bulkhead import Ticket
    from seawall.policies.retry import Repeatable


class Clock(Protocol):
    """Time and chance, taken from outside."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch; only for HTTP dates and reports."""
        ...

    def random(self) -> float:
        """Uniform in [0, 1)."""
        ...


class Runtime(Protocol):
    """The only place that waits and sends."""

    @property
    def admission(self) -> type[Admission]:
        """The class of an attempt: the mount's body wrapper."""
        ...

    @property
    def blocks(self) -> bool:
        """Does waiting stop the thread, and whatever else would run in it?"""
        ...

    def thread(self) -> int:
        """The number of the thread this runs in."""
        ...

    def send(self, call: Call, admission: Admission) -> Awaitable[Any]:
        """Send the request: the library's response, which `admission` is to receive. Raises what the library raises."""
        ...

    async def peek(self, response: Any, admission: Admission) -> bytes | None:
        """Read ahead, raw and bounded, without taking anything from whoever reads the answer later.

        Returns the whole body if that was all of it: the connection is then given back. None: there is more. Cancelled
        while reading, it closes the answer: nobody will get it.
        """
        ...

    async def hold(self, response: Any, admission: Admission) -> Exception | None:
        """Read ahead, raw, until `admission.inspector` has decided, under the clocks of the body.

        As with `peek`, nothing is taken from whoever reads the answer later, and an error that ended the reading, the
        result, is raised to them again.
        """
        ...

    async def discard(self, response: Any, admission: Admission) -> None:
        """Close an answer nobody will get."""
        ...

    async def wait(self, ticket: Ticket, seconds: float) -> None:
        """Until the ticket is woken, at most `seconds`."""
        ...

    def error(self, call: Call, error: Exception) -> Outcome:
        """What an exception of `send` means."""
        ...

    def repeatable(self, call: Call) -> Repeatable:
        """What is known of the request, for the question whether to send it again."""
        ...

    # What degradation needs besides.

    async def call(self, function: Any, *args: Any) -> Any:
        """The result of a user's function; an async one is awaited, in an async mount."""
        ...

    async def disk(self, function: Any, *args: Any) -> Any:
        """The result of a plain function of ours that waits for a file; an event loop goes on meanwhile."""
        ...

    async def forward(self, call: Call, rewrite: Rewrite) -> Any:
        """Send the rewritten request as a call of its own host: its answer, or the exception it failed with; None: that
        host is switched off."""
        ...

    async def read(self, response: Any) -> Answer:
        """The whole answer, decoded."""
        ...

    def fields(self, call: Call) -> list[tuple[Any, Any]]:
        """The header fields of the request, names and values as they go on the wire."""
        ...

    def identity(self, call: Call) -> str | int:
        """What is known of the caller besides: a certificate's path, or a number that stands for one we cannot see."""
        ...

    def content(self, call: Call) -> bytes | None:
        """The body of the request; None: it cannot be known without using it up."""
        ...

    def respond(self, call: Call, answer: Any) -> Any:
        """The library's response for what a step gave: an `Answer`, or a response from elsewhere, which then tells the
        story of `call`. None: the library cannot decode that body. Raises TypeError for anything else."""
        ...

    def exception(self, call: Call, rejection: Rejection) -> BaseException:
        """The exception that a rejection would be raised as."""
        ...


class OutOfTime(TimeoutError):
    """A clock of ours says that an operation may not begin, or was cut off."""


class Stopped(Exception):
    """Carries a StopIteration of user code (its `__cause__`) out of a coroutine, which may not raise one."""


def plain(function: Any, *args: Any) -> Any:
    """The result of a user's function, where nothing can be awaited."""
    value = function(*args)
    if hasattr(value, "__await__"):
        close_unawaited(value)
        raise TypeError("an async function under a sync client: give a plain one")
    return value


def close_unawaited(value: object) -> None:
    """A coroutine nobody will await should not complain about it."""
    close = getattr(value, "close", None)
    if callable(close):
        close()


def run_sync(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine whose runtime never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise RuntimeError("a sync runtime suspended: this is a bug in seawall or in a custom runtime")
