"""A policy in words: every effective value, the worst cases, and where parts contradict each other."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from seawall._check import UNSET
from seawall.effective import Effective
from seawall.policies.budget import RetryBudget

if TYPE_CHECKING:
    from seawall.policy import Policy


def describe(policy: Policy) -> str:
    """What a call under `policy` may expect."""
    full = Effective(policy)
    lines = [_part(name, getattr(full, name)) for name in ("timeouts", "retry", "budget", "breaker", "bulkhead")]
    lines.append("degrade: " + (", ".join(_step(step) for step in full.degrade) or "nothing"))
    if full.degrade and full.degrade_after is not None:
        lines.append(f"degrade_after: {full.degrade_after:g}")
    lines.append(f"inspect_streams: {_value(full.inspect_streams)}")
    lines += [f"rejections: {full.rejections}", f"mode: {'off' if full.is_off else 'enforce'}"]
    if full.group:
        lines.append(f"group: {full.group}")
    lines += ["worst cases:", f"  attempts per call: {most_attempts(full)}", f"  time per call: {_longest(full)}"]
    lines.append(f"  load in a total outage: {_outage(full)}")
    lines += [f"note: {text}" for text in _notes(full)]
    lines += [f"warning: {text}" for text in contradictions(full)]
    return "\n".join(lines)


def most_attempts(full: Effective) -> int:
    """Sends of one call at most."""
    return 1 if full.is_off or full.retry is None else 1 + full.retry.max_retries


def longest(full: Effective) -> float | None:
    """Seconds until the headers at most, by our clocks alone; None: they set no bound."""
    clocks, retry = full.timeouts, full.retry
    if isinstance(clocks.total, float):
        return clocks.total
    if not isinstance(clocks.attempt, float):
        return None
    wait = full.bulkhead.max_wait if full.bulkhead is not None and full.bulkhead.max_concurrent is not None else 0.0
    gate = (retry.max_retry_after + retry.max_delay) if retry is not None else 0.0
    once = gate + wait + clocks.attempt
    if retry is None:
        return once
    pause = retry.max_retry_after + min(retry.max_retry_after / 2, retry.max_delay)
    whole = once + retry.max_retries * (max(pause, retry.max_delay) + once)
    return whole if retry.max_elapsed is None else min(whole, retry.max_elapsed + once)


def contradictions(full: Effective) -> list[str]:
    """Parts that defeat each other."""
    found: list[str] = []
    clocks, retry, breaker, bulkhead = full.timeouts, full.retry, full.breaker, full.bulkhead
    total, attempt = clocks.total, clocks.attempt
    if isinstance(total, float):
        if bulkhead is not None and bulkhead.max_concurrent is not None and bulkhead.max_wait >= total:
            found.append(
                f"bulkhead max_wait={bulkhead.max_wait:g} s may use up total={total:g} s before anything is sent"
            )
        if retry is not None and retry.max_retries and retry.base_delay >= total:
            found.append(f"retry base_delay={retry.base_delay:g} s leaves no retry within total={total:g} s")
        if retry is not None and retry.max_retries and isinstance(attempt, float) and attempt >= total:
            found.append(
                f"attempt={attempt:g} s may use up total={total:g} s: a hanging attempt leaves no time for a retry"
            )
    if breaker is not None:
        if (
            breaker.slow_call_duration is not None
            and isinstance(attempt, float)
            and breaker.slow_call_duration >= attempt
        ):
            found.append(
                f"slow_call_duration={breaker.slow_call_duration:g} s is never reached within attempt={attempt:g} s"
            )
        if breaker.min_failure_span >= breaker.sampling_window:
            found.append("breaker min_failure_span is as long as its window")
    if retry is not None and retry.max_retries and isinstance(full.budget, RetryBudget):
        if full.budget.cap < 1 or (
            full.budget.start < 1 and not full.budget.ratio and not full.budget.refill_per_minute
        ):
            found.append("the budget never holds a whole token: nothing is ever retried")
    return found


def _part(name: str, part: Any) -> str:
    if part is None:
        return f"{name}: off"
    values = [
        f"{f.name}={'left to the client' if v is UNSET else _value(v)}"
        for f in fields(part)
        for v in (getattr(part, f.name),)
    ]
    return f"{name}: {type(part).__name__} " + ", ".join(values)


def _step(step: Any) -> str:
    """A step with what was set of it."""
    if not is_dataclass(step):
        return repr(step)
    given = [f"{f.name}={_value(value)}" for f in fields(step) if (value := getattr(step, f.name)) != f.default]
    return f"{type(step).__name__}({', '.join(given)})"


def _for_requests(step: Any) -> str:
    """Its name, if it can do nothing for an operation of `execute`."""
    from seawall.degrade.fallback import FallbackProvider
    from seawall.degrade.queue import QueueForRetry
    from seawall.degrade.stale import StaleResponse

    if isinstance(step, StaleResponse) and step.key is None:
        return "StaleResponse without key="
    return type(step).__name__ if isinstance(step, FallbackProvider | QueueForRetry) else ""


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, frozenset):
        return "{" + ", ".join(sorted(getattr(member, "name", str(member)) for member in value)) + "}"  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return getattr(value, "__qualname__", None) or repr(value)


def _longest(full: Effective) -> str:
    seconds = longest(full)
    if seconds is not None:
        return f"{seconds:g} s"
    return "as long as the client's own timeouts allow, for each attempt (no total, no attempt clock set)"


def _outage(full: Effective) -> str:
    parts: list[str] = []
    extra = full.retry.max_retries if full.retry is not None else 0
    if not extra:
        parts.append("one attempt per call")
    elif full.budget is None:
        parts.append(f"{1 + extra} attempts per call (no budget)")
    elif isinstance(full.budget, RetryBudget):
        budget = full.budget
        parts.append(
            f"one attempt per call, and {budget.start:g} to {budget.cap:g} extra ones in all, "
            f"{budget.refill_per_minute:g} more a minute, per process"
        )
    else:
        parts.append(
            f"one attempt per call, and {full.budget.max_tokens:g} extra ones in all, then up to "
            f"{getattr(full.budget, 'max_refill_rate', full.budget.refill_rate):g} a second, per process"
        )
    if full.breaker is not None:
        longest_open = full.breaker.max_open_duration
        parts.append(
            f"until it opens; then {full.breaker.half_open_max_requests} probes every {longest_open:g} s or so"
        )
    return ", ".join(parts)


def _notes(full: Effective) -> list[str]:
    notes: list[str] = []
    retry = full.retry
    if retry is not None and retry.jitter == "decorrelated":
        notes.append("decorrelated jitter makes its own sequence: backoff and multiplier do nothing")
    if retry is None and full.budget is not None:
        notes.append("nothing is retried: the budget pays for nothing")
    if full.bulkhead is None or full.bulkhead.max_concurrent is None:
        notes.append("the bulkhead measures and never refuses")
    if any(type(step).__name__ == "QueueForRetry" for step in full.degrade):
        notes.append("QueueForRetry keeps what is safe to send twice, and what has an idempotency key; the rest fails")
    idle = [name for step in full.degrade if (name := _for_requests(step))]
    if idle:
        notes.append(f"for requests only, an operation of execute() is passed on: {', '.join(idle)}")
    return notes
