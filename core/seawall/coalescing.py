"""One of equal requests is sent: the flow of a call that may lead others or follow one (`StaleResponse.coalesce`).

A follower holds no permit, makes no attempt, and counts neither as success nor as
failure of the host. Whatever happens to the leader, it is never worse off than had it
gone by itself, but for the time it waited: at most as long as it would wait for a host
that is silent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from seawall.degrade.flights import STALLED, Lead, Next, Seat
from seawall.flow import Failed, run
from seawall.outcome import Ending, Reason, Rejection, Verdict

if TYPE_CHECKING:
    from seawall._story import Call
    from seawall.degrade.record import Record
    from seawall.runtime import Runtime

_LONGEST: Final = 90.0
"""Seconds a follower waits for a leader where no clock of its own is shorter."""


async def run_together(call: Call, runtime: Runtime) -> Any:
    """`run`, or the answer of an equal request that is on its way."""
    clock, now = call.state.clock, call.started
    if call.policy.stream:  # whatever is asked, and perhaps for hours
        return await run(call, runtime)
    found: Any = call.slot.join(now, runtime.thread(), blocks=runtime.blocks)
    if isinstance(found, Seat):
        found = await _follow(call, found, runtime)
        now = clock.monotonic()
        call.waited = now - call.started
    if isinstance(found, Lead):
        return await _lead(call, found, runtime, now)
    if found is not None:
        response = runtime.respond(call, call.slot.share(found, clock.wall()))
        if response is not None:
            call.ending = Ending.COLLAPSED
            return response
    return await run(call, runtime, now)


async def _follow(call: Call, seat: Seat, runtime: Runtime) -> Lead | Record | None:
    """Wait for the leader. Its answer, or its place; None: go by yourself, which tells too if that is too late."""
    state = call.state
    now = call.started
    ends = now + (call.limits.patience or _LONGEST)
    if call.deadline is not None:
        ends = min(ends, call.deadline)
    state.rest(seat.ticket)
    try:
        while True:
            found = seat.look(now)
            if not isinstance(found, Next):
                return found
            if found is Next.GO or now >= ends or state.is_closed:
                return None
            await runtime.wait(seat.ticket, min(STALLED, ends - now))
            now = state.clock.monotonic()
    finally:
        state.rise(seat.ticket)
        seat.leave()


async def _lead(call: Call, lead: Lead, runtime: Runtime, now: float) -> Any:
    """`run`, and tell the others what came of it."""
    try:
        result = await run(call, runtime, now)
    except BaseException:
        lead.resign()
        raise
    if isinstance(result, Rejection) and result.reason is Reason.DEADLINE:  # its own, which is not theirs
        lead.resign()
    elif isinstance(result, Rejection | Failed) or not _is_good(call):
        lead.land(None)
    else:
        call.slot.offer(lead, call.state.clock.monotonic())
    return result


def _is_good(call: Call) -> bool:
    """Is what it got an answer of the host, and no failure?"""
    if call.answer is not None or call.last is None:
        return call.answer is not None
    outcome = call.last.outcome
    return outcome is None or outcome.verdict is Verdict.SUCCESS
