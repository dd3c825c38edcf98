"""HostState: everything remembered about one host, behind one lock, visited twice per attempt.

`admit` gives an attempt its permits, `settle` takes them back with a verdict; each
is a few hundred nanoseconds of arithmetic. Nothing here waits, wakes, logs or calls
user code with the lock held: who is to be woken or told is collected and handled
after it.

Permits out are not counted up and down: they are the set of live admissions. An
interrupt between two bytecodes, or a response dropped by the garbage collector, then
loses nothing: the admission dies, its weak reference's callback appends to a list,
and the next visit tidies up. (Such a callback can run inside any allocation, also
while this thread holds the lock, so it may do no more than that.)
"""

from __future__ import annotations

import math
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from seawall.admission import Admission
from seawall.classification import TIMEOUT_KINDS
from seawall.outcome import Reason, Rejection, Verdict
from seawall.policies.breaker import NEVER, BreakerState, Closed, HalfOpen, Isolated, Open, Refusal, Result
from seawall.policies.budget import RetryBudget, open_budget
from seawall.policies.bulkhead import Queue, Turn
from seawall.stats.quantile import Quantiles
from seawall.stats.window import Column, Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall._story import Call
    from seawall.events import Event, Hub
    from seawall.outcome import ErrorKind, Outcome
    from seawall.policies.breaker import Phase
    from seawall.policies.bulkhead import Ticket
    from seawall.policy import Effective
    from seawall.runtime import Clock
    from seawall.snapshot import HostSnapshot

MAX_GATE: Final = 300.0
"""Longest a server can hold calls back with one answer, in seconds."""

_NO_LIMIT: Final = 1 << 60


class HostState:
    """State of one host, group or provider. Every method is safe from any thread."""

    __slots__ = (
        "_admitted",
        "_breaker",
        "_budget",
        "_bury",
        "_dead",
        "_denied",
        "_effective",
        "_gate",
        "_held",
        "_holds",
        "clock",
        "hub",
        "_is_calm",
        "_is_closed",
        "_limit",
        "_live",
        "_lock",
        "_overdue_after",
        "_peak",
        "_quantiles",
        "_queue",
        "_refused",
        "_sleepers",
        "_waited",
        "_window",
        "name",
        "route_keys",
    )

    def __init__(self, name: str, effective: Effective, clock: Clock, hub: Hub, *, opens: bool = True) -> None:
        now = clock.monotonic()
        self.name = name
        self.route_keys: list[Any] = []
        self.clock = clock
        self.hub = hub
        self._lock = Lock()
        self._live: set[ref[Admission]] = set()
        self._dead: list[ref[Admission]] = []
        self._bury = self._dead.append
        self._gate = now
        """Until then the server wants to be left alone."""
        self._is_closed = False
        self._sleepers: set[Ticket] = set()
        self._quantiles: Quantiles | None = None
        self._queue: Queue | None = None
        self._admitted = self._refused = self._peak = self._holds = self._denied = 0
        self._waited = self._held = 0.0
        breaker = effective.breaker if opens else None
        self._window = Window((breaker or NEVER).sampling_window, now)
        self._breaker = BreakerState(breaker or NEVER, self._window, now)
        self._budget = open_budget(effective.budget, now)
        self._configure(effective)
        self._is_calm = True

    # -- an attempt ----------------------------------------------------------------------------------------------------

    def admit(self, admission: Admission, now: float) -> Rejection | Ticket | float | None:
        """Give `admission` its permits (None), or say why not: refused, wait for this ticket, or until this instant."""
        with self._lock:
            if now >= self._window.end or self._dead:
                self._tidy(now)
            live = self._live
            out = len(live)
            if self._is_calm and out < self._limit and not self._queue:
                admission.phase = self._breaker.phase
                admission.permit = permit = ref(admission, self._bury)
                live.add(permit)
                self._admitted += 1
                if out >= self._peak:
                    self._peak = out + 1
                return None
            verdict = self._consider(admission, now)
        self._report(now)
        return verdict

    def enter(self, admission: Admission, ticket: Ticket | None, now: float) -> Rejection | Ticket | float | None:
        """Look again after a wait. A ticket that is not returned is done with."""
        with self._lock:
            self._tidy(now)
            verdict = self._consider(admission, now, ticket)
            woken = self._free(now)
        self._wake(woken)
        self._report(now)
        return verdict

    def leave(self, ticket: Ticket, now: float, *, refused: bool) -> None:
        """A waiter gives up: `refused` since its time is over, or because it was cancelled."""
        with self._lock:
            self._drop(ticket, now)
            if refused:
                self._refused += 1
                self._window.count(Column.REJECTED, now)
            woken = self._free(now)
        self._wake(woken)

    def count_rejection(self, now: float) -> None:
        """The flow refused a call by itself (gate, deadline)."""
        with self._lock:
            self._window.count(Column.REJECTED, now)

    def headers(self, admission: Admission, now: float) -> None:
        """Good headers on an attempt that began in half-open: the probe has shown what it was for."""
        with self._lock:
            if admission.phase is not None:
                self._breaker.headers(admission.permit, admission.phase, now, self.clock.random())
                self._review(now)
            woken = self._free(now)
        self._wake(woken)
        self._report(now)

    def settle(self, admission: Admission, verdict: Verdict, now: float) -> None:
        """Take the permits back and count the verdict. A second call does nothing."""
        woken: list[Ticket] | None = None
        with self._lock:
            if admission.settled:
                return
            admission.settled = True
            permit = admission.permit
            if permit is None:
                return
            self._live.discard(permit)
            window, breaker = self._window, self._breaker
            if now >= window.end or self._dead:
                self._tidy(now)
            self._held += now - admission.started
            self._holds += 1
            phase = admission.phase
            if (
                verdict is Verdict.SUCCESS
                and phase is breaker.phase
                and admission.outcome is None
                and type(phase) is Closed
                and self._overdue_after is None
            ):
                # The common end, written out: no rule can open a circuit at a success.
                self._budget.deposit()
                if self._quantiles is None:
                    self._quantiles = Quantiles()
                self._quantiles.add(admission.headers_at - admission.started)
                phase.run = 0
                window.counts[window.base] += 1
            else:
                self._settle_rarely(admission, verdict, now)
            if admission.paid:
                self._budget.sample(verdict is Verdict.SUCCESS, now)
            if self._queue:
                woken = self._free(now)
        if woken:
            self._wake(woken)
        if breaker.changes or self.hub.listening:
            self._report(now, admission, verdict)

    # -- decisions the flow asks for -----------------------------------------------------------------------------------

    def refuses(self, call: Call, now: float) -> Rejection | None:
        """Would a further attempt be refused by the breaker, or because we are closing?"""
        with self._lock:
            self._tidy(now)
            if self._is_closed:
                return Rejection(Reason.CLOSED, self.name)
            return (
                None
                if "breaker" in call.exempt
                else self._refusal(self._breaker.refuses(now, self.clock.random()), now)
            )

    def withdraw(self, now: float) -> bool:
        """Pay for one extra attempt."""
        with self._lock:
            paid = self._budget.withdraw(now)
            self._denied += not paid
            return paid

    def give_back(self) -> None:
        """The paid attempt never left."""
        with self._lock:
            self._budget.give_back()

    def budget_left(self) -> float:
        with self._lock:
            return self._budget.balance(self.clock.monotonic())

    def close_gate(self, seconds: float, now: float) -> None:
        """The server asked for a pause. An earlier, longer one still holds."""
        with self._lock:
            self._gate = max(self._gate, now + min(seconds, MAX_GATE))
            self._review(now)

    def rest(self, ticket: Ticket) -> None:
        """A call sleeps, holding nothing; `shut` wakes it."""
        with self._lock:
            self._sleepers.add(ticket)
            woken = self._is_closed
        if woken:
            ticket.wake()

    def rise(self, ticket: Ticket) -> None:
        with self._lock:
            self._sleepers.discard(ticket)

    # -- operators -----------------------------------------------------------------------------------------------------

    def isolate(self) -> None:
        self._by_hand(self._breaker.isolate)

    def restore(self) -> None:
        self._by_hand(self._breaker.restore)

    def reset(self) -> None:
        """Phase, window, streaks, growth, budget and gate as new; attempts in flight and totals stay."""

        def renew(now: float) -> None:
            self._breaker.reset(now)
            self._budget = open_budget(self._effective.budget, now)
            self._gate = now
            self._quantiles = None

        self._by_hand(renew)

    def shut(self) -> None:
        """Refuse everybody from now on, and send the waiters away."""

        def shut(now: float) -> None:
            self._is_closed = True

        self._by_hand(shut)
        self._wake(list(self._sleepers))

    def configure(self, effective: Effective) -> None:
        """New figures, same state: attempts in flight keep their phase; a lowered limit drains, it cancels nothing."""
        now = self.clock.monotonic()
        with self._lock:
            if effective.budget != self._effective.budget:
                self._budget = open_budget(effective.budget, now)
            if effective.breaker is not None or self._effective.breaker is not None:
                self._breaker.config = effective.breaker or NEVER
                self._window.resize(self._breaker.config.sampling_window, now)
                if effective.breaker is None:
                    self._breaker.reset(now)
            self._configure(effective)
            self._review(now)
            woken = self._free(now)
        self._wake(woken)
        self._report(now)

    @property
    def in_flight(self) -> int:
        with self._lock:
            self._tidy(self.clock.monotonic())
            return len(self._live)

    def is_like_new(self, now: float) -> bool:
        """Would forgetting this host lose nothing?"""
        with self._lock:
            self._tidy(now)
            phase, budget = self._breaker.phase, self._effective.budget
            fresh = budget.start if isinstance(budget, RetryBudget) else getattr(budget, "max_tokens", 0.0)
            return (
                type(phase) is Closed
                and not (phase.run or phase.growth or self._live or self._queue or self._is_closed)
                and self._gate <= now
                and self._window.is_empty
                and self._budget.balance(now) >= fresh
            )

    def snapshot(self) -> HostSnapshot:
        """A picture of this instant."""
        now = self.clock.monotonic()
        with self._lock:
            self._tidy(now)
            self._breaker.look(now, self.clock.random())
            self._review(now)
            picture = self._picture(now)
        self._report(now)
        return picture

    # -- with the lock held --------------------------------------------------------------------------------------------

    def _configure(self, effective: Effective) -> None:
        self._effective = effective
        bulkhead = effective.bulkhead
        self._limit = _NO_LIMIT if bulkhead is None or bulkhead.max_concurrent is None else bulkhead.max_concurrent
        slow = None if effective.breaker is None else effective.breaker.slow_call_duration
        attempt = effective.timeouts.attempt
        known = [limit for limit in (slow, attempt) if isinstance(limit, float)]
        self._overdue_after = min(known) if known and effective.breaker is not None else None
        """Seconds after which an attempt without headers counts before it ends; None: no such limit is known."""

    def _let_in(self, admission: Admission, out: int) -> None:
        admission.phase = self._breaker.phase
        admission.permit = permit = ref(admission, self._bury)
        self._live.add(permit)
        self._admitted += 1
        if out >= self._peak:
            self._peak = out + 1

    def _consider(
        self, admission: Admission, now: float, ticket: Ticket | None = None
    ) -> Rejection | Ticket | float | None:
        call = admission.call
        if self._is_closed:
            return self._refuse(ticket, Rejection(Reason.CLOSED, self.name), now)
        breaker = None if "breaker" in call.exempt else self._breaker
        if breaker is not None:
            refusal = self._refusal(breaker.refuses(now, self.clock.random()), now)
            self._review(now)
            if refusal is not None:
                return self._refuse(ticket, refusal, now)
        if now < self._gate:
            self._drop(ticket, now)
            return self._gate
        if "bulkhead" not in call.exempt:
            blocked = self._wait_in_line(ticket, now)
            if blocked is not None:
                return blocked
        self._drop(ticket, now)
        self._let_in(admission, len(self._live))
        if breaker is not None:
            breaker.admit(admission.permit, now, 0)
        else:
            admission.phase = None
        self._review(now)
        return None

    def _wait_in_line(self, ticket: Ticket | None, now: float) -> Rejection | Ticket | None:
        """None: there is a permit for us."""
        queue = self._queue
        if queue is not None and ticket is not None:
            if queue.claim(ticket):
                return None
            queue.rejoin(ticket)
            if ticket.turn is Turn.WAITING:
                return ticket
        taken = len(self._live) + (len(queue.granted) if queue is not None else 0)
        if taken < self._limit and not queue:
            return None
        bulkhead = self._effective.bulkhead
        assert bulkhead is not None
        if bulkhead.max_wait == 0 or (len(queue) if queue is not None else 0) >= bulkhead.max_queue:
            self._refused += 1
            return self._refuse(None, Rejection(Reason.BULKHEAD_FULL, self.name, limit=bulkhead.max_wait), now)
        if queue is None:
            queue = self._queue = Queue()
        return queue.join(now)

    def _refuse(self, ticket: Ticket | None, rejection: Rejection, now: float) -> Rejection:
        self._drop(ticket, now)
        self._window.count(Column.REJECTED, now)
        return rejection

    def _drop(self, ticket: Ticket | None, now: float) -> None:
        """The ticket is done with, served or not."""
        if ticket is not None and self._queue is not None:
            self._queue.leave(ticket)
            self._waited += now - ticket.joined_at

    def _refusal(self, refusal: Refusal | None, now: float) -> Rejection | None:
        if refusal is None:
            return None
        breaker, phase = self._breaker, self._breaker.phase
        since = self.clock.wall() - (now - phase.entered)
        after = breaker.retry_after(now)
        if refusal is Refusal.HALF_OPEN_LIMIT:
            limit = breaker.config.half_open_max_requests
            return Rejection(Reason.HALF_OPEN_LIMIT, self.name, after, limit=limit, since=since)
        reason = Reason.ISOLATED if refusal is Refusal.ISOLATED else Reason.CIRCUIT_OPEN
        return Rejection(reason, self.name, after, since=since)

    def _settle_rarely(self, admission: Admission, verdict: Verdict, now: float) -> None:
        """Everything but a plain success in a closed circuit."""
        breaker, phase, permit = self._breaker, admission.phase, admission.permit
        outcome = admission.outcome
        kind = outcome.kind if outcome is not None else None
        u = self.clock.random()
        if phase is not None and admission.slow:
            breaker.slow_ended(phase)
        if verdict is Verdict.SUCCESS:
            self._budget.deposit()
            if outcome is None:
                if self._quantiles is None:
                    self._quantiles = Quantiles()
                self._quantiles.add(admission.headers_at - admission.started)
        if outcome is not None and outcome.retry_after and verdict is not Verdict.IGNORED:
            self._remember_gate(admission, outcome.retry_after, now)
        result = self._result(admission, verdict, kind, now)
        if phase is None:
            if result is not Result.NEUTRAL:
                self._window.count(result.value, now)
        elif verdict is Verdict.THROTTLED and result is Result.NEUTRAL:
            asked = outcome.retry_after if outcome is not None else None
            breaker.throttled(permit, phase, now, u, now + min(asked, MAX_GATE) if asked else 0)
        else:
            breaker.settle(permit, phase, result, now, u, self._gate)
            self._judge_speed(admission, now)
        self._review(now)

    def _result(self, admission: Admission, verdict: Verdict, kind: ErrorKind | None, now: float) -> Result:
        """What the verdict means to the breaker, and its other columns in the window."""
        if verdict is Verdict.IGNORED or admission.overdue:
            return Result.NEUTRAL
        if verdict is Verdict.SUCCESS:
            return Result.SUCCESS
        config = self._breaker.config
        if verdict is Verdict.THROTTLED:
            self._window.count(Column.THROTTLED, now)
            return Result.FAILURE if config.count_429_as_failures else Result.NEUTRAL
        counts = True
        if kind in TIMEOUT_KINDS:
            self._window.count(Column.TIMEOUT, now)
            counts = config.count_timeouts_as_failures
        status = admission.status
        if status is not None and status >= 500 and kind is not None:
            counts = counts and config.count_5xx_as_failures
        if not counts:
            self._window.count(Column.LEFT_OUT, now)
        return Result.FAILURE if counts else Result.NEUTRAL

    def _judge_speed(self, admission: Admission, now: float) -> None:
        limit = self._breaker.config.slow_call_duration
        phase = admission.phase
        if limit is not None and phase is not None and not admission.slow:
            if (admission.headers_at or now) - admission.started >= limit:
                self._breaker.slow(phase, now, self.clock.random(), in_flight=False)
                self._review(now)

    def _remember_gate(self, admission: Admission, seconds: float, now: float) -> None:
        retry = admission.call.policy.retry
        if retry is not None and retry.share_retry_after:
            self._gate = max(self._gate, now + min(seconds, MAX_GATE))

    def _tidy(self, now: float) -> None:
        """Once per bucket of the window: drop the dead, forget the old, count attempts that hang."""
        while self._dead:
            permit = self._dead.pop()
            self._live.discard(permit)
            self._breaker.forget(permit)
        if now >= self._window.end:
            self._window.advance(now)
            if self._overdue_after is not None:
                self._count_overdue(now)

    def _count_overdue(self, now: float) -> None:
        breaker, u = self._breaker, self.clock.random()
        slow = breaker.config.slow_call_duration
        for permit in list(self._live):
            admission = permit()
            if admission is None or admission.headers_at or admission.phase is None:
                continue
            age = now - admission.started
            attempt = admission.call.policy.timeouts.attempt
            if slow is not None and age >= slow and not admission.slow:
                admission.slow = True
                breaker.slow(admission.phase, now, u, in_flight=True)
            if (
                isinstance(attempt, float)
                and age > attempt
                and not admission.overdue
                and breaker.config.count_timeouts_as_failures
            ):
                admission.overdue = True
                self._window.count(Column.TIMEOUT, now)
                breaker.settle(permit, admission.phase, Result.FAILURE, now, u, self._gate)
        self._review(now)

    def _review(self, now: float) -> None:
        """Is there anything to ask before letting the next attempt in?"""
        self._is_calm = type(self._breaker.phase) is Closed and self._gate <= now and not self._is_closed

    def _free(self, now: float) -> list[Ticket]:
        """Whom to wake, now that permits may be free or nobody is served any more."""
        queue = self._queue
        if queue is None or not (queue.waiting or queue.granted):
            return []
        if self._is_closed or type(self._breaker.phase) in (Open, Isolated):
            return queue.send_away()
        return queue.grant(self._limit - len(self._live), now)

    def _picture(self, now: float) -> HostSnapshot:
        from seawall.snapshot import HostSnapshot

        breaker, window, queue = self._breaker, self._window, self._queue
        phase, columns, quantiles = breaker.phase, Column, self._quantiles
        ok = window.sum(columns.SUCCESS) + window.sum(columns.LATE_SUCCESS)
        failed = window.sum(columns.FAILURE) + window.sum(columns.LATE_FAILURE)
        throttled, left_out = window.sum(columns.THROTTLED), window.sum(columns.LEFT_OUT)
        total_ok = window.lifetime(columns.SUCCESS) + window.lifetime(columns.LATE_SUCCESS)
        total_failed = window.lifetime(columns.FAILURE) + window.lifetime(columns.LATE_FAILURE)
        total_throttled = window.lifetime(columns.THROTTLED)
        out, limit = len(self._live), None if self._limit == _NO_LIMIT else self._limit
        tried = self._admitted + self._refused
        bucket = self._budget
        return HostSnapshot(
            host=self.name,
            state=phase.name,
            retry_after=breaker.retry_after(now),
            gate=max(0.0, self._gate - now),
            requests=ok + failed + throttled + left_out,
            successes=ok,
            failures=failed,
            throttled=throttled,
            timeouts=window.sum(columns.TIMEOUT),
            rejections=window.sum(columns.REJECTED),
            slow=window.sum(columns.SLOW),
            failure_rate=failed / (ok + failed) if failed else 0.0,
            consecutive_failures=phase.run if type(phase) is Closed else 0,
            consecutive_successes=phase.successes if type(phase) is HalfOpen else 0,
            total_requests=total_ok + total_failed + total_throttled + window.lifetime(columns.LEFT_OUT),
            total_successes=total_ok,
            total_failures=total_failed,
            total_throttled=total_throttled,
            total_timeouts=window.lifetime(columns.TIMEOUT),
            total_rejections=window.lifetime(columns.REJECTED),
            state_change_count=breaker.change_count,
            open_count=breaker.open_count,
            half_open_count=breaker.half_open_count,
            last_change=None if breaker.last_change is None else self.clock.wall() - (now - breaker.last_change),
            in_flight=out,
            limit=limit,
            utilization=out / limit if limit else 0.0,
            peak_in_flight=self._peak,
            peak_utilization=self._peak / limit if limit else 0.0,
            queue_depth=len(queue) if queue is not None else 0,
            acquire_attempts=tried,
            acquire_successes=self._admitted,
            acquire_failures=self._refused,
            mean_wait=self._waited / tried if tried else 0.0,
            mean_hold=self._held / self._holds if self._holds else 0.0,
            budget=bucket.balance(now),
            budget_max=None if math.isinf(bucket.cap) else bucket.cap,
            budget_refill_rate=bucket.refill_rate,
            budget_denials=self._denied,
            latency_p50=quantiles.read(0.5) if quantiles is not None else None,
            latency_p90=quantiles.read(0.9) if quantiles is not None else None,
            latency_p99=quantiles.read(0.99) if quantiles is not None else None,
        )

    # -- without the lock ----------------------------------------------------------------------------------------------

    def _by_hand(self, act: Callable[[float], None]) -> None:
        now = self.clock.monotonic()
        with self._lock:
            self._tidy(now)
            act(now)
            self._review(now)
            woken = self._free(now)
        self._wake(woken)
        self._report(now)

    def _wake(self, woken: list[Ticket]) -> None:
        for ticket in woken:
            ticket.wake()

    def _report(self, now: float, admission: Admission | None = None, verdict: Verdict | None = None) -> None:
        """Tell listeners what happened; the list is emptied also when nobody listens."""
        hub, changes = self.hub, self._breaker.changes
        if not (changes or hub.listening):
            return
        from seawall.events import AttemptEnded, BreakerChanged

        events: list[Event] = []
        if admission is not None and verdict is not None and hub.listening:
            outcome = admission.outcome
            events.append(
                AttemptEnded(
                    host=self.name,
                    at=now,
                    number=admission.number,
                    duration=now - admission.started,
                    status=admission.status,
                    kind=outcome.kind if outcome else None,
                    verdict=verdict,
                )
            )
        with self._lock:
            taken, self._breaker.changes = self._breaker.changes, []
        if not hub.listening:
            return
        events += [
            BreakerChanged(host=self.name, at=c.at, before=c.before.name, after=c.after.name, reason=c.trigger.value)
            for c in taken
        ]
        for event in events:
            hub.emit(event)
