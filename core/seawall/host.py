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

from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from seawall import counting, telling
from seawall.ledger import Ledger
from seawall.outcome import Rejection, Verdict
from seawall.policies.breaker import Closed
from seawall.policies.bulkhead import Ticket
from seawall.stats.window import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from seawall._story import Call, Source
    from seawall.admission import Admission
    from seawall.effective import Effective
    from seawall.hub import Hub
    from seawall.outcome import Ending
    from seawall.runtime import Clock
    from seawall.snapshot import HostSnapshot

SUCCESS: Final = Verdict.SUCCESS  # an enum's member is looked up through its class

_ENOUGH_TO_TELL: Final = 20
"""Answers before their times say what this host needs."""

_FOLD_AT: Final = 32
"""Good ends kept uncounted: the next visit counts them, and nobody reads before it."""


class HostState(Ledger):
    """State of one host, group or provider. Every method without an underscore is safe from any thread."""

    __slots__ = ("_late", "_lock", "_sleepers", "hub", "now")

    def __init__(self, name: str, effective: Effective, clock: Clock, hub: Hub, *, opens: bool = True) -> None:
        self._lock: Any = RLock()
        self.now = clock.monotonic
        """Its clock, where every nanosecond counts."""
        self.hub = hub
        self._sleepers: dict[Ticket, None] | None = None
        self._late: list[Ticket | tuple[Admission, object, Verdict, float] | Call | partial[None]] = []
        """Waiters that left, attempts and calls that ended, what was done by hand, while their own thread held the
        lock: seen to afterwards."""
        super().__init__(name, effective, clock, opens=opens)

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
                out = len(live)  # once: other threads count meanwhile
                if out > bulkhead.peak:
                    bulkhead.peak = out
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
            # Those in line may all be dead: then nobody but who is refused for them can find out.
            woken = self._free(now) if isinstance(verdict, Rejection) else []
        if woken or self.breaker.changes or self._late or self._dropped:
            self._after(woken)
        return verdict

    def turn_away(self, call: Call, now: float) -> Rejection | None:
        """`admit`'s first question, asked for a call that has no attempt yet. A refusal is counted."""
        told = self._told
        if told is not None and not call.exempt:
            phase, until, rejection, heard = told
            if phase is self.breaker.phase and now < until:
                heard.append(now)
                if len(heard) >= _FOLD_AT:
                    with self._lock:
                        self._tidy(now)
                return rejection
        with self._lock:
            self._tidy(now)
            refusal = self._veto(call, now)
            if refusal is not None:
                self.window.count(Column.REJECTED, now)
        self._after()
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
            self.breaker.headers(admission.permit, admission.phase, now, self.clock.random())
            self._review(now)
        self._after()

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
            and self.slow_after is None
            and admission.outcome is None
            and type(phase) is Closed
            and not (admission.paid or admission.overdue or self.hub.following)
            and (self.bulkhead.is_free or not self._lock._is_owned())
        ):
            done = self.done
            done.append((phase, admission.started, admission.headers_at, now))
            if not self.bulkhead.is_free or (len(done) >= _FOLD_AT and not self._lock._is_owned()):
                with self._lock:  # under a limit somebody may be joining the line just now
                    self._tidy(now)
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
            counting.end(self, admission, permit, verdict, now)
            self._review(now)
            woken = self._free(now)
        self._after(woken)
        if self.hub.following:
            telling.attempt_ended(admission, verdict, now)
        if self.hub.listening and self.gate > now and admission.outcome is not None and admission.outcome.retry_after:
            telling.gate_closed(self, now, self.gate - now)

    def cancelled(self, call: Call) -> None:
        """Tell that a call ended, perhaps in a finaliser: not before the lock is free."""
        if self._lock._is_owned():
            self._late.append(call)
        else:
            telling.call_ended(call)

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
            self._tidy(now)
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
            counting.fold(self)
            left = self.budget.balance(self.clock.monotonic())
        self._after()
        return left

    def usual_time(self) -> float:
        """Seconds to the headers that half of the latest good answers needed; 0 while too few were seen to tell."""
        with self._lock:
            counting.fold(self)
            quantiles = self.quantiles
            known = quantiles is not None and len(quantiles) >= _ENOUGH_TO_TELL
            usual = quantiles.read(0.5) if quantiles is not None and known else None
        self._after()
        return usual or 0.0

    def count_rejection(self, now: float) -> None:
        """The flow refused a call by itself."""
        with self._lock:
            self._tidy(now)
            self.window.count(Column.REJECTED, now)
        self._after()

    def count_degraded(self, source: Source, call: Call | None = None, instead_of: Ending | None = None) -> None:
        """A call is answered from elsewhere, and told: neither success nor failure of the host."""
        now = self.clock.monotonic()
        with self._lock:
            self._tidy(now)
            self.window.count(Column.DEGRADED, now)
        self._after()
        if self.hub.listening:
            telling.degraded(self, now, source, call, instead_of)

    def rest(self, ticket: Ticket) -> None:
        """A call sleeps, holding nothing; `shut` wakes it."""
        with self._lock:
            if self._sleepers is None:
                self._sleepers = {}
            self._sleepers[ticket] = None
            is_closed = self.is_closed
        if is_closed:
            ticket.wake()
        self._after()

    def rise(self, ticket: Ticket) -> None:
        """A sleeper is awake."""
        with self._lock:
            (self._sleepers or {}).pop(ticket, None)  # it may have slept through a fork
        self._after()

    def isolate(self) -> None:
        """Hold the circuit open by hand."""
        self._by_hand(self.breaker.isolate)
        self._rouse()

    def restore(self) -> None:
        """End an isolation."""
        self._by_hand(self.breaker.restore)

    def reset(self) -> None:
        """Phase, window, streaks, growth, budget and gate as new; attempts in flight and totals stay."""
        self._by_hand(self._renew)
        self._rouse()

    def shut(self) -> None:
        """Refuse everybody from now on, and send the waiters away."""

        def shut(_now: float) -> None:
            self.is_closed = True
            self._told = None

        self._by_hand(shut)
        self._rouse()

    def configure(self, effective: Effective) -> None:
        """New figures, same state: attempts in flight keep their phase; a lowered limit drains, it cancels nothing."""
        self._by_hand(lambda now: self._refit(effective, now))

    def begin_afresh(self) -> None:
        """In the child of a fork: attempts, waiters and sleepers are the parent's; what was learned is both's."""
        self._lock = RLock()
        for permit in self.bulkhead.begin_afresh():
            self.breaker.forget(permit)
        self._sleepers = self.turned_away = self._told = None

    @property
    def in_flight(self) -> int:
        """Attempts that hold a permit, bodies included."""
        with self._lock:
            self._tidy(self.clock.monotonic())
            out = len(self.bulkhead.live)
        self._after()
        return out

    def is_like_new(self, now: float) -> bool:
        """Would forgetting this host lose nothing? Tells nobody of what it finds: the registry's lock is held."""
        with self._lock:
            self._tidy(now)
            return self._is_like_new(now)

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

    def _by_hand(self, act: Callable[[float], None]) -> None:
        if self._lock._is_owned():  # as in `settle`; or a signal handler
            self._late.append(partial(self._by_hand, act))
            return
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
        while True:
            try:
                late = self._late.pop(0)
            except IndexError:  # that was the last: other threads do them too
                return
            if isinstance(late, Ticket):
                self.leave(late, self.clock.monotonic(), refused=False)
            elif isinstance(late, tuple):
                self._end(*late)
            elif isinstance(late, partial):
                late()
            else:
                telling.call_ended(late)

    def _report(self) -> None:
        """Tell listeners of changes of phase (emptied also when nobody listens), and warn of what was dropped."""
        with self._lock:
            taken, self.breaker.changes = self.breaker.changes, ()
            dropped, self._dropped = self._dropped, ()
        if dropped:
            telling.dropped(self, dropped)
        if self.hub.listening:
            for change in taken:
                telling.breaker_changed(self, change)
