"""Who calls in the soak: threads with httpx, httpx2 and requests, tasks with httpx and httpx2, on one Resilience."""

import asyncio
import importlib
import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import seawall
from benchmarks.soak_server import KINDS
from seawall import Resilience

THREADS_EACH, TASKS_EACH = 4, 24
DROPPED = 20
"""Answers of httpx dropped unread: each costs its client a connection, mounted or not, so there cannot be many."""


class Crew:
    """Everybody who calls, until `stop`; what went wrong that should not stands in `surprises`."""

    def __init__(self, resilience: Resilience, addresses: Callable[[random.Random], str], seed: int) -> None:
        self.resilience = resilience
        self.counts: Counter[str] = Counter()
        self.surprises: list[BaseException] = []
        self._addresses = addresses
        self._over = threading.Event()
        self._chance = random.Random(seed)
        self._clients: list[Any] = []
        self._threads: list[threading.Thread] = []
        for library in ("httpx", "httpx2", "requests"):
            client = self._sync_client(library)
            for _ in range(THREADS_EACH):
                self._begin(self._work_in_thread, library, client, random.Random(self._chance.random()))
        for library in ("httpx", "httpx2"):
            self._begin(self._work_in_loop, library, random.Random(self._chance.random()))

    def stop(self) -> list[threading.Thread]:
        """End it all. Returns the threads that do not end within 20 s."""
        self._over.set()
        for thread in self._threads:
            thread.join(20)
        for client in self._clients:
            client.close()
        return [thread for thread in self._threads if thread.is_alive()]

    def _begin(self, work: Callable[..., None], *arguments: Any) -> None:
        def run() -> None:
            try:
                work(*arguments)
            except BaseException as error:
                self.surprises.append(error)

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()

    def _url(self, chance: random.Random) -> str:
        return f"{self._addresses(chance)}/{chance.choices(KINDS, (6, 2, 2, 2))[0]}"

    # -- threads -------------------------------------------------------------------------------------------------------

    def _sync_client(self, library: str) -> Any:
        module = importlib.import_module(library)
        if library == "requests":
            client = module.Session()
            client.trust_env = False
        else:
            client = module.Client(timeout=1.0, trust_env=False)
        seawall.mount(client, self.resilience)
        self._clients.append(client)
        return client

    def _work_in_thread(self, library: str, client: Any, chance: random.Random) -> None:
        module = importlib.import_module(library)
        expected = module.RequestException if library == "requests" else module.HTTPError
        options = {"timeout": 1.0} if library == "requests" else {}
        while not self._over.is_set():
            url, dice = self._url(chance), chance.random()
            try:
                with seawall.deadline(chance.uniform(0.01, 2)):
                    if dice < 0.1:
                        self._read_some(library, client, url, chance, options)
                    elif dice < 0.2:
                        self._count(client.post(url, data={"a": "b"}, **options))
                    else:
                        self._count(client.get(url, **options))
            except expected as error:
                self.counts[self._of_error(error)] += 1

    def _read_some(self, library: str, client: Any, url: str, chance: random.Random, options: dict[str, Any]) -> None:
        """A streamed answer: read to its end, left in the middle, or dropped unread."""
        if library == "requests":
            response = client.get(url, stream=True, **options)
            pieces = response.iter_content(1_000)
        else:
            response = client.send(client.build_request("GET", url), stream=True)
            pieces = response.iter_bytes(1_000)
        how = chance.random()
        if how < 0.1 and (library == "requests" or self.counts["dropped"] < DROPPED):
            self.counts["dropped"] += 1
            return
        try:
            for _ in pieces:
                if how < 0.4:
                    break
        finally:
            response.close()
        self.counts["streamed"] += 1

    # -- tasks ---------------------------------------------------------------------------------------------------------

    def _work_in_loop(self, library: str, chance: random.Random) -> None:
        asyncio.run(self._work_in_tasks(library, chance))

    async def _work_in_tasks(self, library: str, chance: random.Random) -> None:
        module = importlib.import_module(library)
        async with module.AsyncClient(timeout=1.0, trust_env=False) as client:
            seawall.mount(client, self.resilience)
            tasks: set[asyncio.Task[None]] = set()
            while not self._over.is_set():
                while len(tasks) < TASKS_EACH:
                    tasks.add(asyncio.create_task(self._call(module, client, chance)))
                await asyncio.wait(tasks, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
                tasks = {task for task in tasks if not self._has_ended(task)}
                if tasks and chance.random() < 0.3:
                    chance.choice(tuple(tasks)).cancel()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=20)

    async def _call(self, module: Any, client: Any, chance: random.Random) -> None:
        url, dice = self._url(chance), chance.random()
        try:
            async with asyncio.timeout(chance.uniform(0.01, 3)):
                if dice < 0.1:
                    async with client.stream("GET", url) as response:
                        async for _ in response.aiter_bytes(1_000):
                            if dice < 0.04:
                                break
                    self.counts["streamed"] += 1
                elif dice < 0.2:
                    self._count(await client.post(url, content=b"a=b"))
                else:
                    self._count(await client.get(url))
        except module.HTTPError as error:
            self.counts[self._of_error(error)] += 1
        except TimeoutError:
            self.counts["cancelled"] += 1

    def _has_ended(self, task: "asyncio.Task[None]") -> bool:
        if not task.done():
            return False
        with suppress(asyncio.CancelledError):
            error = task.exception()
            if error is not None:
                self.surprises.append(error)
            return True
        self.counts["cancelled"] += 1
        return True

    # -- counting ------------------------------------------------------------------------------------------------------

    def _count(self, response: Any) -> None:
        report = seawall.report(response)
        if response.status_code == 200 and report is not None and report.served_from != "origin":
            self.counts["from memory"] += 1
        else:
            self.counts["good" if response.status_code < 400 else "an error status"] += 1

    def _of_error(self, error: BaseException) -> str:
        return "refused" if isinstance(error, seawall.ResilienceError) else "an error of the network"
