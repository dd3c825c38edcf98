"""Short honest histories, for checkers to be shown forged ones."""

from __future__ import annotations

from typing import Any

from seawall import Breaker, Bulkhead, Policy, Retry, RetryBudget, StaleResponse, Timeouts
from seawall.testing import Condition, Request, Simulation
from seawall.testing.sim.client import Client
from seawall.testing.sim.history import CallSeen, History

ORIGIN = "https://api.test"
PARTS: dict[str, Any] = {
    "timeouts": Timeouts(attempt=0.5, total=2),
    "retry": Retry(base_delay=0.1, jitter="equal"),
    "budget": RetryBudget(start=2, cap=5, ratio=0.1),
    "breaker": Breaker(failure_threshold=4, min_failure_span=0, open_duration=1, max_open_duration=1, open_jitter=0.2),
    "bulkhead": Bulkhead(max_concurrent=3, max_wait=0.3),
}


def story(*, degrading: bool = False, listening: bool = True, **parts: Any) -> tuple[Simulation, Client]:
    """One client, one host: five seconds well, five half broken, five down, five well."""
    simulation = Simulation("a story")
    policy = Policy(**PARTS | parts)
    if degrading:
        policy = Policy(degrade=[StaleResponse(max_age=60)], retry=None, bulkhead=None)
    client = simulation.client(policy, connect=5, read=5)
    simulation.server(ORIGIN, workers=4, latency=0.05, answer=_answer(simulation)).during(
        5, 10, Condition(errors=0.3, status=503, headers={"x-kind": "sick"}, reset=0.2)
    ).during(10, 15, Condition(refused=1.0))
    if listening:
        client.resilience.subscribe(lambda event: simulation.history.events.append((client, event)))
    client.traffic(lambda: _request(client), rate=20, end=20)
    for second in range(1, 25):
        simulation.at(second, lambda: simulation.picture(client))
    simulation.run()
    simulation.picture(client)
    return simulation, client


def _answer(simulation: Simulation) -> Any:
    def answer(request: Request) -> bytes:
        who = request.headers.get("authorization", "nobody")
        return f"{ORIGIN}|{request.method} {request.url}|{who}|{simulation.clock.now:.6f}|".encode()

    return answer


def _request(client: Client) -> Request:
    method = client.chance.choice(("GET", "GET", "GET", "POST"))
    headers = {"Authorization": f"Bearer {client.chance.randrange(2)}"}
    return Request(method, f"{ORIGIN}/{client.chance.randrange(3)}", headers=headers, content=b"x" * (method == "POST"))


def first(history: History, **wanted: Any) -> CallSeen:
    """The first call with so many `attempts`, of that `method`, that ended in an `answer` (True) or not."""
    for call in history.calls:
        if wanted.get("attempts", len(call.sendings)) != len(call.sendings):
            continue
        if wanted.get("method", call.method) != call.method:
            continue
        if wanted.get("answered", call.response is not None) != (call.response is not None):
            continue
        return call
    raise LookupError(wanted)
