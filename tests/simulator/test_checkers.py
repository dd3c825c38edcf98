"""Every checker complains of a forged history, and of an honest one not: one that never complains proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from seawall import AdaptiveBudget, CircuitOpen, Policy, Retry, Timeouts
from seawall.events import AttemptEnded, AttemptStarted, BreakerChanged, CallEnded
from seawall.testing import NetworkError, Request, violations
from seawall.testing.sim.history import CallSeen, History, ResponseSeen, Sending
from seawall.testing.sim.server import Exchange
from seawall.testing.swarm import recovery
from tests.simulator.stories import ORIGIN, PARTS, first, story


@pytest.mark.parametrize("listening", [True, False])
@pytest.mark.parametrize("degrading", [True, False])
def test__honest_history__no_complaint(listening: bool, degrading: bool) -> None:
    simulation, _ = story(listening=listening, degrading=degrading)
    history = simulation.history
    assert len(history.calls) > 350
    assert len(history.sendings) > 200
    assert violations(history) == []
    assert list(recovery.check(history)) == []


# -- what is wrong with one call ---------------------------------------------------------------------------------------


def sent_though_refused(history: History) -> None:
    call = first(history, attempts=1)
    call.error, call.response = CircuitOpen(host=ORIGIN, attempts=0), None


def one_attempt_more(history: History) -> None:
    call = first(history, attempts=2, answered=True)
    call.sendings[:0] = call.sendings[:1] * 4


def two_at_a_time(history: History) -> None:
    call = first(history, attempts=2)
    call.sendings[0].ended_at = call.sendings[1].at + 0.1


def after_the_deadline(history: History) -> None:
    call = first(history, attempts=2)
    call.sendings[1].at = call.began + 2.5


def late_with_the_answer(history: History) -> None:
    call = first(history, answered=True)
    call.ended = call.began + 2.1


def long_attempt(history: History) -> None:
    call = first(history, answered=True)
    call.sendings[0].headers_at = call.sendings[0].at + 0.6


def twice(history: History) -> None:
    """A POST that the server acted on is sent again, and it acts again."""
    call = first(history, method="POST", answered=True)
    again = Sending(call, _request_of(call), ORIGIN, call.sendings[0].at + 0.2, [])
    again.exchange = Exchange(again.at)
    again.exchange.acted_at = again.at
    again.headers_at = again.judged_at = again.at
    again.ended_at, again.end = again.at, "eof"
    call.sendings.insert(0, again)


def _request_of(call: CallSeen) -> Request:
    return Request(call.method, call.url, headers=call.fields, content=call.content)


def other_key(history: History) -> None:
    call = first(history, attempts=2)
    call.sendings[0].fields["idempotency-key"] = "one"
    call.sendings[1].fields["idempotency-key"] = "two"


def other_bytes(history: History) -> None:
    first(history, method="POST", answered=True).sendings[0].content = b"y"


def other_fields(history: History) -> None:
    first(history, answered=True).sendings[0].fields["x-added"] = "1"


def never_ended(history: History) -> None:
    first(history, answered=True).sendings[0].ended_at = None


def thrown_away_and_given(history: History) -> None:
    first(history, answered=True).sendings[0].end = "discarded"


def other_status(history: History) -> None:
    call = first(history, answered=True)
    assert call.response is not None
    call.response = call.response._replace(status=204)


def from_nowhere(history: History) -> None:
    first(history, answered=True).response = ResponseSeen(200, {}, "origin", None)


def of_another_call(history: History) -> None:
    one, two = [call for call in history.calls if call.response is not None][:2]
    assert two.response is not None
    one.response = two.response


def other_body(history: History) -> None:
    first(history, answered=True).body = b"something else"


def of_another_attempt(history: History) -> None:
    call = next(c for c in history.calls if isinstance(c.error, NetworkError))
    call.error = NetworkError(call.error.kind)  # type: ignore[union-attr]


def undocumented(history: History) -> None:
    first(history, answered=False).error = KeyError("what")


def held_back(history: History) -> None:
    call = first(history, answered=True)
    call.client.resilience.configure("all://", Policy(**PARTS | {"bulkhead": None}))
    call.sendings[0].at += 0.001


ONE_CALL = {
    "I3": [sent_though_refused],
    "I5": [one_attempt_more, two_at_a_time],
    "I6": [after_the_deadline, late_with_the_answer, long_attempt],
    "I7": [twice, other_key, other_bytes, other_fields],
    "I9": [never_ended, thrown_away_and_given],
    "I16": [other_status, from_nowhere, of_another_call, other_body, held_back],
    "I18": [of_another_attempt, undocumented],
}
FORGED = [pytest.param(name, forge, id=forge.__name__) for name, forged in ONE_CALL.items() for forge in forged]


@pytest.mark.parametrize(("name", "forge"), FORGED)
def test__forged_call__is_complained_of(name: str, forge: Callable[[History], None]) -> None:
    simulation, _ = story()
    forge(simulation.history)
    found = violations(simulation.history, most=1000)
    assert any(wrong.startswith(f"{name} ") for wrong in found), found[:3]


# -- what is wrong between calls ---------------------------------------------------------------------------------------


def changed(part: str, **figures: Any) -> dict[str, Any]:
    """The part of the story's policy, with other figures."""
    return {part: replace(PARTS[part], **figures)}


JUDGED_BY: dict[str, tuple[str, dict[str, Any]]] = {
    "opens a failure later": ("refused as open while closed", changed("breaker", failure_threshold=5)),
    "opens a failure sooner": ("sent while open", changed("breaker", failure_threshold=3)),
    "opens after a span only": ("refused as open while closed", changed("breaker", min_failure_span=5)),
    "stays open for longer": ("open until", changed("breaker", open_duration=2, max_open_duration=2)),
    "stays open for less": ("open until", changed("breaker", open_duration=0.5, max_open_duration=0.5)),
    "fewer probes": ("probe", changed("breaker", half_open_max_requests=1)),
    "more probes": ("probes that are not out", changed("breaker", half_open_max_requests=9)),
    "closes sooner": ("refused as open while closed", changed("breaker", success_threshold=1)),
    "leaves errors out": ("refused as open while closed", changed("breaker", count_5xx_as_failures=False)),
    "earns less": ("tokens", changed("budget", ratio=0.05)),
    "starts with more": ("tokens", changed("budget", start=3)),
    "keeps less": ("tokens", changed("budget", cap=3)),
    "refills faster": ("tokens", changed("budget", refill_per_minute=30)),
    "learns": ("tokens", {"budget": AdaptiveBudget()}),
    "fewer permits": ("more than 2 on the way", changed("bulkhead", max_concurrent=2)),
    "more permits": ("permits are out", changed("bulkhead", max_concurrent=4)),
    "less patience for a permit": ("may be waited", changed("bulkhead", max_wait=0.01)),
    "longer pauses": ("sooner than", changed("retry", base_delay=0.5)),
    "shorter pauses": ("later than", {**changed("retry", base_delay=0.01, max_delay=0.01), "bulkhead": None}),
    "fewer attempts": ("attempts, and", changed("retry", max_retries=0)),
    "more attempts": ("ATTEMPTS_EXHAUSTED, which is not so", changed("retry", max_retries=9)),
    "no retry that late": ("after max_elapsed", changed("retry", max_elapsed=0.01)),
    "a shorter total": ("longer than its deadline", {"timeouts": Timeouts(total=0.06)}),
    "no budget": ("BUDGET_EXHAUSTED", {"budget": None}),
}


@pytest.mark.parametrize(("said", "parts"), JUDGED_BY.values(), ids=list(JUDGED_BY))
def test__history_of_another_policy__is_complained_of(said: str, parts: dict[str, Any]) -> None:
    given = {"retry": Retry(base_delay=0.1, jitter="equal", max_retries=1)} if "ATTEMPTS" in said else {}
    simulation, client = story(listening=False, **given)
    client.resilience.configure("all://", Policy(**PARTS | parts))
    found = violations(simulation.history, most=1000)
    assert any(said in wrong for wrong in found), found[:5]


# -- what is shown, and told -------------------------------------------------------------------------------------------


def shown(**figures: Any) -> Callable[[History], None]:
    """The last picture shows these."""

    def forge(history: History) -> None:
        entry = history.log.index(("picture", history.pictures[-1].at, history.pictures[-1]))
        picture = history.pictures[-1]
        forged = picture._replace(hosts=[replace(host, **figures) for host in picture.hosts])
        history.pictures[-1] = forged
        history.log[entry] = ("picture", picture.at, forged)

    return forge


def without(kind: type, which: int = 0) -> Callable[[History], None]:
    """Listeners are not told of one such thing."""

    def forge(history: History) -> None:
        told = [pair for pair in history.events if isinstance(pair[1], kind)]
        history.events.remove(told[which])

    return forge


def told_twice(history: History) -> None:
    ended = next(pair for pair in history.events if isinstance(pair[1], AttemptEnded))
    history.events.insert(0, ended)


def overtaken(history: History) -> None:
    """Two that waited for a permit left in the other order."""
    waited = [c for c in history.calls if c.sendings and c.sendings[0].at > c.began + 1e-6]
    one, two = next((a, b) for a, b in pairwise(waited) if a.sendings[0].at > b.began)
    first_left, second_left = one.sendings[0], two.sendings[0]
    places = [history.log.index(("sent", s.at, s)) for s in (first_left, second_left)]
    history.log[places[0]] = ("sent", first_left.at, second_left)
    history.log[places[1]] = ("sent", second_left.at, first_left)


def another_host_known(history: History) -> None:
    history.pictures[-1] = history.pictures[-1]._replace(known=2000)


def no_end(history: History) -> None:
    history.calls[0].ended = None


def gate_ignored(history: History) -> None:
    """The server had asked for a pause that nobody kept."""
    sick = next(s for s in history.sendings if s.status == 503)
    assert sick.exchange is not None
    sick.exchange.headers = type(sick.exchange.headers)({"retry-after": "3"})


SHOWN: dict[str, tuple[str, Callable[[History], None]]] = {
    "in flight": ("in flight", shown(in_flight=7)),
    "queue": ("wait, and", shown(queue_depth=5000)),
    "balance": ("tokens", shown(budget=0.5)),
    "refill": ("refill", shown(budget_refill_rate=9.0)),
    "denials": ("denials", shown(budget_denials=999)),
    "state": ("should be closed", shown(state="isolated")),
    "gate": ("I6 gate", shown(gate=12.0)),
    "successes": ("successes", shown(total_successes=1)),
    "failures": ("failures", shown(total_failures=1)),
    "throttled": ("throttled", shown(total_throttled=1)),
    "timeouts": ("timeouts", shown(total_timeouts=1)),
    "requests": ("requests", shown(total_requests=1)),
    "rejections": ("rejections", shown(total_rejections=1)),
    "permits": ("permits", shown(acquire_successes=1)),
    "call not told": ("I8 events", without(CallEnded)),
    "attempt not told": ("not told of the end", without(AttemptEnded, 40)),
    "start not told": ("told to begin", without(AttemptStarted)),
    "change not told": ("a circuit that went from", without(BreakerChanged)),
    "told twice": ("told twice", told_twice),
    "overtaken": ("overtaken", overtaken),
    "hosts": ("I12", another_host_known),
    "no end": ("no end, or two", no_end),
    "gate ignored": ("I6 gate", gate_ignored),
}


@pytest.mark.parametrize(("said", "forge"), SHOWN.values(), ids=list(SHOWN))
def test__forged_accounts__are_complained_of(said: str, forge: Callable[[History], None]) -> None:
    simulation, _ = story()
    forge(simulation.history)
    found = violations(simulation.history, most=1000)
    assert any(said in wrong for wrong in found), found[:5]


# -- whose answer ------------------------------------------------------------------------------------------------------


def stale(history: History) -> CallSeen:
    return next(c for c in history.calls if c.response is not None and c.response.source == "stale" and c.body)


def to_somebody_else(history: History) -> None:
    call = stale(history)
    call.body = call.body.replace(b"Bearer 0", b"Bearer 7").replace(b"Bearer 1", b"Bearer 7")


def to_something_else(history: History) -> None:
    stale(history).body = stale(history).body.replace(b"GET ", b"HEAD ")


def too_old(history: History) -> None:
    call = stale(history)
    parts = call.body.split(b"|")
    call.body = b"|".join([*parts[:3], b"900.0", parts[4]])


def to_be_forgotten(history: History) -> None:
    stale(history).body += b"no-store"


def elsewhere(history: History) -> None:
    first(history, answered=True, attempts=1).sendings[0].origin = "https://elsewhere.test"


def credential_for_another(history: History) -> None:
    first(history, answered=True, attempts=1).sendings[0].fields["authorization"] = "Bearer for another"


DATA = {
    "I10": [to_somebody_else, to_something_else, too_old, to_be_forgotten],
    "I11": [elsewhere, credential_for_another],
}


@pytest.mark.parametrize(
    ("name", "forge"), [pytest.param(n, f, id=f.__name__) for n, forged in DATA.items() for f in forged]
)
def test__forged_answer__is_complained_of(name: str, forge: Callable[[History], None]) -> None:
    simulation, _ = story(degrading=True, listening=False)
    forge(simulation.history)
    found = violations(simulation.history, most=1000)
    assert any(wrong.startswith(f"{name}:") for wrong in found), found[:3]


def test__hosts_that_stay_shut__are_complained_of() -> None:
    simulation, client = story(listening=False)
    client.resilience.isolate(ORIGIN)
    for _ in range(3):
        simulation.spawn(client.visit(Request("GET", ORIGIN + recovery.CALM_PATH)))
    simulation.run()
    simulation.picture(client)
    found = list(recovery.check(simulation.history))
    assert [wrong.partition(":")[0] for wrong in found] == ["I2 recovery"] * 2


def test__attempt_under_way_at_the_end__is_complained_of() -> None:
    simulation, _ = story(listening=False)
    shown(in_flight=1, queue_depth=1)(simulation.history)
    assert any("at the end" in wrong for wrong in recovery.check(simulation.history))
