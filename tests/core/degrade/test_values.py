"""Results of operations: which are remembered, when they stand for others, and what is never taken for another's."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from typing import Any

import pytest

import seawall
from seawall import (
    CircuitOpen,
    Ending,
    FallbackProvider,
    NonRetryable,
    Outbox,
    Policy,
    QueueForRetry,
    Resilience,
    SimplifiedResponse,
    StaleResponse,
    events,
)
from seawall.degrade.values import Value, Values
from seawall.testing import VirtualClock
from tests.core.operations import StatusError, Way, both
from tests.core.stage import brittle, only


def broken(*_: Any) -> Any:
    raise ConnectionRefusedError


def named(operation: Any) -> str:
    """The first argument says what is asked."""
    return str(operation.args[0]) if operation.args else "nothing"


def remembering(clock: VirtualClock | None = None, *, key: Any = named, **config: Any) -> Resilience:
    policy = only(degrade=[StaleResponse(key=key, **config)])
    return Resilience({"primary": policy, "other": policy}, clock=clock or VirtualClock())


@both
def test__provider_fails__the_last_result_is_given_itself(way: Way) -> None:
    resilience, value = remembering(), {"rate": object()}
    assert way(resilience, "primary", lambda _: value, "rates") is value
    assert way(resilience, "primary", broken, "rates") is value


@both
def test__nothing__is_a_result(way: Way) -> None:
    resilience = remembering()
    way(resilience, "primary", lambda _: None, "x")
    assert way(resilience, "primary", broken, "x") is None


@both
def test__given_again__is_told_and_counted(way: Way) -> None:
    resilience = remembering()
    seen: list[Any] = []
    way(resilience, "primary", lambda _: 1, "x")
    resilience.subscribe(seen.append, [events.CallEnded, events.Degraded])
    way(resilience, "primary", broken, "x")
    degraded, ended = seen
    assert (degraded.source, ended.ending, ended.served_from) == ("stale", Ending.DEGRADED, "stale")
    host = resilience.snapshot("primary")
    assert host is not None
    assert (host.successes, host.failures, host.total_degraded) == (1, 1, 1)


@both
def test__we_refuse__the_last_result_is_given(way: Way) -> None:
    policy = only(breaker=brittle(), degrade=[StaleResponse(key=named)])
    resilience = Resilience({"primary": policy}, clock=VirtualClock())
    way(resilience, "primary", lambda _: 1, "x")
    resilience.isolate("primary")
    assert way(resilience, "primary", broken, "x") == 1
    with pytest.raises(CircuitOpen):
        way(resilience, "primary", broken, "y")


@both
def test__another_key_or_provider__is_another_question(way: Way) -> None:
    resilience = remembering()
    way(resilience, "primary", lambda _: 1, "x")
    for provider, name in [("primary", "y"), ("other", "x")]:
        with pytest.raises(NonRetryable):
            way(resilience, provider, broken, name)


@both
def test__too_old__is_not_given(way: Way) -> None:
    clock = VirtualClock()
    resilience = remembering(clock, max_age=60)
    way(resilience, "primary", lambda _: 1, "x")
    clock.advance(59.9)
    assert way(resilience, "primary", broken, "x") == 1
    clock.advance(0.1)
    with pytest.raises(NonRetryable):
        way(resilience, "primary", broken, "x")


@both
def test__without_key__passes_on(way: Way) -> None:
    resilience = Resilience({"primary": only(degrade=[StaleResponse()])}, clock=VirtualClock())
    way(resilience, "primary", lambda _: 1, "x")
    with pytest.raises(NonRetryable):
        way(resilience, "primary", broken, "x")


@both
def test__key_gives_nothing__is_not_remembered(way: Way) -> None:
    resilience = remembering(key=lambda operation: None)
    way(resilience, "primary", lambda _: 1, "x")
    with pytest.raises(NonRetryable):
        way(resilience, "primary", broken, "x")


@both
def test__key_that_fails__is_reported_and_nothing_is_remembered(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    resilience = remembering(key=lambda request: request.headers["x-user"])
    with caplog.at_level(logging.WARNING):
        assert way(resilience, "primary", lambda _: 1, "x") == 1
    assert "AttributeError" in caplog.text
    with pytest.raises(NonRetryable):
        way(resilience, "primary", broken, "x")


@both
def test__key__is_told_the_operation(way: Way) -> None:
    told: list[Any] = []

    def key(operation: Any) -> str:
        told.append(operation)
        return "x"

    resilience = remembering(key=key)
    way(resilience, "primary", lambda *_: 7, 1, 2)
    assert (told[0].name, told[0].args, callable(told[0].function)) == ("primary", (1, 2), True)


@both
def test__policy_for_every_host__remembers_nothing_of_operations(way: Way) -> None:
    """A key that names the caller of a request would stand for whatever that caller ran."""
    policy = only(degrade=[StaleResponse(key=lambda request: "alice"), SimplifiedResponse(lambda *_: "plain")])
    resilience = Resilience(policy, clock=VirtualClock())
    way(resilience, "primary", lambda: "accounts")
    assert way(resilience, "primary", broken) == "plain"


@both
def test__answer_of_the_callers_own_mistake__is_raised_and_forgets(way: Way) -> None:
    resilience = remembering()

    def gone(_: Any) -> Any:
        raise StatusError(404)

    way(resilience, "primary", lambda _: 1, "x")
    with pytest.raises(NonRetryable):
        way(resilience, "primary", gone, "x")
    with pytest.raises(NonRetryable):
        way(resilience, "primary", broken, "x")


@both
def test__failure_by_the_users_word__is_not_remembered(way: Way) -> None:
    def classify(outcome: Any, operation: Any) -> Any:
        return seawall.Verdict.FAILURE if outcome.status == 200 else None

    policy = only(degrade=[StaleResponse(key=named)], classify=classify)
    resilience = Resilience({"primary": policy}, clock=VirtualClock())
    assert way(resilience, "primary", lambda _: 1, "x") == 1
    with pytest.raises(NonRetryable):
        way(resilience, "primary", broken, "x")


def test__used_longest_ago__makes_room() -> None:
    values = Values(StaleResponse(max_entries=2))
    for name in "ab":
        values.put(("p", name), Value(name, 0, 0))
    assert values.get(("p", "a"), 1, 1) is not None
    values.put(("p", "c"), Value("c", 0, 0))
    assert [values.get(("p", name), 1, 1) is not None for name in "abc"] == [True, False, True]


def test__clock_that_stood_still__does_not_keep_it_young() -> None:
    values = Values(StaleResponse(max_age=60))
    values.put(("p", "x"), Value(1, 0, 1000))
    assert values.get(("p", "x"), 1, 1059) is not None
    assert values.get(("p", "x"), 1, 1060) is None


def test__many_threads__never_more_than_allowed() -> None:
    values = Values(StaleResponse(max_entries=10))
    errors: list[BaseException] = []

    def churn(n: int) -> None:
        try:
            for at in range(3000):
                key = ("p", str(at * n % 31))
                values.put(key, Value(at, 0, 0))
                values.get(("p", str(at % 31)), 0, 0)
                values.forget(("p", str(at % 7)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=churn, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(values._kept) <= 10  # pyright: ignore[reportPrivateUsage]


def test__queue_for_a_provider__is_refused_with_the_cure(tmp_path: Any) -> None:
    queue = QueueForRetry(Outbox(tmp_path / "outbox.db"))
    with pytest.raises(ValueError, match=r"'primary'.*QueueForRetry.*no file can hold.*pattern of a host"):
        Resilience({"primary": Policy(degrade=[queue])})
    resilience = Resilience({"all://": only(degrade=[queue])})
    with pytest.raises(ValueError, match="QueueForRetry"):
        resilience.configure("primary", Policy(degrade=[queue]))
    with pytest.raises(NonRetryable):
        resilience.execute("primary", broken)


def test__another_thread_makes_room_at_the_same_time__nothing_is_raised() -> None:
    class Emptied(OrderedDict[Any, Any]):
        def popitem(self, last: bool = True) -> Any:
            self.clear()
            return super().popitem(last)

    values = Values(StaleResponse(max_entries=1))
    values._kept = Emptied()
    for name in ("x", "y"):
        values.put(("primary", name), Value(name, 0.0, 0.0))
    assert len(values._kept) == 0


def test__another_provider__for_an_operation__is_passed_over_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> str:
        raise ConnectionError

    with seawall.override(degrade=[FallbackProvider("https://b.test")]), pytest.raises(NonRetryable):
        Resilience(Policy(retry=None)).execute("primary", broken)
    assert caplog.records == []
