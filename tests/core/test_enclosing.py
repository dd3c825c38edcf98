"""What is wanted around every call: begun before it, ended after it, and able to break nothing."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Callable
from typing import Any

import pytest

from seawall import Answer, Resilience, SimplifiedResponse
from seawall.events import CallInfo
from seawall.outcome import Reason
from tests.core.stage import HOST, Stage, answer, brittle, fault, only, steady, word
from tests.core.test_cancellation import SCENARIOS, Scenario, suspensions


class Around:
    """Notes what is begun and ended."""

    def __init__(self) -> None:
        self.begun: list[CallInfo] = []
        self.ended: list[tuple[CallInfo, type[BaseException] | None]] = []

    def begin(self, call: CallInfo) -> Callable[[BaseException | None], None]:
        self.begun.append(call)
        return lambda error: self.ended.append((call, None if error is None else type(error)))


def around(resilience: Resilience) -> Around:
    noted = Around()
    resilience.hub.enclose(noted.begin)
    return noted


@pytest.mark.parametrize(
    "stage",
    [
        Stage(only(), answer(200)),
        Stage(only(retry=steady()), answer(503), fault(), answer(200)),
        Stage(only(), fault()),
        Stage(only(degrade=[SimplifiedResponse(lambda request, error: Answer())]), fault()),
    ],
    ids=["answered", "retried", "failed", "degraded"],
)
def test__every_call__is_enclosed_once(stage: Stage) -> None:
    noted = around(stage.resilience)
    stage.get()
    (call,) = noted.begun
    assert noted.ended == [(call, None)]


def test__refused_call__is_enclosed_too() -> None:
    stage = Stage(only(breaker=brittle()))
    stage.resilience.isolate(HOST)
    noted = around(stage.resilience)
    assert word(stage.get()) is Reason.ISOLATED
    assert len(noted.begun) == len(noted.ended) == 1
    assert stage.host.total_rejections == 1


def test__call__has_the_same_info_as_its_events() -> None:
    stage = Stage(only(), answer(200))
    noted, heard = around(stage.resilience), list[Any]()
    stage.resilience.subscribe(heard.append)
    stage.get()
    assert {event.call for event in heard} == set(noted.begun)


ALONE = [scenario for scenario in SCENARIOS if not (scenario.acts or scenario.before)]
"""Without other calls, which would be enclosed, too."""


@pytest.mark.parametrize("scenario", ALONE, ids=str)
@pytest.mark.parametrize("error", [CancelledError, KeyboardInterrupt, GeneratorExit])
def test__interrupted_anywhere__is_ended_with_what_was_raised(scenario: Scenario, error: type[BaseException]) -> None:
    for suspension in range(suspensions(scenario)):
        stage = Stage(scenario.policy, *scenario.steps)
        noted = around(stage.resilience)
        with scenario.around:
            call = stage.start(scenario.request)
        pauses = [call.send(None)]
        for _ in range(suspension):
            stage.clock.now += pauses[-1].seconds
            pauses.append(call.send(None))
        if error is GeneratorExit:
            call.close()
        else:
            with pytest.raises(error):
                call.throw(error())
        (info,) = noted.begun
        assert noted.ended == [(info, error)], suspension
        assert stage.host.in_flight == 0


def test__several__end_in_the_opposite_order() -> None:
    stage = Stage(only(), answer(200))
    told: list[str] = []

    def named(name: str) -> Callable[[CallInfo], Callable[[BaseException | None], None]]:
        def begin(call: CallInfo) -> Callable[[BaseException | None], None]:
            told.append(f"begin {name}")
            return lambda error: told.append(f"end {name}")

        return begin

    ends = [stage.resilience.hub.enclose(named(name)) for name in "ab"]
    stage.get()
    assert told == ["begin a", "begin b", "end b", "end a"]
    for end in (*ends, *ends):
        end()
    stage.get()
    assert len(told) == 4


def test__it_wants_nothing_at_the_end__the_others_are_ended() -> None:
    stage = Stage(only(), answer(200))
    begun: list[CallInfo] = []
    noted = around(stage.resilience)
    stage.resilience.hub.enclose(begun.append)
    assert word(stage.get()) == 200
    assert (begun, noted.ended) == (noted.begun, [(noted.begun[0], None)])


def test__it_raises__said_once_and_the_call_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(only(), answer(200))

    def at_the_end(error: BaseException | None) -> None:
        raise RuntimeError("CANARY")

    def begin(call: CallInfo) -> Callable[[BaseException | None], None]:
        return at_the_end

    def broken(call: CallInfo) -> None:
        raise RuntimeError("CANARY")

    stage.resilience.hub.enclose(begin)
    stage.resilience.hub.enclose(broken)
    assert [word(stage.get()) for _ in range(3)] == [200, 200, 200]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "CANARY" not in caplog.text


def test__nobody_wants_any__the_way_is_the_bare_one() -> None:
    stage = Stage(only(), answer(200))
    noted = Around()
    stage.resilience.hub.enclose(noted.begin)()
    call = stage.start()
    assert call.cr_code.co_name == "run"  # type: ignore[attr-defined]
    call.close()
