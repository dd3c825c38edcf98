"""The simulation: servers, clients, one virtual clock; everything drawn from one seed."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from seawall.testing.loop import Loop, sleep
from seawall.testing.sim.client import Client
from seawall.testing.sim.figures import Figures, measure
from seawall.testing.sim.history import History, Picture
from seawall.testing.sim.network import Network
from seawall.testing.sim.server import Server
from seawall.testing.virtual import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from seawall.resilience import Policies
    from seawall.testing.loop import Task


class Simulation:
    """Servers and clients that meet in virtual time. The same seed and the same program give the same history."""

    def __init__(self, seed: int | str = 0) -> None:
        self.seed = seed
        self.clock = VirtualClock()
        self.start = self.clock.now
        """The clock's instant that counts as second 0."""
        self.loop = Loop(self.clock, Random(f"order {seed}"))
        self.network = Network(self.clock)
        self.history = History()
        self.clients: list[Client] = []

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self.clock.now - self.start

    def server(self, origin: str, **options: Any) -> Server:
        """A server behind `scheme://host`; the options are `Server`'s: workers, latency, queue, replicas, answer."""
        server = Server(origin, start=self.start, seed=self.seed, **options)
        self.network.servers[origin] = server
        return server

    def client(
        self,
        policies: Policies = None,
        *,
        connect: float | None = None,
        read: float | None = None,
        name: str | None = None,
        **options: Any,
    ) -> Client:
        """A client process with a Resilience of its own; policies and options are that one's.

        connect, read: timeouts the library itself has, in seconds; None: none.
        """
        client = Client(self, name or f"client {len(self.clients) + 1}", policies, connect, read, options)
        self.clients.append(client)
        return client

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Task:
        """Run a coroutine beside the traffic; it may await `client.get(…)` and `seawall.testing.sleep(…)`."""
        return self.loop.spawn(coroutine)

    def at(self, second: float, act: Callable[[], object]) -> Task:
        """Do something when it is `second`."""

        async def later() -> None:
            await sleep(max(0.0, second - self.now))
            act()

        return self.spawn(later())

    def picture(self, client: Client) -> None:
        """Add to the history what a client says of its hosts now."""
        resilience, now = client.resilience, self.clock.now
        picture = Picture(now, client, resilience.snapshots(), len(resilience), client.remembered())
        self.history.pictures.append(picture)
        self.history.log.append(("picture", now, picture))

    def figures(self, begins: float, ends: float, *, good_within: float = 2.0) -> Figures:
        """Load, good answers and recovery of a time of trouble, in seconds of the simulation."""
        return measure(self.history, self.start, begins, ends, good_within)

    def run(self, until: float = float("inf")) -> History:
        """Let time pass until that second, or until nothing happens any more. May be called again.

        Raises what a coroutine of `spawn` or a function of `at` raised; the traffic of clients raises nothing.
        """
        with self.clock.as_process_clock():
            self.loop.run(self.start + until)
        if self.loop.errors:
            raise self.loop.errors.pop(0)
        return self.history
