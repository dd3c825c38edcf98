"""A scripted server in virtual time, the calls that meet it, and the policies of the scenarios.

Every part that a scenario is not about is off, so that one behaviour is seen at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from seawall import Breaker, Bulkhead, ErrorKind, HostSnapshot, Policy, Resilience, Retry, TokenBudget, Verdict
from seawall._story import Call
from seawall.admission import Admission
from seawall.classification import of_error
from seawall.degrading import journey
from seawall.flow import Failed, run
from seawall.outcome import Again, Outcome, Rejection, Sent
from seawall.scope import earliest
from seawall.testing import VirtualClock, VirtualRuntime, simulate
from seawall.testing.loop import sleep

HOST = "https://api.test"
START = 1000.0

Step = Callable[[Call], Coroutine[Any, Any, "Answer"]]


class Request:
    """What a mount would hand over, as far as the flow looks."""

    def __init__(
        self, method: str = "GET", path: str = "/", *, replayable: bool = True, key: bool = False, **headers: str
    ) -> None:
        self.method = method
        self.url = HOST + path
        self.replayable = replayable
        self.key = key
        self.headers = headers


class Answer:
    """What the server says. A body of None is longer than may be read ahead; a stream ends when the test says so."""

    admission: Admission

    def __init__(
        self,
        status: int,
        body: bytes | None,
        stream: bool,
        headers: dict[str, str],
        pieces: tuple[bytes | float | Exception, ...] = (),
    ) -> None:
        self.status_code = status
        self.body = body
        self.stream = stream
        self.pieces = list(pieces)
        self.headers = headers

    def __repr__(self) -> str:
        return f"<Answer {self.status_code}>"


class Fault(Exception):
    """What a library raises when no answer came."""

    def __init__(self, kind: ErrorKind, sent: Sent | None = None) -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.sent = sent


def answer(
    status: int = 200, body: bytes | None = b"", *, after: float = 0.0, stream: bool = False, **headers: str
) -> Step:
    """The server answers, `after` seconds. Headers are written with underscores."""

    async def step(call: Call) -> Answer:
        await sleep(after)
        return Answer(status, body, stream, {name.replace("_", "-"): value for name, value in headers.items()})

    return step


def events(*pieces: bytes | float | Exception) -> Step:
    """An event stream: its pieces, with the seconds between them; an error breaks it."""

    async def step(call: Call) -> Answer:
        await sleep(0)
        return Answer(200, None, True, {"content-type": "text/event-stream"}, pieces)

    return step


def fault(kind: ErrorKind = ErrorKind.CONNECTION_RESET, *, after: float = 0.0, sent: Sent | None = None) -> Step:
    """The library raises, `after` seconds."""

    async def step(call: Call) -> Answer:
        await sleep(after)
        raise Fault(kind, sent)

    return step


def hang() -> Step:
    """Nothing comes until a clock of the call rings."""

    async def step(call: Call) -> Answer:
        now = call.state.clock.monotonic()
        await sleep(earliest(call.limits.attempt, None if call.deadline is None else call.deadline - now) or 0.0)
        raise Fault(ErrorKind.TIMEOUT)

    return step


def judge(error: Exception) -> Outcome:
    if isinstance(error, Fault):
        return of_error(error, error.kind, error.sent)
    return of_error(error, ErrorKind.FOREIGN)


class Peer(VirtualRuntime):
    """Plays the script, the last step for ever, and keeps account of every answer it opened."""

    def __init__(self, *script: Step) -> None:
        super().__init__(self._play, judge)
        self.script = deque(script or (answer(),))
        self.opened: list[Answer] = []
        self.read: list[Answer] = []
        """Read ahead to their end."""
        self.closed: list[Answer] = []

    async def _play(self, call: Call) -> Answer:
        step = self.script.popleft() if len(self.script) > 1 else self.script[0]
        return await step(call)

    async def send(self, call: Call, admission: Admission) -> Answer:
        response: Answer = await super().send(call, admission)
        response.admission = admission
        admission.is_over = not response.stream
        self.opened.append(response)
        return response

    async def peek(self, response: Answer, admission: Admission) -> bytes | None:
        assert admission is response.admission
        await sleep(0)
        if response.body is not None:
            self.read.append(response)
        return response.body

    async def discard(self, response: Answer, admission: Admission) -> None:
        assert admission is response.admission
        self.closed.append(response)
        await sleep(0)


class Stage:
    """One Resilience, its clock and one scripted host."""

    def __init__(
        self, policy: Policy | Mapping[str, Policy] | None, *script: Step, u: float | None = 0.0, **options: Any
    ) -> None:
        self.clock = VirtualClock(START, u=u)
        self.resilience = Resilience(policy, clock=self.clock, **options)
        self.peer = Peer(*script)
        self.client: tuple[float | None, float | None] = (None, None)
        """The connect and read timeout of the client."""
        self.times: list[float] = []
        """When each attempt left, in seconds since the start."""
        self.held: list[Admission] = []
        self.waiting: list[Coroutine[Any, Any, Any]] = []
        send = self.peer.send

        async def timed(call: Call, admission: Admission) -> Answer:
            self.times.append(self.now)
            return await send(call, admission)

        self.peer.send = timed  # type: ignore[method-assign]

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self.clock.now - START

    @property
    def sent(self) -> list[int]:
        """The numbers of the attempts that left."""
        return [number for _, number in self.peer.sent]

    @property
    def host(self) -> HostSnapshot:
        picture = self.resilience.snapshot(HOST)
        assert picture is not None
        return picture

    def script(self, *steps: Step) -> None:
        """What the server does from now on."""
        self.peer.script = deque(steps)

    def call(self, request: Request | None = None, override: Any = None) -> Call:
        route = self.resilience.route(HOST, "https", "api.test", None)
        call = self.resilience.call(route, request or Request(), override)
        assert call is not None
        call.limits = call.policy.limits(*self.client)
        return call

    def start(self, request: Request | None = None, override: Any = None) -> Coroutine[Any, Any, Any]:
        """A call on its way, for `together` or to be driven by hand."""
        return journey(self.call(request, override), self.peer)

    def get(self, request: Request | None = None, override: Any = None) -> Any:
        """One call, from start to end: an Answer, a Failed or a Rejection."""
        (result,) = self.together(self.start(request, override))
        return result

    def together(self, *tasks: Coroutine[Any, Any, Any]) -> list[Any]:
        """Run calls at the same time."""
        results = simulate(self.clock, *tasks)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results

    async def at(self, second: float, act: Callable[[], Any]) -> Any:
        """Do something when it is `second`, beside other tasks. What is awaitable is awaited."""
        await sleep(max(0.0, START + second - self.clock.now))
        done = act()
        return await done if hasattr(done, "__await__") else done

    def hold(self, override: Any = None, request: Request | None = None) -> Admission:
        """Another attempt, in flight until the test ends it."""
        call = self.call(request, override)
        admission = Admission(call, 1, self.clock.now)
        assert call.state.admit(admission, self.clock.now) is None
        self.held.append(admission)
        return admission

    def line_up(self) -> Coroutine[Any, Any, Any]:
        """Another call, driven to where it waits and no further."""
        call = self.start()
        call.send(None)
        self.waiting.append(call)
        return call

    def end(self, admission: Admission) -> None:
        """Its answer came, and was good."""
        admission.headers_at = self.clock.now
        admission.finish()

    def settle(self, verdict: Verdict, kind: ErrorKind | None = None, status: int | None = None) -> None:
        """One attempt from start to end."""
        admission = self.hold()
        admission.headers_at = self.clock.now
        admission.status = status
        if kind is not None:
            admission.outcome = outcome(verdict, kind, status)
        admission.call.state.settle(admission, verdict, self.clock.now)

    @contextmanager
    def interrupted(self, reading: int) -> Iterator[list[float]]:
        """An interrupt while the clock is read for that time, from 1 on: one written in Python is where it may fall."""
        read, readings = self.clock.monotonic, list[float]()

        def monotonic() -> float:
            readings.append(read())
            if len(readings) == reading:
                raise KeyboardInterrupt
            return readings[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.clock, "monotonic", monotonic)
            with pytest.raises(KeyboardInterrupt):
                yield readings

    def close_gate(self, seconds: float) -> None:
        """The server asks everybody to wait, in its answer to a request that cannot be repeated."""
        before = self.peer.script
        self.script(answer(429, retry_after=str(seconds)))
        (told,) = self.together(run(self.call(Request(replayable=False)), self.peer))
        assert word(told) == 429
        self.peer.script = before
        del self.peer.sent[-1:], self.times[-1:]


async def onward(call: Coroutine[Any, Any, Any]) -> Any:
    """A call that was started by hand, from where it waits to its end."""
    while True:
        try:
            pause = call.send(None)
        except StopIteration as end:
            return end.value
        await pause


def call_to(resilience: Resilience, url: str, method: str = "GET") -> Call:
    """The call a mount would make for such a request, on the route it would keep."""
    parts = urlsplit(url)
    origin = (parts.scheme, parts.hostname or "", parts.port)
    request = Request(method)
    request.url = url
    call = resilience.call(resilience.routes.get(origin) or resilience.route(origin, *origin), request)
    assert call is not None
    call.limits = call.policy.limits(None, None)
    return call


def visit(resilience: Resilience, url: str, *steps: Step, method: str = "GET") -> Any:
    """One call to `url`, which plays these steps; what it gave, in one word."""
    clock = resilience.clock
    assert isinstance(clock, VirtualClock)
    (result,) = simulate(clock, run(call_to(resilience, url, method), Peer(*steps)))
    return word(result)


def outcome(
    verdict: Verdict = Verdict.FAILURE, kind: ErrorKind = ErrorKind.CONNECTION_RESET, status: int | None = None
) -> Outcome:
    """What happened to an attempt; left out: its connection was reset."""
    return Outcome(verdict, kind, Again.NO, status=status)


def only(**parts: Any) -> Policy:
    """A policy in which only these parts are on."""
    return Policy(**({"retry": None, "budget": None, "breaker": None} | parts))


def steady(**changes: Any) -> Retry:
    """Two retries, each after exactly one second."""
    same: dict[str, Any] = {"max_retries": 2, "base_delay": 1, "max_delay": 1, "backoff": "constant", "jitter": "none"}
    return Retry(**(same | changes))


def brittle(**changes: Any) -> Breaker:
    """Opens at the second failure in a row, for 10 s; one probe at a time, one that succeeds closes it."""
    defaults: dict[str, Any] = {
        "failure_threshold": 2,
        "min_failure_span": 0,
        "open_duration": 10,
        "max_open_duration": 10,
        "open_multiplier": 1,
        "open_jitter": 0,
        "success_threshold": 1,
        "half_open_max_requests": 1,
    }
    return Breaker(**(defaults | changes))


def one_at_a_time(**changes: Any) -> Bulkhead:
    """One permit; waiting ends after 5 s."""
    return Bulkhead(**({"max_concurrent": 1, "max_wait": 5} | changes))


def purse(tokens: float = 10) -> TokenBudget:
    """So many extra attempts, and never another."""
    return TokenBudget(max_tokens=tokens, refill_rate=0)


def statuses(results: list[Any]) -> list[Any]:
    """What calls gave, in one word each: a status, an error's kind, or a reason."""
    return [word(result) for result in results]


def word(result: Any) -> Any:
    if isinstance(result, Answer):
        return result.status_code
    if isinstance(result, Failed):
        return getattr(result.error, "kind", type(result.error))
    if isinstance(result, Rejection):
        return result.reason
    return result
