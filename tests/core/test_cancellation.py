"""A call interrupted wherever it can be: everything comes back, nobody is blamed, and the call ends once.

The flow is driven by hand. Each scenario is played to its end first, to count where it suspends; then once for every
suspension, with the error thrown there: at once, or in the place of the resumption it waited for.
"""

from __future__ import annotations

import gc
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from seawall import Bulkhead, Ending, Policy, Timeouts, deadline, events, override
from seawall.flow import run
from seawall.policies.bulkhead import Ticket
from tests.core.stage import (
    HOST,
    START,
    Request,
    Stage,
    Step,
    answer,
    brittle,
    fault,
    hang,
    one_at_a_time,
    only,
    purse,
    steady,
)

Act = tuple[float, Callable[[Stage], object]]


class Scenario:
    """What happens to a call: before it, around it, and in the server."""

    def __init__(
        self,
        name: str,
        *steps: Step,
        before: Callable[[Stage], object] | None = None,
        acts: tuple[Act, ...] = (),
        request: Request | None = None,
        seconds: float | None = None,
        around: Any = None,
        **parts: Any,
    ) -> None:
        self.name = name
        self.steps = steps
        self.before = before
        self.acts = acts
        self.request = request
        self.seconds = seconds
        self.around = around or nullcontext()
        self.policy = only(**({"retry": steady(), "budget": purse()} | parts))

    def __str__(self) -> str:
        return self.name


class Play:
    """One performance, suspension by suspension."""

    def __init__(self, scenario: Scenario, *, listening: bool = True) -> None:
        self.stage = stage = Stage(scenario.policy, *scenario.steps)
        if scenario.before is not None:
            scenario.before(stage)
        self.acts = [(START + at, act) for at, act in scenario.acts]
        self.events: list[events.Event] = []
        if listening:
            stage.resilience.subscribe(self.events.append)
        self.sent_before = len(stage.peer.sent)
        with stage.clock.as_process_clock(), scenario.around, deadline(scenario.seconds):
            self.flow = run(stage.call(scenario.request), stage.peer)
        self.is_over = False
        self.pause: Any = None
        self.resume()

    def resume(self) -> None:
        try:
            self.pause = self.flow.send(None)
        except StopIteration:
            self.is_over = True

    def let_pass(self) -> None:
        """Time goes on, and others act, until the call would be resumed."""
        clock, end, woken = self.stage.clock, self.stage.clock.now + self.pause.seconds, list[None]()
        if self.pause.ticket is not None:
            self.pause.ticket.on_wake(lambda: woken.append(None))
        while not woken and self.acts and self.acts[0][0] <= end:
            self.act()
        if not woken:
            clock.now = end

    def act(self) -> None:
        at, act = self.acts.pop(0)
        self.stage.clock.now = max(self.stage.clock.now, at)
        before = len(self.events)
        act(self.stage)
        del self.events[before:]  # other calls'

    def go_to(self, suspension: int) -> None:
        for _ in range(suspension):
            self.let_pass()
            self.resume()

    def clear(self) -> None:
        """Everybody else ends too."""
        while self.acts:
            self.act()
        for held in self.stage.held:
            held.abandon()
        for waiting in self.stage.waiting:
            waiting.close()


def trip(stage: Stage, *, advance: float = 10) -> None:
    """The circuit opens, and its time passes."""
    steps = list(stage.peer.script)
    stage.script(fault())
    for _ in range(2):
        with override(retry=None):
            stage.get()
    stage.script(*steps)
    stage.clock.advance(advance)


def second_in_line(stage: Stage) -> None:
    stage.hold()
    stage.line_up()


def gate_and_line(stage: Stage) -> None:
    stage.hold()
    with override(bulkhead=None):
        stage.close_gate(5)


def free(stage: Stage) -> None:
    stage.held[0].abandon()


def isolate(stage: Stage) -> None:
    stage.resilience.isolate(HOST)


def close(stage: Stage) -> None:
    stage.resilience.close(0)


def reset(stage: Stage) -> None:
    stage.resilience.reset(HOST)


def widen(stage: Stage) -> None:
    """A second permit, while the first is held."""
    stage.resilience.configure("all://", only(retry=steady(), budget=purse(), bulkhead=one_at_a_time(max_concurrent=2)))


def close_gate(stage: Stage) -> None:
    with override(bulkhead=None):
        stage.close_gate(3)


JSON = {"content_type": "application/json"}
ONE = one_at_a_time()

SCENARIOS = [
    Scenario("an answer", answer(200)),
    Scenario("a slow answer", answer(200, after=3)),
    Scenario("an answer that streams", answer(200, after=1, stream=True)),
    Scenario("retried to success", answer(503), answer(502), answer(200)),
    Scenario("retried in vain", answer(503)),
    Scenario("retried after exceptions", fault(after=1), fault(), answer(200)),
    Scenario("large answers closed", answer(503, None)),
    Scenario("a server's delay", answer(429, retry_after="4"), answer(200)),
    Scenario("quota or rate, by the body", answer(429, b"{}", **JSON), answer(429, b'"billing"', **JSON)),
    Scenario("raised at the end", answer(503), retry=steady(on_exhausted="raise")),
    Scenario("raised at the end, large", answer(503, None), retry=steady(on_exhausted="raise")),
    Scenario("no retry", answer(503), retry=None, budget=None),
    Scenario("hanging attempts", hang(), timeouts=Timeouts(attempt=2)),
    Scenario("hanging until the deadline", hang(), seconds=2),
    Scenario("at the gate", answer(200), before=lambda stage: stage.close_gate(5)),
    Scenario("at the gate, then in line", answer(200), before=gate_and_line, acts=((7, free),), bulkhead=ONE),
    Scenario("in line", answer(200), before=Stage.hold, acts=((3.5, free),), bulkhead=ONE),
    Scenario("in line in vain", answer(200), before=Stage.hold, bulkhead=ONE),
    Scenario("in line until the deadline", answer(200), before=Stage.hold, bulkhead=ONE, seconds=2.5),
    Scenario("second in line", answer(200), before=second_in_line, acts=((1.5, free),), bulkhead=ONE),
    Scenario(
        "in line when the circuit opens",
        answer(200),
        before=Stage.hold,
        acts=((2.5, isolate),),
        bulkhead=ONE,
        breaker=brittle(),
    ),
    Scenario("in line when we close", answer(200), before=Stage.hold, acts=((2.5, close),), bulkhead=ONE),
    Scenario("in line for the retry", answer(503), acts=((0.5, Stage.hold), (2.5, free)), bulkhead=ONE),
    Scenario("refused after sleeping", answer(503), acts=((0.5, isolate),), breaker=brittle(failure_threshold=9)),
    Scenario(
        "refused after sleeping, large", answer(503, None), acts=((0.5, isolate),), breaker=brittle(failure_threshold=9)
    ),
    Scenario("closed while asleep", answer(503), acts=((0.5, close),)),
    Scenario("closed at the gate", answer(200), before=lambda stage: stage.close_gate(5), acts=((2, close),)),
    Scenario("a probe", answer(200, after=1), before=trip, breaker=brittle()),
    Scenario("a probe that fails", answer(503), before=trip, breaker=brittle()),
    Scenario(
        "a probe that is throttled",
        answer(429, retry_after="3"),
        before=trip,
        breaker=brittle(half_open_max_requests=2),
    ),
    Scenario(
        "a probe in line",
        answer(200),
        before=lambda stage: (trip(stage), stage.hold(override(breaker=None))),
        acts=((12, free),),
        breaker=brittle(),
        bulkhead=ONE,
    ),
    Scenario("without breaker and bulkhead", answer(503), around=override(breaker=None, bulkhead=None)),
    Scenario(
        "wider than needed", answer(503), bulkhead=Bulkhead(max_concurrent=9), breaker=brittle(failure_threshold=9)
    ),
    Scenario("a retry that streams", answer(503), answer(200, stream=True, after=1)),
    Scenario("a request that cannot be repeated", answer(503), request=Request("POST")),
    Scenario("a request whose body is gone", fault(), request=Request(replayable=False)),
    Scenario("an unsafe request with a key", answer(503), answer(200), request=Request("POST", key=True)),
    Scenario("retried once, out of budget", answer(503), budget=purse(1)),
    Scenario("retried until the deadline", answer(503, after=1), seconds=2.5),
    Scenario("retried as long as allowed", answer(503, after=1), retry=steady(max_retries=9, max_elapsed=3)),
    Scenario("a server's delay, then in vain", answer(503, retry_after="4"), answer(503)),
    Scenario("a server's delay, shared", answer(503, retry_after="4"), answer(200), acts=((2, close_gate),)),
    Scenario("the gate, closed again", answer(200), before=lambda stage: stage.close_gate(2), acts=((1, close_gate),)),
    Scenario(
        "the gate, opened by hand",
        answer(200),
        before=lambda stage: stage.close_gate(5),
        acts=((2, reset),),
        bulkhead=ONE,
    ),
    Scenario("in line when there is room for more", answer(200), before=Stage.hold, acts=((1.5, widen),), bulkhead=ONE),
    Scenario("in line, served at once", answer(200), before=Stage.hold, acts=((0.5, free),), bulkhead=ONE),
    Scenario(
        "in line for the retry, in vain", answer(503), acts=((0.5, Stage.hold),), bulkhead=one_at_a_time(max_wait=2)
    ),
    Scenario(
        "in line for the retry until the deadline", answer(503), acts=((0.5, Stage.hold),), bulkhead=ONE, seconds=3
    ),
    Scenario(
        "a probe that streams", answer(200, after=1, stream=True), before=trip, breaker=brittle(success_threshold=2)
    ),
    Scenario("a probe that hangs", hang(), before=trip, breaker=brittle(), timeouts=Timeouts(attempt=2)),
    Scenario(
        "slow while in flight",
        answer(200, after=9),
        breaker=brittle(slow_call_duration=3, min_requests=99),
        bulkhead=ONE,
    ),
    Scenario("the defaults", answer(503), **{part: getattr(Policy(), part) for part in ("retry", "budget", "breaker")}),
]
scenarios = pytest.mark.parametrize("scenario", SCENARIOS, ids=str)


def suspensions(scenario: Scenario) -> int:
    """How often the scenario suspends when nobody interrupts it."""
    play, count = Play(scenario), 0
    while not play.is_over:
        play.let_pass()
        play.resume()
        count += 1
    return count


def interrupted(scenario: Scenario) -> Iterator[tuple[str, Play]]:
    """The scenario, interrupted in each way; at the moment of the throw."""
    for suspension in range(suspensions(scenario)):
        for late in (False, True):
            play = Play(scenario)
            play.go_to(suspension)
            if late:
                play.let_pass()
            yield f"suspension {suspension}{' resumed' if late else ''}", play


def throw(play: Play, error: BaseException) -> None:
    if isinstance(error, GeneratorExit):
        play.flow.close()
    else:
        with pytest.raises(type(error)) as caught:
            play.flow.throw(error)
        assert caught.value is error


@scenarios
@pytest.mark.parametrize("kind", [CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit])
def test__interrupted__everything_comes_back_and_nobody_is_blamed(
    scenario: Scenario, kind: type[BaseException]
) -> None:
    for where, play in interrupted(scenario):
        before = play.stage.host
        others = len([held for held in play.stage.held if not held.settled])
        throw(play, kind())
        after = play.stage.host
        assert after.in_flight == others, where
        assert (after.total_requests, after.total_successes, after.total_failures, after.total_throttled) == (
            before.total_requests,
            before.total_successes,
            before.total_failures,
            before.total_throttled,
        ), where
        assert (after.state, after.open_count, after.consecutive_failures) == (
            before.state,
            before.open_count,
            before.consecutive_failures,
        ), where
        retries = len([number for number in play.stage.sent[play.sent_before :] if number > 1])
        if str(scenario) != "the defaults" and before.budget_max is not None:
            assert after.budget == before.budget_max - retries, where
        play.clear()
        over = play.stage.host
        assert (over.in_flight, over.queue_depth) == (0, 0), where
        if over.state == "half_open":
            assert over.retry_after == 0, f"{where}: a probe slot is taken"


@scenarios
def test__interrupted__ends_once(scenario: Scenario) -> None:
    for where, play in interrupted(scenario):
        throw(play, CancelledError())
        ended = [event for event in play.events if isinstance(event, events.CallEnded)]
        assert [event.ending for event in ended] == [Ending.CANCELLED], where


@scenarios
def test__interrupted__no_ticket_is_left(scenario: Scenario) -> None:
    stages: list[Stage] = []
    for _, play in interrupted(scenario):
        throw(play, CancelledError())
        play.clear()
        stages.append(play.stage)
    del play
    gc.collect()
    assert stages
    assert [one for one in gc.get_objects() if isinstance(one, Ticket)] == []


@scenarios
def test__timeout_thrown_in__loses_nothing(scenario: Scenario) -> None:
    """An `Exception` may be judged and retried; what counts is that it leaves nothing behind."""
    for where, play in interrupted(scenario):
        try:
            play.pause = play.flow.throw(TimeoutError())
            while not play.is_over:
                play.let_pass()
                play.resume()
        except (StopIteration, TimeoutError):
            pass
        play.clear()
        host = play.stage.host
        assert (host.in_flight, host.queue_depth) == (0, 0), where


def test__permit_of_a_cancelled_waiter__goes_to_the_next_in_line() -> None:
    stage = Stage(only(bulkhead=ONE))
    holder, first, second = stage.hold(), run(stage.call(), stage.peer), run(stage.call(), stage.peer)
    first.send(None)
    second.send(None)
    stage.clock.advance(0.5)
    holder.abandon()  # granted to the first …
    with pytest.raises(CancelledError):
        first.throw(CancelledError())  # … which never takes it
    stage.together(second)
    assert stage.times == [0.5]


def test__every_kind_of_suspension__is_among_the_scenarios() -> None:
    assert len(SCENARIOS) >= 50
    assert sum(suspensions(scenario) for scenario in SCENARIOS) > 150
