"""I12, I13, I17: bounds, stores that fail, locks under user code. Each checker complains of a broken product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from seawall import Policy, SimplifiedResponse, StaleResponse
from seawall.degrade.answer import Answer
from seawall.degrade.cache import StaleState
from seawall.host import HostState
from seawall.hub import Hub
from seawall.registry import Registry
from seawall.stores.memory import MemoryStore
from seawall.testing import Condition, NetworkError, Simulation, violations
from seawall.testing.sim.client import Client
from seawall.testing.sim.history import History, ResponseSeen
from seawall.testing.swarm import onlooker, runs
from seawall.testing.swarm.onlooker import Onlooker
from seawall.testing.swarm.scenario import Scenario
from tests.simulator.stories import ORIGIN, PARTS, first, story
from tests.simulator.test_checkers import shown


def said(seed: int, *features: str, calls: int = 300) -> str:
    return " ".join(runs.play(Scenario(seed, frozenset(features), calls)).wrong)


# -- I12 ---------------------------------------------------------------------------------------------------------------


def many_entries(history: History) -> None:
    picture = history.pictures[-1]
    (held,) = picture.remembered
    history.pictures[-1] = picture._replace(remembered=(held._replace(entries=held.max_entries + 1),))


def many_bytes(history: History) -> None:
    picture = history.pictures[-1]
    (held,) = picture.remembered
    history.pictures[-1] = picture._replace(remembered=(held._replace(bytes=held.max_bytes + 1),))


def open_forgotten(history: History) -> None:
    """A circuit is open in one picture, and its host unknown in the next."""
    shown(state="open", retry_after=60.0)(history)
    history.pictures.append(history.pictures[-1]._replace(at=history.pictures[-1].at + 1, hosts=[]))


def strangers_shut_out(history: History) -> None:
    picture = history.pictures[-1]
    shut = replace(picture.hosts[0], host="other hosts", state="open")
    history.pictures[-1] = picture._replace(hosts=[*picture.hosts, shut])


BOUNDS: dict[str, tuple[str, Callable[[History], None]]] = {
    "entries": ("remembers too much", many_entries),
    "bytes": ("remembers too much", many_bytes),
    "waiters": ("waiters at", shown(queue_depth=5000)),
    "forgotten": ("forgotten that", open_forgotten),
    "strangers": ("keeps all strangers away", strangers_shut_out),
}


def remembering() -> Simulation:
    """A short story of a client with a store."""
    simulation = Simulation("bounds")
    simulation.server(ORIGIN, latency=0.01, answer=lambda request: b"").during(1, 2, Condition(errors=1.0))
    policy = Policy(degrade=[StaleResponse(store=MemoryStore())], bulkhead=PARTS["bulkhead"])
    client = simulation.client(policy, connect=1, read=1)
    client.traffic(ORIGIN + "/a", rate=10, end=4)
    simulation.run()
    simulation.picture(client)
    return simulation


@pytest.mark.parametrize(("what", "forge"), BOUNDS.values(), ids=list(BOUNDS))
def test__i12__more_than_may_be__is_complained_of(what: str, forge: Callable[[History], None]) -> None:
    history = remembering().history
    assert history.pictures[-1].remembered[0].entries > 0
    assert violations(history) == []
    forge(history)
    assert any(wrong.startswith("I12: ") and what in wrong for wrong in violations(history, most=1000))


@pytest.mark.parametrize(
    ("what", "breaks", "feature"),
    [
        ("may know 3", lambda patch: patch.setattr(Registry, "_make_room", lambda *_: True), "strangers"),
        ("remembers too much", lambda patch: patch.setattr(MemoryStore, "_remove", lambda *_: None), "degrading"),
    ],
    ids=["hosts", "answers"],
)
def test__i12__product_without_bounds__is_found_by_the_swarm(
    what: str, breaks: Callable[[pytest.MonkeyPatch], None], feature: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = range(6)
    if feature == "degrading":  # what is not removed would be looked for, for ever
        monkeypatch.setattr(MemoryStore, "put", put_without_bounds)
    else:
        breaks(monkeypatch)
    assert any(what in said(seed, feature) for seed in seeds)
    monkeypatch.undo()
    assert all(said(seed, feature) == "" for seed in seeds)


def put_without_bounds(store: MemoryStore, key: bytes, record: bytes, now: float, until: float, *_: int) -> None:
    store._records[key] = (record, until)


# -- I13 ---------------------------------------------------------------------------------------------------------------


def unsteady() -> tuple[Simulation, Client]:
    simulation = Simulation("stores")
    simulation.server(ORIGIN, latency=0.01, answer=lambda request: b"x").during(1, 2, Condition(errors=1.0, status=503))
    steps = [StaleResponse(store=MemoryStore()), SimplifiedResponse(lambda request, error: Answer(200))]
    client = simulation.client(Policy(degrade=steps, retry=None, breaker=None), connect=1, read=1)
    simulation.history.unsteady.add(client)
    client.traffic(ORIGIN + "/a", rate=10, end=4)
    simulation.run()
    return simulation, client


def good_answer_lost(history: History) -> None:
    call = first(history, answered=True, attempts=1)
    call.response = ResponseSeen(200, {}, "simplified", None)


def error_of_the_store(history: History) -> None:
    first(history, answered=True, attempts=1).body_error = OSError("the disk is full")


def nobody_asked(history: History) -> None:
    call = next(call for call in history.calls if call.sendings[-1].status == 503)
    call.response = ResponseSeen(503, {}, "origin", call.sendings[-1])


def time_lost(history: History) -> None:
    call = next(call for call in history.calls if call.response is not None and call.response.source == "stale")
    assert call.ended is not None
    call.ended += 0.5


@pytest.mark.parametrize("forge", [good_answer_lost, error_of_the_store, nobody_asked, time_lost])
def test__i13__store_that_costs_more_than_its_answers__is_complained_of(forge: Callable[[History], None]) -> None:
    history = unsteady()[0].history
    assert violations(history) == []
    forge(history)
    assert any(wrong.startswith("I13: ") for wrong in violations(history, most=1000))


def test__i13__errors_of_a_store_that_reach_callers__are_found_by_the_swarm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StaleState, "_ask", lambda _, method, *args: method(*args))
    found = [said(seed, "degrading", "failing stores", "errors") for seed in range(8)]
    assert any("I13: " in wrong for wrong in found), found
    monkeypatch.undo()
    assert [said(seed, "degrading", "failing stores", "errors") for seed in range(8)] == [""] * 8


# -- I17 ---------------------------------------------------------------------------------------------------------------


def test__i17__user_code_under_a_lock__is_found_by_the_swarm(monkeypatch: pytest.MonkeyPatch) -> None:
    end = HostState._end

    def locked(state: HostState, *args: Any) -> None:
        with state._lock:
            end(state, *args)

    monkeypatch.setattr(onlooker, "WITHIN", 0.3)
    monkeypatch.setattr(HostState, "_end", locked)
    assert any("I17: " in said(seed, "hooks", "errors", calls=100) for seed in range(4))
    monkeypatch.undo()
    assert all(said(seed, "hooks", "errors", calls=100) == "" for seed in range(4))


def test__i17__look_that_raises__is_told_once() -> None:
    simulation, client = story()
    user = Onlooker(simulation.history)
    user.look("before there is a client")
    user.client = client
    client.resilience.snapshots = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    user.look("a test")
    user.look("a test")
    (wrong,) = violations(simulation.history)
    assert "while user code runs (a test), looking raises ZeroDivisionError" in wrong
    assert NetworkError.__name__ not in wrong


def test__user_code__fails_only_as_it_means_to(monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: set[tuple[str, type[BaseException]]] = set()

    def complain(hub: Hub, function: Any, error: BaseException) -> None:
        complaints.add((function.__name__, type(error)))

    monkeypatch.setattr(Hub, "complain", complain)
    said(1, "hooks", "errors", "degrading")
    assert complaints == {(name, ArithmeticError) for name in ("classify", "listen", "when")}
