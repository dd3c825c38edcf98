"""`execute_with_fallback`: only for failures of the host and refusals of ours, and never for want of time."""

from __future__ import annotations

import asyncio
import gc
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import seawall
from seawall import (
    AllProvidersFailed,
    ErrorKind,
    MaxRetriesExceeded,
    NonRetryable,
    Policy,
    Resilience,
    Timeouts,
    deadline,
)
from seawall.admission import Admission
from seawall.events import Degraded
from tests.core.operations import Operation, StatusError, at_once, fetch, gateway, snapshot
from tests.core.stage import brittle, fault, one_at_a_time, only


def with_fallback(resilience: Resilience, primary: Callable[[], Any], secondary: Callable[[], Any]) -> Any:
    return resilience.execute_with_fallback("primary", primary, "secondary", secondary)


def awith_fallback(resilience: Resilience, primary: Callable[[], Any], secondary: Callable[[], Any]) -> Any:
    async def first() -> Any:
        return primary()

    async def second() -> Any:
        return secondary()

    return asyncio.run(resilience.aexecute_with_fallback("primary", first, "secondary", second))


Way = Callable[[Resilience, Callable[[], Any], Callable[[], Any]], Any]
both = pytest.mark.parametrize("way", [with_fallback, awith_fallback], ids=["execute", "aexecute"])


@both
def test__primary_well__fallback_is_not_run(way: Way) -> None:
    fallback = Operation("second")
    assert way(gateway(), Operation("first"), fallback) == "first"
    assert fallback.times == 0


@both
def test__primary_fails__fallback_answers_as_a_call_of_its_own_provider(way: Way) -> None:
    resilience = gateway(only(retry=at_once()))
    assert way(resilience, Operation(ValueError("no")), Operation("second")) == "second"
    assert (snapshot(resilience).failures, snapshot(resilience, "secondary").successes) == (3, 1)


@both
def test__fallback_answers__is_counted_and_told_of_the_primary(way: Way) -> None:
    resilience = gateway(only())
    heard: list[Any] = []
    resilience.subscribe(heard.append, kinds=[Degraded])
    way(resilience, Operation(ValueError("no")), Operation("second"))
    with pytest.raises(AllProvidersFailed):
        way(resilience, Operation(ValueError("no")), Operation(ValueError("no")))
    assert way(resilience, Operation("first"), Operation("second")) == "first"
    assert [(event.host, event.source) for event in heard] == [("primary", "fallback")]
    assert (snapshot(resilience).total_degraded, snapshot(resilience, "secondary").total_degraded) == (1, 0)


@both
@pytest.mark.parametrize(
    "error",
    [ValueError("no"), TimeoutError(), ConnectionResetError(), StatusError(503), StatusError(429), StatusError(408)],
    ids=["unknown", "timeout", "reset", "503", "429", "408"],
)
def test__failure_of_the_host__is_worth_a_fallback(way: Way, error: Exception) -> None:
    assert way(gateway(), Operation(error), Operation("second")) == "second"


@both
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 501])
def test__mistake_of_the_caller__is_raised_at_once(way: Way, status: int) -> None:
    fallback, error = Operation("second"), StatusError(status)
    with pytest.raises(NonRetryable) as caught:
        way(gateway(), Operation(error), fallback)
    assert (caught.value.last_error, fallback.times) == (error, 0)


@both
def test__mistake_of_the_caller_seen_by_a_client_inside__is_raised_at_once(way: Way) -> None:
    resilience, fallback = gateway(), Operation("second")
    with pytest.raises(seawall.ResilienceError):
        way(resilience, lambda: fetch(resilience, fault(ErrorKind.FOREIGN)), fallback)
    assert fallback.times == 0


@both
def test__open_circuit__is_worth_a_fallback(way: Way) -> None:
    resilience, primary = gateway(only(breaker=brittle())), Operation("never")
    resilience.isolate("primary")
    assert (way(resilience, primary, Operation("second")), primary.times) == ("second", 0)


@both
def test__full_bulkhead__is_worth_a_fallback(way: Way) -> None:
    resilience, primary = gateway(primary=Policy(bulkhead=one_at_a_time(max_wait=0))), Operation("never")
    state, policy = resilience.provider("primary")
    call = resilience.begin(state, policy, None)
    assert call is not None
    holder = Admission(call, 1, resilience.clock.monotonic())
    assert state.admit(holder, resilience.clock.monotonic()) is None
    assert (way(resilience, primary, Operation("second")), primary.times) == ("second", 0)


def test__stop_iteration_of_the_primary__is_a_failure_like_any_other() -> None:
    assert with_fallback(gateway(), Operation(StopIteration()), Operation("second")) == "second"


@both
def test__both_fail__both_errors_are_told(way: Way) -> None:
    first, second = ValueError("one"), KeyError("two")
    with pytest.raises(AllProvidersFailed) as caught:
        way(gateway(only(retry=at_once())), Operation(first), Operation(second))
    error: Any = caught.value
    assert isinstance(error.primary, MaxRetriesExceeded)
    assert (error.primary.last_error, error.fallback.last_error) == (first, second)
    assert error.errors == (error.primary, error.fallback)
    assert error.__cause__ is error.fallback
    assert error.policy == "degrade"
    assert (error.primary.host, error.fallback.host, error.attempts) == ("primary", "secondary", 6)


@both
def test__both_fail__the_text_says_how_each_did_and_when_to_come_back(way: Way) -> None:
    resilience = gateway(only(retry=at_once(), breaker=brittle()))
    resilience.isolate("secondary")
    resilience.execute("primary", lambda: "well")
    with pytest.raises(AllProvidersFailed) as caught:
        way(resilience, Operation(ValueError("a secret")), Operation("never"))
    said = str(caught.value)
    assert said.startswith("primary: all providers failed")
    for part in ("primary: ValueError", "after 2 attempts", "secondary: isolated (breaker)"):
        assert part in said
    assert "secret" not in said
    assert str(pickle.loads(pickle.dumps(caught.value))) == said
    assert caught.value.retry_after is None


@both
def test__both_refused__come_back_when_the_first_of_them_may_be_well(way: Way) -> None:
    resilience = gateway(primary=only(breaker=brittle()), secondary=only(breaker=brittle(open_duration=4)))
    for name in ("primary", "secondary"):
        for _ in range(2):
            with pytest.raises(NonRetryable):
                resilience.execute(name, Operation(ValueError()))
    with pytest.raises(AllProvidersFailed, match=r"try again in 10 s.*try again in 4 s") as caught:
        way(resilience, Operation("never"), Operation("never"))
    assert caught.value.retry_after == 4


def test__fallback_that_is_a_mistake_in_the_code__is_named_by_its_class_and_is_the_cause() -> None:
    async def fallback() -> None: ...

    with pytest.raises(AllProvidersFailed, match=r"primary: ValueError.*; TypeError$") as caught:
        gateway().execute_with_fallback("primary", Operation(ValueError()), "secondary", fallback)
    assert "use aexecute" in str(caught.value.__cause__)


@both
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test__interrupted__runs_no_fallback(way: Way, error: type[BaseException]) -> None:
    fallback = Operation("second")
    with pytest.raises(error):
        way(gateway(), Operation(error()), fallback)
    assert fallback.times == 0


@both
def test__outer_deadline__the_primary_leaves_half_to_the_fallback(way: Way) -> None:
    resilience = gateway()
    clock: Any = resilience.clock

    def hang() -> str:
        clock.advance(6)
        return "too late"

    with clock.as_process_clock(), deadline(10):
        assert way(resilience, hang, lambda: clock.advance(3) or "second") == "second"


@both
def test__outer_deadline_used_up__the_fallback_is_not_run(way: Way) -> None:
    resilience, fallback = gateway(), Operation("second")
    clock: Any = resilience.clock
    with clock.as_process_clock(), deadline(10), pytest.raises(AllProvidersFailed) as caught:
        way(resilience, lambda: clock.advance(11), fallback)
    assert fallback.times == 0
    assert isinstance(caught.value.fallback, seawall.DeadlineExceeded)


@both
def test__no_outer_deadline__the_primary_has_all_its_own_time(way: Way) -> None:
    resilience = gateway(only(timeouts=Timeouts(total=10)))
    clock: Any = resilience.clock
    assert way(resilience, lambda: clock.advance(9) or "first", Operation("second")) == "first"


def test__inside_an_execute__primary_and_fallback_count_as_inside() -> None:
    resilience = gateway(only(retry=at_once()))
    primary = Operation(ValueError("no"))
    assert resilience.execute("outer", lambda: with_fallback(resilience, primary, Operation("second"))) == "second"
    assert primary.times == 1


def unwell(status: int = 503) -> str:
    raise StatusError(status)


def failed_execute(resilience: Resilience) -> None:
    resilience.execute("primary", unwell)


def failed_fallback(resilience: Resilience) -> None:
    with_fallback(resilience, unwell, unwell)


def fallback_that_helped(resilience: Resilience) -> None:
    with_fallback(resilience, unwell, lambda: "second")


def mistake_of_the_caller(resilience: Resilience) -> None:
    with_fallback(resilience, lambda: unwell(400), lambda: "second")


def refused_inside(resilience: Resilience) -> None:
    resilience.isolate("inner")
    resilience.execute("outer", lambda: resilience.execute("inner", Operation("never")))


def too_late(resilience: Resilience) -> None:
    clock: Any = resilience.clock
    with clock.as_process_clock(), deadline(5):
        resilience.execute("primary", lambda: clock.advance(6))


@pytest.mark.parametrize(
    "act",
    [failed_execute, failed_fallback, fallback_that_helped, mistake_of_the_caller, refused_inside, too_late],
    ids=lambda act: act.__name__,
)
def test__exceptions__are_gone_with_their_handler_without_the_collector(act: Callable[[Resilience], None]) -> None:
    def alive() -> list[BaseException]:
        mine = (StatusError, seawall.ResilienceError, TimeoutError)
        return [thing for thing in gc.get_objects() if isinstance(thing, mine)]

    resilience = gateway(only(retry=at_once()))
    gc.collect()
    gc.disable()
    try:
        before = alive()
        try:
            act(resilience)
        except seawall.ResilienceError:
            pass
        assert [error for error in alive() if error not in before] == []
    finally:
        gc.enable()
