"""Mounted calls struck at every suspension, in every way: everything comes back, and the client's pool stays whole.

Each scenario runs to its end first, to count where it suspends; then once for every suspension and way, through a pool
of one connection, whose next call shows whether anything was lost. Where httpcore itself loses the connection (in its
own locks, bare clients do the same) it may be lost; and closing a coroutine lets no library give it back.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import httpcore
import httpcore2
import httpx
import httpx2
import pytest

import seawall
from httpx_resilience import AsyncResilientTransport, _backend
from seawall import Bulkhead, Policy, Resilience, Retry, Timeouts, TokenBudget, events
from seawall.admission import Admission
from seawall.drivers import resolver
from tests.core.interrupting import quick_collections
from tests.httpx.suspending import KINDS, NEAR, REFUSED, SLOW, Network, Strike, network, said

__all__ = ["quick_collections"]

CORES = {httpx: httpcore, httpx2: httpcore2}
everywhere = pytest.mark.parametrize(
    ("library", "backend"),
    [(httpx, "asyncio"), (httpx, "trio"), (httpx2, "asyncio"), (httpx2, "trio")],
    ids=["httpx-asyncio", "httpx-trio", "httpx2-asyncio", "httpx2-trio"],
)
# What the libraries leave to the collector when they are struck.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited:RuntimeWarning"),
]

Answer = list[bytes | Exception]
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Scene:
    """One client, its network, its Resilience."""

    def __init__(self, library: Any, scenario: Scenario) -> None:
        self.library = library
        core = CORES[library]
        self.network: Network = network(core, *scenario.script(core))
        transport = library.AsyncHTTPTransport(verify=TLS, limits=library.Limits(max_connections=1))
        transport._pool._network_backend = self.network
        self.resilience = Resilience(Policy(**(PARTS | scenario.parts)))
        inner = Foreign(transport) if scenario.foreign else transport
        limits = library.Timeout(5, pool=0.01)
        self.client = library.AsyncClient(
            transport=AsyncResilientTransport(inner, self.resilience), timeout=limits, follow_redirects=True
        )
        self.ended: list[events.Event] = []
        self.resilience.subscribe(self.ended.append)
        self.holder: Admission | None = None

    def hold(self) -> None:
        """Another attempt takes the only permit."""
        route = self.resilience.route(("http", "api.test", None), "http", "api.test", None)
        call = self.resilience.call(route, self.library.Request("GET", "http://api.test"))
        assert call is not None
        self.holder = Admission(call, 1, call.started)
        assert call.state.admit(self.holder, call.started) is None


class Foreign:
    """A transport of somebody else's, whose clocks cancel scopes have to hold."""

    def __init__(self, inner: Any) -> None:
        self.handle_async_request = inner.handle_async_request
        self.aclose = inner.aclose


PARTS: dict[str, Any] = {
    "retry": Retry(max_retries=2, base_delay=0.001, max_delay=0.001, jitter="none"),
    "budget": TokenBudget(max_tokens=10, refill_rate=0),
    "breaker": None,
    "timeouts": Timeouts(total=5),
}
Act = Callable[[Scene], Awaitable[object]]


class Scenario:
    def __init__(
        self,
        name: str,
        *script: Answer | Callable[[Any], Answer],
        act: Act | None = None,
        addresses: tuple[str, ...] = (NEAR,),
        before: Callable[[Scene], object] = lambda scene: None,
        foreign: bool = False,
        **parts: Any,
    ) -> None:
        self.name = name
        self.answers = script
        self.act: Act = act or get
        self.addresses = addresses
        self.before = before
        self.foreign = foreign
        self.parts = parts

    def script(self, core: Any) -> list[Answer]:
        return [answer(core) if callable(answer) else list(answer) for answer in self.answers]

    def __str__(self) -> str:
        return self.name


async def get(scene: Scene) -> object:
    return await scene.client.get("http://api.test/x")


async def get_by_tls(scene: Scene) -> object:
    return await scene.client.get("https://api.test/x")


async def post(scene: Scene) -> object:
    async def body() -> AsyncIterator[bytes]:
        yield b"one"
        await anyio.sleep(0)
        yield b"two"

    return await scene.client.post("http://api.test/x", content=body())


async def get_by_a_deadline(scene: Scene) -> object:
    with seawall.deadline(5):
        return await scene.client.get("http://api.test/x")


async def get_too_late(scene: Scene) -> object:
    with pytest.raises(seawall.DeadlineExceeded), seawall.deadline(0.02):
        await scene.client.get("http://api.test/x")
    return None


async def read_raw(scene: Scene) -> object:
    async with scene.client.stream("GET", "http://api.test/x") as response:
        return [piece async for piece in response.aiter_raw()]


async def leave_early(scene: Scene) -> object:
    async with scene.client.stream("GET", "http://api.test/x") as response:
        async for _ in response.aiter_raw():
            break
    return None


async def fail(scene: Scene) -> object:
    with pytest.raises((scene.library.TransportError, seawall.ResilienceError)):
        await scene.client.get("http://api.test/x")
    return None


async def in_line(scene: Scene) -> object:
    async def free() -> None:
        await anyio.sleep(0.002)
        assert scene.holder is not None
        scene.holder.abandon()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(free)
        return await scene.client.get("http://api.test/x")


def breaks(core: Any) -> Answer:
    return said(200, b"half", core.ReadError("reset"), length=9)


def reset(core: Any) -> Answer:
    return [core.ReadError("reset")]


OK, SORRY = said(200, b"one", b"two"), said(503, b"so", b"rry")
LONG = said(503, *[b"x" * 40_000] * 3)
QUOTA = said(429, b'{"error": {"code": "insuffi', b'cient_quota"}}', content_type="application/json")
ONE = Bulkhead(max_concurrent=1, max_wait=5)

SCENARIOS = [
    Scenario("an answer", OK),
    Scenario("an answer without clocks", OK, timeouts=Timeouts()),
    Scenario("an answer without a body", said(204)),
    Scenario("over TLS", OK, act=get_by_tls),
    Scenario("a body sent in pieces", OK, act=post),
    Scenario("read raw", OK, act=read_raw),
    Scenario("left early", OK, act=leave_early),
    Scenario("a body that breaks", breaks, act=fail),
    Scenario("retried to success", SORRY, OK),
    Scenario("retried in vain", SORRY),
    Scenario("retried after errors", reset, reset, OK),
    Scenario("retried without clocks", SORRY, reset, OK, timeouts=Timeouts()),
    Scenario("large answers closed", LONG, LONG, OK),
    Scenario("raised at the end", SORRY, act=fail, retry=Retry(max_retries=1, base_delay=0, on_exhausted="raise")),
    Scenario("quota, by the body", QUOTA),
    Scenario("a redirect", said(302, location="http://api.test/y"), OK),
    Scenario("a slow address", OK, addresses=(SLOW, NEAR)),
    Scenario("two slow addresses", OK, addresses=(SLOW, SLOW)),
    Scenario("a refused address", OK, addresses=(REFUSED, NEAR)),
    Scenario("all addresses refused", OK, addresses=(REFUSED, REFUSED), act=fail, retry=None),
    Scenario("by a deadline", SORRY, OK, act=get_by_a_deadline),
    Scenario("too late for the headers", [], act=get_too_late, retry=None),
    Scenario("too late for the body", said(200, b"half", length=9), act=get_too_late, retry=None),
    Scenario("a foreign transport", SORRY, OK, foreign=True),
    Scenario("a foreign transport, too late", [], foreign=True, act=get_too_late, retry=None),
    Scenario("in line", OK, act=in_line, before=Scene.hold, bulkhead=ONE),
    Scenario("one at a time, retried", SORRY, OK, bulkhead=ONE),
]


async def struck(scene: Scene, act: Act, strike: Strike, backend: str) -> None:
    """The scenario in a task of its own."""
    if backend == "asyncio":
        task = asyncio.get_running_loop().create_task(strike.run(act(scene)))
        await asyncio.wait([task])
    else:
        await strike.run(act(scene))


async def check(scene: Scene, scenario: Scenario, strike: Strike, backend: str) -> None:
    where = f"{strike.kind} at suspension {strike.at}"
    for _ in range(3):  # tasks that were cancelled with theirs come to their end
        await anyio.sleep(0)
    if scene.holder is not None:
        scene.holder.abandon()
    pictures = scene.resilience.snapshots()
    assert [(one.in_flight, one.queue_depth) for one in pictures] == [(0, 0)] * len(pictures), where
    for state in scene.resilience._registry.everybody():
        assert not state._sleepers, where
        assert not state.bulkhead.queue.granted, where
    assert not any(lookup.waiting for lookup in list(resolver._lookups.under_way.values())), where
    if backend == "asyncio":
        ours = [task for task in asyncio.all_tasks() if inspect.iscoroutine(task.get_coro())]
        assert len(ours) == 1, where  # the loop closes generators of the libraries in tasks of its own
    scene.resilience.isolate("http://other.test")  # what ended while something was closed is told with the next event
    again = [event for event in scene.ended if isinstance(event, events.AttemptEnded) and event.number > 1]
    assert sum(one.budget for one in pictures) == 10 * len(pictures) - len(again), where
    calls = sum(isinstance(event, events.CallEnded) for event in scene.ended)
    assert calls <= 1 + (scenario.name == "a redirect"), where
    assert len(scene.network.open) <= 1, where
    if strike.kind == "closed" or "_synchronization.py" in strike.where:
        return
    scene.network.script = [said(200, b"fine")]
    response = await scene.client.get("http://10.0.0.1/again")
    assert response.status_code == 200, where
    await scene.client.aclose()
    assert scene.network.open == [], where


@everywhere
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
@pytest.mark.usefixtures("quick_collections")
def test__struck_at_every_suspension__everything_comes_back(
    scenario: Scenario, library: Any, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        return [(2, 1, 6, "", (address, 80)) for address in scenario.addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(_backend, "STAGGER", 0)

    async def play(strike: Strike) -> None:
        scene = Scene(library, scenario)
        scenario.before(scene)
        await struck(scene, scenario.act, strike, backend)
        await check(scene, scenario, strike, backend)

    async def every() -> int:
        for _ in range(5):  # where the machine stalls, a short deadline passes before anything is awaited
            whole = Strike("none")
            await play(whole)
            if whole.suspensions:
                break
        for kind in KINDS[backend]:
            for at in range(whole.suspensions):
                await play(Strike(kind, at))
        return whole.suspensions

    assert anyio.run(every, backend=backend) >= 1


def test__scenarios__are_as_many_as_promised() -> None:
    assert len(SCENARIOS) >= 25
