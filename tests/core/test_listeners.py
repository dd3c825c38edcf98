"""Listening can break nothing: nobody listening costs nothing, and whoever misbehaves is reported once."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from seawall import Answer, Breaker, Ending, Policy, Resilience, SimplifiedResponse
from seawall.events import FREQUENT, BreakerChanged, CallEnded, CallInfo, Event, RetryScheduled
from seawall.policies.breaker import KEPT, Change
from tests.core.stage import HOST, Stage, answer, brittle, one_at_a_time, only, purse, steady, word
from tests.core.test_cancellation import SCENARIOS, Play
from tests.core.test_events import KINDS, heard

# -- who listens -----------------------------------------------------------------------------------


@pytest.fixture
def no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making an event fails."""

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("an event was made for nobody")

    for kind in (*KINDS, CallInfo):
        monkeypatch.setattr(kind, "__init__", forbidden)


@pytest.fixture
def no_frequent_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making an event that every call has fails."""
    for kind in FREQUENT:
        monkeypatch.delattr(kind, "__init__")


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
    def living() -> int:
        gc.collect()
        return sum(isinstance(one, Change) for one in gc.get_objects())

    before = living()  # other tests' hosts may still be there
    stage = Stage(only(breaker=brittle()))
    for _ in range(1000):
        stage.resilience.isolate(HOST)
        stage.resilience.restore(HOST)
    assert living() - before <= KEPT


def test__subscribe__to_some_kinds_only() -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(200))
    found = heard(stage, RetryScheduled, CallEnded)
    stage.get()
    assert [type(event) for event in found] == [RetryScheduled, CallEnded]


@pytest.mark.parametrize(
    ("kinds", "listening", "following"),
    [
        (None, True, True),
        ([BreakerChanged, RetryScheduled], True, False),
        ([CallEnded], True, True),
        ([Event], True, True),
        ([], True, False),
    ],
)
def test__subscribe__to_rare_kinds_only__the_usual_ones_are_not_made(
    kinds: list[type[Event]] | None, listening: bool, following: bool
) -> None:
    hub = Resilience().hub
    stop = hub.subscribe(lambda event: None, kinds)
    assert (hub.listening, hub.following) == (listening, following)
    stop()
    assert (hub.listening, hub.following) == (False, False)


@pytest.mark.usefixtures("no_frequent_events")
def test__rare_kinds_only__a_call_that_goes_well_makes_no_event() -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(200))
    found = heard(stage, RetryScheduled)
    assert word(stage.get()) == 200
    assert len(found) == 1


def test__subscribe__several_listeners_hear_the_same_in_the_same_order() -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(200))
    one, two = heard(stage), heard(stage)
    stage.get()
    assert one == two
    assert sorted(type(event).__name__ for event in one) == [
        "AttemptEnded",
        "AttemptEnded",
        "AttemptStarted",
        "AttemptStarted",
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
    assert (len(found), len(kept)) == (3, 6)


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
    assert len(after) == 6
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
    other = SimplifiedResponse(lambda request, error: Answer())
    bulkhead = one_at_a_time(max_wait=60)
    stage = Stage(
        only(retry=steady(), budget=purse(1), breaker=brittle(), bulkhead=bulkhead, degrade=[other]),
        answer(503, retry_after="1"),
    )
    times: list[Event] = []

    def listener(event: Event) -> None:
        times.append(event)
        calls_back(stage.resilience)

    stage.resilience.subscribe(listener, [kind])

    def call() -> None:
        stage.together(stage.start(), stage.start(), stage.start())

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


def test__when_gives_something_else__said_once_and_the_rules_hold(caplog: pytest.LogCaptureFixture) -> None:
    async def later(*_: object) -> bool:
        return False

    for wrong in (lambda *_: "no", lambda *_: later()):
        stage = Stage(only(retry=steady(when=wrong)), answer(503), answer(503), answer(200))  # type: ignore[arg-type]
        assert word(stage.get()) == 200
    said = [record.getMessage() for record in caplog.records]
    wrong_value = "raised WrongValue (when= must give True, False or None);"
    assert [text.startswith(f"{__name__}.test__when_gives") and wrong_value in text for text in said] == [True, True]


@pytest.mark.parametrize("field", ["when", "classify"])
def test__predicate_raises__said_once_and_the_rules_hold(field: str, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("CANARY")

    policy = only(retry=steady(when=broken)) if field == "when" else only(retry=steady(), classify=broken)
    stage = Stage(policy, answer(503), answer(503), answer(200))
    assert word(stage.get()) == 200
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{__name__}.{broken.__qualname__} raised RuntimeError;")
    assert "CANARY" not in caplog.text


# -- in finalisers ---------------------------------------------------------------------------------


def test__call_is_collected__nobody_is_told_in_the_finaliser_but_with_the_next_event() -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(200))
    found = heard(stage)
    call = stage.start()
    call.send(None)
    before = len(found)
    del call  # a collection may come at any time, also while a listener's own lock is held
    gc.collect()
    assert len(found) == before
    assert stage.host.in_flight == 0
    stage.get()
    ended = [event.ending for event in found if isinstance(event, CallEnded)]
    assert ended == [Ending.CANCELLED, Ending.ANSWERED]


def test__call_with_ways_to_degrade_is_collected__the_same() -> None:
    stage = Stage(only(degrade=[SimplifiedResponse(lambda request, error: Answer())]), answer(200))
    found = heard(stage)
    call = stage.start()
    call.send(None)
    before = len(found)
    del call
    gc.collect()
    assert len(found) == before
    stage.get()
    assert [event.ending for event in found if isinstance(event, CallEnded)] == [Ending.CANCELLED, Ending.ANSWERED]


def test__unsubscribe__first_hears_what_happened_in_finalisers() -> None:
    stage = Stage(only(), answer(200))
    found: list[Event] = []
    stop = stage.resilience.subscribe(found.append, [CallEnded])
    call = stage.start()
    call.send(None)
    del call
    gc.collect()
    assert found == []
    stop()
    assert len(found) == 1


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
