"""Whether another attempt may follow one that was not good, and when."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from seawall import backoff, telling
from seawall.outcome import Again, Attempt, Ending, Verdict, WrongValue
from seawall.policies.retry import may_repeat
from seawall.runtime import close_unawaited

if TYPE_CHECKING:
    from seawall._story import Call
    from seawall.admission import Admission
    from seawall.outcome import Outcome
    from seawall.policies.retry import Retry
    from seawall.runtime import Runtime


def next_step(call: Call, admission: Admission, outcome: Outcome, runtime: Runtime, now: float) -> Ending | float:
    """Why to stop here, or the seconds until the next attempt, paid for."""
    retry, state = call.policy.retry, call.state
    if outcome.kind is None or (
        outcome.verdict is Verdict.SUCCESS and outcome.again is Again.NO and _is_default(retry)
    ):
        return Ending.ANSWERED
    if outcome.scope == "total":
        return Ending.DEADLINE
    if retry is None or call.nested:
        return Ending.RETRY_OFF
    stop = may_repeat(
        retry, outcome, admission.number, runtime.repeatable(call), _when(call, retry, admission, outcome, now)
    )
    if stop is not None:
        return stop
    asked = outcome.retry_after
    if asked is not None and asked > retry.max_retry_after:
        return Ending.SERVER_DELAY_TOO_LONG
    delay = _delay(call, retry, asked, now)
    if call.hurry is not None and delay > call.hurry:
        return Ending.NOT_WAITED_FOR
    start = now + delay
    if (call.deadline is not None and start + state.usual_time() >= call.deadline) or (
        retry.max_elapsed is not None and start - call.started > retry.max_elapsed
    ):
        return Ending.OUT_OF_TIME
    if state.refuses(call, now) is not None:
        return Ending.REFUSED
    if "budget" not in call.exempt:
        if not state.withdraw(now):
            if state.hub.listening:
                telling.budget_exhausted(call, now)
            return Ending.BUDGET_EXHAUSTED
        call.paid = True
    return delay


def _is_default(retry: Retry | None) -> bool:
    """Only the default rules know that an answer the host is well with is not retried."""
    return retry is None or (retry.retry_on is None and retry.when is None)


def _when(call: Call, retry: Retry, admission: Admission, outcome: Outcome, now: float) -> bool | None:
    if retry.when is None:
        return None
    attempt = Attempt(
        admission.number,
        call.state.name,
        admission.started - call.started,
        now - admission.started,
        call.waited,
        outcome.status,
        outcome.kind,
        outcome.verdict,
        outcome.retry_after,
    )
    try:
        wanted: object = retry.when(attempt, call.request)
        if wanted is None or wanted is True or wanted is False:
            return wanted
        close_unawaited(wanted)
        raise WrongValue("when= must give True, False or None")
    except Exception as error:
        call.state.hub.complain(retry.when, error)
        return None


def _delay(call: Call, retry: Retry, asked: float | None, now: float) -> float:
    u = call.state.clock.random()
    if asked:  # 0, or a date gone by, is no delay: ours spreads the callers
        call.own_delays, call.last_delay = 0, None  # after a delay of the server's, ours starts over
        return backoff.obey(asked, retry.max_delay, _room(call, now + asked), u)
    delay = retry.delay(call.own_delays, retry.base_delay if call.last_delay is None else call.last_delay, u)
    call.own_delays += 1
    call.last_delay = delay
    return delay


def _room(call: Call, instant: float) -> float:
    """Seconds the deadline leaves after an instant."""
    return math.inf if call.deadline is None else call.deadline - instant
