"""The rules about a host's circuit: open, held open, half-open, or closed and failing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from seawall.health.model import BreakerHealth
from seawall.health.subject import status_of
from seawall.health.words import count, share, span

if TYPE_CHECKING:
    from seawall.health.model import Recommendation
    from seawall.health.subject import Subject
    from seawall.snapshot import HostSnapshot

FAILING: Final = 0.3
"""Failure rate above which a host is a warning."""
ENOUGH: Final = 5
"""Attempts that make a rate worth a warning: more than one call with its retries."""


def breaker(subject: Subject) -> BreakerHealth:
    """Open is critical if callers get nothing, else degraded; half-open, or failing too often, is a warning."""
    picture = subject.snapshot
    found: Recommendation | None
    match picture.state:
        case "open" | "isolated":
            found = _open(subject)
        case "half_open":
            found = _half_open(subject)
        case "closed":
            found = _failing(subject) or (_shared(subject) if subject.is_shared else None)
    status = status_of(found)
    if picture.state in ("open", "isolated") and status == "warning":
        status = "degraded"
    return BreakerHealth(
        host=picture.host,
        status=status,
        state=picture.state,
        retry_after=picture.retry_after,
        gate=picture.gate,
        sampling_window=picture.sampling_window,
        requests=picture.requests,
        request_rate=picture.requests / picture.sampling_window,
        failures=picture.failures,
        failure_rate=picture.failure_rate,
        throttled=picture.throttled,
        timeouts=picture.timeouts,
        rejections=picture.rejections,
        degraded=picture.degraded,
        timeline=picture.timeline,
        consecutive_failures=picture.consecutive_failures,
        consecutive_successes=picture.consecutive_successes,
        last_change=picture.last_change,
        transitions=picture.transitions,
        latency_p50=picture.latency_p50,
        latency_p90=picture.latency_p90,
        latency_p99=picture.latency_p99,
        recommendation=found,
    )


def _open(subject: Subject) -> Recommendation:
    picture = subject.snapshot
    refused, answered = picture.rejections, picture.degraded
    steps = [type(step).__name__ for step in subject.policy.degrade if step.source != "origin"]
    # Ways to degrade are believed in while nobody calls; then by what they do: an answer for a few is none.
    is_answered = 2 * answered >= refused if refused or answered else bool(steps)
    by_hand = picture.state == "isolated"
    is_harmless = by_hand and not refused
    setting = "Policy.degrade"
    if by_hand:
        action, setting = "Nothing but restore(host) lets calls through again.", "Resilience.restore"
    elif is_answered:
        action, setting = "Find out why it fails; its callers are answered meanwhile.", "Policy.breaker.open_duration"
    elif steps:
        action = f"Find out why it fails, and why {' and '.join(steps)} answered for fewer than half of these calls."
    else:
        action = "Find out why it fails, and give callers an answer from elsewhere meanwhile."
    message = "held open by hand" if by_hand else f"the circuit is open{_why(picture)}"
    message += f": {count(refused, 'call')} refused, {answered} answered from elsewhere "
    message += f"in the last {span(picture.sampling_window)}"
    if picture.retry_after is not None:
        message += f"; the next try is in {span(picture.retry_after)}"
    return subject.say(
        "warning" if is_answered or is_harmless else "critical",
        "breaker",
        message,
        action,
        setting,
        rejections=refused,
        degraded=answered,
        open_count=picture.open_count,
    )


def _half_open(subject: Subject) -> Recommendation:
    picture, config = subject.snapshot, subject.policy.breaker
    needed = 0 if config is None else config.success_threshold
    is_asked_for = picture.requests or picture.rejections or picture.in_flight
    return subject.say(
        "warning" if is_asked_for else "info",
        "breaker",
        f"the circuit is half-open{_why(picture)}: {picture.consecutive_successes} of {needed} probes that close it "
        "succeeded" + ("" if is_asked_for else "; nobody has called lately, the next call is a probe"),
        "Wait: enough successes close it, one failure opens it again.",
        "Policy.breaker.success_threshold",
        consecutive_successes=picture.consecutive_successes,
        success_threshold=needed,
        requests=picture.requests,
        rejections=picture.rejections,
    )


def _failing(subject: Subject) -> Recommendation | None:
    picture, config = subject.snapshot, subject.policy.breaker
    if picture.failure_rate <= FAILING:
        return None
    judged = picture.successes + picture.failures
    limits: dict[str, float] = {}
    if subject.is_shared:
        action, setting = "Hosts beyond max_hosts share one circuit, which never opens.", "Resilience.max_hosts"
    elif config is None:
        action, setting = "Nothing ever leaves this host alone: give it a breaker.", "Policy.breaker"
    else:
        action = (
            f"Find out why. The circuit opens at {share(config.failure_rate_threshold)} of {config.min_requests} or "
            f"more attempts, or at {config.failure_threshold} failures in a row."
        )
        setting = "Policy.breaker.failure_rate_threshold"
        limits = {
            "failure_rate_threshold": config.failure_rate_threshold,
            "min_requests": config.min_requests,
            "failure_threshold": config.failure_threshold,
        }
    return subject.say(
        "warning" if judged >= ENOUGH else "info",
        "breaker",
        f"{picture.failures} of {count(judged, 'attempt')} failed in the last {span(picture.sampling_window)} "
        f"({share(picture.failure_rate)}), {picture.timeouts} timed out; "
        f"{count(picture.consecutive_failures, 'failure')} in a row",
        action,
        setting,
        failures=picture.failures,
        requests=judged,
        failure_rate=picture.failure_rate,
        timeouts=picture.timeouts,
        consecutive_failures=picture.consecutive_failures,
        threshold=FAILING,
        **limits,
    )


def _shared(subject: Subject) -> Recommendation:
    return subject.say(
        "info",
        "breaker",
        "there are more hosts than have a state of their own: the rest share this one, which measures and never opens",
        "Raise max_hosts, or name hosts that belong together by Policy(group=…).",
        "Resilience.max_hosts",
        total_requests=subject.snapshot.total_requests,
    )


def _why(picture: HostSnapshot) -> str:
    return f" ({picture.transitions[-1].reason})" if picture.transitions else ""
