"""The bulkhead: permits, and a line of waiters in which nobody is overtaken, forgotten, or left asleep."""

from __future__ import annotations

import gc

import pytest

from seawall import Bulkhead
from seawall.policies.bulkhead import CLAIM_WITHIN, BulkheadState, Queue, Ticket, Turn


class Owner:
    """Whoever holds a permit."""


def line(count: int) -> tuple[Queue, list[Ticket]]:
    queue = Queue()
    return queue, [queue.join(now) for now in range(count)]


def test__join__stands_at_the_end_of_the_line() -> None:
    queue, tickets = line(3)
    assert list(queue.waiting) == tickets
    assert [ticket.joined_at for ticket in tickets] == [0, 1, 2]
    assert len(queue) == 3


def test__grant__serves_first_come_first_and_only_as_many_as_are_free() -> None:
    queue, tickets = line(5)
    assert queue.grant(2, 10) == tickets[:2]
    assert queue.grant(3, 10) == tickets[2:3]
    assert [ticket.turn for ticket in tickets] == [Turn.GRANTED] * 3 + [Turn.WAITING] * 2


@pytest.mark.parametrize("free", [0, -1, -5])
def test__grant__nothing_free__serves_nobody(free: int) -> None:
    queue, _ = line(2)
    assert queue.grant(free, 10) == []


def test__grant__unclaimed_grants_count_as_taken() -> None:
    queue, tickets = line(3)
    assert queue.grant(1, 10) == tickets[:1]
    assert queue.grant(1, 10.5) == []


def test__claim__takes_the_permit_exactly_once() -> None:
    queue, (ticket,) = line(1)
    assert not queue.claim(ticket)
    queue.grant(1, 10)
    assert queue.claim(ticket)
    assert not queue.claim(ticket)
    assert ticket.turn is Turn.GONE
    assert not queue.granted


def test__claim__that_was_interrupted_half_way__can_be_made_again() -> None:
    queue, (ticket,) = line(1)
    queue.grant(1, 10)
    del queue.granted[ticket]
    assert queue.claim(ticket)
    assert ticket.turn is Turn.GONE


def test__grant__claimed_by_a_finaliser_while_those_that_lapsed_are_sought__is_taken() -> None:
    queue, (late,) = line(1)

    class Struck(dict[Ticket, float]):
        def copy(self) -> dict[Ticket, float]:
            found = super().copy()
            assert queue.claim(late)
            return found

    queue.grant(1, 0)
    queue.granted = Struck(queue.granted)
    assert queue.grant(0, CLAIM_WITHIN) == []
    assert (late.turn, dict(queue.granted)) == (Turn.GONE, {})


def test__unclaimed_grant__lapses_and_goes_to_the_next() -> None:
    queue, (dead, alive) = line(2)
    queue.grant(1, 10)
    assert queue.grant(1, 10 + CLAIM_WITHIN * 0.99) == []
    assert queue.grant(1, 10 + CLAIM_WITHIN) == [alive]
    assert (dead.turn, alive.turn) == (Turn.LAPSED, Turn.GRANTED)
    assert not queue.claim(dead)


def test__lapsed_waiter__that_is_alive_after_all__keeps_its_place_in_front() -> None:
    queue, (late, second, third) = line(3)
    queue.grant(1, 10)
    queue.grant(1, 20)
    queue.rejoin(late)
    assert late.turn is Turn.WAITING
    assert list(queue.waiting) == [late, third]
    assert queue.claim(second)
    assert queue.grant(1, 21) == [late]


def test__two_lapsed_waiters__rejoin_in_the_order_they_came_first() -> None:
    queue, (first, second, third) = line(3)
    queue.grant(2, 10)
    queue.grant(2, 20)
    queue.rejoin(first)
    queue.rejoin(second)
    assert list(queue.waiting) == [first, second]
    assert third.turn is Turn.GRANTED


def test__waiter_sent_away__that_may_wait_after_all__keeps_its_place_in_front() -> None:
    queue, (early,) = line(1)
    queue.send_away(everybody=False)
    late = queue.join(1)
    queue.rejoin(early)
    assert (early.turn, queue.waiting) == (Turn.WAITING, [early, late])


@pytest.mark.parametrize("turn", [Turn.WAITING, Turn.GRANTED, Turn.GONE])
def test__rejoin__without_a_lapse__changes_nothing(turn: Turn) -> None:
    queue, (ticket,) = line(1)
    if turn is Turn.GRANTED:
        queue.grant(1, 10)
    elif turn is Turn.GONE:
        queue.leave(ticket)
    before = (list(queue.waiting), list(queue.granted), ticket.turn)
    queue.rejoin(ticket)
    assert (list(queue.waiting), list(queue.granted), ticket.turn) == before


def test__leave__while_waiting__closes_the_gap() -> None:
    queue, (first, second, third) = line(3)
    queue.leave(second)
    assert queue.grant(2, 10) == [first, third]


def test__leave__with_a_grant__frees_it_for_the_next() -> None:
    queue, (first, second) = line(2)
    queue.grant(1, 10)
    queue.leave(first)
    assert queue.grant(1, 10) == [second]


def test__served_waiter__is_not_looked_for_in_a_line_of_thousands() -> None:
    class Line(list[Ticket]):
        def remove(self, ticket: Ticket) -> None:
            raise AssertionError("all of the line is looked through")

    queue, (served, *others) = line(3)
    queue.waiting = Line(queue.waiting)
    queue.grant(1, 10)
    assert queue.claim(served)
    queue.leave(served)
    assert list(queue.waiting) == others


def test__leave__twice_or_after_everything__is_harmless() -> None:
    queue, tickets = line(4)
    queue.grant(2, 10)
    queue.claim(tickets[0])
    queue.grant(2, 20)
    queue.send_away()
    for ticket in tickets * 2:
        queue.leave(ticket)
    assert {ticket.turn for ticket in tickets} == {Turn.GONE}
    assert not queue.waiting
    assert not queue.granted


def test__leave__interrupted_half_way__is_not_served_any_more() -> None:
    class Struck(list[Ticket]):
        def remove(self, ticket: Ticket) -> None:
            raise KeyboardInterrupt

    queue = Queue()
    left, next_in_line = queue.join(0), queue.join(0)
    queue.waiting = Struck(queue.waiting)
    with pytest.raises(KeyboardInterrupt):
        queue.leave(left)
    assert queue.grant(1, 0) == [next_in_line]


def test__send_away__wakes_everybody_and_empties_the_line() -> None:
    queue, tickets = line(3)
    tickets[1].heeds_circuit = False
    queue.grant(1, 10)
    assert set(queue.send_away()) == set(tickets)
    assert {ticket.turn for ticket in tickets} == {Turn.SENT_AWAY}
    assert queue.grant(5, 10) == []
    assert not any(queue.claim(ticket) for ticket in tickets)


def test__send_away__those_whom_the_circuit_stops__leaves_the_others_in_line() -> None:
    queue, (granted, heedless, waiting, granted_heedless) = line(4)
    heedless.heeds_circuit = granted_heedless.heeds_circuit = False
    queue.granted = {granted: 10.0, granted_heedless: 10.0}
    queue.waiting = [heedless, waiting]
    assert queue.send_away(everybody=False) == [waiting, granted]
    assert (queue.waiting, list(queue.granted)) == ([heedless], [granted_heedless])
    assert [ticket.turn for ticket in (granted, waiting)] == [Turn.SENT_AWAY] * 2


def test__wake__after_on_wake__calls_it() -> None:
    woken: list[str] = []
    ticket = Ticket(0)
    ticket.on_wake(lambda: woken.append("up"))
    assert woken == []
    ticket.wake()
    assert woken == ["up"]


def test__wake__before_on_wake__is_not_lost() -> None:
    woken: list[str] = []
    ticket = Ticket(0)
    ticket.wake()
    ticket.on_wake(lambda: woken.append("up"))
    assert woken == ["up"]


def test__wake__with_nobody_listening__is_harmless() -> None:
    ticket, woken = Ticket(0), list[str]()
    ticket.wake()
    ticket.wake()
    ticket.on_wake(lambda: woken.append("up"))
    assert woken == ["up"]


def test__sleep_on__forgets_the_last_wake() -> None:
    woken: list[str] = []
    ticket = Ticket(0)
    ticket.wake()
    ticket.sleep_on()
    ticket.wake()
    ticket.sleep_on()
    ticket.on_wake(lambda: woken.append("up"))
    assert woken == []
    ticket.wake()
    assert woken == ["up"]


def crowd(state: BulkheadState, count: int) -> list[Owner]:
    """Owners let in as the host does: one after the other, each with a permit."""
    owners = [Owner() for _ in range(count)]
    for owner in owners:
        assert state.line_up(None, 0) is True
        owner.permit = state.take(owner)  # type: ignore[attr-defined]
    return owners


def release(state: BulkheadState, owner: Owner) -> None:
    del state.live[owner.permit]  # type: ignore[attr-defined]


def test__limit__is_never_exceeded_and_the_next_waits() -> None:
    state = BulkheadState(Bulkhead(max_concurrent=3))
    owners = crowd(state, 3)
    ticket = state.line_up(None, 0)
    assert isinstance(ticket, Ticket)
    assert len(owners) == len(state.live) == 3


def test__no_limit__measures_and_never_refuses() -> None:
    state = BulkheadState(None)
    owners = crowd(state, 500)
    assert state.is_free
    assert (len(state.live), state.peak, state.refused) == (len(owners), 500, 0)


def test__returned_permit__goes_to_the_first_waiter_not_to_a_newcomer() -> None:
    state = BulkheadState(Bulkhead(max_concurrent=1))
    (owner,) = crowd(state, 1)
    first = state.line_up(None, 1)
    release(state, owner)
    newcomer = state.line_up(None, 2)
    assert isinstance(newcomer, Ticket)
    assert state.grant(3) == [first]
    assert isinstance(first, Ticket)
    assert isinstance(state.line_up(None, 3), Ticket)
    assert state.line_up(first, 3) is True
    assert state.line_up(newcomer, 3) is newcomer


def test__max_wait_zero__refuses_at_once() -> None:
    state = BulkheadState(Bulkhead(max_concurrent=1, max_wait=0))
    owners = crowd(state, 1)
    assert state.line_up(None, 0) is False
    assert (state.refused, len(state.queue), len(owners)) == (1, 0, 1)


@pytest.mark.parametrize("places", [0, 1, 3])
def test__max_queue__bounds_the_line(places: int) -> None:
    state = BulkheadState(Bulkhead(max_concurrent=1, max_queue=places))
    owners = crowd(state, 1)
    answers = [state.line_up(None, 0) for _ in range(places + 2)]
    assert [isinstance(answer, Ticket) for answer in answers] == [True] * places + [False] * 2
    assert answers[places:] == [False, False]
    assert (state.refused, len(owners)) == (2, 1)


def test__waiter__already_in_a_full_line__is_not_refused() -> None:
    state = BulkheadState(Bulkhead(max_concurrent=1, max_queue=1))
    owners = crowd(state, 1)
    ticket = state.line_up(None, 0)
    assert isinstance(ticket, Ticket)
    assert state.line_up(ticket, 1) is ticket
    assert len(owners) == 1


def test__waiter_that_stepped_aside__and_is_overdue__keeps_no_place() -> None:
    state = BulkheadState(Bulkhead(max_concurrent=1, max_queue=1))
    owners = crowd(state, 1)
    ticket = state.line_up(None, 0)
    assert isinstance(ticket, Ticket)
    state.queue.step_aside(ticket, 2)
    assert state.line_up(None, 2 + CLAIM_WITHIN - 0.01) is False
    assert isinstance(state.line_up(None, 2 + CLAIM_WITHIN), Ticket)
    assert state.line_up(ticket, 9) is ticket  # it comes all the same, and finds its place
    assert state.queue.waiting[0] is ticket
    assert len(owners) == 1


@pytest.mark.parametrize("way", ["rejoins", "leaves", "is another process's"])
def test__waiter_that_stepped_aside__its_place_in_the_line_is_taken(way: str) -> None:
    state = BulkheadState(Bulkhead(max_concurrent=1, max_queue=1))
    owners = crowd(state, 1)
    ticket = state.line_up(None, 0)
    assert isinstance(ticket, Ticket)
    state.queue.step_aside(ticket, 2)
    assert state.line_up(None, 1) is False
    if way == "rejoins":
        assert state.line_up(ticket, 2) is ticket
        state.queue.leave(ticket)
    elif way == "leaves":
        state.leave(ticket, 2)
    else:
        state.queue.disband()
    assert isinstance(state.line_up(None, 3), Ticket)
    assert len(owners) == 1


def test__waiter_that_left_and_asks_again__stands_at_the_end() -> None:
    state = BulkheadState(Bulkhead(max_concurrent=1))
    held = crowd(state, 1)
    left, other = state.line_up(None, 0), state.line_up(None, 0)
    assert isinstance(left, Ticket)
    state.queue.leave(left)
    again = state.line_up(left, 1)
    assert isinstance(again, Ticket)
    assert state.queue.waiting == [other, again]
    assert again is not left
    del held


def test__peak__is_the_most_at_a_time() -> None:
    state = BulkheadState(Bulkhead(max_concurrent=5))
    owners = crowd(state, 4)
    for owner in owners[:3]:
        release(state, owner)
    crowd(state, 2)
    assert state.peak == 4


def test__wait__is_measured_for_those_served_and_those_who_gave_up() -> None:
    state = BulkheadState(Bulkhead(max_concurrent=1))
    (owner,) = crowd(state, 1)
    served, gone = state.line_up(None, 10), state.line_up(None, 11)
    assert isinstance(served, Ticket)
    assert isinstance(gone, Ticket)
    release(state, owner)
    state.grant(12)
    assert state.line_up(served, 12) is True
    state.leave(served, 12)
    state.leave(gone, 14)
    assert state.waited == 2 + 3


def test__begin_afresh__gives_the_permits_that_were_out_and_lets_waiters_join_again() -> None:
    state = BulkheadState(Bulkhead(max_concurrent=2))
    owners = crowd(state, 2)
    granted, waiting = state.line_up(None, 0), state.line_up(None, 0)
    release(state, owners[0])
    assert state.grant(1) == [granted]
    state.dead.append(owners[0].permit)  # type: ignore[attr-defined]
    assert state.begin_afresh() == [owners[1].permit]  # type: ignore[attr-defined]
    assert (state.live, state.dead, state.queue.waiting, state.queue.granted) == ({}, [], [], {})
    for ticket in (waiting, granted):
        assert isinstance(ticket, Ticket)
        assert state.line_up(ticket, 2) is ticket
    assert state.grant(3) == [granted, waiting]


def test__take__nobody_was_told_yet() -> None:
    state, owner = BulkheadState(None), Owner()
    assert state.live[state.take(owner)] is None


def test__owner_that_dies_without_a_word__leaves_its_permit_to_be_tidied_up() -> None:
    state = BulkheadState(Bulkhead(max_concurrent=1))
    owner = Owner()
    permit = state.take(owner)
    del owner
    gc.collect()
    assert state.dead == [permit]


def test__lowered_limit__drains_and_cancels_nothing() -> None:
    state = BulkheadState(Bulkhead(max_concurrent=3))
    owners = crowd(state, 3)
    state.configure(Bulkhead(max_concurrent=1))
    assert len(state.live) == 3
    ticket = state.line_up(None, 0)
    for owner in owners[:2]:
        release(state, owner)
        assert state.grant(1) == []
    release(state, owners[2])
    assert state.grant(2) == [ticket]


def test__raised_limit__serves_waiters_at_once() -> None:
    state = BulkheadState(Bulkhead(max_concurrent=1))
    owners = crowd(state, 1)
    tickets = [state.line_up(None, n) for n in range(3)]
    state.configure(Bulkhead(max_concurrent=3))
    assert state.grant(5) == tickets[:2]
    assert len(owners) == 1


def test__limit_taken_away__serves_everybody() -> None:
    state = BulkheadState(Bulkhead(max_concurrent=1))
    owners = crowd(state, 1)
    tickets = [state.line_up(None, n) for n in range(3)]
    state.configure(Bulkhead())
    assert state.grant(5) == tickets
    assert len(owners) == 1


def test__waiter_that_rejoined__takes_one_place_not_two() -> None:
    state = BulkheadState(Bulkhead(max_concurrent=1, max_queue=2))
    owners = crowd(state, 1)
    ticket = state.line_up(None, 0)
    assert isinstance(ticket, Ticket)
    state.queue.step_aside(ticket, 2)
    assert state.line_up(ticket, 1) is ticket
    assert isinstance(state.line_up(None, 2), Ticket)
    assert len(owners) == 1
