"""HostState: everything remembered about one host, visited twice per attempt.

`admit` gives an attempt its permits, `settle` takes them back with a verdict; each
is a few hundred nanoseconds of arithmetic behind one lock. Nothing here waits, wakes,
logs or calls user code with the lock held: who is to be woken or told is collected
and handled after it.

A good answer of a calm host (circuit closed, gate open) takes no lock: no rule can
open a circuit at a success, so it is appended to a list and counted by the next
visit; without a limit on permits, letting an attempt in takes none either. Deciding
on a flag read without the lock is right there, because letting in, or counting, a
call an instant after the flag fell is the same as an instant before.
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import ref

from seawall import telling
from seawall.classification import TIMEOUT_KINDS
from seawall.outcome import Reason, Rejection, Verdict
from seawall.policies.breaker import NEVER, BreakerState, Closed, HalfOpen, Isolated, Open, Result
from seawall.policies.budget import RetryBudget, open_budget
from seawall.policies.bulkhead import BulkheadState, Ticket
from seawall.stats.quantile import Quantiles
from seawall.stats.window import Column, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from seawall._story import Call
    from seawall.admission import Admission
    from seawall.book import Origin
    from seawall.hub import Hub
    from seawall.policy import Effective
    from seawall.runtime import Clock
    from seawall.snapshot import HostSnapshot

T = TypeVar("T")

SUCCESS: Final = Verdict.SUCCESS  # an enum's member is looked up through its class

MAX_GATE: Final = 300.0
"""Longest a server can hold calls back with one answer, in seconds."""

_ENOUGH_TO_TELL: Final = 20
"""Answers before their times say what this host needs."""

_FOLD_AT: Final = 32
"""Good ends kept uncounted: the next visit counts them, and nobody reads before it."""


class HostState:
    """State of one host, group or provider. Every method is safe from any thread."""

    __slots__ = (
        "_done",
        "_dropped",
        "_is_closed",
        "_late",
        "_lock",
        "_overdue_after",
        "_sleepers",
        "_slow_after",
        "_told",
        "_turned_away",
        "breaker",
        "budget",
        "bulkhead",
        "clock",
        "effective",
        "gate",
        "hub",
        "is_calm",
        "name",
        "now",
        "opens",
        "origin",
        "quantiles",
        "route_keys",
        "window",
    )

    def __init__(self, name: str, effective: Effective, clock: Clock, hub: Hub, *, opens: bool = True) -> None:
        now = clock.monotonic()
        self.name = name
        self.clock = clock
        self.now = clock.monotonic
        """Its clock, where every nanosecond counts."""
        self.hub = hub
        self.opens = opens
        """False: it measures and holds nobody back, whatever its figures: strangers share it."""
        self.origin: Origin | None = None
        """Of the first request, where a user's function named the state."""
        self.route_keys: tuple[Hashable, ...] = ()
        """The spellings that lead here, for the registry."""
        self._lock: Any = RLock()
        breaker = (effective.breaker if opens else None) or NEVER
        self.window = Window(breaker.sampling_window, now)
        self.breaker = BreakerState(breaker, self.window, now)
        self.budget = open_budget(effective.budget, now)
        self.bulkhead = BulkheadState(effective.bulkhead if opens else None)
        self.quantiles: Quantiles | None = None
        self.gate = now
        """Until then the server wants to be left alone."""
        self._is_closed = False
        self._sleepers: dict[Ticket, None] | None = None
        self._told: tuple[Open, float, Rejection, list[float]] | None = None
        """What everybody hears while this circuit is open, until that instant: it is found once."""
        self._turned_away: list[float] | None = None
        """When they heard it, not counted yet."""
        self._done: list[tuple[Closed, float, float, float]] = []
        """Good ends not counted yet: phase, start, headers, end."""
        self._late: list[Ticket | tuple[Admission, object, Verdict, float] | Call] = []
        """Waiters that left, attempts and calls that ended while their own thread held the lock: seen to afterwards."""
        self._dropped = 0
        """Attempts that died without an end since somebody was told."""
        self._take_figures(effective)

    # -- an attempt ----------------------------------------------------------------------------------------------------

    def admit(self, admission: Admission, now: float) -> Rejection | Ticket | float | None:
        """Give `admission` its permits (None), or say why not: refused, wait for this ticket, or until this instant."""
        bulkhead = self.bulkhead
        if self.is_calm and bulkhead.is_free and now < self.window.end and not bulkhead.dead:
            phase = self.breaker.phase
            if type(phase) is Closed and not admission.call.exempt:
                admission.phase = phase
                admission.permit = permit = ref(admission, bulkhead.bury)  # `take`, written out
                live = bulkhead.live
                live[permit] = None
                if len(live) > bulkhead.peak:
                    bulkhead.peak = len(live)
                return None
        with self._lock:
            self._tidy(now)
            queue = bulkhead.queue
            if (
                self.is_calm
                and len(bulkhead.live) < bulkhead.limit
                and not (queue.waiting or queue.granted or admission.call.exempt)
            ):
                admission.phase = self.breaker.phase
                admission.permit = bulkhead.take(admission)
                return None
            verdict = self._consider(admission, None, now)
        if self.breaker.changes or self._late or self._dropped:
            self._after()
        return verdict

    def turn_away(self, call: Call, now: float) -> Rejection | None:
        """`admit`'s first question, asked for a call that has no attempt yet. A refusal is counted."""
        told = self._told
        if told is not None and told[0] is self.breaker.phase and now < told[1] and not call.exempt:
            told[3].append(now)
            if len(told[3]) >= _FOLD_AT:
                with self._lock:
                    self._tidy(now)
            return told[2]
        with self._lock:
            self._tidy(now)
            refusal = self._veto(call, now)
            if refusal is not None:
                self.window.count(Column.REJECTED, now)
        if self.breaker.changes:
            self._report()
        return refusal

    def enter(self, admission: Admission, ticket: Ticket | None, now: float) -> Rejection | Ticket | float | None:
        """Look again after a wait. The ticket is done with if the answer is None or a rejection."""
        with self._lock:
            self._tidy(now)
            verdict = self._consider(admission, ticket, now)
            woken = self._free(now)
        self._after(woken)
        return verdict

    def leave(self, ticket: Ticket, now: float, *, refused: bool) -> None:
        """A waiter gives up: `refused` since its time is over, or because it was cancelled."""
        if self._lock._is_owned():  # as in `settle`
            self._late.append(ticket)
            return
        with self._lock:
            self.bulkhead.leave(ticket, now)
            self.bulkhead.refused += 1
            if refused:
                self.window.count(Column.REJECTED, now)
            woken = self._free(now)
        self._after(woken)

    def headers(self, admission: Admission, now: float) -> None:
        """Good headers on an attempt that began in half-open: the probe has shown what it was for."""
        with self._lock:
            if admission.phase is not None:
                self.breaker.headers(admission.permit, admission.phase, now, self.clock.random())
                self._review(now)
            woken = self._free(now)
        self._after(woken)

    def settle(self, admission: Admission, verdict: Verdict, now: float) -> None:
        """Take the permits back and count the verdict. A second call does nothing."""
        permit, phase = admission.permit, admission.phase
        admission.settled = True
        if permit is None:
            return
        admission.permit = None  # else its callback would still run when the admission dies
        try:
            del self.bulkhead.live[permit]  # which of two callers was first is decided here
        except KeyError:
            return
        if (
            verdict is SUCCESS
            and self._slow_after is None
            and admission.outcome is None
            and type(phase) is Closed
            and not (admission.paid or admission.overdue or self.hub.listening)
            and (self.bulkhead.is_free or not self._lock._is_owned())
        ):
            done = self._done
            done.append((phase, admission.started, admission.headers_at, now))
            if not self.bulkhead.is_free or (len(done) >= _FOLD_AT and not self._lock._is_owned()):
                with self._lock:  # under a limit somebody may be joining the line just now
                    self._fold()
                    woken = self._free(now)
                self._after(woken)
            return
        if self._lock._is_owned():  # a finaliser, run by a collection in the middle of a visit of this very thread
            self._late.append((admission, permit, verdict, now))
        else:
            self._end(admission, permit, verdict, now)

    def _end(self, admission: Admission, permit: object, verdict: Verdict, now: float) -> None:
        """Count an end that is not the common one, serve who waits, and tell."""
        with self._lock:
            self._tidy(now)
            self._count(admission, permit, verdict, now)
            woken = self._free(now)
        self._after(woken)
        if self.hub.listening:
            telling.attempt_ended(admission, verdict, now)
            if self.gate > now and admission.outcome is not None and admission.outcome.retry_after:
                telling.gate_closed(self, now, self.gate - now)

    def cancelled(self, call: Call) -> None:
        """Tell that a call ended, perhaps in a finaliser: not before the lock is free."""
        if self._lock._is_owned():
            self._late.append(call)
        else:
            telling.call_ended(call)

    # -- decisions the flow asks for -----------------------------------------------------------------------------------

    def refuses(self, call: Call, now: float) -> Rejection | None:
        """Would a further attempt be refused by the breaker, or because we are closing?"""
        with self._lock:
            self._tidy(now)
            verdict = self._veto(call, now)
        self._after()
        return verdict

    def withdraw(self, now: float) -> bool:
        """Pay for one extra attempt."""
        with self._lock:
            self._fold()
            paid = self.budget.withdraw(now)
            if not paid:
                self.window.count(Column.DENIED, now)
        self._after()
        return paid

    def give_back(self) -> None:
        """The paid attempt never left."""
        with self._lock:
            self.budget.give_back()
        self._after()

    def budget_left(self) -> float:
        """Tokens at hand."""
        with self._lock:
            self._fold()
            return self.budget.balance(self.clock.monotonic())

    def usual_time(self) -> float:
        """Seconds to the headers that half of the latest good answers needed; 0 while too few were seen to tell."""
        with self._lock:
            self._fold()
            quantiles = self.quantiles
            if quantiles is None or len(quantiles) < _ENOUGH_TO_TELL:
                return 0.0
            return quantiles.read(0.5) or 0.0

    def count_rejection(self, now: float) -> None:
        """The flow refused a call by itself."""
        with self._lock:
            self.window.count(Column.REJECTED, now)
        self._after()

    def count_degraded(self, source: str) -> None:
        """A call is answered from elsewhere, and told: neither success nor failure of the host."""
        now = self.clock.monotonic()
        with self._lock:
            self.window.count(Column.DEGRADED, now)
        self._after()
        if self.hub.listening:
            telling.degraded(self, source)

    def rest(self, ticket: Ticket) -> None:
        """A call sleeps, holding nothing; `shut` wakes it."""
        with self._lock:
            if self._sleepers is None:
                self._sleepers = {}
            self._sleepers[ticket] = None
            is_closed = self._is_closed
        if is_closed:
            ticket.wake()
        self._after()

    def rise(self, ticket: Ticket) -> None:
        """A sleeper is awake."""
        with self._lock:
            if self._sleepers is not None:
                self._sleepers.pop(ticket, None)
        self._after()

    # -- operators -----------------------------------------------------------------------------------------------------

    def isolate(self) -> None:
        """Hold the circuit open by hand."""
        self._by_hand(self.breaker.isolate)
        self._rouse()

    def restore(self) -> None:
        """End an isolation."""
        self._by_hand(self.breaker.restore)

    def reset(self) -> None:
        """Phase, window, streaks, growth, budget and gate as new; attempts in flight and totals stay."""

        def renew(now: float) -> None:
            self.breaker.reset(now)
            self.budget = open_budget(self.effective.budget, now)
            self.gate = now
            self.quantiles = None

        self._by_hand(renew)
        self._rouse()

    def shut(self) -> None:
        """Refuse everybody from now on, and send the waiters away."""

        def shut(_now: float) -> None:
            self._is_closed = True
            self._told = None

        self._by_hand(shut)
        self._rouse()

    def configure(self, effective: Effective) -> None:
        """New figures, same state: attempts in flight keep their phase; a lowered limit drains, it cancels nothing."""

        def renew(now: float) -> None:
            if effective.budget != self.effective.budget:
                self.budget = open_budget(effective.budget, now)
            breaker = (effective.breaker if self.opens else None) or NEVER
            if breaker is NEVER and self.breaker.config is not NEVER:
                self.breaker.reset(now)
            self.breaker.config = breaker
            self.window.resize(breaker.sampling_window, now)
            self.bulkhead.configure(effective.bulkhead if self.opens else None)
            self._take_figures(effective)

        self._by_hand(renew)

    def begin_afresh(self) -> None:
        """In the child of a fork: attempts, waiters and sleepers are the parent's; what was learned is both's."""
        self._lock = RLock()
        for permit in self.bulkhead.begin_afresh():
            self.breaker.forget(permit)
        self._sleepers = self._turned_away = self._told = None

    @property
    def in_flight(self) -> int:
        """Attempts that hold a permit, bodies included."""
        with self._lock:
            self._tidy(self.clock.monotonic())
            out = len(self.bulkhead.live)
        self._after()
        return out

    def is_like_new(self, now: float) -> bool:
        """Would forgetting this host lose nothing?"""
        with self._lock:
            self._tidy(now)
            phase, config = self.breaker.phase, self.effective.budget
            fresh = config.start if isinstance(config, RetryBudget) else getattr(config, "max_tokens", 0.0)
            return (
                type(phase) is Closed
                and not (phase.run or self.breaker.growth(now) or self.bulkhead.live or self._is_closed)
                and not (self.bulkhead.queue.waiting or self.bulkhead.queue.granted)
                and self.gate <= now
                and self.window.is_empty
                and self.budget.balance(now) >= fresh
            )

    def snapshot(self) -> HostSnapshot:
        """A picture of this instant."""
        from seawall.snapshot import take

        now = self.clock.monotonic()
        with self._lock:
            self._tidy(now)
            self.breaker.look(now, self.clock.random())
            self._review(now)
            picture = take(self, now)
        self._after()
        return picture

    # -- with the lock held --------------------------------------------------------------------------------------------

    def _take_figures(self, effective: Effective) -> None:
        self.effective = effective
        attempt = effective.timeouts.attempt
        self._slow_after = self.breaker.config.slow_call_duration
        self._overdue_after = attempt if isinstance(attempt, float) else None
        self._review(self.clock.monotonic())

    def _review(self, now: float) -> None:
        """Is there anything but a free permit to ask for before letting an attempt in?"""
        self.is_calm = type(self.breaker.phase) is Closed and self.gate <= now and not self._is_closed

    def _consider(self, admission: Admission, ticket: Ticket | None, now: float) -> Rejection | Ticket | float | None:
        """The whole question, cheap vetoes first."""
        call, bulkhead = admission.call, self.bulkhead
        verdict: Rejection | Ticket | float | None = self._veto(call, now)
        if verdict is not None:
            self.window.count(Column.REJECTED, now)
        elif now < self.gate:
            if ticket is not None:
                bulkhead.queue.step_aside(ticket)
            return self.gate
        elif "bulkhead" not in call.exempt:
            turn = bulkhead.line_up(ticket, now)
            if isinstance(turn, Ticket):
                return turn
            if not turn:
                verdict = Rejection(Reason.BULKHEAD_FULL, self.name, limit=bulkhead.config.max_wait)
                self.window.count(Column.REJECTED, now)
        if ticket is not None:
            bulkhead.leave(ticket, now)
        if verdict is None:
            admission.permit = bulkhead.take(admission)
            if "breaker" not in call.exempt:
                admission.phase = self.breaker.phase
                patience = 0.0 if call.limits is None else call.limits.patience
                self.breaker.admit(admission.permit, now, 0, patience)
        self._review(now)
        return verdict

    def _veto(self, call: Call, now: float) -> Rejection | None:
        if self._is_closed:
            return Rejection(Reason.CLOSED, self.name)
        if "breaker" in call.exempt:
            return None
        breaker = self.breaker
        reason = breaker.refuses(now, self.clock.random())
        if reason is None:
            return None
        phase = breaker.phase
        since = self.clock.wall() - (now - phase.entered)
        if type(phase) is Open:
            refusal = Rejection(reason, self.name, since=since, until=phase.until)
            if self._turned_away is None:  # one list for all: another thread may be adding to it just now
                self._turned_away = []
            self._told = phase, phase.until, refusal, self._turned_away
            return refusal
        limit = breaker.config.half_open_max_requests if type(phase) is HalfOpen else None
        return Rejection(reason, self.name, breaker.retry_after(now), since=since, limit=limit)

    def _count(self, admission: Admission, permit: object, verdict: Verdict, now: float) -> None:
        """One end that is not the common one."""
        breaker, phase, outcome = self.breaker, admission.phase, admission.outcome
        self.bulkhead.held += now - admission.started
        self.bulkhead.returned += 1
        u = self.clock.random()
        if verdict is Verdict.SUCCESS:
            self.budget.deposit()
            if admission.headers_at:
                self._time([admission.headers_at - admission.started])
        if admission.paid and verdict is not Verdict.IGNORED:
            self.budget.sample(verdict is Verdict.SUCCESS, now)
        asked = outcome.retry_after if outcome is not None and verdict is not Verdict.IGNORED else None
        if asked and verdict is not Verdict.SUCCESS:
            retry = admission.call.policy.retry
            asked = min(asked, MAX_GATE)
            if self.opens and retry is not None and retry.share_retry_after:
                self.gate = max(self.gate, now + asked)
        result = self._result(admission, verdict, now)
        if admission.slow and phase is not None:
            breaker.slow_ended(permit, phase, result, now)
        if phase is None:  # an override switched the breaker off: the window knows, the circuit does not care
            if result is not Result.NEUTRAL:
                self.window.count(Column.LATE_SUCCESS if result is Result.SUCCESS else Column.LATE_FAILURE, now)
        elif verdict is Verdict.THROTTLED and result is Result.NEUTRAL:
            breaker.throttled(permit, phase, now, u, now + asked if asked else 0)
        else:
            breaker.settle(permit, phase, result, now, u, self.gate)
            slow_after = self._slow_after
            if slow_after is not None and not admission.slow and verdict is not Verdict.IGNORED:
                if (admission.headers_at or now) - admission.started >= slow_after:
                    breaker.slow(permit, phase, now, u, in_flight=False)
        self._review(now)

    def _result(self, admission: Admission, verdict: Verdict, now: float) -> Result:
        """What the verdict means to the breaker; counts the columns it does not."""
        if verdict is Verdict.IGNORED or admission.overdue:
            return Result.NEUTRAL
        if verdict is Verdict.SUCCESS:
            return Result.SUCCESS
        kind = admission.outcome.kind if admission.outcome is not None else None
        timeout, throttled = kind in TIMEOUT_KINDS, verdict is Verdict.THROTTLED
        status = admission.status or 0
        result = self.breaker.config.weigh(
            Result.FAILURE, timeout=timeout, status_5xx=status >= 500 and not throttled, status_429=throttled
        )
        if timeout:
            self.window.count(Column.TIMEOUT, now)
        if throttled:
            self.window.count(Column.THROTTLED, now)
        if result is Result.NEUTRAL:
            self.window.count(Column.LEFT_OUT, now)
        return result

    def _time(self, seconds: Sequence[float]) -> None:
        if self.quantiles is None:
            self.quantiles = Quantiles()
        self.quantiles.add(seconds)

    def _fold(self) -> None:
        """Count the good ends that took no lock, each at its own time."""
        batch = _taken(self._done)
        if not batch:
            return
        current, held = self.breaker.phase, 0.0
        latencies: list[float] = []
        ends: list[float] = []
        for phase, started, headers_at, ended in batch:
            held += ended - started
            latencies.append(headers_at - started)
            if phase is current:
                phase.run = 0
                ends.append(ended)
            else:
                self.window.count(Column.LATE_SUCCESS, ended)
        self.window.count_all(Column.SUCCESS, ends)
        self.bulkhead.returned += len(batch)
        self.bulkhead.held += held
        self.budget.deposit(len(batch))
        self._time(latencies)

    def _tidy(self, now: float) -> None:
        """Before anything is decided: count what ended, drop the dead, forget the old, count attempts that hang."""
        if self._done:
            self._fold()
        if self._turned_away:
            self.window.count_all(Column.REJECTED, _taken(self._turned_away))
        bulkhead = self.bulkhead
        while bulkhead.dead:
            permit = bulkhead.dead.pop()
            self._dropped += permit in bulkhead.live  # not one that was refused at last
            bulkhead.live.pop(permit, None)
            self.breaker.forget(permit)
        if now >= self.window.end:
            self.window.advance(now)
            if self._overdue_after is not None or self._slow_after is not None:
                self._count_overdue(now)

    def _count_overdue(self, now: float) -> None:
        """Once per bucket of the window: attempts without headers after their limit count before they end."""
        breaker, u = self.breaker, self.clock.random()
        for permit in list(self.bulkhead.live):
            admission: Any = permit()
            if admission is None or admission.headers_at or admission.phase is None:
                continue
            age = now - admission.started
            if self._slow_after is not None and age >= self._slow_after and not admission.slow:
                admission.slow = True
                breaker.slow(permit, admission.phase, now, u, in_flight=True)
            limit = admission.call.policy.timeouts.attempt
            if isinstance(limit, float) and age > limit and not admission.overdue:
                admission.overdue = breaker.config.count_timeouts_as_failures
                if admission.overdue:
                    self.window.count(Column.TIMEOUT, now)
                    breaker.settle(permit, admission.phase, Result.FAILURE, now, u, self.gate)
        self._review(now)

    def _free(self, now: float) -> list[Ticket]:
        """Whom to wake, now that permits may be free or nobody is served any more."""
        queue = self.bulkhead.queue
        if not (queue.waiting or queue.granted):
            return []
        if self._is_closed or type(self.breaker.phase) in (Open, Isolated):
            return queue.send_away()
        return self.bulkhead.grant(now)

    # -- without the lock ----------------------------------------------------------------------------------------------

    def _by_hand(self, act: Callable[[float], None]) -> None:
        now = self.clock.monotonic()
        with self._lock:
            self._tidy(now)
            act(now)
            self._review(now)
            woken = self._free(now)
        self._after(woken)

    def _rouse(self) -> None:
        """Let those who sleep out a delay look again."""
        with self._lock:
            sleepers = list(self._sleepers or ())
        self._after(sleepers)

    def _after(self, woken: Iterable[Ticket] = ()) -> None:
        """The end of a visit; of one inside another, by a finaliser, only the waking."""
        for ticket in woken:
            ticket.wake()
        if (self.breaker.changes or self._late or self._dropped) and not self._lock._is_owned():
            self._report()
            self._catch_up()

    def _catch_up(self) -> None:
        """Do what finalisers could not, which ran in the middle of a visit."""
        while self._late:
            try:
                late = self._late.pop(0)
            except IndexError:  # another thread was quicker
                return
            if isinstance(late, Ticket):
                self.leave(late, self.clock.monotonic(), refused=False)
            elif isinstance(late, tuple):
                self._end(*late)
            else:
                telling.call_ended(late)

    def _report(self) -> None:
        """Tell listeners of changes of phase (emptied also when nobody listens), and warn of what was dropped."""
        with self._lock:
            taken, self.breaker.changes = self.breaker.changes, ()
            dropped, self._dropped = self._dropped, 0
        if dropped:
            telling.dropped(self, dropped)
        if self.hub.listening:
            for change in taken:
                telling.breaker_changed(self, change)


def _taken(entries: list[T]) -> list[T]:
    """Take what is in the list; what others append meanwhile stays."""
    batch = entries[:]
    del entries[: len(batch)]
    return batch
