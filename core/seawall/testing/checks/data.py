"""I10, I11: whose answer a caller gets, how old it may be, and where credentials go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from seawall.testing.checks.evidence import EPSILON, Evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.degrade.stale import StaleResponse
    from seawall.testing.sim.history import CallSeen

_CREDENTIAL: Final = "authorization"
_ROUNDED: Final = 1e-5
"""Instants are told to the microsecond."""


def check(evidence: Evidence) -> Iterator[str]:
    for call in evidence.history.calls:
        yield from (f"I10: {call}: {wrong}" for wrong in bodies(evidence, call))
        yield from (f"I11: {call}: {wrong}" for wrong in places(evidence, call))


def bodies(evidence: Evidence, call: CallSeen) -> Iterator[str]:
    """No body that was said to somebody else, or for something else; none past its time, or to be forgotten."""
    response = call.response
    if response is None or not call.body or response.source == "simplified" or response.status != 200:
        return
    if call.body.count(b"|") != 4:  # the first half of one
        return
    origin, asked, who, at, mark = call.body.decode().split("|")
    if who != _told_at(call, origin):
        yield f"an answer to {who}, and {call.fields.get(_CREDENTIAL)} asked"
    if response.source == "origin" and origin != call.origin:
        yield f"an answer of {origin}"
    if response.source != "stale":
        return
    if asked != f"{call.method} {call.url}":
        yield f"an answer to {asked}"
    assert call.ended is not None
    if "no-store" in mark:
        yield "an answer that was to be forgotten"
    kept, bounds = call.ended - _came(evidence, call), [step.max_age for step in _steps(evidence, call)]
    if not bounds or kept > max(bounds) + EPSILON:
        yield f"an answer remembered for {kept:.3f} s"
    age = call.ended - float(at)
    if "stale-if-error=2" in mark and age > 1 + 2 + _ROUNDED:
        yield f"an answer {age:.3f} s old, whose server allows 3"


def _came(evidence: Evidence, call: CallSeen) -> float:
    """When the client first could remember what the caller got, at the latest; never, if no server ever sent it."""
    came = evidence.answers.get((call.client, call.body), [])
    return max((at for at in came if call.ended is not None and at <= call.ended), default=float("-inf"))


def _told_at(call: CallSeen, origin: str) -> str:
    for sending in call.sendings:
        if sending.origin == origin:
            return sending.fields.get(_CREDENTIAL, "nobody")
    return call.fields.get(_CREDENTIAL, "nobody")


def _steps(evidence: Evidence, call: CallSeen) -> list[StaleResponse]:
    from seawall.degrade.stale import StaleResponse

    return [step for step in evidence.policy(call).degrade if isinstance(step, StaleResponse)]


def places(evidence: Evidence, call: CallSeen) -> Iterator[str]:
    """Only the host that was called, and what is configured to answer for it; each with its own credentials."""
    allowed = {call.origin: call.fields.get(_CREDENTIAL)}
    for step in evidence.policy(call).degrade:
        for origin in getattr(step, "origins", ()):
            headers: Any = getattr(step, "headers", None) or {}
            allowed[origin] = headers.get("Authorization")
    for sending in call.sendings:
        if sending.origin not in allowed:
            yield f"it went to {sending.origin}"
        elif sending.fields.get(_CREDENTIAL) != allowed[sending.origin]:
            yield f"{sending.origin} got {sending.fields.get(_CREDENTIAL)}"
