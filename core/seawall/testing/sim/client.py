"""A simulated client process: its own Resilience, clock and chance, and the traffic it makes."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from seawall.degrading import journey
from seawall.drivers.clock import deadline
from seawall.errors import dress, to_raise
from seawall.flow import Failed, turned_away
from seawall.idempotency import add_key
from seawall.mounted import blame, refusal
from seawall.outcome import Rejection
from seawall.resilience import Resilience
from seawall.testing.loop import sleep
from seawall.testing.sim.body import Response
from seawall.testing.sim.history import CallSeen, Remembered, ResponseSeen, Sending
from seawall.testing.sim.messages import Request
from seawall.testing.sim.network import origin_of
from seawall.testing.sim.port import Port

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall._story import Call
    from seawall.resilience import Policies
    from seawall.testing.sim.simulation import Simulation
    from seawall.testing.virtual import VirtualClock


class ClientClock:
    """The time of one process: the simulation's, with a wall clock and chance of its own."""

    def __init__(self, clock: VirtualClock, chance: Random) -> None:
        self._clock = clock
        self.random = chance.random
        self.skew = 0.0
        """Seconds its wall clock is ahead."""

    def monotonic(self) -> float:
        return self._clock.now

    def wall(self) -> float:
        return self._clock.wall() + self.skew


class Client:
    """One process that calls servers. Made by `Simulation.client`."""

    def __init__(
        self,
        simulation: Simulation,
        name: str,
        policies: Policies,
        connect: float | None,
        read: float | None,
        options: dict[str, Any],
    ) -> None:
        self.name = name
        self.history = simulation.history
        self.network = simulation.network
        self.loop = simulation.loop
        self.start = simulation.start
        self.chance = Random(f"traffic {name} {simulation.seed}")
        self.clock = ClientClock(simulation.clock, Random(f"process {name} {simulation.seed}"))
        self.resilience = Resilience(policies, clock=self.clock, name=name, **options)
        self.connect = connect
        """Seconds the library itself allows for connecting; None: no limit."""
        self.read = read
        """Seconds the library itself allows for each read."""
        self._port = Port(self)

    async def request(self, request: Request, *, override: Any = None, within: float | None = None) -> Response:
        """Send it as a mounted client would: its response, or the exception that one would raise.

        `override`: a `seawall.override(…)`; `within`: seconds, as of a `seawall.deadline(…)` around the call.
        """
        seen = self._begin(request, override, within)
        try:
            response = await self._send(seen, request, override, within)
        except BaseException as error:
            seen.error = error
            self._returned(seen)
            raise
        self._returned(seen)
        source = "origin" if seen.report is None else seen.report.served_from
        sending = None if response.body is None else response.body.sending
        seen.response = ResponseSeen(response.status_code, response.headers, source, sending)
        return response

    async def get(self, url: str, **options: Any) -> Response:
        """`request` with GET."""
        return await self.request(Request("GET", url), **options)

    async def visit(self, request: Request, **options: Any) -> CallSeen:
        """`request`, its answer read to the end; whatever is raised is only remembered. Returns what was seen."""
        try:
            response = await self.request(request, **options)
        except Exception:
            return self.seen(request)
        seen = self.seen(request)
        await self.take(seen, response)
        return seen

    async def take(self, seen: CallSeen, response: Response) -> None:
        """Read the answer to its end; whatever is raised is only remembered."""
        seen.reads_since = self.network.clock.now
        try:
            seen.body = await response.read()
        except Exception as error:
            seen.body_error = error
        seen.body_ended = self.network.clock.now

    def seen(self, request: Request) -> CallSeen:
        """What was seen of the call that sent it."""
        return request.seen  # type: ignore[attr-defined, no-any-return]

    def traffic(
        self,
        target: str | Callable[[], Request],
        rate: float,
        start: float = 0.0,
        end: float = float("inf"),
        visit: Callable[[Request], Any] | None = None,
    ) -> None:
        """Visit `target`, a URL or a function that makes requests, `rate` times a second (Poisson), whatever comes.

        start, end: seconds of the simulation. `visit(request)`: a coroutine for each; left out: `self.visit`.
        """
        make = (lambda: Request("GET", target)) if isinstance(target, str) else target
        self.loop.spawn(self._arrivals(make, rate, start, end, visit or self.visit))

    def remembered(self) -> tuple[Remembered, ...]:
        """What is in the stores its policies name."""
        policies: list[Any] = list(self.resilience.policies.values())
        steps = [step for policy in policies for step in policy.degrade or ()]
        return tuple(
            Remembered(len(step.store), step.max_entries, getattr(step.store, "bytes", 0), step.max_bytes)
            for step in steps
            if getattr(step, "store", None) is not None
        )

    # -- for the simulation --------------------------------------------------------------------------------------------

    def new_call(self, request: Request, override: Any = None, within: float | None = None) -> Call | None:
        """The call a mount would make; None: seawall is switched off for it."""
        origin, resilience = origin_of(request.url), self.resilience
        route = resilience.routes.get(origin)
        if route is None:
            scheme, _, rest = origin.partition("://")
            host, _, port = rest.partition(":")
            route = resilience.route(origin, scheme, host, int(port) if port else None)
        if within is None:
            call = resilience.call(route, request, override)
        else:
            with deadline(within):
                call = resilience.call(route, request, override)
        if call is not None:
            call.limits = call.policy.limits(self.connect, self.read)
        return call

    def left(self, call: Call, request: Request) -> Sending:
        """An attempt leaves."""
        return self._sent(call.sending, request)

    def __repr__(self) -> str:
        return self.name

    # -- privately -----------------------------------------------------------------------------------------------------

    def _begin(self, request: Request, override: Any, within: float | None) -> CallSeen:
        calls, now = self.history.calls, self.network.clock.now
        seen = CallSeen(self, len(calls) + 1, request, origin_of(request.url), now)
        seen.override = override
        if within is not None:
            seen.deadline = now + within
        calls.append(seen)
        self.history.log.append(("call", now, seen))
        request.seen = seen  # type: ignore[attr-defined]
        return seen

    def _returned(self, seen: CallSeen) -> None:
        seen.ended = self.network.clock.now
        self.history.log.append(("returned", seen.ended, seen))

    def _sent(self, seen: CallSeen, request: Request) -> Sending:
        now, history = self.network.clock.now, self.history
        sending = Sending(seen, request, origin_of(request.url), now, history.log)
        seen.sendings.append(sending)
        history.sendings.append(sending)
        history.log.append(("sent", now, sending))
        return sending

    async def _send(self, seen: CallSeen, request: Request, override: Any, within: float | None) -> Response:
        call = self.new_call(request, override, within)
        if call is None:
            raise NotImplementedError("a policy that is off: compare with a client of your own")
        call.sending = seen
        seen.report = call
        result: Any = None if call.state.is_calm else turned_away(call)
        if result is None:
            if call.policy.adds_key:
                add_key(call)
            result = await journey(call, self._port)
        if call.answer is None:
            return self._end(call, result)
        return result  # type: ignore[no-any-return]

    def _end(self, call: Call, result: Any) -> Response:
        if type(result) is not Rejection:
            if isinstance(result, Failed):
                raise blame(call, result.take())
            return result  # type: ignore[no-any-return]
        if call.policy.rejections == "raise":
            raise to_raise(call, result)
        return self._port.respond(call, refusal(dress(call, result)))

    async def _arrivals(
        self, make: Callable[[], Request], rate: float, start: float, end: float, visit: Callable[[Request], Any]
    ) -> None:
        clock, loop, chance = self.network.clock, self.loop, self.chance
        await sleep(max(0.0, self.start + start - clock.now))
        ends = self.start + end
        while True:
            await sleep(chance.expovariate(rate))
            if clock.now >= ends:
                return
            loop.spawn(visit(make()))
