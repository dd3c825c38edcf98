"""Waiting before an attempt: for the gate, for a turn at the bulkhead, for a delay to pass. Nothing is held meanwhile.

As in the flow, everything awaited here is a method of the runtime.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from seawall import backoff, telling
from seawall.judging import too_late
from seawall.outcome import Reason, Rejection
from seawall.policies.bulkhead import CLAIM_WITHIN, Ticket
from seawall.scope import earliest

if TYPE_CHECKING:
    from seawall._story import Call
    from seawall.admission import Admission
    from seawall.runtime import Runtime


async def enter(
    call: Call, admission: Admission, refused: Rejection | Ticket | float | None, runtime: Runtime
) -> Rejection | None:
    """Wait for the gate and the bulkhead, as long as both and the time allow. None: `admission` is let in."""
    state, clock = call.state, call.state.clock
    began = clock.monotonic()
    ends = call.deadline
    if admission.number > 1 and call.policy.retry is not None and call.policy.retry.max_elapsed is not None:
        ends = earliest(ends, call.started + call.policy.retry.max_elapsed)
    ticket: Ticket | None = None
    waiter: Ticket | None = None
    try:
        while refused is not None and not isinstance(refused, Rejection):
            now = clock.monotonic()
            if isinstance(refused, Ticket):
                ticket = waiter = refused
                seconds: float | Rejection = _turn_in(call, ticket, ends, now)
            else:
                seconds = _opens_in(call, refused, ends, now)
            if isinstance(seconds, Rejection):
                refused = seconds
                break
            if isinstance(refused, Ticket):
                await runtime.wait(refused, seconds)
            else:
                await sleep(call, seconds, runtime)
                if ticket is not None:
                    ticket.joined_at += clock.monotonic() - now  # at the gate nobody waits for a permit
            now = clock.monotonic()
            if ends is not None and now >= ends:
                refused = too_late(call, now)
                break
            refused = state.enter(admission, ticket, now)
            if isinstance(refused, Ticket):
                ticket = refused
            elif not isinstance(refused, float):
                ticket = None
    except BaseException:
        if ticket is not None:
            state.leave(ticket, clock.monotonic(), refused=False)
        raise
    now = clock.monotonic()
    if refused is not None and ticket is not None:
        state.leave(ticket, now, refused=True)
    elif refused is not None and refused.reason in (Reason.GATE, Reason.DEADLINE):
        state.count_rejection(now)
    if waiter is not None and state.hub.listening:
        telling.bulkhead_waited(call, now, now - waiter.joined_at, admitted=refused is None)
    call.waited += now - began
    admission.started = now
    return refused


async def sleep(call: Call, seconds: float, runtime: Runtime) -> None:
    """Wait, holding nothing; `close()` ends it."""
    ticket = Ticket(0)
    call.state.rest(ticket)
    try:
        await runtime.wait(ticket, seconds)
    finally:
        call.state.rise(ticket)


def _turn_in(call: Call, ticket: Ticket, ends: float | None, now: float) -> float | Rejection:
    """Seconds to wait for a turn before looking again; a rejection when the patience is over."""
    bulkhead = call.policy.bulkhead
    patience = bulkhead.max_wait if bulkhead is not None else 0.0
    if call.hurry is not None:
        patience = min(patience, call.hurry)
    if ends is not None and now >= ends:
        return too_late(call, now)
    left = ticket.joined_at + patience - now
    if left <= 0:
        return Rejection(Reason.BULKHEAD_TIMEOUT, call.state.name, limit=patience)
    return min(left, CLAIM_WITHIN) if ends is None else min(left, CLAIM_WITHIN, ends - now)


def _opens_in(call: Call, gate: float, ends: float | None, now: float) -> float | Rejection:
    """Seconds to wait for the gate; a rejection if that is longer than this call may."""
    retry = call.policy.retry
    pause = max(0.0, gate - now)
    room = math.inf if ends is None else ends - gate
    if retry is None or pause > retry.max_retry_after or room <= 0 or (call.hurry is not None and pause > call.hurry):
        return Rejection(Reason.GATE, call.state.name, pause)
    return backoff.obey(pause, retry.max_delay, room, call.state.clock.random())
