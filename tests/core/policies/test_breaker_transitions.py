"""Every change of phase there is, each reached by a real sequence; and what an operator may do by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from seawall.outcome import Reason
from seawall.policies.breaker import TRANSITIONS, Closed, HalfOpen, Isolated, Open, Phase, Result, Trigger
from tests.core.policies.circuit import Circuit

OK, BAD = Result.SUCCESS, Result.FAILURE
SLOW = {"slow_call_duration": 1, "slow_call_rate_threshold": 0.5, "min_requests": 4, "failure_threshold": 10**6}


def by_slowness() -> Circuit:
    circuit = Circuit(**SLOW)
    for _ in range(4):
        permit = circuit.admit()
        circuit.settle(permit, OK)
        circuit.state.slow(permit, permit.phase, circuit.now, circuit.u, in_flight=False)
    return circuit


def by_rate() -> Circuit:
    return Circuit(min_requests=10, failure_threshold=10**6).fail(10)


def throttled_probe() -> Circuit:
    circuit = Circuit().half_open()
    probe = circuit.admit()
    circuit.state.throttled(probe, probe.phase, circuit.now, circuit.u, circuit.now + 5)
    return circuit


def expired_probe() -> Circuit:
    circuit = Circuit().half_open()
    circuit.admit()
    circuit.wait(30).look()
    return circuit


def isolated(circuit: Circuit) -> Circuit:
    circuit.state.isolate(circuit.now)
    return circuit


def restored(circuit: Circuit) -> Circuit:
    circuit.state.restore(circuit.now)
    return circuit


def reset(circuit: Circuit) -> Circuit:
    circuit.state.reset(circuit.now)
    return circuit


# The specification's own list, written again by hand: a change of the table has to be made here too.
SEQUENCES: dict[tuple[type[Phase], Trigger, type[Phase]], Callable[[], Circuit]] = {
    (Closed, Trigger.RUN, Open): lambda: Circuit().trip(),
    (Closed, Trigger.RATE, Open): by_rate,
    (Closed, Trigger.SLOW, Open): by_slowness,
    (Open, Trigger.TIME, HalfOpen): lambda: Circuit().half_open(),
    (HalfOpen, Trigger.RECOVERED, Closed): lambda: Circuit().half_open().ok(3),
    (HalfOpen, Trigger.PROBE_FAILED, Open): lambda: Circuit().half_open().fail(),
    (HalfOpen, Trigger.PROBE_THROTTLED, Open): throttled_probe,
    (HalfOpen, Trigger.PROBE_EXPIRED, Open): expired_probe,
    (Closed, Trigger.ISOLATE, Isolated): lambda: isolated(Circuit()),
    (Open, Trigger.ISOLATE, Isolated): lambda: isolated(Circuit().trip()),
    (HalfOpen, Trigger.ISOLATE, Isolated): lambda: isolated(Circuit().half_open()),
    (Isolated, Trigger.RESTORE, Closed): lambda: restored(isolated(Circuit())),
    (Closed, Trigger.RESET, Closed): lambda: reset(Circuit().fail(9)),
    (Open, Trigger.RESET, Closed): lambda: reset(Circuit().trip()),
    (HalfOpen, Trigger.RESET, Closed): lambda: reset(Circuit().half_open()),
    (Isolated, Trigger.RESET, Closed): lambda: reset(isolated(Circuit())),
}


def test__the_table__has_exactly_these_transitions() -> None:
    assert {(before, trigger): after for before, trigger, after in SEQUENCES} == TRANSITIONS


@pytest.mark.parametrize(
    ("before", "trigger", "after"), SEQUENCES, ids=[f"{b.name} - {t.value} - {a.name}" for b, t, a in SEQUENCES]
)
def test__every_transition__is_reached_by_a_real_sequence(
    before: type[Phase], trigger: Trigger, after: type[Phase]
) -> None:
    circuit = SEQUENCES[before, trigger, after]()
    assert circuit.phase == after.name
    if (before, trigger) != (Closed, Trigger.RESET):
        assert circuit.changes[-1] == (before.name, trigger.name, after.name)


def test__every_sequence__goes_only_through_the_table() -> None:
    legal = {(before.name, trigger.name, after.name) for before, trigger, after in SEQUENCES}
    for make in SEQUENCES.values():
        assert set(make().changes) <= legal


def test__each_phase__is_an_object_of_its_own() -> None:
    circuit = Circuit()
    phases = [circuit.state.phase]
    for _ in range(3):
        circuit.half_open()
        phases.append(circuit.state.phase)
        circuit.ok(3)
        phases.append(circuit.state.phase)
    assert len({id(phase) for phase in phases}) == 7


def test__isolated__refuses_everybody_for_as_long_as_it_takes() -> None:
    circuit = isolated(Circuit())
    for _ in range(3):
        assert circuit.wait(10**6).try_admit() is Reason.ISOLATED


@pytest.mark.parametrize("result", Result)
def test__isolated__results_of_calls_in_flight__move_nothing(result: Result) -> None:
    circuit = Circuit(success_threshold=1).half_open()
    probes = [circuit.admit() for _ in range(3)]
    isolated(circuit)
    for probe in probes:
        circuit.state.headers(probe, probe.phase, circuit.now, circuit.u)
        circuit.settle(probe, result)
        circuit.state.throttled(probe, probe.phase, circuit.now, circuit.u, circuit.now + 5)
    assert circuit.phase == "isolated"


def test__isolate_twice__is_one_change() -> None:
    circuit = isolated(isolated(Circuit()))
    assert circuit.state.change_count == 1


def test__restore__of_what_is_not_isolated__does_nothing() -> None:
    for circuit in (Circuit(), Circuit().trip(), Circuit().half_open()):
        before = circuit.phase, circuit.state.change_count
        restored(circuit)
        assert (circuit.phase, circuit.state.change_count) == before


@pytest.mark.parametrize("undo", [restored, reset])
def test__closed_by_hand__with_an_empty_window_and_no_streak(undo: Callable[[Circuit], Circuit]) -> None:
    circuit = Circuit(failure_threshold=3, min_failure_span=0, sampling_window=60, min_requests=10**6)
    undo(isolated(circuit.fail(2)))
    assert circuit.counts == (0, 0)
    circuit.fail(2)
    assert circuit.phase == "closed"
    circuit.fail()
    assert circuit.phase == "open"


def test__reset__of_a_closed_circuit__forgets_window_and_streak_and_is_no_change() -> None:
    circuit = reset(Circuit().fail(9, every=0.1))
    assert (circuit.counts, circuit.changes, circuit.state.change_count) == ((0, 0), [], 0)
    circuit.fail(9, every=0.1)
    assert circuit.phase == "closed"


def test__reset__a_call_begun_before__moves_nothing_after() -> None:
    circuit = Circuit(failure_threshold=2, min_failure_span=0)
    before = [circuit.admit() for _ in range(5)]
    reset(circuit)
    for permit in before:
        circuit.settle(permit, BAD)
    assert (circuit.phase, circuit.counts) == ("closed", (0, 0))


def test__counts__of_changes_openings_and_half_openings() -> None:
    circuit = Circuit()
    assert (circuit.state.change_count, circuit.state.recent) == (0, ())
    circuit.half_open().fail()
    circuit.now = circuit.open_until
    circuit.ok(3)
    state = circuit.state
    assert (state.change_count, state.open_count, state.half_open_count) == (5, 2, 2)
    assert state.recent[-1].at == circuit.now
    reset(circuit)
    assert (state.change_count, state.open_count, state.half_open_count) == (5, 2, 2)


def test__changes__carry_when_and_why() -> None:
    circuit = Circuit().trip()
    (change,) = circuit.state.changes
    assert (change.at, change.trigger, change.after) == (circuit.now, Trigger.RUN, Open)
    assert change.before is Closed


def test__isolated__openings_before_are_forgotten() -> None:
    circuit = Circuit().trip()
    assert circuit.state.growth(circuit.now) == 1
    circuit.state.isolate(circuit.now)
    assert circuit.state.growth(circuit.now) == 0


def test__changes__that_nobody_took_yet__stand_oldest_first() -> None:
    assert Circuit().half_open().changes == [("closed", "RUN", "open"), ("open", "TIME", "half_open")]
