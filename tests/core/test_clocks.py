"""The running clocks of one attempt: what the next operation may take, and which of them rang."""

from __future__ import annotations

import math
import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from seawall import Timeouts
from seawall.clocks import NO_LIMIT, Left, Watch
from seawall.policies.timeouts import Limits
from seawall.runtime import OutOfTime
from seawall.testing import VirtualClock

NONE = Timeouts(connect=None, attempt=None, total=None, idle=None)
SET = Timeouts(connect=2, attempt=10, idle=4)


def watch(
    timeouts: Timeouts = SET,
    *,
    deadline: float | None = None,
    outer: float | None = None,
    client: tuple[float | None, float | None] = (None, None),
) -> tuple[Watch, VirtualClock]:
    clock = VirtualClock(100)
    call: Any = SimpleNamespace(
        limits=Limits(timeouts, *client), deadline=deadline, whole=None, outer=outer, state=SimpleNamespace(clock=clock)
    )
    return Watch(call, 100), clock


@pytest.mark.parametrize(
    ("now", "deadline", "left"),
    [
        pytest.param(100, None, 2, id="the whole of it"),
        pytest.param(101.5, None, 0.5, id="less what was used"),
        pytest.param(100, 101, 1, id="the deadline comes first"),
        pytest.param(100, 300, 2, id="the deadline is far"),
    ],
)
def test__time_to_connect__is_what_the_clock_and_the_deadline_leave(
    now: float, deadline: float | None, left: float
) -> None:
    it, clock = watch(deadline=deadline)
    clock.now = now
    assert it.connect_within(None) == pytest.approx(left)


@pytest.mark.parametrize(
    ("now", "deadline", "read", "left"),
    [
        pytest.param(100, None, None, 10, id="the whole attempt"),
        pytest.param(109, None, None, 1, id="less what was used"),
        pytest.param(100, 103, None, 3, id="remaining provider time is the shorter of remaining and provider"),
        pytest.param(100, None, 5, 5, id="the client's read limit is shorter"),
        pytest.param(108, None, 5, 2, id="the attempt is nearly over"),
    ],
)
def test__time_to_the_headers__is_the_shortest_of_attempt_deadline_and_read(
    now: float, deadline: float | None, read: float | None, left: float
) -> None:
    it, clock = watch(deadline=deadline)
    clock.now = now
    assert it.read_within(read) == pytest.approx(left)


@pytest.mark.parametrize(
    ("deadline", "left"), [(None, 4), (101, 1), (300, 4)], ids=["idle", "the deadline is near", "the deadline is far"]
)
def test__time_to_the_next_piece__is_idle_or_what_the_deadline_leaves(deadline: float | None, left: float) -> None:
    it, _ = watch(deadline=deadline)
    it.headers(streamed=False)
    assert it.read_within(None) == pytest.approx(left)


def test__no_clock_anywhere__no_limit_but_a_write_still_knows_its_attempt() -> None:
    it, _ = watch(NONE)
    assert (it.connect_within(None), it.read_within(None)) == (None, None)
    assert it.read_within(7) == 7
    assert it.write_within(None) == NO_LIMIT
    assert not it.is_running


def test__attempt_switched_off__the_idle_clock_still_bounds_each_step_to_the_headers() -> None:
    it, _ = watch(Timeouts(attempt=None))
    assert it.read_within(None) == 90


def test__first_byte__replaces_idle_and_counts_from_the_first_read() -> None:
    it, clock = watch(Timeouts(attempt=None, first_byte=600, idle=60))
    clock.advance(3)
    left: Any = it.read_within(None)
    assert left == 600
    clock.advance(599)
    assert left.seconds() == pytest.approx(1)
    clock.advance(1)
    with pytest.raises(OutOfTime):
        left.seconds()
    assert it.rang(clock.now) == "first_byte"


def test__expired__gives_a_number_a_moment_and_a_socket_of_ours_no_time_at_all() -> None:
    # Zero would mean "do not block" to a socket, None "wait for ever".
    it, clock = watch(deadline=101)
    clock.advance(100)
    for left in (it.connect_within(None), it.write_within(None), it.read_within(None)):
        assert left is not None
        assert 0 < left <= 0.01
        with pytest.raises(OutOfTime):
            left.seconds()
        assert 0 < left.or_least() <= 0.01  # for what has to be begun, to be cleaned up after


def test__number_for_one_phase__shrinks_with_the_time_that_its_operations_take() -> None:
    it, clock = watch()
    left: Any = it.read_within(5)
    assert left.seconds() == 5
    clock.advance(7)
    assert left.seconds() == 3


def test__streamed__total_ends_at_the_headers_and_stream_bounds_the_body() -> None:
    clocks = Timeouts(attempt=None, total=5, stream=60, idle=None)
    it, clock = watch(clocks, deadline=105)
    clock.advance(4)
    it.headers(streamed=True)
    clock.advance(50)
    assert it.left() == pytest.approx(10)
    clock.advance(10)
    assert it.rang(clock.now) == "stream"


def test__not_streamed__total_runs_to_the_last_byte() -> None:
    it, clock = watch(Timeouts(attempt=None, total=5, stream=60, idle=None), deadline=105)
    clock.advance(4)
    it.headers(streamed=False)
    assert it.left() == pytest.approx(1)
    clock.advance(1)
    assert it.rang(clock.now) == "total"


def test__streamed__a_deadline_around_the_call_still_bounds_the_body() -> None:
    it, clock = watch(Timeouts(total=5, stream=60, idle=None), deadline=105, outer=130)
    it.headers(streamed=True)
    assert it.left() == pytest.approx(30)
    clock.advance(30)
    assert it.rang(clock.now) == "total"


def test__first_content__counts_from_the_first_wish_to_read_and_ends_with_it() -> None:
    it, clock = watch(Timeouts(first_content=6, idle=4))
    it.headers(streamed=True)
    clock.advance(50)  # the caller was busy with something else
    it.body_wanted()
    assert it.left() == 6
    clock.advance(5)
    it.body_wanted()
    assert it.left() == pytest.approx(1)
    it.content()
    assert it.left() == 4


def test__first_content__rings() -> None:
    it, clock = watch(Timeouts(first_content=6, idle=4))
    it.headers(streamed=True)
    it.body_wanted()
    clock.advance(6)
    assert it.rang(clock.now) == "first_content"
    with pytest.raises(OutOfTime):
        it.left()


def test__idle__rings_only_after_one_silence_of_its_length() -> None:
    it, clock = watch()
    it.headers(streamed=False)
    for _ in range(5):
        clock.advance(3)
        it.left()
    assert it.rang(clock.now + 3) is None
    assert it.rang(clock.now + 4) == "idle"


@pytest.mark.parametrize(
    ("timeouts", "client", "connecting", "after", "scope"),
    [
        pytest.param(SET, (None, None), True, 2, "connect", id="connect"),
        pytest.param(SET, (1, None), True, 1, None, id="the client's own connect limit"),
        pytest.param(SET, (None, None), False, 10, "attempt", id="attempt"),
        pytest.param(SET, (None, None), False, 2, None, id="not connecting any more"),
        pytest.param(NONE, (1, 1), False, 50, None, id="no clock of ours"),
    ],
)
def test__clock_that_rang__is_named_and_the_clients_own_is_not(
    timeouts: Timeouts, client: tuple[float | None, float | None], connecting: bool, after: float, scope: str | None
) -> None:
    it, clock = watch(timeouts, client=client)
    (it.connect_within if connecting else it.read_within)(client[0])
    clock.advance(after)
    assert it.rang(clock.now) == scope


def test__whole__bounds_what_single_steps_cannot_be_seen_of() -> None:
    it, clock = watch(Timeouts(connect=2, attempt=10, first_byte=6))
    assert it.whole_within() == 6
    clock.advance(6)
    assert it.rang(clock.now) == "first_byte"


def test__whole__after_the_first_read__first_byte_goes_on() -> None:
    it, clock = watch(Timeouts(attempt=20, first_byte=4))
    it.read_within(None)
    clock.advance(3)
    assert it.whole_within() == pytest.approx(1)


def test__left__is_a_plain_float_for_everybody_else() -> None:
    it, _ = watch()
    left = it.write_within(3)
    assert (left, type(pickle.loads(pickle.dumps(left)))) == (3.0, float)
    assert isinstance(left, Left)


def test__clients_own_limits__bound_each_operation_and_nothing_the_whole() -> None:
    # An upload of 200 s, in steps that are each in time, is healthy traffic: no clock was set, none is filled in.
    it, clock = watch(Timeouts(), deadline=1100, client=(5, 5))
    clock.advance(200)
    assert (it.connect_within(5), it.write_within(5), it.read_within(5)) == (5, 5, 5)
    assert it.left() is not None
    assert it.left() > 500
    it.headers(streamed=False)
    assert it.left() == pytest.approx(800)
    assert it.rang(clock.now) is None


def test__waiting_for_a_connection__is_connecting_and_only_our_clocks_add_to_the_clients() -> None:
    it, clock = watch(Timeouts(connect=2), client=(5, 5))
    assert it.pool_within(None, is_exact=True) == 2
    assert (it.is_exact, it.is_connecting) == (True, True)
    clock.advance(2)
    assert it.rang(clock.now) == "connect"
    it, _ = watch(Timeouts(attempt=9), client=(5, 5))
    assert it.pool_within(None, is_exact=False) == 9


def test__each_step__is_exact_only_if_its_own_socket_says_so() -> None:
    it, _ = watch()
    it.pool_within(None, is_exact=True)
    it.connect_within(None)
    assert not it.is_exact
    it.is_exact = True
    it.write_within(None)
    assert not it.is_exact


def test__several_addresses__share_our_clocks_and_each_has_the_clients_limit() -> None:
    it, clock = watch(deadline=108)
    left: Any = it.connect_within(None)
    assert left.share(2) == 1
    clock.advance(1)
    assert left.share(1) == 1
    it, _ = watch(Timeouts(), deadline=108, client=(3, 3))
    left = it.connect_within(3)
    assert (left.share(2), left.share(4)) == (3, 2)
    clock.advance(8)


def test__no_clock__addresses_have_no_limit() -> None:
    it, _ = watch(Timeouts(connect=None, attempt=None), client=(None, 5))
    left: Any = it.write_within(None)
    assert left.share(3) == NO_LIMIT


def test__handshake_with_a_proxy__is_part_of_connecting_and_begins_no_first_byte() -> None:
    it, clock = watch(Timeouts(connect=4, attempt=50, first_byte=6))
    opening: Any = it.connect_within(None)
    it.write_within(None)
    it.read_within(None)
    it.speaks_to(proxy=True)
    clock.advance(3)
    assert opening.for_proxy(None) == 1
    assert opening.for_proxy(0.5) == 0.5
    assert it.rang(clock.now + 1) == "connect"
    it.read_within(None)
    it.speaks_to(proxy=False)
    it.write_within(None)
    clock.advance(20)
    assert it.read_within(None) == 6
    clock.advance(6)
    assert it.rang(clock.now) == "first_byte"


def test__cut_by_us_while_the_clock_stands_still__the_nearest_clock_is_named() -> None:
    it, clock = watch(Timeouts(connect=None, attempt=10), deadline=130)
    it.read_within(None)
    assert it.rang(clock.now) is None
    assert it.rang(math.inf) == "attempt"
