"""I13: a store of remembered answers that fails costs those answers, and nothing else: no call is worse off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seawall import FallbackProvider, SimplifiedResponse
from seawall.testing.checks.evidence import EPSILON, SUCCESS, Evidence
from seawall.testing.loop import Cancelled
from seawall.testing.sim.messages import NetworkError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.testing.sim.history import CallSeen

_OF_THE_WIRE = ("NetworkError", "DeadlineExceeded", "OutOfTime")


def check(evidence: Evidence) -> Iterator[str]:
    for call in evidence.history.calls:
        if call.client in evidence.history.unsteady and not isinstance(call.error, Cancelled):
            yield from (f"I13: {call}: {wrong}" for wrong in losses(evidence, call))


def losses(evidence: Evidence, call: CallSeen) -> Iterator[str]:
    """What the caller lost by its store."""
    own = [sending for sending in call.sendings if sending.origin == call.origin]
    response, steps = call.response, evidence.policy(call).degrade
    if call.body_error is not None and type(call.body_error).__name__ not in _OF_THE_WIRE:
        yield f"its body ended in {call.body_error!r}"
    if own and own[-1].status is not None and own[-1].status < 400 and evidence.meaning(own[-1]).verdict == SUCCESS:
        if response is None or response.sending is not own[-1]:
            yield f"the host answered, and the caller did not get that: {own[-1]}"
        return
    if steps and isinstance(steps[-1], SimplifiedResponse):
        if isinstance(call.error, NetworkError) or (response is not None and response.status >= 500):
            yield "no way to degrade was asked, and there is one that always answers"
    if any(isinstance(step, FallbackProvider) for step in steps):  # another provider takes its time
        return
    if response is not None and response.source in ("stale", "simplified"):
        last = own[-1].ended_at if own else None
        if last is not None and call.report is not None and not call.report.reason:
            if call.ended is not None and call.ended > last + EPSILON:
                yield f"it waited {call.ended - last:.6f} s for its store"
