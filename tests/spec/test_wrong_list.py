"""SPEC's list of wrong things: rows of docs/specification.md that no other test shows."""

from __future__ import annotations

import gc
from email.utils import formatdate
from itertools import cycle

import pytest

from seawall import ErrorKind, Policy, Resilience, Timeouts, Verdict
from seawall.outcome import Reason
from seawall.testing import VirtualClock
from tests.core.stage import Stage, answer, brittle, fault, hang, only, purse, steady, visit, word


def test__window__forgets_without_another_call() -> None:
    stage = Stage(only())
    for _ in range(5):
        stage.settle(Verdict.FAILURE, ErrorKind.CONNECTION_RESET)
    assert (stage.host.failures, stage.host.failure_rate) == (5, 1)
    stage.clock.advance(10)
    assert (stage.host.failures, stage.host.requests, stage.host.failure_rate) == (0, 0, 0)


def with_a_jumping_wall(stage: Stage) -> Stage:
    """Every look at the wall clock shows another day."""
    days = cycle([0.0, 2_000_000_000.0, 1_000_000_000.0])
    stage.clock.wall = lambda: next(days)  # type: ignore[method-assign]
    return stage


def test__wall_clock__jumping__moves_no_phase_delay_or_deadline() -> None:
    stage = with_a_jumping_wall(Stage(only(breaker=brittle(failure_threshold=3), retry=steady()), fault()))
    assert word(stage.get()) is ErrorKind.CONNECTION_RESET
    assert stage.times == [0, 1, 2]
    stage.clock.advance(9)
    for _ in range(3):
        assert word(stage.get()) is Reason.CIRCUIT_OPEN
    stage.clock.advance(1)
    stage.script(answer(200))
    assert word(stage.get()) == 200
    late = with_a_jumping_wall(Stage(only(timeouts=Timeouts(total=5)), hang()))
    assert (word(late.get()), late.now) == (Reason.DEADLINE, 5)


def test__http_date__is_read_by_the_wall_clock() -> None:
    stage = Stage(only(retry=steady()), answer(200))
    stage.script(answer(503, retry_after=formatdate(stage.clock.wall() + 7, usegmt=True)), answer(200))
    assert (word(stage.get()), stage.times) == (200, [0, 7])


@pytest.mark.filterwarnings("ignore:seawall.* dropped:ResourceWarning")
def test__dropped_attempt__is_no_request_and_its_permit_is_back() -> None:
    stage = Stage(only(breaker=brittle(failure_threshold=1)))
    stage.hold()
    assert stage.host.in_flight == 1
    stage.held.clear()
    gc.collect()
    host = stage.host
    assert (host.in_flight, host.requests, host.failures, host.successes, host.state) == (0, 0, 0, 0, "closed")


def tokens(resilience: Resilience, name: str) -> float:
    picture = resilience.snapshot(name)
    assert picture is not None
    return picture.budget


def test__budget__of_one_host__pays_for_no_other() -> None:
    resilience = Resilience({"all://": only(retry=steady(), budget=purse(3))}, clock=VirtualClock())
    for _ in range(3):
        visit(resilience, "https://sick.test", fault())
    assert visit(resilience, "https://well.test", fault(), answer(200)) == 200
    assert (tokens(resilience, "https://sick.test"), tokens(resilience, "https://well.test")) == (0, 2)


def test__budget__of_a_group__is_shared() -> None:
    policy = only(retry=steady(), budget=purse(3))
    resilience = Resilience({"all://": policy, "all://*.test": Policy(group="both")}, clock=VirtualClock())
    for _ in range(3):
        visit(resilience, "https://a.test", fault())
    assert visit(resilience, "https://b.test", fault(), answer(200)) is ErrorKind.CONNECTION_RESET
    assert tokens(resilience, "both") == 0


@pytest.mark.parametrize(
    ("flag", "status"), [("count_5xx_as_failures", 503), ("count_timeouts_as_failures", 504)], ids=["5xx", "timeout"]
)
def test__probe_left_out__gives_its_slot_back(flag: str, status: int) -> None:
    stage = Stage(only(breaker=brittle(**{flag: False})), fault())
    stage.together(stage.start(), stage.start())
    assert stage.host.state == "open"
    stage.clock.advance(10)
    stage.script(answer(status))
    for _ in range(3):
        assert (word(stage.get()), stage.host.state) == (status, "half_open")
    stage.script(answer(200))
    assert (word(stage.get()), stage.host.state) == (200, "closed")


def test__reset_all__budget_window_and_gate_of_everybody_too() -> None:
    urls = ("https://a.test", "https://b.test")
    resilience = Resilience({"all://": only(retry=steady(max_retries=1), budget=purse())}, clock=VirtualClock())
    for url in urls:
        visit(resilience, url, fault(), answer(429, retry_after="20"))
    before = [resilience.snapshot(url) for url in urls]
    resilience.reset_all()
    for was, url in zip(before, urls, strict=True):
        now = resilience.snapshot(url)
        assert was is not None
        assert now is not None
        assert (was.budget, was.requests, was.consecutive_failures, was.gate > 0) == (9, 2, 1, True)
        assert (now.budget, now.requests, now.consecutive_failures, now.gate) == (10, 0, 0, 0)
        assert now.total_requests == 2
