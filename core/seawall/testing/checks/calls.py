"""I3, I5-I7, I9, I16, I18: what each single call did and got, whatever else went on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from seawall import errors
from seawall.testing.checks.evidence import ANY, EPSILON, IDEMPOTENT, NO, THROTTLED, Evidence
from seawall.testing.loop import Cancelled
from seawall.testing.sim.messages import NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seawall.policy import EffectivePolicy
    from seawall.testing.sim.history import CallSeen, Sending

_OURS: Final = {
    getattr(errors, name)
    for name in (
        "CircuitOpen",
        "HalfOpenLimit",
        "BulkheadFull",
        "BulkheadClosed",
        "RateLimited",
        "DeadlineExceeded",
        "RetryBudgetExhausted",
        "MaxRetriesExceeded",
        "NonRetryable",
        "AllProvidersFailed",
        "ServiceDegraded",
        "Queued",
    )
}
_KEY: Final = "idempotency-key"
_WITHOUT_CAUSE: Final = (errors.CircuitOpen, errors.RateLimited, errors.BulkheadFull)
LEAST: Final = 0.001
"""Seconds an operation gets that is begun at the last instant."""


def _own(call: CallSeen) -> list[Sending]:
    """What went to the host that was called: a fallback's is another's."""
    origin = call.origin
    return [sending for sending in call.sendings if sending.origin == origin]


def rejected(_evidence: Evidence, call: CallSeen) -> Iterator[str]:
    """I3: a call that was refused before its first attempt touched no network."""
    if call.error is not None and type(call.error) in _OURS and getattr(call.error, "attempts", 0) == 0:
        if call.sendings:
            yield "refused as never sent, but it was"


def attempts(evidence: Evidence, call: CallSeen) -> Iterator[str]:
    """I5: no more attempts than allowed, one after the other."""
    policy = evidence.policy(call)
    own = _own(call)
    most = 1 if policy.retry is None else 1 + policy.retry.max_retries
    if len(own) > most:
        yield f"{len(own)} attempts, and {most} are allowed"
    for before, after in zip(call.sendings, call.sendings[1:], strict=False):
        if before.ended_at is None or before.ended_at > after.at + EPSILON:
            if before.headers_at is None or before.origin == after.origin:
                yield f"two attempts at a time: {before} and {after}"


def deadlines(evidence: Evidence, call: CallSeen) -> Iterator[str]:
    """I6: nothing starts after the deadline, and the caller has control by then."""
    policy, deadline = evidence.policy(call), evidence.deadline(call)
    clocks: Any = policy.timeouts
    if deadline is not None:
        for sending in call.sendings:
            if sending.at >= deadline + EPSILON or (sending.at >= deadline and deadline > call.began):
                yield f"an attempt {sending.at - deadline:.6f} s after the deadline"
        if call.ended is not None and call.ended > deadline + LEAST + EPSILON:
            yield f"the caller waited {call.ended - deadline:.6f} s longer than its deadline"
        if call.reads_since is not None and call.reads_since < deadline and call.body_ended is not None:
            if call.body_ended > deadline + LEAST + EPSILON and call.response is not None and call.response.sending:
                yield f"the body went on {call.body_ended - deadline:.6f} s after the deadline"
    attempt = getattr(clocks, "attempt", None)
    for sending in call.sendings:
        until = sending.headers_at or sending.ended_at
        if isinstance(attempt, float) and until is not None and until - sending.at > attempt + EPSILON:
            yield f"an attempt of {until - sending.at:.6f} s, longer than {attempt}"
    if policy.retry is not None and policy.retry.max_elapsed is not None:
        for sending in call.sendings[1:]:
            late = sending.at - call.began - policy.retry.max_elapsed
            if sending.origin == call.origin and late > EPSILON:
                yield f"a retry {late:.6f} s after max_elapsed"


def is_safe(call: CallSeen, sending: Sending, policy: EffectivePolicy) -> bool:
    """Does a second execution do no more than the first?"""
    methods = IDEMPOTENT if policy.retry is None or policy.retry.methods is None else policy.retry.methods
    return call.method in methods or bool(sending.fields.get(_KEY))


def sent_again(evidence: Evidence, call: CallSeen) -> Iterator[str]:
    """I7: an unsafe request goes out again only if it surely was not sent, or the server says so; unchanged."""
    policy = evidence.policy(call)
    acted = sum(s.exchange is not None and s.exchange.acted_at is not None for s in call.sendings)
    if acted > 1 and not is_safe(call, call.sendings[0], policy):
        yield f"an unsafe request acted on {acted} times"
    for before, after in zip(call.sendings, call.sendings[1:], strict=False):
        meaning = evidence.meaning(before)
        if before.origin == after.origin and meaning.again == NO:
            yield f"sent again after what is not repeated: {before}"
        elif meaning.again != ANY and not is_safe(call, before, policy):
            if meaning.verdict != THROTTLED or before.origin == after.origin:
                yield f"an unsafe request sent again after {before}"
        if not call.replayable:
            yield "a body that cannot be sent again was"
    keys = {sending.fields.get(_KEY) for sending in call.sendings}
    if len(keys) > 1:
        yield f"its attempts carry {len(keys)} different keys"
    for sending in call.sendings:
        if sending.content != call.content or sending.method != call.method:
            yield f"sent otherwise than the caller wrote it: {sending}"
        if sending.origin == call.origin:
            if {n: v for n, v in sending.fields.items() if n != _KEY} != {
                n: v for n, v in call.fields.items() if n != _KEY
            }:
                yield f"sent with other fields than the caller wrote: {sending}"
            if call.fields.get(_KEY, sending.fields.get(_KEY)) != sending.fields.get(_KEY):
                yield "the caller's own key was replaced"


def leaks(_evidence: Evidence, call: CallSeen) -> Iterator[str]:
    """I9: every answer that was opened was handed over, or read ahead, or closed."""
    handed = call.response.sending if call.response is not None else None
    for sending in call.sendings:
        if sending.ended_at is None:
            yield f"never ended: {sending}"
        elif sending is handed and sending.end == "discarded":
            yield f"handed over after it was thrown away: {sending}"
        elif sending.end in ("closed", "dropped") and sending is not handed:
            yield f"{sending.end} by a caller who never had it: {sending}"


def transparent(evidence: Evidence, call: CallSeen) -> Iterator[str]:
    """I16: what a caller gets is what the last server said, and nothing was done to it."""
    response = call.response
    if response is None:
        return
    sending = response.sending
    if response.source == "origin" and sending is None:
        policy = evidence.policy(call)
        if policy.rejections != "respond" or response.status != 503:
            yield "an answer from nowhere"
        return
    if sending is None or sending.exchange is None:
        return
    if sending.call is not call:
        yield "another call's answer"
    elif response.source == "origin" and sending not in _own(call)[-1:]:
        yield "not the last attempt's answer"
    if response.source != "origin":
        return
    if response.status != sending.exchange.status or response.headers != sending.exchange.headers:
        yield "an answer that was changed on its way"
    whole = sending.exchange.body
    if sending.end == "eof" and call.body_error is None and call.body not in (whole, b""):
        yield f"{len(call.body)} bytes of another body than the server's {len(whole)}"
    if sending is call.sendings[0] and sending.at > call.began + EPSILON and not may_wait(evidence, call):
        yield f"held back for {sending.at - call.began:.6f} s for nothing"


def may_wait(evidence: Evidence, call: CallSeen) -> bool:
    """Is there a bulkhead, or may a server have asked for a pause?"""
    bulkhead = evidence.policy(call).bulkhead
    has_line = bulkhead is not None and bulkhead.max_concurrent is not None
    return has_line or (call.client, call.origin) in evidence.asked


def documented(_evidence: Evidence, call: CallSeen) -> Iterator[str]:
    """I18: an exception is the library's own, the one that came, or one of ours that is documented."""
    error = call.error
    if error is None or isinstance(error, Cancelled):
        return
    own = _own(call)
    last = own[-1] if own else None
    if isinstance(error, NetworkError):
        if error.sending is not last:
            yield f"another {error!r} than the last attempt raised"
    elif type(error) in _OURS:
        if not error.host or not str(error) or error.attempts > len(call.sendings):  # type: ignore[attr-defined]
            yield f"{error!r} does not tell what happened"
        if last is not None and last.error and error.__cause__ is None and not isinstance(error, _WITHOUT_CAUSE):
            yield f"{error!r} without its cause"
    else:
        yield f"an undocumented {error!r}"


OF_ONE_CALL: Final[dict[str, Callable[[Evidence, CallSeen], Iterator[str]]]] = {
    "I3 refused calls touch no network": rejected,
    "I5 attempts": attempts,
    "I6 deadlines": deadlines,
    "I7 sent again": sent_again,
    "I9 leaked answers": leaks,
    "I16 transparency": transparent,
    "I18 exceptions": documented,
}


def check(evidence: Evidence) -> Iterator[str]:
    for call in evidence.history.calls:
        for name, judge in OF_ONE_CALL.items():
            for wrong in judge(evidence, call):
                yield f"{name}: {call}: {wrong}"
