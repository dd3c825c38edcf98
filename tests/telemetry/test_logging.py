"""What the log says, at which level, in whose words; and what it leaves out or counts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

import seawall
from seawall import Answer, Resilience, SimplifiedResponse
from seawall.telemetry import logging as telemetry
from seawall.telemetry._once import once
from tests.core.stage import HOST, Stage, answer, brittle, fault, only, purse, steady

Lines = Callable[[], list[tuple[str, str]]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Lines]:
    """What was logged since one last looked: level and text, all of it from our logger."""
    logging.getLogger("seawall").handlers.clear()  # what others left there
    caplog.set_level(logging.INFO, logger="seawall")

    def taken() -> list[tuple[str, str]]:
        assert {record.name for record in caplog.records} <= {"seawall"}
        found = [(record.levelname, record.getMessage()) for record in caplog.records]
        caplog.clear()
        return found

    yield taken
    logging.getLogger("seawall").handlers.clear()


def test__retry__is_info_in_the_words_of_the_report(lines: Lines) -> None:
    stage = Stage(only(retry=steady()), answer(503, after=0.25), fault(), answer(200))
    telemetry.instrument(stage.resilience)
    call = stage.call()
    stage.together(seawall.degrading.journey(call, stage.peer))
    assert lines() == [
        ("INFO", f"{HOST}: attempt 1: 503 (service unavailable), attempt 2 after waiting 1 s"),
        ("INFO", f"{HOST}: attempt 2: no answer (connection reset), attempt 3 after waiting 1 s"),
    ]
    assert str(call).splitlines() == [
        f"{HOST}: answered, 2.25 s",
        "  attempt 1: 503 (service unavailable) in 0.25 s: failure",
        "  attempt 2: no answer (connection reset) in 0 s, after waiting 1 s: failure",
        "  attempt 3: 200 in 0 s, after waiting 1 s: success",
    ]


def test__changes_of_a_circuit__are_warnings(lines: Lines) -> None:
    stage = Stage(only(breaker=brittle()), fault())
    telemetry.instrument(stage.resilience)
    stage.together(stage.start(), stage.start())
    stage.clock.advance(10)
    stage.script(answer(200))
    stage.get()
    stage.resilience.reset(HOST)
    assert lines() == [
        ("WARNING", f"{HOST}: circuit open, was closed: failures in a row"),
        ("WARNING", f"{HOST}: circuit half_open, was open: open duration over"),
        ("WARNING", f"{HOST}: circuit closed, was half_open: enough probes succeeded"),
    ]


def test__refusal__is_logged_in_the_words_of_its_exception(lines: Lines) -> None:
    stage = Stage(only(breaker=brittle()), fault())
    stage.together(stage.start(), stage.start())
    telemetry.instrument(stage.resilience)
    call = stage.call()
    (rejection,) = stage.together(seawall.degrading.journey(call, stage.peer))
    assert lines() == [("WARNING", f"{HOST}: circuit open (breaker), try again in 10 s")]
    assert str(seawall.errors.dress(call, rejection)) == f"{HOST}: circuit open (breaker), try again in 10 s"


def test__refusals__first_and_then_counted_per_interval(lines: Lines) -> None:
    stage = Stage(only(breaker=brittle()))
    stage.resilience.isolate(HOST)
    telemetry.instrument(stage.resilience, interval=60)
    for _ in range(5):
        stage.get()
        stage.clock.advance(10)
    assert lines() == [("WARNING", f"{HOST}: isolated (breaker)")]
    stage.clock.advance(10)
    stage.get()  # the first event after the interval
    stage.clock.advance(30)
    stage.get()
    assert lines() == [("WARNING", f"{HOST}: isolated (breaker), 4 times more in 60 s")]
    stage.clock.advance(31)
    stage.get()
    assert lines() == [("WARNING", f"{HOST}: isolated (breaker), 2 times more in 61 s")]


def test__refusals__that_stopped_for_an_interval__begin_with_a_line_again(lines: Lines) -> None:
    stage = Stage(only(breaker=brittle()))
    stage.resilience.isolate(HOST)
    telemetry.instrument(stage.resilience, interval=60)
    stage.get()
    stage.clock.advance(61)
    stage.get()
    assert lines() == [("WARNING", f"{HOST}: isolated (breaker)")] * 2


def test__count__is_told_when_the_circuit_closes(lines: Lines) -> None:
    stage = Stage(only(breaker=brittle()))
    telemetry.instrument(stage.resilience)
    stage.resilience.isolate(HOST)
    for _ in range(3):
        stage.get()
    stage.clock.advance(5)
    stage.resilience.isolate("https://other.test")
    assert len(lines()) == 3, "another circuit's change tells nothing of this one"
    stage.resilience.restore(HOST)
    assert lines() == [
        ("WARNING", f"{HOST}: isolated (breaker), 2 times more in 5 s"),
        ("WARNING", f"{HOST}: circuit closed, was isolated: restore()"),
    ]


def test__count__is_told_when_the_logging_ends(lines: Lines) -> None:
    stage = Stage(only(breaker=brittle()))
    stage.resilience.isolate(HOST)
    end = telemetry.instrument(stage.resilience)
    for _ in range(3):
        stage.get()
    lines()
    end()
    end()
    stage.get()
    assert lines() == [("WARNING", f"{HOST}: isolated (breaker), 2 times more")]


def test__what_repeats_itself_in_an_outage__is_counted_too(lines: Lines) -> None:
    other = SimplifiedResponse(lambda request, error: Answer())
    stage = Stage(only(retry=steady(), budget=purse(1), degrade=[other]), answer(503))
    stage.call().state.withdraw(stage.clock.now)
    end = telemetry.instrument(stage.resilience)
    for _ in range(4):
        stage.get()
    assert lines() == [
        ("WARNING", f"{HOST}: no retry budget left"),
        ("INFO", f"{HOST}: served from: simplified (no retry budget left)"),
    ]
    end()
    assert lines() == [
        ("WARNING", f"{HOST}: no retry budget left, 3 times more"),
        ("INFO", f"{HOST}: served from: simplified (no retry budget left), 3 times more"),
    ]


def test__gate__is_info(lines: Lines) -> None:
    stage = Stage(only(retry=steady(max_retries=0)), answer(503, retry_after="7"))
    telemetry.instrument(stage.resilience)
    stage.get()
    assert lines() == [("INFO", f"{HOST}: the server asked for a pause of 7 s")]


def test__more_hosts_than_are_counted__are_logged_each_time(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_MOST", 0)
    stage = Stage(only(breaker=brittle()))
    stage.resilience.isolate(HOST)
    telemetry.instrument(stage.resilience)
    for _ in range(3):
        stage.get()
    assert len(lines()) == 3


def test__call_that_goes_well__is_no_line_and_no_event(lines: Lines) -> None:
    stage = Stage(only(retry=steady(), breaker=brittle()), answer(200))
    telemetry.instrument(stage.resilience)
    assert not stage.resilience.hub.following
    stage.get()
    assert lines() == []


def test__once__lost_race__ends_what_the_loser_began() -> None:
    resilience = Resilience()
    begun: list[str] = []

    def begin(name: str) -> Callable[[], None]:
        begun.append(name)
        if name == "slower":  # another thread is quicker
            once(resilience, "key", lambda: begin("quicker"))
        return lambda: begun.remove(name)

    end = once(resilience, "key", lambda: begin("slower"))
    assert begun == ["quicker"]
    end()
    assert begun == []


def test__instrument__twice_is_once(lines: Lines) -> None:
    stage = Stage(only(breaker=brittle()))
    ends = [telemetry.instrument(stage.resilience) for _ in range(2)]
    stage.resilience.isolate(HOST)
    assert len(lines()) == 1
    ends[0]()
    stage.resilience.restore(HOST)
    assert lines() == []
    telemetry.instrument(stage.resilience)
    stage.resilience.isolate(HOST)
    assert len(lines()) == 1


def test__instrument__another_logger(lines: Lines) -> None:
    stage = Stage(only(breaker=brittle()))
    records: list[logging.LogRecord] = []
    own = logging.Logger("mine")
    own.addHandler(type("Handler", (logging.Handler,), {"emit": lambda self, record: records.append(record)})())
    telemetry.instrument(stage.resilience, logger=own)
    stage.resilience.isolate(HOST)
    assert (len(records), lines()) == (1, [])


def test__our_logger__has_one_null_handler(lines: Lines) -> None:
    for _ in range(3):
        telemetry.instrument(Resilience())
    (handler,) = logging.getLogger("seawall").handlers
    assert isinstance(handler, logging.NullHandler)


@pytest.mark.parametrize("interval", [0, -1, float("nan"), "60"])
def test__instrument__wrong_interval__is_refused_at_once(interval: float) -> None:
    with pytest.raises((TypeError, ValueError), match="interval"):
        telemetry.instrument(Resilience(), interval=interval)


def test__instrument__what_is_no_resilience__is_refused_with_the_cure() -> None:
    with pytest.raises(TypeError, match=r"give a Resilience, such as seawall\.default\(\)"):
        telemetry.instrument(only())  # type: ignore[arg-type]
