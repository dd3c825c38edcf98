"""What observers hear: each kind, in order, once; and that listening can break nothing."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from seawall import Breaker, Ending, ErrorKind, Policy, Resilience, Verdict, events
from seawall.events import (
    AttemptEnded,
    BreakerChanged,
    BudgetExhausted,
    CallEnded,
    Event,
    GateClosed,
    Rejected,
    RetryScheduled,
)
from tests.core.stage import HOST, START, Stage, answer, brittle, fault, only, purse, steady, word
from tests.core.test_cancellation import SCENARIOS, Play, Scenario, scenarios

KINDS = [AttemptEnded, RetryScheduled, Rejected, BreakerChanged, GateClosed, BudgetExhausted, CallEnded]


def heard(stage: Stage, *kinds: type[Event]) -> list[Any]:
    """What a listener of these kinds hears from now on."""
    found: list[Event] = []
    stage.resilience.subscribe(found.append, kinds or None)
    return found


# -- each kind -------------------------------------------------------------------------------------


def test__attempt_ended__once_per_send_with_its_verdict() -> None:
    stage = Stage(only(retry=steady()), answer(503, after=0.5), fault(), answer(200, after=2))
    found = heard(stage, AttemptEnded)
    stage.get()
    assert [(e.host, e.at - START, e.number, e.duration, e.status, e.kind, e.verdict) for e in found] == [
        (HOST, 0.5, 1, 0.5, 503, ErrorKind.SERVICE_UNAVAILABLE, Verdict.FAILURE),
        (HOST, 1.5, 2, 0, None, ErrorKind.CONNECTION_RESET, Verdict.FAILURE),
        (HOST, 4.5, 3, 2, 200, None, Verdict.SUCCESS),
    ]


def test__attempt_ended__comes_at_the_end_of_the_body() -> None:
    stage = Stage(only(), answer(200, stream=True))
    found = heard(stage, AttemptEnded)
    response = stage.get()
    assert found == []
    stage.clock.advance(3)
    response.admission.finish()
    assert [(e.at - START, e.verdict) for e in found] == [(3, Verdict.SUCCESS)]


def test__retry_scheduled__says_which_attempt_follows_and_when() -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(429, retry_after="4"), answer(200))
    found = heard(stage, RetryScheduled)
    stage.get()
    assert [(e.number, e.delay, e.kind, e.at - START) for e in found] == [
        (2, 1, ErrorKind.SERVICE_UNAVAILABLE, 0),
        (3, 4, ErrorKind.TOO_MANY_REQUESTS, 1),
    ]


def test__rejected__says_who_refused_and_when_to_try_again() -> None:
    stage = Stage(only(breaker=brittle()), fault())
    stage.together(stage.start(), stage.start())
    found = heard(stage, Rejected)
    stage.get()
    assert [(e.host, e.policy, e.reason, e.retry_after) for e in found] == [(HOST, "breaker", "circuit open", 10)]


def test__breaker_changed__every_change_in_order_with_its_reason() -> None:
    stage = Stage(only(breaker=brittle()), fault())
    found = heard(stage, BreakerChanged)
    stage.together(stage.start(), stage.start())
    stage.clock.advance(10)
    stage.script(answer(200))
    stage.get()
    stage.resilience.isolate(HOST)
    stage.resilience.restore(HOST)
    assert [(e.before, e.after, e.reason) for e in found] == [
        ("closed", "open", "failures in a row"),
        ("open", "half_open", "open duration over"),
        ("half_open", "closed", "enough probes succeeded"),
        ("closed", "isolated", "isolate()"),
        ("isolated", "closed", "restore()"),
    ]
    assert [e.at - START for e in found] == [0, 10, 10, 10, 10]


def test__gate_closed__says_for_how_long() -> None:
    stage = Stage(only(retry=steady(max_retries=0)), answer(503, retry_after="7"))
    found = heard(stage, GateClosed)
    stage.get()
    assert [(e.host, e.seconds) for e in found] == [(HOST, 7)]


@pytest.mark.parametrize(
    "stage",
    [
        Stage(only(retry=steady(share_retry_after=False)), answer(503, retry_after="7")),
        Stage(only(), answer(503, retry_after="7")),
        Stage(only(retry=steady(max_retries=0)), answer(503)),
        Stage(only(retry=steady(max_retries=0)), answer(404, retry_after="7")),
    ],
    ids=["not shared", "no retry", "no delay", "404"],
)
def test__gate_closed__not_when_nothing_closes(stage: Stage) -> None:
    found = heard(stage, GateClosed)
    stage.get()
    assert (found, stage.host.gate) == ([], 0)


def test__gate_closed__not_again_when_another_answer_does_not_move_it() -> None:
    stage = Stage(only(retry=steady(max_retries=0)), answer(503, retry_after="7"), answer(404, retry_after="2"))
    found = heard(stage, GateClosed)
    stage.together(stage.start(), stage.start())
    assert [e.seconds for e in found] == [7]


def test__budget_exhausted__when_an_extra_attempt_is_denied() -> None:
    stage = Stage(only(retry=steady(), budget=purse(1)), answer(503))
    found = heard(stage, BudgetExhausted)
    stage.get()
    assert [(e.host, e.at - START) for e in found] == [(HOST, 1)]


def test__call_ended__says_how_often_how_long_and_why() -> None:
    stage = Stage(only(retry=steady()), answer(503, after=0.5))
    found = heard(stage, CallEnded)
    stage.get()
    assert [(e.host, e.attempts, e.duration, e.ending) for e in found] == [(HOST, 3, 3.5, Ending.ATTEMPTS_EXHAUSTED)]


def test__kinds__are_all_there_are() -> None:
    made = {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)}
    assert made == {Event, *KINDS}


# -- once, and in agreement with the counters ------------------------------------------------------


def to_the_end(scenario: Scenario) -> Play:
    play = Play(scenario)
    while not play.is_over:
        play.let_pass()
        play.resume()
    return play


@scenarios
def test__every_call__ends_in_exactly_one_terminal_event(scenario: Scenario) -> None:
    play = to_the_end(scenario)
    assert len([event for event in play.events if isinstance(event, CallEnded)]) == 1
    assert isinstance(play.events[-1], CallEnded) or "streams" in str(scenario)


@scenarios
def test__every_attempt_that_ended__is_one_event(scenario: Scenario) -> None:
    play = to_the_end(scenario)
    ended = [event for event in play.events if isinstance(event, AttemptEnded)]
    ours = play.stage.peer.sent[play.sent_before :]
    others = [held for held in play.stage.held if held.settled]
    assert len(ended) == len(ours) + len(others) - ("streams" in str(scenario))


@scenarios
def test__refused_calls__are_as_many_in_the_log_as_in_the_counters(scenario: Scenario) -> None:
    play = Play(scenario)
    before = play.stage.host.total_rejections
    while not play.is_over:
        play.let_pass()
        play.resume()
    rejected = [event for event in play.events if isinstance(event, Rejected)]
    assert play.stage.host.total_rejections - before == len(rejected)


def test__scenarios__are_the_thirty_of_the_cancellation_tests() -> None:
    assert len(SCENARIOS) >= 30


# -- who listens -----------------------------------------------------------------------------------


@pytest.fixture
def no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making an event fails."""

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("an event was made for nobody")

    for kind in KINDS:
        monkeypatch.setattr(kind, "__init__", forbidden)


@pytest.mark.usefixtures("no_events")
def test__nobody_listens__nothing_is_built() -> None:
    for scenario in SCENARIOS:
        play = Play(scenario, listening=False)
        while not play.is_over:
            play.let_pass()
            play.resume()


@pytest.mark.usefixtures("no_events")
def test__last_listener_gone__nothing_is_built_again() -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(200))
    one, two = (stage.resilience.subscribe(lambda event: None) for _ in range(2))
    one()
    two()
    assert word(stage.get()) == 200


def test__nobody_listens_any_more__nothing_piles_up() -> None:
    stage = Stage(only(breaker=brittle()))
    for _ in range(1000):
        stage.resilience.isolate(HOST)
        stage.resilience.restore(HOST)
    gc.collect()
    from seawall.policies.breaker import Change

    assert [one for one in gc.get_objects() if isinstance(one, Change)] == []


def test__subscribe__to_some_kinds_only() -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(200))
    found = heard(stage, RetryScheduled, CallEnded)
    stage.get()
    assert [type(event) for event in found] == [RetryScheduled, CallEnded]


def test__subscribe__several_listeners_hear_the_same_in_the_same_order() -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(200))
    one, two = heard(stage), heard(stage)
    stage.get()
    assert one == two
    assert sorted(type(event).__name__ for event in one) == [
        "AttemptEnded",
        "AttemptEnded",
        "CallEnded",
        "RetryScheduled",
    ]


def test__unsubscribe__ends_it_and_twice_does_no_harm() -> None:
    stage = Stage(only())
    found: list[Event] = []
    stop = stage.resilience.subscribe(found.append)
    kept = heard(stage)
    stage.get()
    stop()
    stop()
    stage.get()
    assert (len(found), len(kept)) == (2, 4)


def test__unsubscribe__from_inside_a_listener() -> None:
    stage = Stage(only())
    found: list[Event] = []
    stop: list[Callable[[], None]] = []

    def once(event: Event) -> None:
        found.append(event)
        stop[0]()

    stop.append(stage.resilience.subscribe(once))
    stage.get()
    assert len(found) == 1


def test__event__cannot_be_changed() -> None:
    stage = Stage(only())
    found = heard(stage)
    stage.get()
    with pytest.raises(AttributeError):
        found[0].host = "other"


# -- listeners that misbehave ----------------------------------------------------------------------


def test__listener_raises__said_once_by_name_and_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(200))

    def broken(event: Event) -> None:
        raise RuntimeError("CANARY")

    stage.resilience.subscribe(broken)
    after = heard(stage)
    assert word(stage.get()) == 200
    assert len(after) == 4
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("seawall", logging.WARNING)
    assert "broken" in record.getMessage()
    assert "RuntimeError" in record.getMessage()
    assert "CANARY" not in record.getMessage()
    assert stage.host.in_flight == 0


def test__listener_is_interrupted__passes_on_and_nothing_is_held() -> None:
    stage = Stage(only(), answer(200))

    def interrupted(event: Event) -> None:
        raise KeyboardInterrupt

    stage.resilience.subscribe(interrupted)
    with pytest.raises(KeyboardInterrupt):
        stage.get()
    assert stage.host.in_flight == 0


def calls_back(resilience: Resilience) -> None:
    """All of the front door, from inside a listener."""
    resilience.snapshot(HOST)
    resilience.snapshots()
    resilience.configure("https://other.test", only())
    resilience.policy_for("GET", HOST)
    resilience.reset("https://other.test")
    resilience.isolate("https://other.test")
    resilience.subscribe(lambda event: None)()


@pytest.mark.parametrize("kind", KINDS)
def test__listener__may_call_back_whatever_it_hears(kind: type[Event]) -> None:
    stage = Stage(only(retry=steady(), budget=purse(1), breaker=brittle()), answer(503, retry_after="1"))
    times: list[Event] = []

    def listener(event: Event) -> None:
        times.append(event)
        calls_back(stage.resilience)

    stage.resilience.subscribe(listener, [kind])

    def call() -> None:
        stage.get()
        stage.get()
        stage.get()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "a lock was held while the listener ran"
    assert times, "nothing was heard"


def test__users_functions__run_with_no_lock_held() -> None:
    def ask(*_: object) -> None:
        calls_back(stage.resilience)

    policy = only(retry=steady(when=ask), classify=ask)
    stage = Stage(policy, answer(503), key=lambda method, url: [calls_back(stage.resilience), HOST][1])  # type: ignore[func-returns-value]
    thread = threading.Thread(target=stage.get, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "a lock was held while the user's function ran"
    assert stage.sent == [1, 2, 3]


@pytest.mark.parametrize("field", ["when", "classify"])
def test__predicate_raises__said_once_and_the_rules_hold(field: str, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("CANARY")

    policy = only(retry=steady(when=broken)) if field == "when" else only(retry=steady(), classify=broken)
    stage = Stage(policy, answer(503), answer(503), answer(200))
    assert word(stage.get()) == 200
    assert len(caplog.records) == 1
    assert "CANARY" not in caplog.text


# -- where they are told ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "keep_state"),
    [(Policy(breaker=None), True), (Policy(breaker=Breaker()), False)],
    ids=["breaker switched off", "state thrown away"],
)
def test__configure__that_changes_a_circuit__is_told_outside_the_registrys_lock(
    policy: Policy, keep_state: bool
) -> None:
    resilience = Resilience()
    resilience.isolate(HOST)
    heard_by: list[tuple[type[Event], bool]] = []

    def listener(event: Event) -> None:
        other = threading.Thread(
            target=resilience.route, args=("new", "https", "new.test", None), daemon=True
        )  # the first call to a host needs that lock
        other.start()
        other.join(2)
        heard_by.append((type(event), not other.is_alive()))

    resilience.subscribe(listener)
    resilience.configure(HOST, policy, keep_state=keep_state)
    assert heard_by == [(BreakerChanged, True)]


@pytest.mark.parametrize("kinds", [["BreakerChanged"], [CallEnded, "CallEnded"], [None], [str], "CallEnded"], ids=repr)
def test__subscribe__kinds_that_are_no_events__raise_at_once(kinds: Any) -> None:
    resilience = Resilience()
    with pytest.raises(TypeError, match="kinds"):
        resilience.subscribe(print, kinds=kinds)
    assert not resilience.hub.listening
