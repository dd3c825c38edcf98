"""`execute` beside the ordinary: clocks, switched off, and operations a call cannot carry or wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

import seawall
from seawall import (
    CircuitOpen,
    DeadlineExceeded,
    MaxRetriesExceeded,
    NonRetryable,
    Policy,
    Timeouts,
    deadline,
    disabled,
    override,
)
from tests.core.operations import (
    URL,
    Operation,
    StatusError,
    Way,
    at_once,
    both,
    gateway,
    snapshot,
)
from tests.core.stage import brittle, call_to, only

# -- time ------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    "timeouts",
    [None, Timeouts(attempt=None), Timeouts(attempt=None, connect=None, idle=None)],
    ids=["off", "no attempt", "none"],
)
def test__no_clock_of_ours__works_as_well(way: Way, timeouts: Timeouts | None) -> None:
    assert way(gateway(only(timeouts=timeouts)), "primary", lambda: "value") == "value"


@both
def test__late_by_the_attempt_clock__value_is_given_and_the_provider_blamed(way: Way) -> None:
    resilience = gateway(only(timeouts=Timeouts(attempt=5)))
    clock: Any = resilience.clock
    assert way(resilience, "primary", lambda: clock.advance(6) or "late") == "late"
    assert (snapshot(resilience).failures, snapshot(resilience).timeouts) == (1, 1)


@both
def test__deadline_over__is_not_run(way: Way) -> None:
    resilience, operation = gateway(), Operation("never")
    clock: Any = resilience.clock
    with clock.as_process_clock(), deadline(0), pytest.raises(DeadlineExceeded):
        way(resilience, "primary", operation)
    assert operation.times == 0


@both
def test__override__of_the_attempt_clock_holds(way: Way) -> None:
    resilience = gateway()
    clock: Any = resilience.clock
    with override(timeouts=Timeouts(attempt=5)):
        way(resilience, "primary", lambda: clock.advance(6))
    assert snapshot(resilience).timeouts == 1


@both
def test__inside__the_deadline_is_lowered_to_what_the_operation_may_take(way: Way) -> None:
    resilience = gateway(only(timeouts=Timeouts(attempt=5, total=30)))
    clock: Any = resilience.clock
    with clock.as_process_clock():
        seen = way(resilience, "primary", lambda: call_to(resilience, URL).deadline)
    assert seen == clock.now + 5


# -- off -------------------------------------------------------------------------------------------


def test__no_function__is_refused_in_aexecute_too() -> None:
    with pytest.raises(TypeError, match=r"operation=5: give a function"):
        asyncio.run(gateway().aexecute("primary", 5))  # type: ignore[arg-type]


@both
def test__disabled__runs_as_if_nothing_were_there(way: Way) -> None:
    resilience = gateway(only(retry=at_once()))
    operation = Operation(ValueError("mine"))
    with disabled(), pytest.raises(ValueError, match="mine"):
        way(resilience, "primary", operation)
    assert (operation.times, snapshot(resilience).requests) == (1, 0)


@both
def test__disabled__gives_what_it_gives(way: Way) -> None:
    with disabled():
        assert way(gateway(), "primary", Operation("value")) == "value"


@both
def test__mode_off__runs_as_if_nothing_were_there(way: Way) -> None:
    resilience = gateway(primary=Policy(mode="off"))
    with pytest.raises(ValueError, match="mine"):
        way(resilience, "primary", Operation(ValueError("mine")))


# -- what a coroutine cannot carry, and what a sync call cannot wait for ---------------------------


def test__stop_iteration__of_an_operation_is_a_failure_like_any_other() -> None:
    resilience = gateway(only(retry=at_once()))
    stop = StopIteration("value")
    operation = Operation(stop)
    with pytest.raises(MaxRetriesExceeded) as caught:
        resilience.execute("primary", operation)
    assert (operation.times, caught.value.last_error) == (3, stop)


async def coroutine() -> str:
    return "x"


class AsyncCallable:
    async def __call__(self) -> str:
        return "x"


@pytest.mark.parametrize(
    "operation",
    [coroutine, AsyncCallable(), AsyncCallable().__call__, partial(coroutine)],
    ids=["function", "object", "method", "partial"],
)
def test__async_operation__is_refused_in_execute(operation: Callable[[], Awaitable[str]]) -> None:
    resilience = gateway()
    with pytest.raises(TypeError, match=r"async.*use aexecute"):
        resilience.execute("primary", operation)
    assert resilience.snapshot("primary") is None


def plain(number: int) -> int:
    return number


@pytest.mark.parametrize("policy", [only(retry=at_once()), Policy(mode="off")], ids=["on", "off"])
def test__sync_operation__is_refused_in_aexecute_naming_it_and_the_cure(policy: Policy) -> None:
    resilience: Any = gateway(policy)
    with pytest.raises(TypeError, match=r"operation plain ran and gave int.*async function.*execute"):
        asyncio.run(resilience.aexecute("primary", plain, 1))


def test__sync_operation__is_refused_in_aexecute_before_it_is_retried() -> None:
    resilience = gateway(only(retry=at_once()))
    operation: Any = Operation("a value that cannot be awaited")
    with pytest.raises(TypeError, match="operation Operation ran"):
        asyncio.run(resilience.aexecute("primary", operation))
    assert (operation.times, snapshot(resilience).requests) == (1, 0)


# -- inside an except block of another call --------------------------------------------------------


@both
def test__run_while_another_calls_failure_is_handled__is_judged_by_its_own_error(way: Way) -> None:
    resilience = gateway(only())
    with pytest.raises(NonRetryable):
        way(resilience, "first", Operation(StatusError(400)))
    try:
        way(resilience, "first", Operation(StatusError(400)))
    except NonRetryable:
        with pytest.raises(NonRetryable) as caught:
            way(resilience, "second", Operation(ValueError("its own")))
    assert caught.value.report is not None
    assert [attempt.status for attempt in caught.value.report.attempts] == [None]
    host = snapshot(resilience, "second")
    assert (host.successes, host.failures) == (0, 1)


def test__error_of_nobody__met_while_a_refusal_is_handled__has_no_report() -> None:
    resilience = gateway(only(breaker=brittle()))
    resilience.isolate("primary")
    try:
        resilience.execute("primary", Operation("never"))
    except CircuitOpen:
        with pytest.raises(ValueError) as caught:
            int("no call at all")
    assert isinstance(caught.value.__context__, CircuitOpen)
    assert seawall.report(caught.value.__context__) is not None
    assert seawall.report(caught.value) is None
