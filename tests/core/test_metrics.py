"""What a snapshot shows: SPEC's bulkhead metrics, counts, streaks, changes, latency."""

from __future__ import annotations

from dataclasses import fields

import pytest

from seawall import Answer, Bulkhead, HostSnapshot, Policy, SimplifiedResponse, Timeouts, Verdict, override
from seawall.outcome import Reason
from seawall.policies.breaker import Closed, Isolated
from seawall.snapshot import Transition
from tests.core.stage import HOST, Stage, answer, brittle, fault, hang, one_at_a_time, only, purse, statuses, steady

# -- the bulkhead ----------------------------------------------------------------------------------


def test__metrics__attempts_successes_failures_waits_and_holds() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=3)), answer(200, after=2))
    results = stage.together(*[stage.start() for _ in range(3)])
    assert statuses(results) == [200, 200, Reason.BULKHEAD_TIMEOUT]
    host = stage.host
    assert (host.acquire_attempts, host.acquire_successes, host.acquire_failures) == (3, 2, 1)
    assert (host.mean_wait, host.mean_hold) == (pytest.approx((0 + 2 + 3) / 3), 2)
    assert (host.in_flight, host.utilization, host.peak_utilization, host.queue_depth) == (0, 0, 1, 0)


def test__metrics__of_this_instant() -> None:
    stage = Stage(only(bulkhead=Bulkhead(max_concurrent=4)))
    for _ in range(3):
        stage.hold()
    stage.held.pop().abandon()
    host = stage.host
    assert (host.in_flight, host.limit, host.utilization, host.peak_utilization) == (2, 4, 0.5, 0.75)


def test__metrics__queue_depth_is_who_waits() -> None:
    stage = Stage(only(bulkhead=one_at_a_time()))
    stage.hold()
    for _ in range(3):
        stage.line_up()
    assert stage.host.queue_depth == 3
    for waiting in stage.waiting:
        waiting.close()
    assert stage.host.queue_depth == 0


def test__metrics__no_limit__measures_all_the_same() -> None:
    stage = Stage(only(), answer(200, after=1))
    stage.together(*[stage.start() for _ in range(5)])
    host = stage.host
    assert (host.limit, host.utilization, host.peak_in_flight, host.acquire_successes, host.mean_hold) == (
        None,
        0,
        5,
        5,
        1,
    )


def test__metrics__mean_wait_is_never_more_than_the_longest_wait() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=60)))
    stage.hold()
    for _ in range(5):
        stage.line_up()
    stage.clock.advance(4)
    for waiting in stage.waiting:
        waiting.close()  # cancelled: each has waited four seconds
    assert stage.host.mean_wait <= 4


def test__metrics__utilization_stays_a_share_when_the_limit_is_lowered() -> None:
    stage = Stage(only(bulkhead=Bulkhead(max_concurrent=4)))
    for _ in range(4):
        stage.hold()
    stage.resilience.configure("all://", only(bulkhead=Bulkhead(max_concurrent=2)))
    assert 0 <= stage.host.utilization <= 1
    assert 0 <= stage.host.peak_utilization <= 1


# -- the picture -----------------------------------------------------------------------------------

PROMISED = """
    host state retry_after requests successes failures throttled timeouts rejections failure_rate consecutive_failures
    consecutive_successes total_requests total_successes total_failures total_throttled total_timeouts total_rejections
    state_change_count open_count half_open_count last_change in_flight limit utilization peak_utilization queue_depth
    acquire_attempts acquire_successes acquire_failures mean_wait mean_hold budget latency_p50 latency_p99
"""


def test__snapshot__has_what_is_promised() -> None:
    assert set(PROMISED.split()) <= {field.name for field in fields(HostSnapshot)}


def test__snapshot__of_a_host_nobody_called() -> None:
    stage = Stage(Policy())
    stage.call()
    host = stage.host
    assert (host.host, host.state, host.retry_after, host.last_change, host.limit) == (HOST, "closed", 0, None, None)
    assert (host.budget, host.budget_max, host.latency_p50) == (3, 10, None)
    assert (host.failure_rate, host.mean_wait, host.mean_hold, host.utilization) == (0, 0, 0, 0)


def test__snapshot__counts_changes_of_phase_and_dates_the_last() -> None:
    stage = Stage(only(breaker=brittle()), fault())
    stage.together(stage.start(), stage.start())
    opened = stage.clock.wall()
    assert (stage.host.last_change, stage.host.retry_after) == (opened, 10)
    stage.clock.advance(10)
    stage.script(answer(200))
    stage.get()
    host = stage.host
    assert (host.state, host.state_change_count, host.open_count, host.half_open_count) == ("closed", 3, 1, 1)
    assert host.last_change == opened + 10


def test__snapshot__timeline_is_the_window_tenth_by_tenth() -> None:
    stage = Stage(only(breaker=brittle(), retry=None))
    for second, verdict in enumerate([Verdict.SUCCESS, Verdict.FAILURE, Verdict.SUCCESS, Verdict.FAILURE]):
        for _ in range(second // 2 + 1):
            stage.settle(verdict)
        stage.clock.advance(1)
    assert stage.host.state == "open"
    stage.get()
    host = stage.host
    assert (host.sampling_window, host.rejections) == (10, 1)
    assert host.timeline == ((0, 0, 0),) * 5 + ((1, 0, 0), (0, 1, 0), (2, 0, 0), (0, 2, 0), (0, 0, 1))
    stage.clock.advance(20)
    assert stage.host.timeline == ((0, 0, 0),) * 10


def test__snapshot__refusals_answered_from_elsewhere_are_dated_when_they_were() -> None:
    stage = Stage(only(breaker=brittle()), fault())
    stage.together(stage.start(), stage.start())
    state = stage.call().state
    for _ in range(8):
        assert state.turn_away(stage.call(), stage.clock.now)
        state.count_degraded("simplified")
        stage.clock.advance(1)
    assert [refused for _, _, refused in stage.host.timeline] == [0, 1, 1, 1, 1, 1, 1, 1, 1, 0]


def test__snapshot__what_was_denied_and_answered_from_elsewhere_lately_and_in_all() -> None:
    simplified = SimplifiedResponse(lambda request, error: Answer(200))
    stage = Stage(only(retry=steady(), budget=purse(1), degrade=[simplified]), fault())
    for _ in range(2):
        stage.get()
    host = stage.host
    assert (host.degraded, host.total_degraded, host.denied, host.budget_denials) == (2, 2, 2, 2)
    stage.clock.advance(20)
    host = stage.host
    assert (host.degraded, host.total_degraded, host.denied, host.budget_denials) == (0, 2, 0, 2)


def test__snapshot__tells_the_last_changes_of_phase_and_why() -> None:
    stage = Stage(only(breaker=brittle()), fault())
    assert stage.hold().call.state.snapshot().transitions == ()
    stage.held.pop().abandon()
    stage.together(stage.start(), stage.start())
    opened = stage.clock.wall()
    stage.clock.advance(10)
    stage.script(answer(200))
    stage.get()
    assert stage.host.transitions == (
        Transition(at=opened, before="closed", after="open", reason="failures in a row"),
        Transition(at=opened + 10, before="open", after="half_open", reason="open duration over"),
        Transition(at=opened + 10, before="half_open", after="closed", reason="enough probes succeeded"),
    )


def test__snapshot__more_than_20_changes__the_last_20() -> None:
    stage = Stage(only())
    stage.get()
    for _ in range(15):
        stage.resilience.isolate(HOST)
        stage.clock.advance(1)
        stage.resilience.restore(HOST)
    host = stage.host
    assert (host.state_change_count, len(host.transitions)) == (30, 20)
    assert host.transitions[-1].after == "closed"
    assert [change.at for change in host.transitions] == sorted(change.at for change in host.transitions)
    assert (host.last_change, host.transitions[-20].at) == (stage.clock.wall(), stage.clock.wall() - 10)


def test__snapshot__a_change__keeps_no_phase_alive() -> None:
    circuit = Stage(only()).hold().call.state.breaker
    circuit.isolate(1)
    assert [(change.before, change.after) for change in circuit.recent] == [(Closed, Isolated)]


def test__snapshot__streaks() -> None:
    stage = Stage(only(breaker=brittle(failure_threshold=3, success_threshold=3)), fault())
    stage.together(stage.start(), stage.start())
    assert (stage.host.consecutive_failures, stage.host.failure_rate) == (2, 1)
    stage.get()
    stage.clock.advance(10)
    stage.script(answer(200))
    stage.get()
    stage.get()
    assert (stage.host.consecutive_failures, stage.host.consecutive_successes) == (0, 2)


def test__snapshot__is_not_changed_by_what_comes_after() -> None:
    stage = Stage(only())
    stage.get()
    before = stage.host
    stage.get()
    assert (before.requests, stage.host.requests) == (1, 2)
    with pytest.raises(AttributeError):
        before.requests = 5  # type: ignore[misc]


def test__snapshot__latency_is_to_the_headers_of_good_answers() -> None:
    stage = Stage(only(), answer(200, after=1, stream=True))
    response = stage.get()
    stage.clock.advance(60)
    response.admission.finish()
    stage.script(hang())
    with override(timeouts=Timeouts(attempt=9)):
        stage.get()
    host = stage.host
    assert host.latency_p50 == host.latency_p99
    assert 1 <= (host.latency_p99 or 0) <= 1.125
