"""Runtimes over the real drivers whose server answers at once, or does what a test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from seawall import ErrorKind, Policy, Resilience
from seawall._story import Call
from seawall.admission import Admission
from seawall.classification import of_error
from seawall.drivers.aio import Loops
from seawall.drivers.threads import Threads
from seawall.flow import run
from seawall.outcome import Outcome, Rejection
from seawall.policies.retry import Repeatable
from seawall.runtime import run_sync

HOST = "https://api.test"


class Request:
    method = "GET"
    url = HOST


class Answer:
    status_code = 200
    headers: dict[str, str] = {}  # noqa: RUF012


ANSWER = Answer()


class _Quick:
    """What both have in common: an answer without a body."""

    admission = Admission

    def answered(self, call: Call, admission: Admission) -> Answer:
        admission.headers_at = call.state.clock.monotonic()
        admission.status = 200
        admission.is_over = True
        return ANSWER

    async def peek(self, response: Any, admission: Admission) -> bytes | None:
        return b""

    async def discard(self, response: Any, admission: Admission) -> None:
        pass

    def error(self, call: Call, error: Exception) -> Outcome:
        return of_error(error, ErrorKind.CONNECTION_RESET)

    def repeatable(self, call: Call) -> Repeatable:
        return Repeatable("GET", body=True, has_key=False)


class Sync(_Quick, Threads):
    """A server for threads: `serve()` is called while the permit is held."""

    def __init__(self, serve: Callable[[], object] = lambda: None) -> None:
        self.serve = serve

    async def send(self, call: Call, admission: Admission) -> Answer:
        self.serve()
        return self.answered(call, admission)


class Async(_Quick, Loops):
    """A server for event loops: `serve()` is awaited while the permit is held."""

    def __init__(self, serve: Callable[[], Awaitable[object]] | None = None) -> None:
        self.serve = serve

    async def send(self, call: Call, admission: Admission) -> Answer:
        if self.serve is not None:
            await self.serve()
        return self.answered(call, admission)


def begin(resilience: Resilience) -> Call:
    route = resilience.routes.get(HOST) or resilience.route(HOST, "https", "api.test", None)
    call = resilience.call(route, Request())
    assert call is not None
    return call


def get(resilience: Resilience, serve: Callable[[], object] = lambda: None) -> Any:
    """One call in this thread: an Answer, a Failed or a Rejection."""
    return run_sync(run(begin(resilience), Sync(serve)))


async def aget(resilience: Resilience, serve: Callable[[], Awaitable[object]] | None = None) -> Any:
    """One call in this task."""
    return await run(begin(resilience), Async(serve))


def only(**parts: Any) -> Policy:
    return Policy(**({"retry": None, "budget": None, "breaker": None} | parts))


def hold(resilience: Resilience) -> Admission:
    """Somebody else's attempt, until `abandon()`."""
    admission = Admission(begin(resilience), 1, resilience.clock.monotonic())
    assert admission.call.state.admit(admission, admission.started) is None
    return admission


def was_refused(result: Any) -> bool:
    return isinstance(result, Rejection)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait, looking every millisecond."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.001)


@contextmanager
def threads(*targets: Callable[[], object], seconds: float = 20.0) -> Iterator[None]:
    """Run these in threads beside the block; what they raise is raised at its end."""
    errors: list[BaseException] = []

    def guarded(target: Callable[[], object]) -> None:
        try:
            target()
        except BaseException as error:
            errors.append(error)

    started = [threading.Thread(target=guarded, args=(target,), daemon=True) for target in targets]
    for thread in started:
        thread.start()
    yield
    end = time.monotonic() + seconds
    for thread in started:
        thread.join(max(0.0, end - time.monotonic()))
        assert not thread.is_alive(), "a thread never ended"
    if errors:
        raise errors[0]
