"""Time that only tests advance, and a runtime that lives in it: hours in milliseconds, no sleep, no socket."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from seawall.admission import Admission
from seawall.clocks import Watch
from seawall.drivers.clock import replaced
from seawall.errors import dress
from seawall.policies.retry import Repeatable
from seawall.testing.loop import Pause, sleep

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from seawall._story import Call
    from seawall.degrade.fallback import Rewrite
    from seawall.outcome import Outcome, Rejection
    from seawall.policies.bulkhead import Ticket


class VirtualClock:
    """Stands at `now` until `advance`; chance from a seed, or the constant `u`: `Resilience(clock=VirtualClock())`."""

    def __init__(self, now: float = 1000.0, *, seed: int = 0, u: float | None = None) -> None:
        self.now = now
        self._chance = random.Random(seed)
        self._u = u

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_700_000_000.0 + self.now

    def random(self) -> float:
        return self._chance.random() if self._u is None else self._u

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if seconds < 0:
            raise ValueError(f"advance({seconds}): time does not go back")
        self.now += seconds

    @contextmanager
    def as_process_clock(self) -> Generator[None]:
        """Inside, `seawall.deadline()` counts on this clock."""
        token = replaced.set(self)
        try:
            yield
        finally:
            replaced.reset(token)


class VirtualRuntime:
    """A runtime whose server is a function: `answer(call)` returns a response, raises, or awaits `sleep()` before."""

    def __init__(self, answer: Callable[[Call], Awaitable[Any]], error: Callable[[Exception], Outcome]) -> None:
        self._answer = answer
        self._error = error
        self.sent: list[tuple[Call, int]] = []
        """Every send: the call and the attempt's number."""

    admission = Admission
    blocks = False

    def thread(self) -> int:
        return 0

    async def send(self, call: Call, admission: Admission) -> Any:
        self.sent.append((call, admission.number))
        response = await self._answer(call)
        admission.status = response.status_code
        admission.headers_at = call.state.clock.monotonic()
        return response

    async def peek(self, response: Any, admission: Admission) -> bytes | None:
        body = getattr(response, "body", b"")
        return body if isinstance(body, bytes) else None

    async def hold(self, response: Any, admission: Admission) -> Exception | None:
        """`pieces` of the response come one after the other: bytes, seconds to wait, or the error that breaks it."""
        inspector, watch = admission.inspector, Watch(admission.call, admission.started)
        assert inspector is not None
        admission.watch = watch
        watch.headers(streamed=True)
        watch.body_wanted()
        try:
            while response.pieces and not inspector.is_decided:
                piece = response.pieces.pop(0)
                if isinstance(piece, Exception):
                    raise piece
                if isinstance(piece, bytes):
                    inspector.feed(piece)
                    continue
                left = watch.left()
                await sleep(piece if left is None else min(piece, left))
                watch.left()
        except Exception as error:
            return error
        if not response.pieces:
            inspector.end()
        watch.content()
        return None

    async def discard(self, response: Any, admission: Admission) -> None:
        pass

    async def wait(self, ticket: Ticket, seconds: float) -> None:
        try:
            await Pause(ticket, seconds)
        finally:
            ticket.sleep_on()

    def error(self, call: Call, error: Exception) -> Outcome:
        return self._error(error)

    async def call(self, function: Any, *args: Any) -> Any:
        value = function(*args)
        return await value if hasattr(value, "__await__") else value

    async def disk(self, function: Any, *args: Any) -> Any:
        return function(*args)

    async def forward(self, call: Call, rewrite: Rewrite) -> Any:
        return None

    async def read(self, response: Any) -> Any:
        return response

    def fields(self, call: Call) -> list[tuple[Any, Any]]:
        return list(getattr(call.request, "headers", {}).items())

    def identity(self, call: Call) -> str | int:
        return 0

    def content(self, call: Call) -> bytes | None:
        return getattr(call.request, "content", b"")

    def respond(self, call: Call, answer: Any) -> Any:
        return answer

    def exception(self, call: Call, rejection: Rejection) -> BaseException:
        return dress(call, rejection)

    def repeatable(self, call: Call) -> Repeatable:
        request = call.request
        return Repeatable(
            getattr(request, "method", "GET"),
            body=getattr(request, "replayable", True),
            has_key=getattr(request, "key", False),
        )
