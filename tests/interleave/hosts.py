"""One host in several situations, and what threads do with it at the same time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from seawall import Bulkhead, HostSnapshot, Policy, RetryBudget, Verdict
from seawall._story import Call
from seawall.admission import Admission
from seawall.effective import Effective
from seawall.outcome import Rejection
from seawall.policies.breaker import Closed, HalfOpen, Isolated, Open
from seawall.policies.bulkhead import Ticket, Turn
from tests.core.stage import Stage, brittle, only, outcome, steady
from tests.interleave.exploring import Blurred

FACTS = [field.name for field in fields(HostSnapshot)]


class World:
    """A host, and what each of two threads has of it: an attempt in flight, one that wants in, a place in the line."""

    def __init__(self, policy: Policy) -> None:
        self.stage = Stage(policy, u=0.5)
        self.calls = [self.stage.call() for _ in range(6)]
        self.state = self.calls[0].state
        self.mine: list[Admission | None] = []
        self.fresh = [self.attempt() for _ in range(2)]
        self.tickets: list[Ticket] = []
        self.sleepers = [Ticket(0), Ticket(0)]
        self.is_untidy = False
        """Something is left to the next visit, whoever makes it."""

    @property
    def now(self) -> float:
        return self.stage.clock.now

    def attempt(self) -> Admission:
        return Admission(self.calls[len(self.calls) % 6], 1, self.now)

    def hold(self, count: int = 2) -> None:
        for _ in range(count):
            admission = self.attempt()
            assert self.state.admit(admission, self.now) is None
            admission.headers_at = self.now
            self.mine.append(admission)

    def line_up(self) -> None:
        for admission in self.fresh:
            ticket = self.state.admit(admission, self.now)
            assert isinstance(ticket, Ticket)
            self.tickets.append(ticket)

    def end(self, who: int, verdict: Verdict, **facts: Any) -> None:
        admission = self.mine[who]
        assert admission is not None
        admission.outcome = outcome(verdict)
        self.state.settle(admission, verdict, self.now)


def calm() -> World:
    world = World(only(budget=RetryBudget(refill_per_minute=0), retry=steady(), breaker=brittle(failure_threshold=9)))
    world.hold(3)
    last = world.mine.pop()
    assert last is not None
    last.finish()  # so that the peak is not what is in flight
    return world


def failing() -> World:
    """The next failure opens its circuit."""
    world = World(only(retry=steady(), breaker=brittle()))
    world.hold(3)
    world.end(2, Verdict.FAILURE)
    return world


def opened() -> World:
    world = failing()
    world.hold(1)
    world.end(3, Verdict.FAILURE)
    return world


def half_open() -> World:
    """Two probes are out, which is all that may be; the second success closes it."""
    world = World(only(breaker=brittle(half_open_max_requests=2, success_threshold=2)))
    world.hold(2)
    world.end(0, Verdict.FAILURE)
    world.end(1, Verdict.FAILURE)
    world.mine.clear()
    world.stage.clock.advance(10)
    world.hold(2)
    return world


def full() -> World:
    """All permits are out, and both threads wait for one."""
    world = World(only(breaker=brittle(), bulkhead=Bulkhead(max_concurrent=2)))
    world.hold()
    world.line_up()
    return world


def granted() -> World:
    """One of both was called."""
    world = World(only(breaker=brittle(), bulkhead=Bulkhead(max_concurrent=3)))
    world.hold(3)
    world.line_up()
    last = world.mine.pop()
    assert last is not None
    last.finish()
    assert world.tickets[0].turn is Turn.GRANTED
    return world


SITUATIONS: dict[str, Callable[[], World]] = {
    make.__name__: make for make in (calm, failing, opened, half_open, full, granted)
}

Operation = Callable[[World, int], object]


def admit(world: World, who: int) -> object:
    return world.state.admit(world.fresh[who], world.now)


def enter(world: World, who: int) -> object:
    if not world.tickets:
        return None
    return world.state.enter(world.fresh[who], world.tickets[who], world.now)


def leave(world: World, who: int) -> object:
    if world.tickets:
        world.state.leave(world.tickets[who], world.now, refused=True)
    return None


def finish(world: World, who: int) -> object:
    admission = world.mine[who]
    assert admission is not None
    return admission.finish()


def finish_the_same(world: World, _: int) -> object:
    return finish(world, 0)


def drop(world: World, who: int) -> object:
    world.mine[who] = None
    world.is_untidy = True
    return None


def is_like_new(world: World, _: int) -> object:
    world.is_untidy = True  # it tells nobody of what finalisers did meanwhile
    return world.state.is_like_new(world.now)


def headers(world: World, who: int) -> object:
    admission = world.mine[who]
    assert admission is not None
    return world.state.headers(admission, world.now)


def throttled(world: World, who: int) -> object:
    admission = world.mine[who]
    assert admission is not None
    admission.outcome = outcome(Verdict.THROTTLED)
    admission.outcome.retry_after = 5.0
    return world.state.settle(admission, Verdict.THROTTLED, world.now)


def refit(**parts: Any) -> Effective:
    return Effective(only(**parts))


WIDER = refit(retry=steady(), breaker=brittle(), bulkhead=Bulkhead(max_concurrent=4), budget=RetryBudget())
UNLIMITED = refit(breaker=brittle())


def call_of(world: World, who: int) -> Call:
    return world.calls[who]


OPERATIONS: dict[str, Operation] = {
    "admit": admit,
    "enter": enter,
    "leave": leave,
    "finish": finish,
    "finish the same": finish_the_same,
    "fail": lambda world, who: world.end(who, Verdict.FAILURE),
    "throttled": throttled,
    "abandon": lambda world, who: world.end(who, Verdict.IGNORED),
    "drop": drop,
    "headers": headers,
    "turn away": lambda world, who: world.state.turn_away(call_of(world, who), world.now),
    "refuses": lambda world, who: world.state.refuses(call_of(world, who), world.now),
    "isolate": lambda world, _: world.state.isolate(),
    "restore": lambda world, _: world.state.restore(),
    "reset": lambda world, _: world.state.reset(),
    "shut": lambda world, _: world.state.shut(),
    "widen": lambda world, _: world.state.configure(WIDER),
    "lift": lambda world, _: world.state.configure(UNLIMITED),
    "snapshot": lambda world, _: world.state.snapshot(),
    "in flight": lambda world, _: world.state.in_flight,
    "is like new": is_like_new,
    "withdraw": lambda world, _: world.state.withdraw(world.now),
    "give back": lambda world, _: world.state.give_back(),
    "budget left": lambda world, _: world.state.budget_left(),
    "usual time": lambda world, _: world.state.usual_time(),
    "count a rejection": lambda world, _: world.state.count_rejection(world.now),
    "count an answer from elsewhere": lambda world, _: world.state.count_degraded("stale"),
    "rest": lambda world, who: world.state.rest(world.sleepers[who]),
    "rise": lambda world, who: world.state.rise(world.sleepers[who]),
}

FINALISERS = ("admit", "leave", "finish", "fail", "abandon", "drop", "isolate", "reset", "widen", "rest", "rise")
CORE = ("admit", "enter", "leave", "finish", "fail", "isolate")


def word(result: object) -> object:
    """What an operation gave, comparable between two worlds."""
    if isinstance(result, Rejection):
        return result.reason, result.until
    if isinstance(result, Ticket):
        return "waits", result.number
    if isinstance(result, HostSnapshot):
        return Blurred(**{name: getattr(result, name) for name in FACTS if not name.startswith("acquire")})
    if isinstance(result, Exception):
        return repr(result)
    return result


def picture(snapshot: HostSnapshot) -> tuple[object, ...]:
    return tuple(getattr(snapshot, name) for name in FACTS)


def observe(world: World) -> object:
    """All that can be told of the world from outside, and who stands where."""
    state = world.state
    seen = picture(state.snapshot())
    queue, phase = state.bulkhead.queue, state.breaker.phase
    return (
        seen,
        [ticket.number for ticket in queue.waiting],
        [ticket.number for ticket in queue.granted],
        [(ticket.turn, ticket._awake) for ticket in world.tickets],
        [ticket._awake for ticket in world.sleepers],
        sorted(ticket in (state._sleepers or {}) for ticket in world.sleepers),
        len(phase.probes) if isinstance(phase, HalfOpen) else None,
        [admission is not None and admission.permit in state.bulkhead.live for admission in world.mine],
        [admission.permit in state.bulkhead.live for admission in world.fresh],
        (state.is_calm, state.is_closed, state.gate),
    )


def check(world: World) -> list[str]:
    """What must hold whatever came first, once nobody is at work."""
    state, wrong = world.state, []
    if world.is_untidy:
        state._by_hand(lambda now: None)
    bulkhead, queue, phase = state.bulkhead, state.bulkhead.queue, state.breaker.phase
    holders = [one.permit for one in (*world.mine, *world.fresh) if one is not None and one.permit is not None]
    if set(bulkhead.live) != set(holders):
        wrong.append(f"{len(bulkhead.live)} permits are out, {len(holders)} have one")
    if bulkhead.dead or state._late or state._dropped or state.breaker.changes:
        wrong.append("something is left over")
    serves = not (state.is_closed or type(phase) in (Open, Isolated))
    if serves and queue.waiting and len(bulkhead.live) + len(queue.granted) < bulkhead.limit:
        wrong.append(f"{len(queue.waiting)} wait for a permit that is free")
    if any(not ticket._awake for ticket in queue.granted):
        wrong.append("one was granted a permit and not woken")
    if not serves and any(not ticket._awake for ticket in world.tickets if ticket.turn is Turn.SENT_AWAY):
        wrong.append("one was sent away and not woken")
    if isinstance(phase, HalfOpen) and not set(phase.probes) <= set(bulkhead.live):
        wrong.append("a probe is nobody's")
    if state.is_calm != (type(phase) is Closed and state.gate <= world.now and not state.is_closed):
        wrong.append(f"calm is {state.is_calm}")
    return wrong
