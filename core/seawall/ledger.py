"""Ledger: what is remembered of one host, and what follows from it. Not locked: `HostState` is.

`HostState` is a Ledger, with its lock and its voice: here it is decided, there everybody is woken and told. One object
for both, because a second one would cost every host 50 bytes and every attempt a look-up per part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seawall import counting
from seawall.outcome import Reason, Rejection
from seawall.policies.breaker import NEVER, BreakerState, Closed, HalfOpen, Isolated, Open
from seawall.policies.budget import RetryBudget, open_budget
from seawall.policies.bulkhead import BulkheadState, Ticket
from seawall.stats.window import Column, Window

if TYPE_CHECKING:
    from collections.abc import Hashable

    from seawall._story import Call
    from seawall.admission import Admission
    from seawall.book import Origin
    from seawall.effective import Effective
    from seawall.events import AttemptStarted
    from seawall.policies.breaker import Breaker
    from seawall.runtime import Clock
    from seawall.stats.quantile import Quantiles


class Ledger:
    """State of one host, group or provider, for who holds its lock: then, names with an underscore are methods, too."""

    __slots__ = (
        "_dropped",
        "_told",
        "breaker",
        "budget",
        "bulkhead",
        "clock",
        "done",
        "effective",
        "gate",
        "is_calm",
        "is_closed",
        "name",
        "opens",
        "origin",
        "quantiles",
        "route_keys",
        "slow_after",
        "turned_away",
        "window",
    )

    def __init__(self, name: str, effective: Effective, clock: Clock, *, opens: bool) -> None:
        now = clock.monotonic()
        self.name = name
        self.clock = clock
        self.opens = opens
        """False: it measures and holds nobody back, whatever its figures: strangers share it."""
        self.origin: Origin | None = None
        """Of the first request, where a user's function named the state."""
        self.route_keys: tuple[Hashable, ...] = ()
        """The spellings that lead here, for the registry."""
        breaker = self._breaker(effective)
        self.window = Window(breaker.sampling_window, now)
        self.breaker = BreakerState(breaker, self.window, now)
        self.budget = open_budget(effective.budget, now)
        self.bulkhead = BulkheadState(effective.bulkhead if opens else None)
        self.quantiles: Quantiles | None = None
        self.gate = now
        """Until then the server wants to be left alone."""
        self.is_calm = True
        """Nothing but a free permit is to be asked for before an attempt is let in."""
        self.is_closed = False
        """It refuses everybody, for good."""
        self._told: tuple[Open, float, Rejection, list[float]] | None = None
        """What everybody hears while this circuit is open, until that instant, and when they heard it: found once."""
        self.turned_away: list[float] | None = None
        """When they heard it, not counted yet."""
        self.done: list[tuple[Closed, float, float, float]] = []
        """Good ends not counted yet: phase, start, headers, end."""
        self._dropped: tuple[AttemptStarted | None, ...] = ()
        """What was told of attempts that died without an end, until that is told, too."""
        self._take_figures(effective)

    @property
    def group(self) -> str:
        """What was configured for it: group, pattern or provider name; "all://" if nothing names it."""
        return (self.effective.group or self.effective.pattern) if self.opens else "all://"

    def _tidy(self, now: float) -> None:
        """Before anything is decided: count what ended, drop the dead, forget the old, count attempts that hang."""
        if self.done:
            counting.fold(self)
        if self.turned_away:
            counting.turned_away(self, self.turned_away)
        bulkhead = self.bulkhead
        while bulkhead.dead:
            permit = bulkhead.dead.pop()
            if permit in bulkhead.live:  # not one that was refused at last
                self._dropped += (bulkhead.live.pop(permit),)
            self.breaker.forget(permit)
        if now >= self.window.end:
            self.window.advance(now)
            if self.slow_after is not None or isinstance(self.effective.timeouts.attempt, float):
                counting.hanging(self, now)
                self._review(now)

    def _review(self, now: float) -> None:
        self.is_calm = type(self.breaker.phase) is Closed and self.gate <= now and not self.is_closed

    def _consider(self, admission: Admission, ticket: Ticket | None, now: float) -> Rejection | Ticket | float | None:
        """May this attempt go? The whole question, cheap vetoes first; the answers are those of `HostState.admit`."""
        call, bulkhead = admission.call, self.bulkhead
        verdict: Rejection | Ticket | float | None = self._veto(call, now)
        if verdict is not None:
            self.window.count(Column.REJECTED, now)
        elif now < self.gate:
            if ticket is not None:
                bulkhead.queue.step_aside(ticket, self.gate + (self.gate - now) / 2)  # as `backoff.obey` spreads them
            return self.gate
        elif "bulkhead" not in call.exempt:
            turn = bulkhead.line_up(ticket, now)
            if isinstance(turn, Ticket):
                turn.heeds_circuit = "breaker" not in call.exempt
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
        """Why no attempt of `call` may go, whatever permits are free."""
        if self.is_closed:
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
            if self.turned_away is None:  # one list for all: another thread may be adding to it just now
                self.turned_away = []
            self._told = phase, phase.until, refusal, self.turned_away
            return refusal
        limit = breaker.config.half_open_max_requests if type(phase) is HalfOpen else None
        return Rejection(reason, self.name, breaker.retry_after(now), since=since, limit=limit)

    def _free(self, now: float) -> list[Ticket]:
        """Whom to wake, now that permits may be free or nobody is served any more."""
        queue = self.bulkhead.queue
        if not (queue.waiting or queue.granted):
            return []
        if self.is_closed:
            return queue.send_away()
        sent_away: list[Ticket] = []
        if type(self.breaker.phase) in (Open, Isolated):
            sent_away = queue.send_away(everybody=False)
        return sent_away + self.bulkhead.grant(now)

    def _renew(self, now: float) -> None:
        """As new, but for totals and attempts in flight."""
        self.breaker.reset(now)
        self.budget = open_budget(self.effective.budget, now)
        self.gate = now
        self.quantiles = None

    def _refit(self, effective: Effective, now: float) -> None:
        """Other figures, same state."""
        if effective.budget != self.effective.budget:
            self.budget = open_budget(effective.budget, now)
        breaker = self._breaker(effective)
        if breaker is NEVER and self.breaker.config is not NEVER:
            self.breaker.reset(now)
        self.breaker.config = breaker
        self.window.resize(breaker.sampling_window, now)
        self.bulkhead.configure(effective.bulkhead if self.opens else None)
        self._take_figures(effective)

    def _take_figures(self, effective: Effective) -> None:
        self.effective = effective
        self.slow_after = self.breaker.config.slow_call_duration

    def _breaker(self, effective: Effective) -> Breaker:
        return (effective.breaker if self.opens else None) or NEVER

    def _is_like_new(self, now: float) -> bool:
        phase, config = self.breaker.phase, self.effective.budget
        fresh = config.start if isinstance(config, RetryBudget) else getattr(config, "max_tokens", 0.0)
        return (
            type(phase) is Closed
            and not (phase.run or self.breaker.growth(now) or self.bulkhead.live or self.is_closed)
            and not (self.bulkhead.queue.waiting or self.bulkhead.queue.granted)
            and self.gate <= now
            and self.window.is_empty
            and self.budget.balance(now) >= fresh
        )
