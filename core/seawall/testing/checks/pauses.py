"""I4, I6, I8: why a call went on or stopped, when its next attempt left, and if servers' wishes were obeyed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from seawall.testing.checks.calls import is_safe
from seawall.testing.checks.evidence import ANY, FAILURE, LONGEST_GATE, NO, THROTTLED, Evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall import Retry
    from seawall.testing.sim.history import CallSeen, Sending

SLACK: Final = 1e-5


def check(evidence: Evidence) -> Iterator[str]:
    yield from gates(evidence)
    for call in evidence.history.calls:
        if call.report is None or not call.sendings or not evidence.is_plain(call.client):
            continue
        retry = evidence.policy(call).retry
        for before, after in zip(call.sendings, call.sendings[1:], strict=False):
            if retry is not None:
                for wrong in pause(evidence, call, retry, before, after):
                    yield f"I6 pauses: {call}: {wrong}"
        mistake = ending(evidence, call, retry)
        if mistake is not None:
            yield f"I8 endings: {call}: {mistake}"


def gates(evidence: Evidence) -> Iterator[str]:
    """A server that asks for a pause gets it, from all calls of the client."""
    for (client, origin), entries in evidence.threads.items():
        until = 0.0
        for kind, now, what in entries if evidence.knows_all(client) else ():
            if kind == "ended":
                meaning = evidence.verdict(what)
                retry = evidence.policy(what.call).retry
                if meaning.asked and meaning.verdict in (FAILURE, THROTTLED):
                    if retry is not None and retry.share_retry_after:
                        until = max(until, now + min(meaning.asked, LONGEST_GATE))
            elif kind == "act" and what[1] in ("reset", "reset_all"):
                until = now
            elif kind == "sent" and now < until - SLACK:
                yield f"I6 gate: {client} {origin}: sent {until - now:.6f} s before the server wants it: {what}"
                break
            elif kind == "picture" and abs(what[1].gate - max(0.0, until - now)) > SLACK:
                yield f"I6 gate: {client} {origin}: shows {what[1].gate:.6f} s, and it is {max(0.0, until - now):.6f} s"
                break


def longest(retry: Retry, number: int, last: float | None) -> tuple[float, float]:
    """The bounds of the client's own pause before retry `number` (from 0); `last`: the bound of the one before."""
    base, cap = retry.base_delay, retry.max_delay
    if retry.jitter == "decorrelated":
        return min(base, cap), max(base, min(cap, 3 * (base if last is None else last)))
    steps = {
        "exponential": lambda: base * retry.multiplier**number,
        "linear": lambda: base * (number + 1),
        "fibonacci": lambda: base * (1, 1, 2, 3, 5, 8, 13)[number],
        "constant": lambda: base,
    }
    most = min(cap, steps[retry.backoff]())
    least = {"full": 0.0, "equal": most / 2, "none": most}[retry.jitter]
    return least, most


def pause(evidence: Evidence, call: CallSeen, retry: Retry, before: Sending, after: Sending) -> Iterator[str]:
    """Between two attempts: as long as asked, as the backoff says, and no longer."""
    assert before.ended_at is not None
    waited = after.at - before.ended_at
    if any(before.ended_at <= act <= after.at for act in evidence.roused[call.client]):
        return
    asked = evidence.meaning(before).asked
    if asked:
        if asked > retry.max_retry_after:
            yield f"a retry although {asked:g} s were asked for, and {retry.max_retry_after:g} are waited for at most"
        if waited < asked - SLACK:
            yield f"a retry after {waited:.6f} s, and {asked:g} were asked for"
        return
    least, most = own_pause(evidence, call, retry, before)
    if waited < least - SLACK:
        yield f"a retry after {waited:.6f} s, sooner than {least:.6f}"
    bulkhead = evidence.policy(call).bulkhead
    has_line = bulkhead is not None and bulkhead.max_concurrent is not None
    if waited > most + SLACK and not has_line and (call.client, call.origin) not in evidence.asked:
        yield f"a retry after {waited:.6f} s, later than {most:.6f}"


def own_pause(evidence: Evidence, call: CallSeen, retry: Retry, before: Sending) -> tuple[float, float]:
    """The bounds of the client's own pause after that attempt: after a server's wish they begin anew."""
    number = 0
    last: float | None = None
    for sending in call.sendings[: call.sendings.index(before)]:
        if evidence.meaning(sending).asked:
            number, last = 0, None
        else:
            last = longest(retry, number, last)[1]
            number += 1
    return longest(retry, number, last)


def ending(evidence: Evidence, call: CallSeen, retry: Retry | None) -> str | None:
    """Why it stopped, told by the report, must be true; and where a retry was due there must be a reason."""
    assert call.report is not None
    last = call.sendings[-1]
    name = call.report.ending.name if call.report.ending is not None else "none"
    if last.judged_at is None or call.report.reason or name in ("CANCELLED", "BODY_BROKE"):
        return None
    meaning, attempts = evidence.meaning(last), len(call.sendings)
    stop: Any
    if name == "ANSWERED":
        stop = meaning.again == NO
    elif retry is None:
        stop = name == "RETRY_OFF" or (name == "DEADLINE" and evidence.deadline(call) is not None)
    else:
        deadline = evidence.deadline(call)
        stop = {
            "ATTEMPTS_EXHAUSTED": attempts > retry.max_retries,
            "NOT_RETRYABLE": meaning.again == NO,
            "NOT_REPEATABLE": meaning.again not in (NO, ANY) and not is_safe(call, last, evidence.policy(call)),
            "BODY_NOT_REPLAYABLE": not call.replayable,
            "SERVER_DELAY_TOO_LONG": meaning.asked is not None and meaning.asked > retry.max_retry_after,
            "BUDGET_EXHAUSTED": evidence.policy(call).budget is not None,
            "REFUSED": not evidence.exempt(call, "breaker"),  # rightly so? `circuits` says
            "DEADLINE": deadline is not None and last.judged_at >= deadline - 0.011,
            "OUT_OF_TIME": out_of_time(evidence, call, retry, last),
        }.get(name)
    if stop is None:
        return f"an unexpected ending {name}"
    return None if stop else f"it says {name}, which is not so, after {last}"


def out_of_time(evidence: Evidence, call: CallSeen, retry: Retry, last: Sending) -> bool:
    """Could the next attempt have been too late?"""
    assert last.judged_at is not None
    asked, deadline = evidence.meaning(last).asked, evidence.deadline(call)
    latest = last.judged_at + SLACK
    if asked:
        latest += asked + min(asked / 2, retry.max_delay)
    else:
        latest += own_pause(evidence, call, retry, last)[1]
    if retry.max_elapsed is not None and latest - call.began > retry.max_elapsed:
        return True
    return deadline is not None and latest + evidence.slowest(call.client) >= deadline
