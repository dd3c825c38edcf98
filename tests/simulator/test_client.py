"""A simulated client: what a mount would do, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

import seawall
from seawall import CircuitOpen, DeadlineExceeded, Policy, Resilience, Retry, Timeouts
from seawall.testing import Condition, NetworkError, Request, Simulation, sleep
from seawall.testing.sim.client import Client

ORIGIN = "https://api.test"


def world(policy: Any = None, condition: Condition | None = None, **options: Any) -> tuple[Simulation, Client]:
    simulation = Simulation(1)
    client = simulation.client(policy, **options)
    server = simulation.server(ORIGIN, latency=lambda chance: 0.1, answer=lambda request: b"hello")
    if condition is not None:
        server.during(0, 100, condition)
    return simulation, client


def play(simulation: Simulation, coroutine: Any) -> Any:
    task = simulation.spawn(coroutine)
    simulation.run()
    return task.result


def test__well__answers_with_a_body_and_a_report() -> None:
    simulation, client = world()

    async def call() -> Any:
        response = await client.get(ORIGIN + "/x")
        return response.status_code, await response.read(), simulation.now

    assert play(simulation, call()) == (200, b"hello", pytest.approx(0.1))
    (seen,) = simulation.history.calls
    assert (len(seen.sendings), seen.report and seen.report.ending) == (1, seawall.Ending.ANSWERED)


def test__fails__raises_what_the_library_would_after_its_retries() -> None:
    simulation, client = world(Policy(retry=Retry(max_retries=2)), Condition(refused=1.0))

    async def call() -> Any:
        with pytest.raises(NetworkError, match="connection refused"):
            await client.get(ORIGIN)

    play(simulation, call())
    assert len(simulation.history.sendings) == 3


@pytest.mark.parametrize(
    ("policy", "own", "after"),
    [
        (Policy(retry=None), 5.0, 5.0),
        (Policy(retry=None, timeouts=Timeouts(attempt=2)), 5.0, 2.0),
        (Policy(retry=None, timeouts=Timeouts(total=1)), None, 1.0),
        (Policy(retry=None), None, 90.0),
    ],
)
def test__hangs__ends_by_the_shortest_clock(policy: Policy, own: float | None, after: float) -> None:
    simulation, client = world(policy, Condition(hang=1.0), read=own)

    async def call() -> Any:
        with pytest.raises((NetworkError, DeadlineExceeded)):
            await client.get(ORIGIN)
        return simulation.now

    assert play(simulation, call()) == after


def test__within__is_a_deadline_around_the_call() -> None:
    simulation, client = world(condition=Condition(hang=1.0))

    async def call() -> Any:
        with pytest.raises(DeadlineExceeded):
            await client.get(ORIGIN, within=0.5)
        return simulation.now

    assert play(simulation, call()) == 0.5


def test__override__holds_for_the_call() -> None:
    simulation, client = world(condition=Condition(errors=1.0))

    async def call() -> Any:
        return (await client.get(ORIGIN, override=seawall.override(retry=None))).status_code

    assert play(simulation, call()) == 500
    assert len(simulation.history.sendings) == 1


def test__body_that_breaks__raises_where_it_is_read() -> None:
    simulation, client = world(condition=Condition(breaks=1.0))

    async def call() -> Any:
        response = await client.get(ORIGIN)
        with pytest.raises(NetworkError, match="invalid response"):
            await response.read()

    play(simulation, call())
    (picture,) = client.resilience.snapshots()
    assert (picture.failures, picture.in_flight) == (1, 0)


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test__left_unread__gives_its_permit_back(how: str) -> None:
    simulation, client = world()

    async def call() -> Any:
        response = await client.get(ORIGIN)
        assert client.resilience.snapshots()[0].in_flight == 1
        if how == "closed":
            response.close()

    with pytest.warns(ResourceWarning) if how == "dropped" else _nothing():
        play(simulation, call())
        (picture,) = client.resilience.snapshots()
    assert (picture.total_successes, picture.in_flight) == (how == "closed", 0)


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def test__policies_by_pattern__and_refusals_as_answers() -> None:
    policies = {"https://other.test": Policy(rejections="respond"), "all://": Policy()}
    simulation, client = world(policies)
    client.resilience.isolate("https://other.test")
    client.resilience.isolate(ORIGIN)

    async def call() -> Any:
        with pytest.raises(CircuitOpen):
            await client.get(ORIGIN)
        return (await client.get("https://other.test/")).status_code

    assert play(simulation, call()) == 503


def test__nobody_there__name_is_not_found() -> None:
    simulation, client = world(Policy(retry=None))

    async def call() -> Any:
        with pytest.raises(NetworkError, match="name resolution"):
            await client.get("https://nowhere.test/")

    play(simulation, call())


def test__traffic__comes_at_its_rate_and_is_measured() -> None:
    simulation, client = world(Policy(retry=None, breaker=None), Condition(errors=0.25))
    client.traffic(ORIGIN + "/x", rate=50, end=40)
    client.traffic(lambda: Request("POST", ORIGIN), rate=10, start=10, end=20)
    simulation.run()
    figures = simulation.figures(0, 40)
    assert 1950 < figures.calls < 2250
    assert (figures.load, figures.recovery) == (1, 0)
    assert figures.good == pytest.approx(0.75, abs=0.03)
    assert figures.failed == pytest.approx(0.25, abs=0.03)
    assert figures.slowest == pytest.approx(0.1)


def test__recovery__is_the_time_after_the_trouble_until_all_is_well() -> None:
    simulation, client = world(Policy(retry=None, breaker=None), Condition(errors=1.0))
    client.traffic(ORIGIN, rate=20, end=130)
    simulation.run()
    assert simulation.figures(20, 90).recovery == pytest.approx(10, abs=0.5)
    assert simulation.figures(20, 100).recovery == 0
    assert simulation.figures(0, 10).recovery == 90
    assert simulation.figures(100, 110).good == 1


def test__task_or_act_that_raises__is_raised_by_run() -> None:
    simulation, client = world()
    simulation.at(3, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        simulation.run()
    assert simulation.now == 3

    async def call() -> None:
        await sleep(1)
        await client.get("https://nowhere.test/", override=seawall.override(retry=None))

    simulation.spawn(call())
    with pytest.raises(NetworkError):
        simulation.run()


def test__processes__have_their_own_state_and_clocks() -> None:
    simulation, client = world()
    other = simulation.client()
    assert isinstance(client.resilience, Resilience)
    assert client.resilience is not other.resilience
    other.clock.skew = 3600
    assert other.clock.wall() - client.clock.wall() == 3600
    assert other.clock.monotonic() == client.clock.monotonic()
    assert other.clock.random() != client.clock.random()
