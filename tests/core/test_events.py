"""What observers hear: each kind, in order, once; and that listening can break nothing."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from seawall import (
    Answer,
    Bulkhead,
    Ending,
    ErrorKind,
    Policy,
    Resilience,
    SimplifiedResponse,
    Timeouts,
    Verdict,
    events,
    override,
)
from seawall.events import (
    AttemptEnded,
    AttemptStarted,
    BreakerChanged,
    BudgetExhausted,
    BulkheadWaited,
    CallEnded,
    CallInfo,
    Degraded,
    Event,
    GateClosed,
    Rejected,
    RetryScheduled,
)
from seawall.testing import VirtualClock
from tests.core.stage import (
    HOST,
    START,
    Request,
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
from tests.core.test_cancellation import SCENARIOS, Play, Scenario, scenarios

KINDS: list[type[Event]] = [
    AttemptStarted,
    AttemptEnded,
    RetryScheduled,
    BulkheadWaited,
    Rejected,
    BreakerChanged,
    GateClosed,
    BudgetExhausted,
    Degraded,
    CallEnded,
]


def heard(stage: Stage, *kinds: type[Event]) -> list[Any]:
    """What a listener of these kinds hears from now on."""
    found: list[Event] = []
    stage.resilience.subscribe(found.append, kinds or None)
    return found


# -- each kind -------------------------------------------------------------------------------------


def test__attempt_started__says_which_and_what_it_waited() -> None:
    stage = Stage(only(retry=steady(), bulkhead=Bulkhead(max_concurrent=7)), answer(503, after=0.5), answer(200))
    found = heard(stage, AttemptStarted)
    stage.get()
    assert [(e.host, e.at - START, e.number, e.wait, e.limit) for e in found] == [
        (HOST, 0, 1, 0, 7),
        (HOST, 1.5, 2, 1, 7),
    ]


def test__attempt_started__not_for_what_is_refused() -> None:
    stage = Stage(only(breaker=brittle()))
    stage.resilience.isolate(HOST)
    found = heard(stage, AttemptStarted)
    stage.get()
    assert found == []


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


def test__attempt_ended__tells_headers_from_the_whole_and_what_the_budget_has_left() -> None:
    stage = Stage(only(budget=purse(4), retry=steady()), fault(after=1), answer(200, stream=True))
    found = heard(stage, AttemptEnded)
    response = stage.get()
    response.admission.headers_at = stage.clock.now
    stage.clock.advance(3)
    response.admission.finish()
    assert [(e.headers_after, e.duration, e.budget) for e in found] == [(None, 1, 3), (0, 3, 3)]


def test__attempt_ended__of_a_dropped_answer__comes_with_the_next_visit_of_its_host() -> None:
    stage = Stage(only(), answer(200, stream=True), answer(200))
    found = heard(stage, AttemptStarted, AttemptEnded)
    stage.get()
    stage.peer.opened.clear()
    gc.collect()
    assert [type(event) for event in found] == [AttemptStarted]
    stage.clock.advance(3)
    stage.get()
    ends = [event for event in found if isinstance(event, AttemptEnded)]
    assert [(e.number, e.duration, e.verdict) for e in ends] == [(1, 3, Verdict.IGNORED), (1, 0, Verdict.SUCCESS)]
    assert ends[0].call is found[0].call


def test__attempt_ended__of_several_dropped_answers__comes_for_each() -> None:
    stage = Stage(only(), answer(200, stream=True))
    found = heard(stage, AttemptEnded)
    for _ in range(3):
        stage.get()
    stage.peer.opened.clear()
    gc.collect()
    assert stage.host.in_flight == 0
    assert [e.verdict for e in found] == [Verdict.IGNORED] * 3


@pytest.mark.parametrize("bulkhead", [None, one_at_a_time()])
def test__attempt_ended__of_a_dropped_answer_whose_start_nobody_heard__is_not_told(bulkhead: Bulkhead | None) -> None:
    stage = Stage(only(bulkhead=bulkhead), answer(200, stream=True))
    stage.get()
    found = heard(stage, AttemptEnded)
    stage.peer.opened.clear()
    gc.collect()
    assert stage.host.in_flight == 0
    assert found == []


def test__retry_scheduled__says_which_attempt_follows_and_when() -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(429, retry_after="4"), answer(200))
    found = heard(stage, RetryScheduled)
    stage.get()
    assert [(e.number, e.delay, e.status, e.kind, e.at - START) for e in found] == [
        (2, 1, 503, ErrorKind.SERVICE_UNAVAILABLE, 0),
        (3, 4, 429, ErrorKind.TOO_MANY_REQUESTS, 1),
    ]


def test__retry_scheduled__after_the_attempt_it_follows_and_not_when_the_retry_is_refused() -> None:
    stage = Stage(only(retry=steady(), breaker=brittle()), fault(), fault())
    found = heard(stage, AttemptStarted, AttemptEnded, RetryScheduled, BreakerChanged)
    stage.get()
    told = [type(event) for event in found]
    assert told == [AttemptStarted, AttemptEnded, RetryScheduled, AttemptStarted, BreakerChanged, AttemptEnded]


def test__bulkhead_waited__says_how_long_and_whether_it_was_let_in() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=2)), answer(200, after=1.5), answer(200, after=9), answer(200))
    found = heard(stage, BulkheadWaited)
    stage.together(stage.start(), stage.start(), stage.start())
    assert [(e.host, e.at - START, e.seconds, e.admitted) for e in found] == [
        (HOST, 1.5, 1.5, True),
        (HOST, 2, 2, False),
    ]


def test__bulkhead_waited__not_the_time_at_the_gate() -> None:
    stage = Stage(only(retry=steady(), bulkhead=one_at_a_time()), answer(200))
    held = stage.hold()
    with override(bulkhead=None):
        stage.close_gate(5)
    found = heard(stage, BulkheadWaited)
    stage.together(stage.start(), stage.at(7, lambda: stage.end(held)))
    assert [(e.seconds, e.admitted) for e in found] == [(2, True)]


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


def test__gate_closed__says_when_and_for_how_long() -> None:
    stage = Stage(only(retry=steady(max_retries=0)), answer(503, after=2, retry_after="7"))
    found = heard(stage, GateClosed)
    stage.get()
    assert [(e.host, e.at - START, e.seconds) for e in found] == [(HOST, 2, 7)]


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


def test__degraded__says_from_where_and_instead_of_what() -> None:
    other = SimplifiedResponse(lambda request, error: Answer())
    stage = Stage(only(breaker=brittle(), degrade=[other]), answer(503))
    found = heard(stage, Degraded, CallEnded)
    stage.get()
    stage.resilience.isolate(HOST)
    stage.clock.advance(1)
    stage.get()
    assert [(e.at - START, e.call) for e in found[::2]] == [(0, found[1].call), (1, found[3].call)]
    assert [(type(e).__name__, getattr(e, "instead_of", None)) for e in found] == [
        ("Degraded", Ending.RETRY_OFF),
        ("CallEnded", None),
        ("Degraded", Ending.REFUSED),
        ("CallEnded", None),
    ]
    assert [(e.ending, e.reason, e.status, e.served_from) for e in found[1::2]] == [
        (Ending.DEGRADED, "", 503, "simplified"),
        (Ending.DEGRADED, "isolated", None, "simplified"),
    ]


# -- which call, and what was configured for its host ----------------------------------------------


def test__events_of_one_call__have_one_info_and_those_of_another_have_another() -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(200))
    found = heard(stage)
    stage.get(Request("POST", key=True))
    first, rest = {event.call for event in found}, len(found)
    stage.get()
    second = {event.call for event in found[rest:]}
    assert (len(first), len(second), first & second) == (1, 1, set())
    (info,), (other,) = first, second
    assert (info.method, info.address, info.port, info.pattern) == ("POST", "api.test", 443, "all://")
    assert other.id > info.id


@pytest.mark.parametrize(
    ("url", "method", "expected"),
    [
        ("https://user:CANARY@api.test:8443/CANARY?CANARY#CANARY", "GET", ("GET", "api.test", 8443)),
        ("http://API.test/", "QUERY", ("QUERY", "api.test", 80)),
        ("http://[::1]/", "CANARY", ("_OTHER", "::1", 80)),
        ("https://api.test/", None, ("_OTHER", "api.test", 443)),
    ],
)
def test__info__tells_method_address_and_port_and_nothing_else(url: str, method: Any, expected: Any) -> None:
    resilience = Resilience(clock=VirtualClock())
    found: list[Any] = []
    resilience.subscribe(found.append, [CallEnded])
    visit(resilience, url, answer(200), method=method)
    info: CallInfo = found[0].call
    assert (info.method, info.address, info.port) == expected
    assert "CANARY" not in repr(found)


def test__info__of_what_is_no_url__has_no_address_and_breaks_nothing() -> None:
    stage = Stage(only(), answer(200))
    found, request = heard(stage, CallEnded), Request()
    request.url = "https://api.test:99999/"
    stage.get(request)
    assert (found[0].call.address, found[0].call.port, found[0].ending) == (None, None, Ending.ANSWERED)


def test__info__of_an_operation__has_no_address() -> None:
    resilience = Resilience({"printer": Policy()})
    found: list[Any] = []
    resilience.subscribe(found.append)
    resilience.execute("printer", lambda: None)
    info: CallInfo = found[0].call
    assert (info.method, info.address, info.port, info.pattern) == ("EXECUTE", None, None, "printer")
    assert {event.host_group for event in found} == {"printer"}


@pytest.mark.parametrize(
    ("method", "url", "host_group", "pattern"),
    [
        ("GET", "https://api.test/v1", "https://api.test", "https://api.test"),
        ("POST", "https://api.test/v1/batches/7", "https://api.test", "POST https://api.test/v1/batches"),
        ("GET", "https://a.internal/", "inside", "all://*.internal"),
        ("GET", "https://eu.example.com/", "all://*.example.com", "all://*.example.com"),
        ("GET", "https://elsewhere.test/", "all://", "all://"),
        ("POST", "https://elsewhere.test/upload", "all://", "POST all:///upload"),
    ],
)
def test__host_group__is_what_was_configured_for_the_host(method: str, url: str, host_group: str, pattern: str) -> None:
    policies = {
        "https://api.test": only(breaker=brittle(failure_threshold=1)),
        "POST https://api.test/v1/batches": Policy(timeouts=Timeouts(total=600)),
        "all://*.internal": only(group="inside", breaker=brittle(failure_threshold=1)),
        "all://*.example.com": only(breaker=brittle(failure_threshold=1)),
        "POST all:///upload": Policy(retry=None),
        "all://": only(breaker=brittle(failure_threshold=1)),
    }
    resilience = Resilience(policies, clock=VirtualClock())
    found: list[Any] = []
    resilience.subscribe(found.append)
    visit(resilience, url, fault(), method=method)
    assert {event.host_group for event in found} == {host_group}
    assert {event.call.pattern for event in found if hasattr(event, "call")} == {pattern}
    assert BreakerChanged in {type(event) for event in found}


def test__host_group__of_unknown_providers_and_of_strangers_is_that_of_the_rest() -> None:
    resilience = Resilience({"https://first.test": Policy()}, clock=VirtualClock(), max_hosts=1)
    found: list[Any] = []
    resilience.subscribe(found.append)
    resilience.execute("printer", lambda: None)
    resilience.isolate("printer")  # so it is not forgotten
    visit(resilience, "https://first.test", answer(200))
    assert {(event.host, event.host_group) for event in found} == {("printer", "all://"), ("other hosts", "all://")}


def test__override__does_not_change_what_was_configured() -> None:
    stage = Stage({"https://api.test": only()}, answer(200))
    found = heard(stage)
    stage.get(override=override(retry=None))
    assert {(event.host_group, event.call.pattern) for event in found} == {(HOST, HOST)}


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
    assert len(ended) == len(ours) - ("streams" in str(scenario))


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
