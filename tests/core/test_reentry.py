"""A finaliser may run anywhere, also while its own thread is inside a host's lock: it must neither wait nor be lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from seawall import Bulkhead, RetryBudget, Verdict, events
from seawall.admission import Admission
from seawall.policies.breaker import BreakerState
from seawall.policies.budget import Bucket
from seawall.policies.bulkhead import BulkheadState
from seawall.stats.window import Window
from tests.core.stage import HOST, Stage, brittle, one_at_a_time, only, onward, outcome, word

SECONDS = 3.0
"""How long a thread may seem to hang; nobody waits that long unless it does."""


class Keeper:
    """A user's object that closes what it holds when it dies."""

    def __init__(self, close: Callable[[], object]) -> None:
        self.close = close

    def __del__(self) -> None:
        self.close()


def in_time(act: Callable[[], object]) -> None:
    """Run it in a thread of its own; fail, instead of hanging, if it does not come back."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive(), "the thread waits for itself"


def admit(stage: Stage) -> None:
    stage.end(stage.hold())


def fail(stage: Stage) -> None:
    stage.settle(Verdict.FAILURE)


def look(stage: Stage) -> None:
    stage.resilience.snapshot(HOST)


def isolate(stage: Stage) -> None:
    stage.resilience.isolate(HOST)


def reset(stage: Stage) -> None:
    stage.resilience.reset(HOST)


def refuse(stage: Stage) -> None:
    call = stage.call()
    call.state.refuses(call, stage.clock.now)


def pay(stage: Stage) -> None:
    stage.call().state.withdraw(stage.clock.now)


def turn_away(stage: Stage) -> None:
    """A call that finds no permit and no place in the line."""
    stage.call().state.admit(Admission(stage.call(), 1, stage.clock.now), stage.clock.now)


def during(
    act: Callable[[Stage], None],
    stage: Stage,
    kind: type,
    method: str,
    keeper: Keeper,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`act`, in the middle of which the keeper dies, as in a collection, which may begin at any allocation."""
    keepers = [keeper]
    del keeper
    plain: Any = getattr(kind, method)

    def dropping(*args: Any, **kwargs: Any) -> Any:
        keepers.clear()
        return plain(*args, **kwargs)

    monkeypatch.setattr(kind, method, dropping)
    in_time(lambda: act(stage))
    monkeypatch.undo()
    assert keepers == []


PLACES = [
    pytest.param(admit, BulkheadState, "take", id="letting another attempt in"),
    pytest.param(fail, BreakerState, "settle", id="counting another end"),
    pytest.param(look, BreakerState, "look", id="taking a picture"),
    pytest.param(isolate, BreakerState, "isolate", id="isolating"),
    pytest.param(reset, Window, "clear", id="resetting"),
]


@pytest.mark.parametrize("good", [True, False], ids=["good", "bad"])
@pytest.mark.parametrize(("act", "kind", "method"), PLACES)
def test__finaliser_that_ends_an_attempt_inside_the_hosts_lock__neither_hangs_nor_is_lost(
    act: Callable[[Stage], None], kind: type, method: str, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(only(breaker=brittle(failure_threshold=99), bulkhead=Bulkhead(max_concurrent=9)))
    admission = stage.hold()
    admission.headers_at = stage.clock.now
    admission.outcome = None if good else outcome()
    before = stage.host
    during(act, stage, kind, method, Keeper(admission.finish), monkeypatch)
    after = stage.host
    own = {admit: (1, 0), fail: (0, 1)}.get(act, (0, 0))
    assert after.in_flight == 0
    assert (
        after.total_successes - before.total_successes - own[0],
        after.total_failures - before.total_failures - own[1],
    ) == ((1, 0) if good else (0, 1))


QUIET = [
    PLACES[2],
    PLACES[4],
    pytest.param(turn_away, BulkheadState, "line_up", id="turning another away"),
    pytest.param(refuse, BreakerState, "refuses", id="looking for a refusal"),
    pytest.param(pay, Bucket, "withdraw", id="paying"),
]


@pytest.mark.parametrize("good", [True, False], ids=["good", "bad"])
@pytest.mark.parametrize(("act", "kind", "method"), QUIET)
def test__finaliser_that_ends_an_attempt_inside_the_hosts_lock__the_waiter_is_served_at_once(
    act: Callable[[Stage], None], kind: type, method: str, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = full()
    holder = stage.held[0]
    holder.outcome = None if good else outcome()

    def collect() -> None:
        during(act, stage, kind, method, Keeper(holder.finish), monkeypatch)

    stage.together(stage.start(), stage.at(0.25, collect))
    assert stage.times == [0.25]


@pytest.mark.parametrize(("act", "kind", "method"), QUIET)
def test__finaliser_that_drops_a_waiter_inside_the_hosts_lock__the_next_is_served_at_once(
    act: Callable[[Stage], None], kind: type, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = full()
    first = stage.line_up()

    def collect() -> None:
        stage.held[0].abandon()  # granted to the first …
        during(act, stage, kind, method, Keeper(first.close), monkeypatch)  # … which never takes it

    stage.together(stage.start(), stage.at(0.25, collect))
    assert stage.times == [0.25]


def test__finaliser_inside_the_hosts_lock__nobody_is_served_before_the_visit_is_over() -> None:
    stage = full()
    waiter = stage.line_up()
    holder, state = stage.held[0], stage.call().state
    with state._lock:
        holder.finish()
        assert state.bulkhead.queue.granted == {}
    assert stage.host.in_flight == 0  # and the end of that visit sees to what was left
    assert word(stage.together(onward(waiter))[0]) == 200
    assert stage.host.successes == 2


def test__finaliser_inside_the_hosts_lock__a_waiter_that_left_was_not_refused() -> None:
    stage = full()
    waiter, state = stage.line_up(), stage.call().state
    with state._lock:
        waiter.close()
    assert stage.host.in_flight == 1
    assert (stage.host.queue_depth, stage.host.rejections) == (0, 0)


@pytest.mark.parametrize(("act", "kind", "method"), [PLACES[3], *QUIET])
def test__finaliser_inside_the_hosts_lock__what_ended_is_told_when_the_lock_is_free(
    act: Callable[[Stage], None], kind: type, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = full()
    holder = stage.held[0]
    dropped = stage.line_up()
    told: list[events.Event] = []
    locked: list[bool] = []

    def listen(event: events.Event) -> None:
        told.append(event)
        locked.append(holder.call.state._lock._is_owned())

    stage.resilience.subscribe(listen)
    during(act, stage, kind, method, Keeper(lambda: (holder.finish(), dropped.close())), monkeypatch)
    del stage.waiting[:]
    ends = [type(event) for event in told if isinstance(event, events.AttemptEnded | events.CallEnded)]
    assert ends.count(events.AttemptEnded) == 1
    assert ends.count(events.CallEnded) == 1
    assert not any(locked)


def full() -> Stage:
    """Its one permit is held, by an attempt whose headers were good."""
    stage = Stage(
        only(breaker=brittle(failure_threshold=99), bulkhead=one_at_a_time(max_queue=2), budget=RetryBudget())
    )
    holder = stage.hold()
    holder.headers_at = stage.clock.now
    return stage
