"""From events to figures: each counted once, under labels from closed sets, and levels that come back to nothing."""

from __future__ import annotations

import gc
import math
import os
from collections import Counter
from collections.abc import Iterable

import pytest

from seawall import (
    Answer,
    Bulkhead,
    Ending,
    ErrorKind,
    Policy,
    Resilience,
    SimplifiedResponse,
    Verdict,
    deadline,
    events,
)
from seawall.errors import BY_REASON
from seawall.events import AttemptEnded, CallEnded, Event
from seawall.outcome import Reason
from seawall.policies.breaker import Trigger
from seawall.telemetry import _measures as m
from seawall.telemetry._measures import INSTRUMENTS, Instrument, Measures
from seawall.testing import VirtualClock
from tests.core.degrade.test_coalescing import hall
from tests.core.stage import (
    HOST,
    Stage,
    answer,
    brittle,
    fault,
    one_at_a_time,
    only,
    purse,
    steady,
    visit,
)
from tests.core.test_cancellation import Play, Scenario, interrupted, scenarios, throw

CLOSED_SETS: dict[str, set[str]] = {
    "outcome": {"ok", "error", "rejected", "fallback", "deadline", "cancelled"},
    "verdict": {verdict.value for verdict in Verdict},
    "error_type": {"", *(kind.value for kind in ErrorKind)},
    "policy": {policy for _, policy in BY_REASON.values()},
    "reason": {
        "",
        *(reason.value for reason in Reason),
        *(trigger.value for trigger in Trigger),
        *(ending.value for ending in Ending),
    },
    "state": {"closed", "open", "half_open", "isolated"},
    "admitted": {"yes", "no"},
    "source": {"stale", "fallback", "simplified"},
}


class Figures:
    """Keeps what is exported, as a backend would."""

    def __init__(self) -> None:
        self.values: dict[tuple[Instrument, tuple[str, ...]], float] = Counter()
        self.records: dict[tuple[Instrument, tuple[str, ...]], list[float]] = {}

    def __call__(self, instrument: Instrument, value: float, labels: tuple[str, ...]) -> None:
        assert len(labels) == len(instrument.labels), instrument.name
        for name, label in zip(instrument.labels, labels, strict=True):
            assert name == "host_group" or label in CLOSED_SETS[name], f"{instrument.name}: {name}={label!r}"
        if instrument.kind == "counter":
            assert value == 1
            self.values[instrument, labels] += value
        elif instrument.kind == "histogram":
            assert value >= 0
            self.records.setdefault((instrument, labels), []).append(value)
        else:
            assert math.isfinite(value)
            self.values[instrument, labels] = value

    def of(self, instrument: Instrument) -> dict[tuple[str, ...], float]:
        """The values of an instrument, by the labels after the host's."""
        return {labels[1:]: value for (one, labels), value in self.values.items() if one is instrument and value}

    def recorded(self, instrument: Instrument) -> dict[tuple[str, ...], list[float]]:
        return {labels[1:]: values for (one, labels), values in self.records.items() if one is instrument}

    def groups(self) -> set[str]:
        return {labels[0] for _, labels in [*self.values, *self.records]}


def measured(resilience: Resilience, *, each_host: bool = False) -> Figures:
    """What is measured of it from now on."""
    figures = Figures()
    measures = Measures(resilience, figures, each_host=each_host)
    resilience.subscribe(measures.hear)
    measures.look(resilience)
    return figures


# -- the table -------------------------------------------------------------------------------------


def test__every_kind_of_event__has_a_meaning() -> None:
    kinds = {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)} - {Event}
    assert set(Measures(Resilience(), Figures(), each_host=False)._meanings) == kinds


def test__every_ending__has_its_outcome_and_a_new_one_has_to_be_given_one() -> None:
    assert {ending for ending in Ending if m.outcome_of(ending) == "error"} == {
        Ending.BODY_BROKE,
        Ending.NOT_RETRYABLE,
        Ending.NOT_REPEATABLE,
        Ending.BODY_NOT_REPLAYABLE,
        Ending.ATTEMPTS_EXHAUSTED,
        Ending.BUDGET_EXHAUSTED,
        Ending.OUT_OF_TIME,
        Ending.SERVER_DELAY_TOO_LONG,
        Ending.RETRY_OFF,
        Ending.VETOED,
        Ending.NOT_WAITED_FOR,
    }
    assert CLOSED_SETS["outcome"] == {m.outcome_of(ending) for ending in Ending}


def test__names__are_ours_and_differ() -> None:
    names = [instrument.name for instrument in INSTRUMENTS]
    assert len(set(names)) == len(names)
    assert all(name.startswith("seawall.") for name in names)
    declared = {value for value in vars(m).values() if isinstance(value, Instrument)}
    assert declared == set(INSTRUMENTS)


def told(heard: Iterable[Event]) -> Figures:
    """What these events, from the beginning, come to."""
    figures = Figures()
    measures = Measures(Resilience(clock=VirtualClock(0)), figures, each_host=False)
    for event in heard:
        measures.hear(event)
    return figures


@scenarios
def test__every_call_and_attempt__is_counted_once(scenario: Scenario) -> None:
    play = Play(scenario)
    while not play.is_over:
        play.let_pass()
        play.resume()
    figures, kinds = told(play.events), Counter(type(event) for event in play.events)
    assert sum(figures.of(m.REQUESTS).values()) == kinds[CallEnded] == 1
    assert sum(figures.of(m.ATTEMPTS).values()) == kinds[AttemptEnded]
    assert figures.of(m.PERMITS_USED) == ({(): 1} if "streams" in str(scenario) else {})


@scenarios
def test__interrupted_anywhere__nothing_stays_in_flight(scenario: Scenario) -> None:
    for where, play in interrupted(scenario):
        throw(play, KeyboardInterrupt())
        figures = told(play.events)
        assert figures.of(m.PERMITS_USED) == {}, where
        assert figures.of(m.REQUESTS) == {("cancelled",): 1}, where


# -- calls and attempts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "outcome"),
    [
        (Stage(only(), answer(200)), "ok"),
        (Stage(only(), answer(404)), "ok"),
        (Stage(only(), answer(503)), "error"),
        (Stage(only(retry=steady()), fault()), "error"),
        (Stage(only(degrade=[SimplifiedResponse(lambda request, error: Answer())]), fault()), "fallback"),
    ],
    ids=["answered", "answered with a 404", "failed", "failed after retries", "answered from elsewhere"],
)
def test__outcome__says_how_the_call_ended(stage: Stage, outcome: str) -> None:
    figures = measured(stage.resilience)
    stage.get()
    assert figures.of(m.REQUESTS) == {(outcome,): 1}
    assert set(figures.recorded(m.REQUEST_DURATION)) == {(outcome,)}


def test__outcome__of_a_call_answered_with_an_equal_request__is_good_and_no_attempt() -> None:
    stage = hall(answer(200, after=1))
    figures = measured(stage.resilience)
    stage.together(stage.start(), stage.start())
    assert figures.of(m.REQUESTS) == {("ok",): 2}
    assert sum(figures.of(m.ATTEMPTS).values()) == 1


def test__outcome__of_what_we_refused_and_of_what_ran_out_of_time() -> None:
    stage = Stage(only(breaker=brittle()), answer(200))
    figures = measured(stage.resilience)
    with stage.clock.as_process_clock(), deadline(0):
        stage.get()
    stage.resilience.isolate(HOST)
    stage.get()
    assert figures.of(m.REQUESTS) == {("deadline",): 1, ("rejected",): 1}
    assert figures.of(m.REJECTIONS) == {("timeouts", "deadline exceeded"): 1, ("breaker", "isolated"): 1}


def test__request_duration__is_what_the_caller_waited_attempts_and_all() -> None:
    stage = Stage(only(retry=steady()), answer(503, after=0.5), answer(200, after=0.25))
    figures = measured(stage.resilience)
    stage.get()
    assert figures.recorded(m.REQUEST_DURATION) == {("ok",): [1.75]}
    assert figures.of(m.RETRIES) == {("service unavailable",): 1}
    assert figures.of(m.ATTEMPTS) == {("failure", "service unavailable"): 1, ("success", ""): 1}


def test__attempt_duration__is_to_the_headers_or_to_the_failure() -> None:
    stage = Stage(only(retry=steady()), fault(after=2), answer(200, after=3, stream=True))
    figures = measured(stage.resilience)
    response = stage.get()
    response.admission.headers_at = stage.clock.now
    stage.clock.advance(60)
    response.admission.finish()
    assert figures.recorded(m.ATTEMPT_DURATION) == {(): [2, 3]}


# -- in flight -------------------------------------------------------------------------------------


def test__permits_used__while_the_body_lasts() -> None:
    stage = Stage(only(bulkhead=Bulkhead(max_concurrent=4)), answer(200, stream=True))
    figures = measured(stage.resilience)
    one, two = stage.get(), stage.get()
    assert figures.of(m.PERMITS_USED) == {(): 2}
    assert figures.of(m.PERMITS_LIMIT) == {(): 4}
    one.admission.finish()
    two.admission.abandon()
    assert figures.of(m.PERMITS_USED) == {}


@pytest.mark.filterwarnings("ignore:seawall.* dropped:ResourceWarning")
def test__permits_used__of_a_dropped_answer_comes_back_with_the_next_visit() -> None:
    stage = Stage(only(), answer(200, stream=True), answer(200))
    figures = measured(stage.resilience)
    stage.get()
    stage.peer.opened.clear()
    gc.collect()
    stage.get()
    assert figures.of(m.PERMITS_USED) == {}


def test__permits_used__not_of_attempts_that_began_before() -> None:
    stage = Stage(only(), answer(200, stream=True))
    earlier = measured(stage.resilience)
    before = stage.get()
    stage.clock.advance(1)
    figures = measured(stage.resilience)
    after = stage.get()
    before.admission.finish()
    assert (figures.of(m.PERMITS_USED), earlier.of(m.PERMITS_USED)) == ({(): 1}, {(): 1})
    after.admission.finish()
    assert (figures.of(m.PERMITS_USED), earlier.of(m.PERMITS_USED)) == ({}, {})


def test__permits_used__not_of_an_attempt_that_is_told_of_after_the_fork_it_came_before() -> None:
    stage = Stage(only(), answer(200))
    figures = Figures()
    measures = Measures(stage.resilience, figures, each_host=False)
    told: list[Event] = []
    stage.resilience.subscribe(told.append)
    stage.get()
    stage.clock.advance(1)
    measures.begin_afresh()
    for event in told:
        measures.hear(event)
    assert figures.of(m.PERMITS_USED) == {}
    assert sum(figures.of(m.ATTEMPTS).values()) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test__permits_used__in_the_child_of_a_fork__its_own_only() -> None:
    stage = Stage(only(), answer(200, stream=True))
    figures = measured(stage.resilience)
    of_parent = stage.get()
    child = os.fork()
    if child == 0:
        try:
            stage.clock.advance(1)
            own = stage.get()
            in_flight = figures.of(m.PERMITS_USED)
            own.admission.finish()
            of_parent.admission.finish()
            os._exit(0 if (in_flight, figures.of(m.PERMITS_USED)) == ({(): 1}, {}) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert figures.of(m.PERMITS_USED) == {(): 1}


def test__bulkhead_wait__of_those_let_in_and_of_those_who_were_not() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=2)), answer(200, after=1.5), answer(200, after=9))
    figures = measured(stage.resilience)
    stage.together(stage.start(), stage.start(), stage.start())
    assert figures.recorded(m.BULKHEAD_WAIT) == {("yes",): [1.5], ("no",): [2]}


# -- circuits, budgets, gates, degraded answers ----------------------------------------------------


def test__breaker_state__counts_the_circuits_that_are_not_closed() -> None:
    resilience = Resilience({"all://*.test": only(group=None, breaker=brittle()), "https://own.test": Policy()})
    figures = measured(resilience)
    for host in ("https://a.test", "https://b.test", "https://own.test", "https://elsewhere.example"):
        resilience.isolate(host)
    known = {labels: value for (one, labels), value in figures.values.items() if one is m.STATE and value}
    assert known == {
        ("all://*.test", "isolated"): 2,
        ("https://own.test", "isolated"): 1,
        ("all://", "isolated"): 1,
    }
    resilience.restore("https://a.test")
    resilience.reset("https://b.test")
    resilience.remove("https://own.test")
    resilience.restore("https://elsewhere.example")
    assert figures.of(m.STATE) == {}


def test__breaker_state__opens_half_opens_and_closes() -> None:
    stage = Stage(only(breaker=brittle()), fault(), fault(), answer(200, after=1))
    figures = measured(stage.resilience)
    stage.together(stage.start(), stage.start())
    assert figures.of(m.STATE) == {("open",): 1}
    stage.clock.advance(10)
    probe = stage.start()
    stage.together(probe, stage.at(10.5, lambda: None))
    assert figures.of(m.STATE) == {}
    assert figures.of(m.TRANSITIONS) == {
        ("open", "failures in a row"): 1,
        ("half_open", "open duration over"): 1,
        ("closed", "enough probes succeeded"): 1,
    }


def test__breaker_state__is_known_from_the_start() -> None:
    resilience = Resilience(
        {"https://api.test": Policy(), "all://*.internal": Policy(group="inside"), "printer": Policy()}
    )
    resilience.isolate("https://api.test")
    figures = measured(resilience)
    assert figures.of(m.STATE) == {("isolated",): 1}
    assert figures.groups() == {"https://api.test", "inside", "printer", "all://"}


def test__budget__what_is_left_and_what_was_denied() -> None:
    stage = Stage(only(retry=steady(), budget=purse(1)), answer(503))
    figures = measured(stage.resilience)
    stage.get()
    assert figures.of(m.DENIALS) == {(): 1}
    assert [value for (one, _), value in figures.values.items() if one is m.BUDGET] == [0]


def test__no_budget__is_no_figure() -> None:
    stage = Stage(only(), answer(200))
    figures = measured(stage.resilience)
    stage.get()
    assert [one for one, _ in figures.values if one is m.BUDGET] == []


def test__gate__how_long_a_server_asked_for() -> None:
    stage = Stage(only(retry=steady(max_retries=0)), answer(503, retry_after="7"))
    figures = measured(stage.resilience)
    stage.get()
    assert figures.recorded(m.GATE) == {(): [7]}


def test__fallback__from_where_and_instead_of_what() -> None:
    other = SimplifiedResponse(lambda request, error: Answer())
    stage = Stage(only(degrade=[other]), answer(503))
    figures = measured(stage.resilience)
    stage.get()
    assert figures.of(m.FALLBACK) == {("simplified", "retries are off"): 1}


def test__fallback__of_execute_with_fallback__is_the_primarys() -> None:
    def fails() -> None:
        raise ConnectionResetError

    resilience = Resilience({"one": only(), "two": only()})
    figures = measured(resilience)
    resilience.execute_with_fallback("one", fails, "two", lambda: None)
    found = [labels for one, labels in figures.values if one is m.FALLBACK]
    assert found == [("one", "fallback", "")]


# -- labels ----------------------------------------------------------------------------------------


def visited(resilience: Resilience, hosts: int) -> None:
    """A GET to so many hosts, as an attacker's links would lead to."""
    for number in range(hosts):
        visit(resilience, f"https://h{number}.example/", answer(200))


def test__hosts_nobody_configured__are_one_label() -> None:
    policies = {"https://h1.example": Policy(), "POST https://h2.example/v1": Policy(retry=None)}
    resilience = Resilience(policies, clock=VirtualClock())
    figures = measured(resilience)
    visited(resilience, 20)
    assert figures.groups() == {"https://h1.example", "all://"}


def test__each_host__has_its_own_label_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(m, "_MOST_HOSTS", 5)
    resilience = Resilience(clock=VirtualClock())
    figures = measured(resilience, each_host=True)
    visited(resilience, 20)
    assert figures.groups() == {*(f"https://h{number}.example" for number in range(5)), "other hosts"}
