"""Half-open: a few probes find out cheaply whether the host is well; no slot ever leaks."""

from __future__ import annotations

import pytest

from seawall.outcome import Reason
from seawall.policies.breaker import Result
from seawall.stats.window import Column
from tests.core.policies.circuit import Circuit, Permit

OK, BAD, NEUTRAL = Result.SUCCESS, Result.FAILURE, Result.NEUTRAL


def test__open__lets_nothing_through_until_its_time_is_over() -> None:
    circuit = Circuit().trip()
    until = circuit.open_until
    for now in (circuit.now, until - 0.001):
        circuit.now = now
        assert circuit.try_admit() is Reason.CIRCUIT_OPEN
    circuit.now = until
    assert isinstance(circuit.try_admit(), Permit)
    assert circuit.phase == "half_open"


def test__half_open__third_success__closes() -> None:
    circuit = Circuit().half_open()
    circuit.ok(2)
    assert circuit.phase == "half_open"
    circuit.ok()
    assert circuit.changes[-1] == ("half_open", "RECOVERED", "closed")


@pytest.mark.parametrize("threshold", [1, 2, 7])
def test__success_threshold__is_how_many_it_takes(threshold: int) -> None:
    circuit = Circuit(success_threshold=threshold).half_open()
    circuit.ok(threshold - 1)
    assert circuit.phase == "half_open"
    circuit.ok()
    assert circuit.phase == "closed"


def test__half_open__any_failure__opens_again() -> None:
    for successes in (0, 1, 2):
        circuit = Circuit().half_open().ok(successes).fail()
        assert circuit.changes[-1] == ("half_open", "PROBE_FAILED", "open")


@pytest.mark.parametrize("most", [1, 3, 10])
def test__half_open__fourth_probe_at_a_time__is_refused(most: int) -> None:
    circuit = Circuit(half_open_max_requests=most, success_threshold=100).half_open()
    probes = [circuit.admit() for _ in range(most)]
    assert circuit.try_admit() is Reason.HALF_OPEN_LIMIT
    circuit.settle(probes[0], OK)
    assert isinstance(circuit.try_admit(), Permit)
    assert circuit.try_admit() is Reason.HALF_OPEN_LIMIT


@pytest.mark.parametrize("end", ["ignored", "dropped", "throttled without a delay", "good headers"])
def test__half_open__a_probe_that_ends_in_any_way__gives_its_slot_back(end: str) -> None:
    # A slot that leaked would refuse everybody for ever: it has happened to most breakers.
    circuit = Circuit(half_open_max_requests=1, success_threshold=10**6).half_open()
    for _ in range(1000):
        probe = circuit.admit()
        if end == "ignored":
            circuit.settle(probe, NEUTRAL)
        elif end == "dropped":
            circuit.state.forget(probe)
        elif end == "throttled without a delay":
            circuit.state.throttled(probe, probe.phase, circuit.now, circuit.u, 0)
        else:
            circuit.state.headers(probe, probe.phase, circuit.now, circuit.u)
            circuit.settle(probe, OK)
    assert circuit.phase == "half_open"


def test__half_open__what_says_nothing__is_no_success_and_no_failure() -> None:
    circuit = Circuit().half_open().ignore(10).ok(2)
    assert circuit.phase == "half_open"
    circuit.ok()
    assert circuit.phase == "closed"


def test__good_headers__count_at_once_and_free_the_slot_while_the_body_flows() -> None:
    circuit = Circuit().half_open()
    for probe in [circuit.admit() for _ in range(3)]:
        circuit.state.headers(probe, probe.phase, circuit.now, circuit.u)
    assert circuit.phase == "closed"


def test__good_headers__are_counted_once_and_the_later_verdict_moves_nothing() -> None:
    for verdict in (OK, BAD, NEUTRAL):
        circuit = Circuit().half_open()
        probe = circuit.admit()
        circuit.state.headers(probe, probe.phase, circuit.now, circuit.u)
        circuit.state.headers(probe, probe.phase, circuit.now, circuit.u)
        circuit.settle(probe, verdict)
        circuit.ok()
        assert circuit.phase == "half_open"
        circuit.ok()
        assert circuit.phase == "closed"


def test__good_headers__keep_the_lease_from_running_out_on_a_long_answer() -> None:
    circuit = Circuit(half_open_timeout=30).half_open()
    probe = circuit.admit()
    circuit.state.headers(probe, probe.phase, circuit.now, circuit.u)
    circuit.wait(3600)
    assert circuit.look() == "half_open"


def test__good_headers__outside_half_open__are_nothing_special() -> None:
    circuit = Circuit()
    permit = circuit.admit()
    assert not circuit.state.headers(permit, permit.phase, circuit.now, circuit.u)
    circuit.trip()
    assert not circuit.state.headers(permit, permit.phase, circuit.now, circuit.u)


def test__probe__that_takes_longer_than_half_open_timeout__opens_again() -> None:
    circuit = Circuit(half_open_timeout=30).half_open()
    circuit.admit()
    assert circuit.wait(29.999).look() == "half_open"
    circuit.wait(0.001)
    assert circuit.try_admit() is Reason.CIRCUIT_OPEN
    assert circuit.changes[-1] == ("half_open", "PROBE_EXPIRED", "open")


def test__lease__is_each_probes_own() -> None:
    circuit = Circuit(half_open_timeout=30, success_threshold=10).half_open()
    first = circuit.admit()
    circuit.wait(20).admit()
    circuit.settle(first, OK)
    assert circuit.wait(20).look() == "half_open"
    assert circuit.wait(10).look() == "open"


def test__no_probe_in_flight__half_open_waits_for_one_as_long_as_it_takes() -> None:
    circuit = Circuit(half_open_timeout=30).half_open()
    assert circuit.wait(10**6).look() == "half_open"
    assert isinstance(circuit.try_admit(), Permit)


def test__expired_probe__its_late_success_moves_nothing() -> None:
    circuit = Circuit(half_open_timeout=30, success_threshold=1).half_open()
    probe = circuit.admit()
    assert circuit.wait(30).look() == "open"
    circuit.settle(probe, OK)
    assert circuit.phase == "open"
    circuit.now = circuit.open_until
    assert circuit.look() == "half_open"
    circuit.settle(probe, OK)
    assert circuit.phase == "half_open"


def test__expired_or_failed_probes__make_the_next_opening_longer() -> None:
    circuit = Circuit().half_open()
    circuit.fail()
    failed = circuit.opening
    circuit = Circuit().half_open()
    circuit.admit()
    circuit.wait(30).look()
    assert (failed, circuit.opening) == (pytest.approx(1.5), pytest.approx(1.5))


def test__throttled_probe__with_a_server_delay__reopens_for_it_without_growth() -> None:
    circuit = Circuit().half_open()
    probe = circuit.admit()
    circuit.state.throttled(probe, probe.phase, circuit.now, circuit.u, circuit.now + 7)
    assert circuit.changes[-1] == ("half_open", "PROBE_THROTTLED", "open")
    assert circuit.opening == pytest.approx(7)
    circuit.wait(7).fail()
    assert circuit.opening == pytest.approx(1.5)


def test__throttled__outside_half_open_or_by_a_former_probe__moves_nothing() -> None:
    circuit = Circuit()
    permit = circuit.admit()
    circuit.state.throttled(permit, permit.phase, circuit.now, circuit.u, circuit.now + 7)
    assert circuit.phase == "closed"
    circuit.half_open()
    circuit.state.throttled(permit, permit.phase, circuit.now, circuit.u, circuit.now + 7)
    circuit.state.throttled(permit, circuit.state.phase, circuit.now, circuit.u, circuit.now + 7)
    assert circuit.phase == "half_open"


def test__failed_probe__the_servers_own_time_is_a_lower_bound() -> None:
    circuit = Circuit().half_open()
    circuit.settle(circuit.admit(), BAD, not_before=circuit.now + 20)
    assert circuit.opening == pytest.approx(20)


@pytest.mark.parametrize("verdict", [OK, BAD, NEUTRAL])
def test__late_result__of_a_call_begun_while_closed__neither_closes_nor_reopens(verdict: Result) -> None:
    circuit = Circuit()
    late = [circuit.admit() for _ in range(20)]
    circuit.half_open()
    probe = circuit.admit()
    for permit in late:
        circuit.settle(permit, verdict)
    assert circuit.phase == "half_open"
    circuit.settle(probe, OK)
    circuit.ok()
    assert circuit.phase == "half_open"


def test__late_result__of_an_older_half_open__moves_nothing_and_takes_no_slot() -> None:
    circuit = Circuit(half_open_max_requests=2).half_open()
    old = circuit.admit()
    circuit.fail()
    circuit.now = circuit.open_until
    new = [circuit.admit() for _ in range(2)]
    for verdict in (OK, BAD, NEUTRAL):
        circuit.settle(old, verdict)
        assert circuit.phase == "half_open"
        assert circuit.try_admit() is Reason.HALF_OPEN_LIMIT
    assert len(new) == 2


def test__late_results__are_counted_apart_so_that_no_rate_sees_them() -> None:
    circuit = Circuit()
    permits = [circuit.admit() for _ in range(4)]
    circuit.half_open().ok(3)
    circuit.settle(permits[0], OK)
    for permit in permits[1:3]:
        circuit.settle(permit, BAD)
    circuit.settle(permits[3], NEUTRAL)
    assert circuit.counts == (0, 0)
    assert (circuit.seen(Column.LATE_SUCCESS), circuit.seen(Column.LATE_FAILURE)) == (1, 2)


def test__a_new_phase__starts_with_fresh_counters() -> None:
    circuit = Circuit().half_open().ok(2).fail()
    circuit.now = circuit.open_until
    circuit.ok(2)
    assert circuit.phase == "half_open"


def test__closing__clears_the_window_so_that_old_failures_do_not_reopen_it() -> None:
    circuit = Circuit(failure_threshold=10**6, failure_rate_threshold=0.5, min_requests=10, sampling_window=60)
    circuit.fail(10)
    circuit.wait(circuit.opening).ok(3)
    assert (circuit.phase, circuit.counts) == ("closed", (0, 0))
    circuit.fail(9)
    assert circuit.phase == "closed"


def test__closing__starts_the_run_of_failures_over() -> None:
    circuit = Circuit(failure_threshold=3, min_failure_span=0).half_open().ok(3)
    circuit.fail(2)
    assert circuit.phase == "closed"
    circuit.fail()
    assert circuit.phase == "open"


def test__retry_after__says_when_it_is_worth_asking_again() -> None:
    circuit = Circuit(half_open_max_requests=1, half_open_timeout=30)
    assert circuit.state.retry_after(circuit.now) == 0
    circuit.trip()
    assert circuit.state.retry_after(circuit.now) == pytest.approx(1)
    assert circuit.state.retry_after(circuit.now + 0.75) == pytest.approx(0.25)
    assert circuit.state.retry_after(circuit.now + 5) == 0
    circuit.wait(1).admit()
    assert circuit.state.retry_after(circuit.now) == pytest.approx(30)
    circuit.state.isolate(circuit.now)
    assert circuit.state.retry_after(circuit.now) is None


def test__retry_after__half_open_with_a_free_slot__is_now() -> None:
    circuit = Circuit(half_open_max_requests=3).half_open()
    circuit.admit()
    assert isinstance(circuit.try_admit(), Permit)
    assert circuit.state.retry_after(circuit.now) == 0


def test__refuses__takes_no_slot() -> None:
    circuit = Circuit(half_open_max_requests=1).half_open()
    for _ in range(10):
        assert circuit.state.refuses(circuit.now, circuit.u) is None
    assert isinstance(circuit.try_admit(), Permit)
    assert circuit.state.refuses(circuit.now, circuit.u) is Reason.HALF_OPEN_LIMIT


def test__retry_after__with_all_probes_out__is_when_the_first_lease_ends() -> None:
    circuit = Circuit(half_open_timeout=0.5).half_open()
    for _ in range(3):
        circuit.admit()
    assert circuit.wait(0.2).state.retry_after(circuit.now) == pytest.approx(0.3)


def test__throttled_probe__until_an_instant_that_is_now__only_gives_its_slot_back() -> None:
    circuit = Circuit().half_open()
    before, probe = circuit.changes, circuit.admit()
    circuit.state.throttled(probe, probe.phase, circuit.now, circuit.u, circuit.now)
    assert (circuit.phase, circuit.changes) == ("half_open", before)


def test__forget__a_probe_that_is_none_any_more__is_harmless() -> None:
    circuit = Circuit().half_open()
    probe = circuit.admit()
    circuit.state.headers(probe, probe.phase, circuit.now, circuit.u)
    circuit.state.forget(probe)
    assert circuit.phase == "half_open"


def test__probe_expired__in_the_first_second_of_a_clock__opens_for_its_time_and_no_longer() -> None:
    circuit = Circuit(
        start=0.0, failure_threshold=1, min_failure_span=0, open_duration=0.1, open_multiplier=1, open_jitter=0,
        half_open_timeout=0.1,
    ).half_open()  # fmt: skip
    circuit.admit()
    assert circuit.wait(0.1).look() == "open"
    assert circuit.opening == pytest.approx(0.1)
