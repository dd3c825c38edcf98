"""Nested clocks: what is set is a cap, what is left out only fills in, the shorter always holds."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall import Timeouts
from seawall._check import UNSET
from seawall.policies.timeouts import Limits

SPECIFIED = Timeouts(connect=5, attempt=25, total=60, stream=60, idle=90, keep_alive=90)
NONE = Timeouts(connect=None, attempt=None, total=None, idle=None)


@pytest.mark.parametrize(
    ("request_timeout", "expected"),
    [
        pytest.param(30, SPECIFIED, id="the specified thirty seconds"),
        pytest.param(timedelta(minutes=2), replace(SPECIFIED, attempt=115, total=150), id="a timedelta"),
        pytest.param(10, replace(SPECIFIED, attempt=5, total=40), id="ten seconds"),
        pytest.param(6, replace(SPECIFIED, connect=1, attempt=1, total=36), id="six: connect shrinks with the attempt"),
        pytest.param(
            5.001, replace(SPECIFIED, connect=5.001 - 5, attempt=5.001 - 5, total=35.001), id="never below zero"
        ),
    ],
)
def test__from_request__derives_attempt_less_five_and_total_plus_thirty(
    request_timeout: float | timedelta, expected: Timeouts
) -> None:
    assert Timeouts.from_request(request_timeout) == expected


@pytest.mark.parametrize(
    ("timeouts", "connect", "read", "expected"),
    [
        pytest.param(Timeouts(), None, None, (5, 90, None, 90), id="a client without limits: filled in"),
        pytest.param(Timeouts(), 10, None, (10, 90, None, 90), id="its own connect limit stays"),
        pytest.param(Timeouts(), None, 120, (5, 120, None, 120), id="attempt: its read limit, if that is longer"),
        pytest.param(Timeouts(), 5, 5, (5, 90, None, 5), id="httpx's defaults stay"),
        pytest.param(Timeouts(), 100, 600, (100, 600, None, 600), id="an SDK's long limits stay"),
        pytest.param(Timeouts(connect=1, idle=2), 5, 5, (1, 90, None, 2), id="ours set and shorter: ours"),
        pytest.param(Timeouts(connect=9, idle=9), 5, 5, (5, 90, None, 5), id="ours set and longer: the client's"),
        pytest.param(Timeouts(attempt=25), None, 120, (5, 25, None, 120), id="attempt set: a cap"),
        pytest.param(Timeouts(attempt=2), None, None, (2, 2, None, 90), id="connect is part of the attempt"),
        pytest.param(Timeouts(total=2), 5, 5, (2, 2, 2, 5), id="attempt and connect follow from total"),
        pytest.param(Timeouts(first_byte=120), None, None, (5, 120, None, 90), id="attempt: not before its first byte"),
        pytest.param(Timeouts(total=200), None, None, (5, 90, 200, 90), id="a long total lengthens nothing"),
        pytest.param(
            Timeouts(attempt=None, idle=None), None, None, (5, None, None, None), id="waiting without end, on request"
        ),
        pytest.param(NONE, None, None, (None, None, None, None), id="no clock of ours, a client without limits"),
        pytest.param(NONE, 3, 4, (3, None, None, 4), id="no clock of ours: the client's own"),
    ],
)
def test__limits__fold_the_clients_own_in(
    timeouts: Timeouts, connect: float | None, read: float | None, expected: tuple[float | None, ...]
) -> None:
    limits = Limits(timeouts, connect, read)
    connect, attempt, _, idle = expected
    assert (limits.connect, limits.attempt, limits.idle) == (connect, attempt, idle)


@pytest.mark.parametrize(
    ("timeouts", "connect", "read", "ours"),
    [
        pytest.param(Timeouts(), None, None, {"connect", "idle", "attempt"}, id="filled in is ours"),
        pytest.param(Timeouts(), 5, 5, set(), id="the client's are not"),
        pytest.param(Timeouts(connect=1), 5, 5, {"connect"}, id="a shorter connect"),
        pytest.param(Timeouts(connect=5, idle=5), 5, 5, set(), id="as long as the client's: the client's"),
        pytest.param(Timeouts(idle=1), 5, 5, {"idle"}, id="a shorter idle"),
        pytest.param(Timeouts(attempt=60), 5, 5, {"attempt"}, id="an attempt that was set"),
        pytest.param(Timeouts(total=60), 5, 5, {"attempt"}, id="an attempt that follows from total"),
        pytest.param(Timeouts(), 200, 5, set(), id="a patient client is not hurried by an attempt nobody set"),
    ],
)
def test__limits__know_whose_they_are_so_that_the_right_one_is_blamed(
    timeouts: Timeouts, connect: float | None, read: float | None, ours: set[str]
) -> None:
    limits = Limits(timeouts, connect, read)
    flags = {"connect": limits.connect_is_ours, "idle": limits.idle_is_ours, "attempt": limits.attempt_is_ours}
    assert {name for name, flag in flags.items() if flag} == ours
    assert limits.passive == (not ours)


@pytest.mark.parametrize(
    ("timeouts", "read", "patience"),
    [
        pytest.param(Timeouts(), None, 90, id="our attempt's"),
        pytest.param(Timeouts(attempt=7), 5, 7, id="an attempt that was set"),
        pytest.param(Timeouts(), 5, 5, id="the client's read limit"),
        pytest.param(Timeouts(first_byte=3), 20, 3, id="to the first byte"),
        pytest.param(Timeouts(attempt=None, idle=None), None, 0, id="nobody has a clock"),
        pytest.param(NONE, math.inf, 0, id="a clock that never rings is none"),
    ],
)
def test__limits__patience_is_when_a_silent_host_is_given_up(
    timeouts: Timeouts, read: float | None, patience: float
) -> None:
    assert Limits(timeouts, 5, read).patience == patience


@pytest.mark.parametrize("clock", ["first_byte", "first_content", "stream"])
def test__limits__with_a_clock_no_client_has__are_not_passive(clock: str) -> None:
    assert not Limits(Timeouts(**{clock: 1}), 5, 5).passive  # type: ignore[arg-type]


def test__inherited_clocks__longer_than_one_set_here__shrink() -> None:
    base = Timeouts(connect=5, attempt=25, total=60, idle=90)
    assert Timeouts(total=2).over(base) == Timeouts(connect=2, attempt=2, total=2, idle=90)
    assert Timeouts(attempt=3).over(base) == Timeouts(connect=3, attempt=3, total=60, idle=90)


def test__inherited_cap__shorter_than_a_clock_set_here__still_holds() -> None:
    # What is set is a cap: a more specific pattern that sets another clock does not lift it.
    assert Timeouts(attempt=100).over(Timeouts(total=60)).total == 60
    assert Timeouts(connect=8).over(Timeouts(attempt=6)).attempt == 6


def test__clock_switched_off__is_not_filled_by_what_is_inherited() -> None:
    assert Timeouts(total=None).over(Timeouts(total=60, attempt=25)) == Timeouts(total=None, attempt=25)


clocks = st.sampled_from([UNSET, None, 1.0, 2.0, 3.0, 5.0, 8.0])


def valid(connect: object, attempt: object, total: object, idle: object) -> Timeouts | None:
    try:
        return Timeouts(connect=connect, attempt=attempt, total=total, idle=idle)  # type: ignore[arg-type]
    except ValueError:
        return None


timeouts = st.builds(valid, clocks, clocks, clocks, clocks).filter(lambda made: made is not None)


@given(timeouts, timeouts)
def test__any_two__put_together_never_contradict_and_what_is_set_here_is_kept(own: Timeouts, base: Timeouts) -> None:
    merged = own.over(base)
    for name in ("connect", "attempt", "total", "idle"):
        mine, theirs, made = getattr(own, name), getattr(base, name), getattr(merged, name)
        if mine is not UNSET:
            assert made == mine or made < mine
        elif isinstance(theirs, float):
            assert isinstance(made, float)
        else:
            assert made == theirs


@given(timeouts, st.none() | st.floats(0.1, 1000), st.none() | st.floats(0.1, 1000))
def test__any_limits__the_shorter_of_ours_and_the_clients_holds(
    made: Timeouts, connect: float | None, read: float | None
) -> None:
    limits = Limits(made, connect, read)
    for limit, theirs in ((limits.connect, connect), (limits.idle, read)):
        assert theirs is None or (limit is not None and limit <= theirs)
    for limit, mine in ((limits.connect, made.connect), (limits.attempt, made.attempt), (limits.idle, made.idle)):
        assert not isinstance(mine, float) or (limit is not None and limit <= mine)
    if isinstance(made.total, float) and made.attempt is not None:
        assert limits.attempt is not None
        assert limits.attempt <= made.total
