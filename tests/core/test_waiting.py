"""What a call waits for before it is sent, how long, and that nothing starts too late."""

from __future__ import annotations

import gc
from collections.abc import Coroutine
from typing import Any

import pytest

from seawall import Bulkhead, Ending, Timeouts, Verdict, deadline, override
from seawall.admission import Admission
from seawall.events import BreakerChanged
from seawall.flow import run
from seawall.outcome import Reason
from seawall.policies.bulkhead import CLAIM_WITHIN, Turn
from seawall.testing import sleep
from tests.core.stage import (
    HOST,
    Request,
    Stage,
    answer,
    brittle,
    fault,
    hang,
    one_at_a_time,
    only,
    onward,
    outcome,
    purse,
    statuses,
    steady,
    word,
)


def within(stage: Stage, seconds: float, request: Request | None = None) -> Any:
    """A call under `seawall.deadline(seconds)`."""
    with stage.clock.as_process_clock(), deadline(seconds):
        return stage.start(request)


def throttle(admission: Admission, seconds: float) -> None:
    """Its answer is a 429 that asks everybody to wait."""
    admission.outcome = outcome(Verdict.THROTTLED)
    admission.outcome.retry_after = seconds
    state = admission.call.state
    state.settle(admission, Verdict.THROTTLED, state.clock.monotonic())


# -- the gate --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "passed"), [(1, 0.5), (5, 0), (30, 0)])
def test__gate__holds_back_others_until_it_opens(seconds: float, passed: float) -> None:
    stage = Stage(only(retry=steady(max_retry_after=30)))
    stage.close_gate(seconds)
    stage.clock.advance(passed)
    assert word(stage.get()) == 200
    assert stage.times == [seconds]


def test__gate__waiters_do_not_start_together() -> None:
    stage = Stage(only(retry=steady(max_delay=10)), u=None)
    stage.close_gate(5)
    stage.together(*[stage.start() for _ in range(20)])
    assert min(stage.times) >= 5
    assert max(stage.times) <= 7.5
    assert len(set(stage.times)) == 20


def test__gate_closed_for_longer_than_max_retry_after__refused_at_once() -> None:
    stage = Stage(only(retry=steady(max_retry_after=5)))
    stage.close_gate(6)
    rejection = stage.get()
    assert (rejection.reason, rejection.retry_after, stage.now, stage.sent) == (Reason.GATE, 6, 0, [])
    assert (rejection.host, stage.host.rejections) == (stage.call().state.name, 1)


@pytest.mark.parametrize("left", [4, 5])
def test__gate_closed_beyond_the_deadline__refused_at_once(left: float) -> None:
    stage = Stage(only(retry=steady()))
    stage.close_gate(5)
    (rejection,) = stage.together(within(stage, left))
    assert (rejection.reason, rejection.retry_after, stage.now, stage.sent) == (Reason.GATE, 5, 0, [])


def test__gate__is_never_closed_for_longer_than_five_minutes() -> None:
    stage = Stage(only(retry=steady()))
    stage.close_gate(1_000_000)
    assert stage.host.gate == 300


def test__gate__an_earlier_longer_pause_still_holds() -> None:
    stage = Stage(only(retry=steady()), answer(429, retry_after="9"), answer(429, retry_after="2"))
    stage.together(*[stage.start(Request(replayable=False)) for _ in range(2)])
    assert stage.host.gate == 9


def test__gate__reset_opens_it() -> None:
    stage = Stage(only(retry=steady()))
    stage.close_gate(9)
    stage.resilience.reset(HOST)
    stage.get()
    assert stage.times == [0]


def test__gate__reset_wakes_those_who_sleep_at_it() -> None:
    stage = Stage(only(retry=steady()))
    stage.close_gate(9)
    results = stage.together(stage.start(), stage.start(), stage.at(3, lambda: stage.resilience.reset(HOST)))
    assert (statuses(results[:2]), stage.times) == ([200, 200], [3, 3])


def test__gate__isolate_sends_those_who_sleep_at_it_away_at_once() -> None:
    stage = Stage(only(retry=steady(), breaker=brittle()))
    stage.close_gate(9)
    result, left = stage.together(stage.start(), stage.at(3, lambda: stage.resilience.isolate(HOST)))[0], stage.now
    assert (word(result), left, stage.sent) == (Reason.ISOLATED, 3, [])


def test__gate__time_at_it_is_part_of_the_attempts_wait() -> None:
    stage = Stage(only(retry=steady()))
    stage.close_gate(5)
    call = stage.call()
    stage.together(run(call, stage.peer))
    (attempt,) = call.attempts
    assert (attempt.wait, attempt.started, attempt.duration) == (5, 5, 0)


# -- a delay the server asked this call for --------------------------------------------------------


def test__retry_after_over_the_cap__stops_and_returns_without_sleeping() -> None:
    stage = Stage(only(retry=steady(max_retry_after=5), budget=purse()), answer(503, retry_after="6"))
    call = stage.call()
    (response,) = stage.together(run(call, stage.peer))
    assert (word(response), call.ending, stage.now) == (503, Ending.SERVER_DELAY_TOO_LONG, 0)
    assert (stage.sent, stage.host.budget, call.attempts[0].retry_after) == ([1], 10, 6)


def test__retry_after_at_the_cap__is_obeyed() -> None:
    stage = Stage(only(retry=steady(max_retry_after=5)), answer(503, retry_after="5"), answer(200))
    assert (word(stage.get()), stage.times) == (200, [0, 5])


def test__retry_after_over_the_deadline__stops_and_returns_without_sleeping() -> None:
    stage = Stage(only(retry=steady()), answer(503, retry_after="6"))
    (response,) = stage.together(within(stage, 5))
    assert (word(response), stage.now, stage.sent) == (503, 0, [1])


def test__retry_after_zero__is_no_delay_ours_spreads_the_callers() -> None:
    stage = Stage(only(retry=steady()), answer(503, retry_after="0"), answer(200))
    assert (word(stage.get()), stage.times, stage.host.gate) == (200, [0, 1], 0)


@pytest.mark.parametrize(
    "value", ["9" * 5000, "1m0s", "-1", "1_0", "٣", "inf", "nan", "Fri, 31 Dec 99999 23:59:59 GMT"]
)
def test__lying_retry_after__is_no_delay(value: str) -> None:
    stage = Stage(only(retry=steady(max_retries=1)), answer(503, retry_after=value), answer(200))
    assert (word(stage.get()), stage.times, stage.host.gate) == (200, [0, 1], 0)


# -- the bulkhead ----------------------------------------------------------------------------------


def test__bulkhead__next_in_line_starts_when_a_permit_comes_back() -> None:
    stage = Stage(only(bulkhead=one_at_a_time()), answer(200, after=2))
    results = stage.together(*[stage.start() for _ in range(3)])
    assert (statuses(results), stage.times) == ([200] * 3, [0, 2, 4])


def test__bulkhead__served_first_come_first_served_with_nobody_barging_in() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=60)), answer(200, after=1))
    order: list[int] = []

    async def one(number: int) -> None:
        await stage.at(number * 0.75, stage.start)
        order.append(number)

    stage.together(*[one(number) for number in range(12)])
    assert order == list(range(12))
    assert stage.host.peak_in_flight == 1


def test__bulkhead__wait_over__is_refused() -> None:
    stage = Stage(only(bulkhead=one_at_a_time()))
    stage.hold()
    rejection = stage.get()
    assert (rejection.reason, rejection.limit, stage.now, stage.sent) == (Reason.BULKHEAD_TIMEOUT, 5, 5, [])
    host = stage.host
    assert (host.acquire_failures, host.rejections, host.queue_depth) == (1, 1, 0)


def test__bulkhead__no_wait_allowed__is_refused_at_once() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=0)))
    stage.hold()
    assert (word(stage.get()), stage.now, stage.host.acquire_failures) == (Reason.BULKHEAD_FULL, 0, 1)


def test__bulkhead__queue_full__is_refused_at_once() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_queue=2)))
    stage.hold()
    results = stage.together(*[stage.start() for _ in range(3)])
    assert statuses(results) == [Reason.BULKHEAD_TIMEOUT, Reason.BULKHEAD_TIMEOUT, Reason.BULKHEAD_FULL]


def test__bulkhead__wait_ends_at_the_deadline() -> None:
    stage = Stage(only(bulkhead=one_at_a_time()))
    stage.hold()
    (rejection,) = stage.together(within(stage, 3.5))
    assert (rejection.reason, stage.now, stage.sent, stage.host.queue_depth) == (Reason.DEADLINE, 3.5, [], 0)


def test__bulkhead__circuit_opens__waiters_are_refused_at_once() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(), breaker=brittle(failure_threshold=1)), fault(after=0.3))
    results = stage.together(*[stage.start() for _ in range(4)])
    assert statuses(results)[1:] == [Reason.CIRCUIT_OPEN] * 3
    assert (stage.now < 5, stage.times, stage.host.queue_depth) == (True, [0], 0)


def test__bulkhead__circuit_opens_while_every_permit_is_out__waiters_are_refused_at_once() -> None:
    timeouts, breaker = Timeouts(attempt=1), brittle(failure_threshold=1)
    stage = Stage(only(timeouts=timeouts, bulkhead=one_at_a_time(max_wait=60), breaker=breaker))
    stage.hold()  # it hangs on, and is overdue when the next call comes

    async def latecomer() -> Any:
        await sleep(2.25)  # between two looks that waiters take of their own accord
        return await stage.start()

    assert statuses(stage.together(stage.start(), latecomer())) == [Reason.CIRCUIT_OPEN] * 2
    assert (stage.now, stage.host.queue_depth, stage.host.in_flight) == (2.25, 0, 1)


def test__bulkhead__isolated_while_every_permit_is_out__waiters_are_refused_at_once() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=5), breaker=brittle()))
    stage.hold()
    results = stage.together(stage.start(), stage.start(), stage.at(2.25, lambda: stage.resilience.isolate(HOST)))
    assert (statuses(results[:2]), stage.now) == ([Reason.ISOLATED] * 2, 2.25)
    assert (stage.host.queue_depth, stage.host.in_flight) == (0, 1)


@pytest.mark.parametrize("patience", [5, 0.2])
def test__bulkhead__circuit_opens__a_call_without_breaker_waits_on_in_its_place(patience: float) -> None:
    policy = only(bulkhead=one_at_a_time(max_wait=patience), breaker=brittle(failure_threshold=1))
    stage = Stage(policy, fault(after=0.3), answer(after=0.1))
    with override(breaker=None):
        stubborn = [stage.start(), stage.start()]
    results = stage.together(stage.start(), stubborn[0], stage.start(), stubborn[1])
    refused = (patience < 0.3) and Reason.BULKHEAD_TIMEOUT
    assert statuses(results)[1:] == [refused or 200, refused or Reason.CIRCUIT_OPEN, refused or 200]
    assert stage.times == pytest.approx([0] if refused else [0, 0.3, 0.4])
    assert (stage.host.queue_depth, stage.host.in_flight) == (0, 0)


def test__bulkhead__isolated_and_restored_at_once__waiters_keep_place_and_patience() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=5)))
    stage.hold()

    def meddle() -> None:
        stage.resilience.isolate(HOST)
        stage.resilience.restore(HOST)

    ends: list[float] = []

    async def wait() -> None:
        assert word(await stage.start()) is Reason.BULKHEAD_TIMEOUT
        ends.append(stage.now)

    stage.together(wait(), stage.at(2, meddle))
    assert ends == [5]


def test__bulkhead__limit_raised__waiters_start_at_once() -> None:
    stage = Stage(only(bulkhead=one_at_a_time()), answer(200))
    stage.hold()
    wider = only(bulkhead=Bulkhead(max_concurrent=3))
    stage.together(stage.start(), stage.start(), stage.at(0.5, lambda: stage.resilience.configure("all://", wider)))
    assert stage.times == [0.5, 0.5]


def test__bulkhead__limit_lowered__drains_and_cancels_nothing() -> None:
    stage = Stage(only(bulkhead=Bulkhead(max_concurrent=3)))
    holders = [stage.hold() for _ in range(3)]
    stage.resilience.configure("all://", only(bulkhead=one_at_a_time()))
    assert stage.host.in_flight == 3
    _, *_ = stage.together(stage.start(), *[stage.at(n + 0.25, h.abandon) for n, h in enumerate(holders)])
    assert stage.times == [2.25]


@pytest.mark.parametrize("timeouts", [None, Timeouts(total=60)], ids=["no deadline", "a far deadline"])
def test__bulkhead__waiter_that_dies_with_a_grant__passes_it_on_within_the_claim_time(timeouts: Any) -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=60), timeouts=timeouts))
    holder = stage.hold()
    dead = stage.start()
    dead.send(None)  # it joins the line, and is never driven again
    _, _ = stage.together(stage.start(), stage.at(0.5, holder.abandon))
    assert stage.host.queue_depth == 0
    assert 0.5 + CLAIM_WITHIN <= stage.times[0] <= 0.5 + 2 * CLAIM_WITHIN
    dead.close()


def test__bulkhead__line_full_of_dead_waiters__is_cleared_by_those_it_refuses() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_queue=1, max_wait=0.3)))
    held = stage.hold()
    stage.line_up()  # neither is driven on
    stage.end(held)
    stage.line_up()
    got = []
    for _ in range(4):
        stage.clock.advance(2)
        got.append(word(stage.get()))
    assert (got[0], got[-1]) == (Reason.BULKHEAD_FULL, 200)
    assert stage.host.queue_depth == 0


def test__bulkhead__patience_shorter_than_the_deadline__ends_to_the_instant() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=0.25), timeouts=Timeouts(total=60)))
    stage.hold()
    assert (word(stage.get()), stage.now) == (Reason.BULKHEAD_TIMEOUT, 0.25)


def test__bulkhead__limit_set_while_a_call_without_one_is_on_its_way__that_one_does_not_wait() -> None:
    stage = Stage(only(bulkhead=None), answer(200))
    call = stage.start()
    stage.resilience.configure("all://", only(bulkhead=one_at_a_time()))
    stage.hold()
    (result,) = stage.together(call)
    assert (word(result), stage.now) == (Reason.BULKHEAD_TIMEOUT, 0)


def test__bulkhead__good_end_of_another__serves_also_for_one_that_was_dropped() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_concurrent=2)), answer(200, after=0.25))
    dropped = stage.hold()
    held = stage.hold()
    stage.line_up()
    stage.line_up()
    stage.held.clear()
    del dropped
    stage.end(held)
    assert [ticket.turn for ticket in held.call.state.bulkhead.queue.granted] == [Turn.GRANTED] * 2


def test__bulkhead__waiter_that_dies_at_the_gate__does_not_take_a_place_for_ever() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_queue=1, max_wait=60), retry=steady()), answer(200))
    held = stage.hold()
    dead = stage.line_up()
    with override(bulkhead=None):
        stage.close_gate(2)
    stage.end(held)
    dead.send(None)  # it looks, finds the gate closed, steps aside and is never driven again
    stage.clock.advance(2.9)
    holder = stage.hold()
    assert word(stage.get()) == Reason.BULKHEAD_FULL  # it may still come
    stage.clock.advance(2)
    stage.together(stage.start(), stage.at(5.5, holder.abandon))
    assert stage.times[-1] == 5.5


def test__bulkhead__waiter_that_comes_back_late__keeps_its_place() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=60)), answer(200, after=0.25))
    holder = stage.hold()
    order: list[str] = []

    def one(name: str) -> Coroutine[Any, Any, None]:
        call = stage.line_up()

        async def to_its_end() -> None:
            await onward(call)
            order.append(name)

        return to_its_end()

    late, second, third = one("late"), one("second"), one("third")
    stage.clock.advance(0.5)
    holder.abandon()  # granted to the first, which does not stir
    stage.clock.advance(CLAIM_WITHIN + 0.1)
    stage.together(second, stage.at(stage.now + 0.1, lambda: late), third)
    assert order == ["second", "late", "third"]
    assert stage.host.peak_in_flight == 1


def test__bulkhead__waiter_that_meets_a_closed_gate__keeps_its_place() -> None:
    """Two permits. The first in line is called up, but the gate has closed: it comes back to a line that has grown."""
    policy = only(bulkhead=Bulkhead(max_concurrent=2, max_wait=5), retry=steady(max_delay=10))
    stage = Stage(policy, answer(200, after=2), u=0.8)
    stage.hold()
    throttled = stage.hold()
    order: list[tuple[str, float]] = []

    async def one(name: str) -> None:
        assert word(await stage.start()) == 200
        order.append((name, stage.now))

    stage.together(
        one("first"),  # back at 7 + 0.8 × 3 = 9.4
        stage.at(1, lambda: throttle(throttled, 6)),
        stage.at(8, lambda: one("newcomer")),  # the gate is open, and a permit free
        stage.at(9, lambda: one("behind")),
    )
    assert order == [("newcomer", 10), ("first", 12), ("behind", 14)]
    host = stage.host
    assert (host.in_flight, host.queue_depth, host.rejections) == (1, 0, 0)


def test__bulkhead__time_at_the_gate__is_not_of_the_patience_for_a_permit() -> None:
    policy = only(bulkhead=one_at_a_time(max_wait=5), retry=steady(max_delay=1))
    stage = Stage(policy, answer(200, after=1), u=0.8)
    holder = stage.hold()
    (first, _, newcomer) = stage.together(
        stage.start(),  # waits 4 s for a permit, then until 24.8 at the gate, then 0.7 s for a permit
        stage.at(4, lambda: throttle(holder, 20)),
        stage.at(24.5, stage.start),
    )
    assert (word(first), word(newcomer), stage.now) == (200, 200, 26.5)
    assert stage.host.acquire_failures == 0


def test__bulkhead__what_is_left_of_the_patience__runs_on_after_the_gate() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=5), retry=steady(max_delay=1)), answer(200, after=60), u=0.8)
    holder = stage.hold()

    async def first() -> tuple[Any, float]:
        return word(await stage.start()), stage.now  # 4 s in line, until 24.8 at the gate, 1 s in line

    (result, *_) = stage.together(first(), stage.at(4, lambda: throttle(holder, 20)), stage.at(24.5, stage.start))
    assert result == (Reason.BULKHEAD_TIMEOUT, pytest.approx(25.8))


def test__bulkhead__waiter_refused_at_the_gate__leaves_the_line() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=5), retry=steady(max_retry_after=10)), answer(200))
    holder = stage.hold()

    (result, _) = stage.together(stage.start(), stage.at(1, lambda: throttle(holder, 20)))
    assert (word(result), stage.host.queue_depth, stage.host.rejections) == (Reason.GATE, 0, 1)


def test__bulkhead__permit_of_a_holder_that_died__goes_to_the_line_not_to_a_newcomer() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=60)), answer(200, after=0.25))
    stage.hold()
    waiter = stage.line_up()
    stage.held.clear()
    gc.collect()
    newcomer = stage.line_up()
    assert stage.sent == []
    assert stage.host.queue_depth == 2
    stage.together(onward(waiter), onward(newcomer))
    assert len(stage.sent) == 2


def test__bulkhead_override_off__passes_the_line() -> None:
    stage = Stage(only(bulkhead=one_at_a_time()))
    stage.hold()
    with override(bulkhead=None):
        assert word(stage.get()) == 200
    assert stage.now == 0


# -- nothing starts too late -----------------------------------------------------------------------


def test__deadline_over_before_the_call__nothing_is_sent_and_it_is_counted() -> None:
    stage = Stage(only())
    (rejection,) = stage.together(within(stage, 0))
    assert (rejection.reason, rejection.scope, stage.sent) == (Reason.DEADLINE, "total", [])
    assert stage.host.rejections == 1


@pytest.mark.parametrize("u", [0, 0.5, 0.999])
def test__deadline__spread_after_the_gate_opened_stays_within_it(u: float) -> None:
    stage = Stage(only(retry=steady(max_delay=10)), u=u)
    stage.close_gate(4)
    (response,) = stage.together(within(stage, 5))
    assert word(response) == 200
    assert 4 <= stage.times[0] < 5


def test__deadline__permit_comes_back_at_the_last_instant__nothing_is_sent_after_it() -> None:
    stage = Stage(only(bulkhead=one_at_a_time()))
    holder = stage.hold()
    _, rejection = stage.together(stage.at(2, holder.abandon), within(stage, 2))
    assert (word(rejection), stage.sent) == (Reason.DEADLINE, [])


@pytest.mark.parametrize("seconds", [1, 2], ids=["to the instant", "and is long over"])
def test__deadline__passes_while_a_listener_dawdles__nobody_stands_in_line_for_it(seconds: float) -> None:
    """The patience is over with it: the deadline is what is told."""
    stage = Stage(only(breaker=brittle(), bulkhead=one_at_a_time(max_wait=1)), fault(), fault(), answer(200))
    stage.get()
    stage.get()
    with override(breaker=None):
        stage.hold()
    stage.clock.advance(10)
    stage.resilience.subscribe(lambda event: stage.clock.advance(seconds), [BreakerChanged])
    (rejection,) = stage.together(within(stage, 1))
    assert (word(rejection), stage.now, stage.host.queue_depth) == (Reason.DEADLINE, 10 + seconds, 0)


def test__deadline__woken_with_a_permit_too_late__nothing_is_sent_and_the_permit_goes_on() -> None:
    stage = Stage(only(bulkhead=one_at_a_time()))
    holder = stage.hold()
    late = within(stage, 2)
    late.send(None)  # waits in line
    stage.clock.advance(1.9)
    holder.abandon()
    stage.clock.advance(0.2)  # a busy loop: it is resumed after its deadline
    (rejection,) = stage.together(late)
    assert (word(rejection), stage.sent, stage.host.in_flight) == (Reason.DEADLINE, [], 0)
    assert word(stage.get()) == 200


@pytest.mark.parametrize(("left", "times"), [(1.5, [0, 1]), (1, [0]), (0.5, [0])])
def test__deadline__a_retry_that_cannot_start_in_time_is_not_slept_for(left: float, times: list[float]) -> None:
    stage = Stage(only(retry=steady(), budget=purse()), answer(503))
    (response,) = stage.together(within(stage, left))
    assert (word(response), stage.times, stage.now) == (503, times, times[-1])
    assert stage.host.budget == 10 - (len(times) - 1)


@pytest.mark.parametrize(("limit", "times"), [(1, [0, 1]), (0.5, [0]), (None, [0, 1, 2])])
def test__max_elapsed__no_attempt_starts_later(limit: float | None, times: list[float]) -> None:
    stage = Stage(only(retry=steady(max_elapsed=limit)), answer(503))
    assert word(stage.get()) == 503
    assert stage.times == times


def test__max_elapsed__holds_for_a_retry_that_waits_for_the_bulkhead_too() -> None:
    stage = Stage(only(retry=steady(max_elapsed=2), bulkhead=one_at_a_time()), answer(503))
    call = run(stage.call(), stage.peer)
    stage.together(call, stage.at(0.5, stage.hold), stage.at(4, lambda: stage.held[0].abandon()))
    assert all(time <= 2 for time in stage.times)


def test__total__ends_a_hanging_attempt_and_is_named() -> None:
    stage = Stage(only(timeouts=Timeouts(total=2)), hang())
    rejection = stage.get()
    assert (rejection.reason, rejection.scope, rejection.limit, stage.now) == (Reason.DEADLINE, "total", 2, 2)


def test__attempt__ends_a_hanging_attempt_and_is_named() -> None:
    stage = Stage(only(timeouts=Timeouts(attempt=2)), hang())
    rejection = stage.get()
    assert (rejection.reason, rejection.scope, rejection.limit, stage.now) == (Reason.DEADLINE, "attempt", 2, 2)
    assert (stage.host.failures, stage.host.timeouts) == (1, 1)


def test__attempt__hanging_ones_are_retried() -> None:
    stage = Stage(only(timeouts=Timeouts(attempt=2), retry=steady()), hang(), answer(200))
    assert (word(stage.get()), stage.times) == (200, [0, 3])


def test__deadline_rings_during_an_attempt_that_had_its_share__blames_the_host() -> None:
    stage = Stage(only(timeouts=Timeouts(attempt=2, total=2)), hang())
    stage.get()
    assert stage.host.failures == 1


def test__deadline_rings_before_the_attempt_had_its_share__blames_nobody() -> None:
    stage = Stage(only(timeouts=Timeouts(attempt=20)), hang())
    (rejection,) = stage.together(within(stage, 2))
    assert (rejection.reason, rejection.scope, rejection.limit, stage.now) == (Reason.DEADLINE, "total", None, 2)
    assert (stage.host.failures, stage.host.requests, stage.host.in_flight) == (0, 0, 0)


@pytest.mark.parametrize("seconds", [0, 2])
def test__inherited_deadline__is_not_given_the_length_of_a_longer_total(seconds: float) -> None:
    stage = Stage(only(timeouts=Timeouts(total=30)), hang())
    (rejection,) = stage.together(within(stage, seconds))
    assert (rejection.reason, rejection.scope, rejection.limit) == (Reason.DEADLINE, "total", None)


def test__bulkhead__first_attempt__may_wait_longer_than_retries_may_go_on() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(), retry=steady(max_elapsed=1)))
    held = stage.hold()
    assert word(stage.together(stage.start(), stage.at(2, lambda: stage.end(held)))[0]) == 200
    assert stage.times == [2]


def test__bulkhead__full_at_the_instant_after_which_no_retry_starts__the_answer_is_the_last_one() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(), retry=steady(max_elapsed=1)), answer(503), answer(200))
    result, _ = stage.together(stage.start(), stage.at(0.5, stage.hold))
    assert (word(result), stage.now, stage.host.queue_depth) == (503, 1, 0)


def test__bulkhead__refusal_of_who_waited__names_the_host_and_the_patience() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=5)))
    stage.hold()
    refusal = stage.get()
    assert (refusal.reason, refusal.host, refusal.limit) == (Reason.BULKHEAD_TIMEOUT, stage.call().state.name, 5)


def test__bulkhead__waiter_that_is_cancelled__is_no_refusal_of_ours() -> None:
    stage = Stage(only(bulkhead=one_at_a_time()))
    stage.hold()
    stage.line_up().close()
    host = stage.host
    assert (host.queue_depth, host.acquire_failures, host.rejections) == (0, 1, 0)


def test__bulkhead__waiter_is_interrupted_while_its_clock_is_read__it_leaves_the_line() -> None:
    """After a look in vain, just before the next wait."""
    stage = Stage(only(bulkhead=one_at_a_time()))
    stage.hold()
    waiter = stage.line_up()
    with stage.interrupted(2) as readings:
        waiter.send(None)
    assert (len(readings), stage.host.queue_depth) == (3, 0)
