"""Snapshots → health: pure functions, one per part of a host, each the rule and the words for it.

A rule looks at what is so now or was within the breaker's window, never at totals:
a page that still shows this morning's trouble at noon is not looked at again. And
it speaks only where somebody may have to act; a recommendation that is always there
is not read. Both are where the specification's own health check went wrong
(docs/decisions/0016-what-health-calls-bad.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from seawall.health.circuit import breaker
from seawall.health.model import STATUSES, BudgetHealth, BulkheadHealth, Health, worst
from seawall.health.subject import Subject, status_of
from seawall.health.words import count, span, tokens
from seawall.policies.budget import RetryBudget

if TYPE_CHECKING:
    from collections.abc import Iterable

CROWDED: Final = 0.9
"""Share of the permits above which a bulkhead is nearly full."""
LOW: Final = 0.1
"""Share of its maximum below which a budget is used up; a token is whole, so never below one."""


def assess(subjects: Iterable[Subject], *, timestamp: float, name: str | None = None) -> Health:
    """The health of these hosts, the worst first, then the busiest."""
    hosts = [(breaker(subject), bulkhead(subject), budget(subject)) for subject in subjects]
    hosts.sort(key=lambda host: (-STATUSES.index(worst(host)), -host[0].requests - host[0].rejections, host[0].host))
    return Health(
        timestamp=timestamp,
        name=name,
        breakers=tuple(host[0] for host in hosts),
        bulkheads=tuple(host[1] for host in hosts),
        budgets=tuple(host[2] for host in hosts),
    )


def bulkhead(subject: Subject) -> BulkheadHealth:
    """Nearly full is worth a word; a warning once calls wait or are refused for it."""
    picture = subject.snapshot
    found = None
    if picture.limit is not None and picture.utilization > CROWDED:
        is_full = picture.in_flight >= picture.limit
        refused = picture.rejections if is_full and picture.state == "closed" and not picture.gate else 0
        found = subject.say(
            "warning" if picture.queue_depth or refused else "info",
            "bulkhead",
            f"{picture.in_flight} of {picture.limit} permits are out, {count(picture.queue_depth, 'call')} "
            f"waiting, {refused} refused in the last {span(picture.sampling_window)}; a call waits "
            f"{span(picture.mean_wait)} and holds its permit {span(picture.mean_hold)} on average",
            "If the host can bear more, raise the limit; if it has become slow, the limit is what protects the others.",
            "Policy.bulkhead.max_concurrent",
            in_flight=picture.in_flight,
            limit=picture.limit,
            utilization=picture.utilization,
            queue_depth=picture.queue_depth,
            refused=refused,
            mean_wait=picture.mean_wait,
            mean_hold=picture.mean_hold,
            threshold=CROWDED,
        )
    return BulkheadHealth(
        host=picture.host,
        status=status_of(found),
        limit=picture.limit,
        in_flight=picture.in_flight,
        utilization=picture.utilization,
        peak_utilization=picture.peak_utilization,
        queue_depth=picture.queue_depth,
        mean_wait=picture.mean_wait,
        mean_hold=picture.mean_hold,
        refused=picture.acquire_failures,
        recommendation=found,
    )


def budget(subject: Subject) -> BudgetHealth:
    """Used up is a warning only if an extra attempt was denied lately: an empty purse nobody opens hurts nobody."""
    picture, most = subject.snapshot, subject.snapshot.budget_max
    deposits = subject.policy.budget.ratio if isinstance(subject.policy.budget, RetryBudget) else 0.0
    found = None
    if most is not None and picture.denied and picture.budget < max(1.0, LOW * most):
        income = f"{picture.budget_refill_rate * 60:.3g} a minute come by time"
        found = subject.say(
            "warning",
            "budget",
            f"{count(picture.denied, 'extra attempt')} denied in the last {span(picture.sampling_window)}: "
            f"{tokens(picture.budget)} of {tokens(most)} tokens are left, {income}"
            + (f" and {deposits:g} with each success" if deposits else ""),
            "More fails than the budget pays retries for, which keeps load off a sick host: look at the host first.",
            "Policy.budget.ratio" if deposits else "Policy.budget.refill_rate",
            denied=picture.denied,
            available=picture.budget,
            max=most,
            refill_rate=picture.budget_refill_rate,
            deposit_ratio=deposits,
            threshold=LOW,
        )
    return BudgetHealth(
        host=picture.host,
        status=status_of(found),
        available=None if most is None else picture.budget,
        max=most,
        utilization=0.0 if most is None else min(1.0, max(0.0, 1 - picture.budget / most)) if most else 1.0,
        refill_rate=picture.budget_refill_rate,
        deposit_ratio=deposits,
        denied=picture.denied,
        recommendation=found,
    )
