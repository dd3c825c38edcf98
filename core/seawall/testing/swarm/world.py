"""A scenario, played: servers in trouble, clients that call and cancel; then a calm, in which all must be well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from seawall import FallbackProvider, Policy, SimplifiedResponse, StaleResponse
from seawall.degrade.answer import Answer
from seawall.stores.memory import MemoryStore
from seawall.testing.loop import sleep
from seawall.testing.sim.messages import Request
from seawall.testing.sim.server import FOR_EVER, Condition
from seawall.testing.sim.simulation import Simulation
from seawall.testing.swarm.onlooker import Onlooker
from seawall.testing.swarm.recovery import CALM_PATH
from seawall.testing.swarm.scenario import (
    CALM,
    LONGEST_TROUBLE,
    OVERRIDES,
    Scenario,
    latency_of,
    policy_of,
    troubles_of,
)
from seawall.testing.swarm.stores import KEPT_SECRET, FailingStore

if TYPE_CHECKING:
    from random import Random

    from seawall.testing.loop import Task
    from seawall.testing.sim.client import Client

CALM_CALLS: Final = 10
"""Calls of each client to each host at the end: the last three must be answered well."""
CALM_PACE: Final = 1.5
PATHS: Final = ("/a", "/b", "/c")
BACKUP: Final = "https://backup.test"
SECRET: Final = "Bearer of {}"
BACKUP_SECRET: Final = "Bearer for the backup"
MAX_AGE: Final = 6.0
"""Of remembered answers, where a client has them."""
STRANGERS: Final = 12
"""Hosts of a client that may know three."""


class World:
    """One scenario on its way."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.simulation = simulation = Simulation(scenario.seed)
        chance = scenario.chance("world")
        self.origins = ["https://one.test", "https://two.test"][: chance.choice((1, 1, 2))]
        count = chance.choice((1, 2, 3))
        if scenario.has("crowds"):
            count = 10
        workers = chance.choice((2, 6, None))
        replicas = 2 if scenario.has("replicas") else 1
        for number, origin in enumerate(self.origins):
            server = simulation.server(
                origin,
                workers=workers,
                latency=latency_of(scenario, chance),
                queue=chance.choice((5, 1000)),
                replicas=replicas,
                answer=self._answerer(origin),
            )
            for start, end, condition in troubles_of(scenario, number):
                server.during(start, end, condition)
            server.during(CALM - 1, FOR_EVER, Condition(slow=0.05))  # faster than any client's clock
        if scenario.has("degrading"):
            simulation.server(BACKUP, latency=0.02, answer=self._answerer(BACKUP))
        self.clients = [self._client(number) for number in range(count)]
        lasts = 2 + LONGEST_TROUBLE + 4
        rate = scenario.calls / lasts / len(self.clients) / len(self.origins)
        for place, client in enumerate(self.clients):
            for origin in self.origins:
                chance = scenario.chance(f"calls {client.name} {origin}")
                simulation.spawn(self._arrivals(client, origin, chance, rate, lasts))
                simulation.spawn(self._calm(client, origin, place / len(self.clients)))
        if scenario.has("strangers"):
            self._meet_strangers(scenario.chance("strangers"), lasts)
        if scenario.has("skew"):
            simulation.spawn(self._skew(scenario.chance("skew"), lasts))
        if scenario.has("operators"):
            simulation.spawn(self._operate(scenario.chance("operators"), lasts))
        simulation.spawn(self._look(lasts))

    def play(self) -> Simulation:
        """Until nothing happens any more; then one last look."""
        self.simulation.run()
        for client in self.simulation.clients:
            self.simulation.picture(client)
        return self.simulation

    # -- who there is --------------------------------------------------------------------------------------------------

    def _client(self, number: int) -> Client:
        scenario, history = self.scenario, self.simulation.history
        chance = scenario.chance(f"client {number}")
        user = Onlooker(history) if scenario.has("hooks") else None
        policy = policy_of(scenario, number, user)
        if scenario.has("degrading"):
            policy = Policy(degrade=self._steps(chance, user)).over(policy)
        own = chance.choice((None, 0.7, 5.0)) if scenario.has("clocks") else chance.choice((1.0, 5.0))
        client = self.simulation.client(policy, connect=own, read=own)
        if user is not None:
            user.client = client
            client.resilience.subscribe(user.listen)
        if scenario.has("degrading") and scenario.has("failing stores"):
            history.unsteady.add(client)
        if scenario.has("listening"):
            client.resilience.subscribe(lambda event: history.events.append((client, event)))
        return client

    def _steps(self, chance: Random, user: Onlooker | None) -> list[Any]:
        steps: list[Any] = []
        if chance.random() < 0.7:
            figures: dict[str, Any] = {
                "max_entries": chance.choice((2, 1000)),
                "max_bytes": chance.choice((2_000, 1 << 26)),
            }
            key = None if user is None else user.key
            steps.append(StaleResponse(max_age=MAX_AGE, store=self._store(chance), key=key, **figures))
        if chance.random() < 0.5:
            headers = {"Authorization": BACKUP_SECRET}
            steps.append(FallbackProvider(BACKUP, headers=headers, reserve=chance.choice((0.0, 0.1))))
        if not steps or chance.random() < 0.3:

            def simplified(_request: object, _error: BaseException) -> Answer:
                if user is not None:
                    user.look("a simplified answer")
                return Answer(200, text="simplified")

            steps.append(SimplifiedResponse(simplified))
        return steps

    def _store(self, chance: Random) -> Any:
        if self.scenario.has("failing stores"):
            start = self.simulation.start + chance.random() * LONGEST_TROUBLE
            share, end = chance.choice((0.1, 1.0)), start + chance.expovariate(0.1)
            return FailingStore(self.simulation.clock, chance, share, start, end)
        store = MemoryStore()
        store.secret = KEPT_SECRET
        return store

    def _meet_strangers(self, chance: Random, lasts: float) -> None:
        """One more client: its links lead to hosts without number, some of them sick."""
        origins = [f"https://stranger-{number}.test" for number in range(STRANGERS)]
        for origin in origins:
            server = self.simulation.server(origin, answer=self._answerer(origin))
            if chance.random() < 0.3:
                server.during(2, 2 + LONGEST_TROUBLE, Condition(errors=1.0, status=503))
        client = self.simulation.client(policy_of(self.scenario, 0), connect=1.0, read=1.0, max_hosts=3)
        for origin in origins:
            rate = self.scenario.calls / 3 / lasts / STRANGERS
            self.simulation.spawn(self._arrivals(client, origin, chance, rate, lasts))

    def _answerer(self, origin: str) -> Any:
        """What the server says: who asked for what, when; in one piece, or in several."""
        chance = self.scenario.chance(f"answers {origin}")
        clock = self.simulation.clock
        in_pieces = self.scenario.has("bodies")
        remembered = self.scenario.has("degrading")

        def answer(request: Request) -> Any:
            who = request.headers.get("authorization", "nobody")
            headers: dict[str, str] = {}
            mark = ""
            if remembered:
                mark = chance.choice(("", "", "max-age=1, stale-if-error=2", "no-store", "max-age=60"))
                headers = {"cache-control": mark} if mark else {}
            body = f"{origin}|{request.method} {request.url}|{who}|{clock.now:.6f}|{mark}".encode()
            if chance.random() < 0.2:
                body = b""
            if request.url.endswith(CALM_PATH):  # a pause in it would be trouble to a client of little patience
                return (200, headers, [body] if body else [])
            if not in_pieces or chance.random() < 0.5:
                return (200, headers, [body] if body else [])
            half = len(body) // 2
            return (200, headers, [body[:half], chance.choice((0.01, 0.2, 0.8)), body[half:]] if half else [])

        return answer

    # -- what they do --------------------------------------------------------------------------------------------------

    async def _arrivals(self, client: Client, origin: str, chance: Random, rate: float, lasts: float) -> None:
        simulation, cancels = self.simulation, self.scenario.has("cancels")
        while simulation.now < lasts:
            await sleep(chance.expovariate(rate))
            for _ in range(chance.choice((1, 1, 1, 1, 6))):
                request, options = self._request(client, origin, chance)
                task = simulation.spawn(self._visit(client, request, options, chance.random()))
                if cancels and chance.random() < 0.15:
                    simulation.spawn(self._cancel(task, chance.expovariate(3.0)))

    def _request(self, client: Client, origin: str, chance: Random) -> tuple[Request, dict[str, Any]]:
        scenario = self.scenario
        method, content, headers, replayable = "GET", b"", {"Authorization": SECRET.format(chance.randrange(3))}, True
        if scenario.has("unsafe") and chance.random() < 0.5:
            method = chance.choice(("POST", "POST", "PUT", "PATCH", "DELETE"))
            content = f"{method} {chance.random()}".encode()
            replayable = chance.random() < 0.8
            if chance.random() < 0.2:
                headers["Idempotency-Key"] = f"own-{chance.random()}"
        request = Request(
            method, origin + chance.choice(PATHS), headers=headers, content=content, replayable=replayable
        )
        options: dict[str, Any] = {}
        if scenario.has("deadlines") and chance.random() < 0.4:
            options["within"] = chance.choice((0.0, 0.05, 0.3, 1.0, 4.0))
        if scenario.has("overrides") and chance.random() < 0.3:
            options["override"] = OVERRIDES[chance.choice(tuple(OVERRIDES))]
        return request, options

    async def _visit(self, client: Client, request: Request, options: dict[str, Any], mood: float) -> None:
        try:
            response = await client.request(request, **options)
        except Exception:
            return
        seen = client.seen(request)
        if not self.scenario.has("leaving") or mood < 0.6:
            await client.take(seen, response)
            return
        try:
            if mood < 0.7:
                await sleep(0.3)  # slow to begin
                await client.take(seen, response)
            elif mood < 0.8:
                if response.body is not None:
                    try:
                        await response.body.next()
                    except Exception as error:
                        seen.body_error = error
                response.close()
            elif mood < 0.9:
                response.close()
        finally:
            if seen.response is not None and seen.response.sending is not None:
                seen.response.sending.finish("dropped", self.simulation.clock.now)
            seen.body_ended = self.simulation.clock.now
            del response

    async def _cancel(self, task: Task, seconds: float) -> None:
        await sleep(seconds)
        task.cancel()

    async def _calm(self, client: Client, origin: str, late: float) -> None:
        await sleep(CALM + late)  # all of a crowd at one instant would be trouble to a server with a short queue
        for _ in range(CALM_CALLS):
            await client.visit(Request("GET", origin + CALM_PATH, headers={"Authorization": SECRET.format("calm")}))
            await sleep(CALM_PACE)

    # -- what else happens ---------------------------------------------------------------------------------------------

    async def _look(self, lasts: float) -> None:
        while self.simulation.now < lasts + 10:
            await sleep(0.77)
            for client in self.simulation.clients:
                self.simulation.picture(client)

    async def _skew(self, chance: Random, lasts: float) -> None:
        while self.simulation.now < lasts:
            await sleep(chance.expovariate(0.3))
            chance.choice(self.clients).clock.skew = chance.choice((0.0, 3600.0, -3600.0, 1e6, 2.0))

    async def _operate(self, chance: Random, lasts: float) -> None:
        history = self.simulation.history
        while self.simulation.now < lasts:
            await sleep(chance.expovariate(0.3))
            client, origin = chance.choice(self.clients), chance.choice(self.origins)
            act = chance.choice(("isolate", "restore", "reset", "reset_all"))
            history.act(self.simulation.clock.now, client, act, origin)
            if act == "reset_all":
                client.resilience.reset_all()
            else:
                getattr(client.resilience, act)(origin)
        for client in self.clients:
            for origin in self.origins:
                history.act(self.simulation.clock.now, client, "restore", origin)
                client.resilience.restore(origin)
