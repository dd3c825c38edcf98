"""What `Resilience.health()` calls bad, rule by rule: each in a scripted situation, in virtual time."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

import seawall
from seawall import (
    AdaptiveBudget,
    Answer,
    Bulkhead,
    ErrorWithAlternatives,
    FallbackProvider,
    Health,
    Outbox,
    Policy,
    QueueForRetry,
    Recommendation,
    Resilience,
    RetryBudget,
    SimplifiedResponse,
    TokenBudget,
    Verdict,
)
from seawall.admission import Admission
from seawall.health.model import BreakerHealth, BudgetHealth, BulkheadHealth
from tests.core.operations import Operation, gateway
from tests.core.stage import HOST, Stage, answer, brittle, call_to, fault, one_at_a_time, only, purse, steady, visit


def health(stage: Stage) -> Health:
    return stage.resilience.health()


def breaker(stage: Stage) -> BreakerHealth:
    (found,) = health(stage).breakers
    return found


def bulkhead(stage: Stage) -> BulkheadHealth:
    (found,) = health(stage).bulkheads
    return found


def budget(stage: Stage) -> BudgetHealth:
    (found,) = health(stage).budgets
    return found


def advice(found: Health) -> Recommendation:
    (one,) = found.recommendations
    return one


def elsewhere(*, answers: bool = True) -> SimplifiedResponse:
    """A way to answer for the host; or one that never has an answer."""
    return SimplifiedResponse(lambda request, error: Answer(200) if answers else None)


def settle(stage: Stage, good: int = 0, bad: int = 0) -> None:
    for _ in range(good):
        stage.settle(Verdict.SUCCESS)
    for _ in range(bad):
        stage.settle(Verdict.FAILURE)


def opened(**parts: Any) -> Stage:
    """A host whose circuit opened just now, for 10 s."""
    stage = Stage(only(breaker=brittle(), **parts), fault())
    settle(stage, bad=2)
    return stage


# -- nothing to say --------------------------------------------------------------------------------


def test__nobody_called__healthy_and_empty() -> None:
    found = Stage(Policy()).resilience.health()
    assert (found.status, found.breakers, found.bulkheads, found.budgets) == ("healthy", (), (), ())
    assert (found.recommendations, found.open_circuit_count, found.degraded_provider_count) == ((), 0, 0)


def test__well_host__healthy_with_the_figures_of_its_window() -> None:
    stage = Stage(Policy(bulkhead=Bulkhead(max_concurrent=4)), answer(200, after=0.5))
    for _ in range(5):
        stage.get()
    found = health(stage)
    assert (found.timestamp, found.status, found.recommendations) == (stage.clock.wall(), "healthy", ())
    circuit = found.breakers[0]
    assert (circuit.host, circuit.state, circuit.requests, circuit.request_rate) == (HOST, "closed", 5, 0.5)
    assert (circuit.failure_rate, circuit.last_change, circuit.latency_p99) == (0, None, 0.5)
    assert (found.bulkheads[0].limit, found.bulkheads[0].utilization, found.bulkheads[0].mean_hold) == (4, 0, 0.5)
    assert (found.budgets[0].available, found.budgets[0].max) == (pytest.approx(4, abs=0.1), 10)


def test__it__stands_still_and_can_be_kept() -> None:
    stage = opened()
    found = health(stage)
    stage.resilience.reset_all()
    assert (found.status, health(stage).status) == ("critical", "healthy")
    assert pickle.loads(pickle.dumps(found)) == found


def test__streaks__of_failures_while_closed_and_of_successes_while_half_open() -> None:
    stage = Stage(only(breaker=brittle(failure_threshold=4, success_threshold=3)))
    settle(stage, bad=1)
    settle(stage, good=1, bad=3)
    assert (breaker(stage).consecutive_failures, breaker(stage).consecutive_successes) == (3, 0)
    settle(stage, bad=1)
    stage.clock.advance(10)
    settle(stage, good=2)
    assert (breaker(stage).consecutive_failures, breaker(stage).consecutive_successes) == (0, 2)


# -- the circuit -----------------------------------------------------------------------------------


def test__open__critical_and_says_what_callers_get() -> None:
    stage = opened()
    for _ in range(3):
        stage.get()
    found = health(stage)
    assert (found.status, found.open_circuit_count, found.degraded_provider_count) == ("critical", 1, 0)
    circuit, said = found.breakers[0], advice(found)
    assert (circuit.state, circuit.rejections, circuit.retry_after) == ("open", 3, 10)
    assert (circuit.last_change, circuit.transitions[-1].reason) == (stage.clock.wall(), "failures in a row")
    assert said is circuit.recommendation
    assert (said.severity, said.component, said.host, said.setting) == ("critical", "breaker", HOST, "Policy.degrade")
    assert said.message == (
        "the circuit is open (failures in a row): 3 calls refused, 0 answered from elsewhere in the last 10 s; "
        "the next try is in 10 s"
    )
    assert (said.numbers["rejections"], said.numbers["degraded"], said.numbers["open_count"]) == (3, 0, 1)


def test__open__with_a_step_that_works__degraded() -> None:
    stage = opened(degrade=[elsewhere()])
    for _ in range(3):
        stage.get()
    found = health(stage)
    assert (found.status, found.breakers[0].status, found.breakers[0].degraded) == ("degraded", "degraded", 3)
    assert (found.open_circuit_count, found.degraded_provider_count) == (1, 1)
    assert (advice(found).severity, advice(found).setting) == ("warning", "Policy.breaker.open_duration")


def test__open__with_a_step_that_has_no_answer__critical_and_names_it() -> None:
    stage = opened(degrade=[elsewhere(answers=False)])
    assert health(stage).status == "degraded"  # believed, while nobody calls
    stage.get()
    found = health(stage)
    assert (found.status, found.degraded_provider_count) == ("critical", 0)
    assert "SimplifiedResponse answered for fewer than half" in advice(found).action


@pytest.mark.parametrize(("answered", "status"), [(2, "degraded"), (1, "critical")])
def test__open__with_a_step_that_answers_some__half_is_enough(answered: int, status: str) -> None:
    answers = iter([Answer(200)] * answered)
    stage = opened(degrade=[SimplifiedResponse(lambda request, error: next(answers, None))])
    for _ in range(4):
        stage.get()
    assert health(stage).status == status


def test__open__with_a_step_that_gives_no_answer_by_design__critical(tmp_path: Path) -> None:
    for step in (ErrorWithAlternatives(["the shop's other page"]), QueueForRetry(Outbox(tmp_path / "outbox.db"))):
        assert health(opened(degrade=[step])).status == "critical"


def test__open__a_fallback_provider_is_believed_in_until_somebody_calls() -> None:
    assert health(opened(degrade=[FallbackProvider("https://second.test")])).status == "degraded"


def test__open__answered_by_execute_with_fallback__degraded() -> None:
    resilience = gateway(only(breaker=brittle()))
    for _ in range(4):
        resilience.execute_with_fallback("primary", Operation(ValueError("no")), "secondary", Operation("yes"))
    found = resilience.health()
    assert (found.status, found.degraded_provider_count) == ("degraded", 1)
    assert [(circuit.host, circuit.status) for circuit in found.breakers] == [
        ("primary", "degraded"),
        ("secondary", "healthy"),
    ]


@pytest.mark.parametrize(
    ("policy", "calls", "status"),
    [
        pytest.param(only(breaker=brittle()), 2, "critical", id="callers get nothing"),
        pytest.param(only(breaker=brittle()), 0, "degraded", id="nobody calls"),
        pytest.param(only(breaker=brittle(), degrade=[elsewhere()]), 2, "degraded", id="answered from elsewhere"),
    ],
)
def test__held_open_by_hand__is_as_bad_as_it_is_for_callers(policy: Policy, calls: int, status: str) -> None:
    stage = Stage(policy)
    stage.resilience.isolate(HOST)
    for _ in range(calls):
        stage.get()
    found = health(stage)
    assert (found.status, found.open_circuit_count, found.breakers[0].retry_after) == (status, 1, None)
    assert (advice(found).setting, "held open by hand" in advice(found).message) == ("Resilience.restore", True)
    stage.resilience.restore(HOST)
    assert (health(stage).status, health(stage).recommendations) == ("healthy", ())


def test__half_open__is_a_warning_while_somebody_calls() -> None:
    stage = opened(retry=None)
    stage.resilience.configure("all://", only(breaker=brittle(success_threshold=2)))
    stage.clock.advance(10)
    stage.script(answer(200))
    stage.get()
    found = health(stage)
    assert (found.status, found.breakers[0].state, found.open_circuit_count) == ("warning", "half_open", 0)
    assert (advice(found).setting, advice(found).numbers["consecutive_successes"]) == (
        "Policy.breaker.success_threshold",
        1,
    )
    assert "1 of 2 probes" in advice(found).message
    stage.get()
    assert (health(stage).status, health(stage).recommendations) == ("healthy", ())


def test__half_open__that_nobody_calls_any_more__is_no_warning_for_ever() -> None:
    stage = opened()
    stage.clock.advance(3600)
    found = health(stage)
    assert (found.status, found.breakers[0].state, advice(found).severity) == ("healthy", "half_open", "info")


@pytest.mark.parametrize(
    ("good", "bad", "severity"),
    [(7, 3, None), (6, 4, "warning"), (3, 2, "warning"), (2, 2, "info"), (0, 1, "info"), (0, 0, None)],
)
def test__failure_rate__above_three_in_ten_of_enough_attempts(good: int, bad: int, severity: str | None) -> None:
    stage = Stage(only(breaker=brittle(failure_threshold=20)))
    stage.call()
    settle(stage, good, bad)
    found = health(stage)
    said = found.breakers[0].recommendation
    assert (said and said.severity) == severity
    assert found.status == ("warning" if severity == "warning" else "healthy")
    assert found.recommendations == ((said,) if said else ())


def test__failure_rate__carries_its_figures_and_the_limits_in_force() -> None:
    stage = Stage(only(breaker=brittle(failure_threshold=7, min_requests=30)))
    settle(stage, 4, 4)
    said = advice(health(stage))
    assert said.message == "4 of 8 attempts failed in the last 10 s (50 %), 0 timed out; 4 failures in a row"
    assert said.setting == "Policy.breaker.failure_rate_threshold"
    assert "80 % of 30 or more attempts, or at 7 failures in a row" in said.action
    assert {name: said.numbers[name] for name in ("failures", "requests", "failure_rate", "threshold")} == {
        "failures": 4,
        "requests": 8,
        "failure_rate": 0.5,
        "threshold": 0.3,
    }


def test__failure_rate__is_of_the_window_and_forgets() -> None:
    stage = Stage(only(breaker=brittle(failure_threshold=20)))
    settle(stage, bad=8)
    assert health(stage).status == "warning"
    stage.clock.advance(11)
    found = health(stage)
    assert (found.status, found.breakers[0].requests, found.breakers[0].failure_rate) == ("healthy", 0, 0)


def test__failing_host_without_a_breaker__is_told_to_have_one() -> None:
    stage = Stage(only())
    settle(stage, bad=6)
    assert (health(stage).status, advice(health(stage)).setting) == ("warning", "Policy.breaker")


def test__more_hosts_than_have_a_state__says_so_without_alarm() -> None:
    resilience = Resilience(only(breaker=brittle()), clock=Stage(None).clock, max_hosts=1)
    attempts: list[Admission] = []
    for url in ("https://a.test/", "https://b.test/", "https://c.test/"):
        attempts.append(Admission(call_to(resilience, url), 1, resilience.clock.monotonic()))
        attempts[-1].call.state.admit(attempts[-1], resilience.clock.monotonic())
    (said,) = resilience.health().recommendations
    assert (resilience.health().status, said.severity, said.setting) == ("healthy", "info", "Resilience.max_hosts")


def test__strangers_fail__is_told_with_what_would_help_them() -> None:
    resilience = Resilience(only(breaker=brittle(failure_threshold=99)), clock=Stage(None).clock, max_hosts=1)
    resilience.isolate("https://first.test")  # an operator's host keeps its place
    for _ in range(10):
        visit(resilience, "https://stranger.test/", fault())
    shared = next(one for one in resilience.health().breakers if one.failures)
    assert shared.recommendation is not None
    assert shared.recommendation.setting == "Resilience.max_hosts"
    assert "which never opens" in shared.recommendation.action


# -- the bulkhead ----------------------------------------------------------------------------------


def busy(out: int, of: int, **changes: Any) -> Stage:
    stage = Stage(only(bulkhead=Bulkhead(max_concurrent=of, **changes)))
    for _ in range(out):
        stage.hold()
    return stage


@pytest.mark.parametrize(("out", "severity"), [(18, None), (19, "info"), (20, "info")])
def test__bulkhead__nearly_full_is_worth_a_word(out: int, severity: str | None) -> None:
    stage = busy(out, 20)
    said = bulkhead(stage).recommendation
    assert (said and said.severity, health(stage).status) == (severity, "healthy")
    assert bulkhead(stage).utilization == out / 20


def test__bulkhead__calls_wait__is_a_warning_with_the_real_depth() -> None:
    stage = Stage(only(bulkhead=one_at_a_time()))
    stage.hold()
    stage.line_up()
    stage.clock.advance(2)
    stage.end(stage.held[0])
    stage.together(stage.waiting.pop())
    stage.hold()
    for _ in range(3):
        stage.line_up()
    found, said = health(stage), advice(health(stage))
    assert (found.status, found.bulkheads[0].queue_depth, found.bulkheads[0].status) == ("warning", 3, "warning")
    assert (said.component, said.setting) == ("bulkhead", "Policy.bulkhead.max_concurrent")
    assert said.message.startswith(
        "1 of 1 permits are out, 3 calls waiting, 0 refused in the last 10 s; a call waits 0."
    )
    assert (said.numbers["queue_depth"], said.numbers["limit"], said.numbers["in_flight"]) == (3, 1, 1)
    assert said.numbers["mean_wait"] == found.bulkheads[0].mean_wait > 0
    for waiting in stage.waiting:
        waiting.close()
    stage.end(stage.held[-1])
    assert (health(stage).status, bulkhead(stage).queue_depth) == ("healthy", 0)


def test__bulkhead__that_lets_nobody_wait__refusals_are_the_warning() -> None:
    stage = busy(2, 2, max_wait=0)
    assert health(stage).status == "healthy"
    stage.get()
    said = advice(health(stage))
    assert (health(stage).status, said.numbers["refused"], bulkhead(stage).refused) == ("warning", 1, 1)
    stage.clock.advance(11)
    assert health(stage).status == "healthy"


def test__bulkhead__without_a_limit__has_nothing_to_say() -> None:
    stage = Stage(only())
    for _ in range(50):
        stage.hold()
    assert (bulkhead(stage).limit, bulkhead(stage).in_flight, health(stage).recommendations) == (None, 50, ())


# -- the budget ------------------------------------------------------------------------------------


def spend(stage: Stage, times: int) -> None:
    state = stage.call().state
    for _ in range(times):
        state.withdraw(stage.clock.now)


def test__budget__denied_lately_and_used_up__is_a_warning_with_the_configured_figures() -> None:
    stage = Stage(only(budget=RetryBudget(ratio=0.25, cap=8, start=2, refill_per_minute=3)))
    spend(stage, 4)
    found, said = budget(stage), advice(health(stage))
    assert (health(stage).status, found.status, found.denied) == ("warning", "warning", 2)
    assert (found.available, found.max, found.utilization) == (0, 8, 1)
    assert (found.refill_rate, found.deposit_ratio) == (0.05, 0.25)
    assert said.message == (
        "2 extra attempts denied in the last 10 s: 0 of 8 tokens are left, 3 a minute come by time and 0.25 with each "
        "success"
    )
    assert (said.setting, said.numbers["denied"], said.numbers["max"]) == ("Policy.budget.ratio", 2, 8)


def test__budget__empty_but_nobody_was_denied__says_nothing() -> None:
    stage = Stage(only(budget=purse(10)))
    spend(stage, 10)
    assert (budget(stage).available, health(stage).recommendations) == (0, ())


def test__budget__denied_long_ago__says_nothing() -> None:
    stage = Stage(only(budget=purse(1)))
    spend(stage, 2)
    assert health(stage).status == "warning"
    stage.clock.advance(11)
    assert (budget(stage).available, health(stage).recommendations) == (0, ())


@pytest.mark.parametrize(
    ("most", "left", "status"),
    [(100, 9, "warning"), (100, 10, "healthy"), (10, 0, "warning"), (10, 1, "healthy"), (2, 0.5, "warning")],
)
def test__budget__is_used_up_below_a_tenth_and_below_one_token(most: int, left: float, status: str) -> None:
    stage = Stage(only(budget=TokenBudget(max_tokens=most, refill_rate=1), breaker=brittle(sampling_window=60)))
    spend(stage, most + 1)
    stage.clock.advance(left)
    assert (budget(stage).available, health(stage).status) == (left, status)


def test__budget__its_start_is_no_trouble() -> None:
    stage = Stage(Policy())
    stage.call()
    assert (budget(stage).available, health(stage).recommendations) == (3, ())


def test__budget__adaptive__tells_its_rate_of_now() -> None:
    stage = Stage(only(budget=AdaptiveBudget(interval=1), retry=steady(max_retries=1), breaker=None), fault())
    for _ in range(12):
        stage.get()
    assert (budget(stage).refill_rate, budget(stage).deposit_ratio) == (9, 0)


def test__budget__unlimited__has_no_figures() -> None:
    stage = Stage(only(budget=None))
    spend(stage, 50)
    assert (budget(stage).available, budget(stage).max, budget(stage).utilization) == (None, None, 0)


# -- all together ----------------------------------------------------------------------------------


def test__hosts__worst_first_then_the_busiest() -> None:
    stage = Stage({"all://": only(breaker=brittle()), "https://d.test": only(breaker=brittle(), degrade=[elsewhere()])})

    def act(name: str, good: int = 0, bad: int = 0) -> None:
        for verdict in [Verdict.SUCCESS] * good + [Verdict.FAILURE] * bad:
            attempt = Admission(call_to(stage.resilience, f"https://{name}.test/"), 1, stage.clock.now)
            attempt.call.state.admit(attempt, stage.clock.now)
            attempt.call.state.settle(attempt, verdict, stage.clock.now)

    act("quiet", 1)
    act("busy", 9)
    act("failing", 3)
    for _ in range(3):
        act("failing", 1, 1)
    act("d", bad=2)
    act("open", bad=2)
    found = health(stage)
    names = [circuit.host.removeprefix("https://").removesuffix(".test") for circuit in found.breakers]
    assert names == ["open", "d", "failing", "busy", "quiet"]
    assert [part.host for part in found.bulkheads] == [part.host for part in found.budgets]
    assert [one.severity for one in found.recommendations] == ["critical", "warning", "warning"]
    assert (found.status, found.open_circuit_count, found.degraded_provider_count) == ("critical", 2, 1)


def test__status__is_the_worst_of_the_parts_of_any_host() -> None:
    stage = Stage(only(budget=purse(1), breaker=brittle()))
    spend(stage, 2)
    assert (breaker(stage).status, bulkhead(stage).status, budget(stage).status) == ("healthy", "healthy", "warning")
    assert health(stage).status == "warning"
    settle(stage, bad=2)
    assert (breaker(stage).status, health(stage).status) == ("critical", "critical")


def test__names__are_reached_from_seawall() -> None:
    assert seawall.Health is Health
    assert callable(seawall.health.wsgi_app)
    assert callable(seawall.health.asgi_app)
