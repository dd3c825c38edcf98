"""One row of the page per host: what the circle, the bars and the strips are drawn for, in words beside them."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from seawall.health import drawing
from seawall.health.markup import host_name, length
from seawall.health.model import worst
from seawall.health.words import count, number, share, span, tokens

if TYPE_CHECKING:
    from seawall.health.model import BreakerHealth, BudgetHealth, BulkheadHealth

CHANGES: Final = 3
"""Changes of state shown per host."""

_STATES: Final = {"closed": "Closed", "open": "Open", "half_open": "Half-open", "isolated": "Held open"}


def host(breaker: BreakerHealth, bulkhead: BulkheadHealth, budget: BudgetHealth, busiest: float, now: float) -> str:
    """`busiest`: the highest rate of any host, attempts a second; `now`: seconds since the epoch."""
    status = worst((breaker, bulkhead, budget))
    return f"""<li class="host {status}">{drawing.bubble(breaker.request_rate / busiest, breaker.failure_rate, status)}
<div class="who"><h3>{host_name(breaker.host)}</h3><p class="state">{drawing.icon(status)}\
<b>{_STATES[breaker.state]}</b>{_waiting(breaker)}</p></div>
<div class="traffic"><h4>Traffic</h4>{_traffic(breaker)}</div>
<div class="latency"><h4>Latency</h4>{_latency(breaker)}</div>
<div class="permits"><h4>Permits</h4>{_permits(bulkhead)}</div>
<div class="budget"><h4>Retry budget</h4>{_tokens(budget)}</div>
<div class="changes{"" if breaker.transitions else " none"}"><h4>Last changes</h4>{_changes(breaker, now)}</div></li>"""


def _waiting(breaker: BreakerHealth) -> str:
    if breaker.state == "isolated":
        return " by hand"
    if breaker.gate > 0:
        return f" told to wait {length(breaker.gate)}"
    if breaker.state == "open" and breaker.retry_after is not None:
        return f" next try in {length(breaker.retry_after)}"
    if breaker.state == "half_open":
        return f" {count(breaker.consecutive_successes, 'probe')} succeeded"
    if breaker.consecutive_failures > 1:
        return f" {breaker.consecutive_failures} failures in a row"
    return ""


def _traffic(breaker: BreakerHealth) -> str:
    parts = [f"<b>{number(breaker.request_rate)}</b>/s"]
    if breaker.failures:
        parts.append(f'<span class="bad">{share(breaker.failure_rate)} failed</span>')
    parts += [
        f"{amount:,} {word}"
        for amount, word in (
            (breaker.rejections, "refused"),
            (breaker.throttled, "throttled"),
            (breaker.degraded, "degraded"),
        )
        if amount
    ]
    answered, failed, refused = (sum(column) for column in zip(*breaker.timeline, strict=True))
    label = f"{answered} answered, {failed} failed, {refused} refused"
    return (
        drawing.bars(breaker.timeline, f"{label} in the last {span(breaker.sampling_window)}")
        + f"<p>{' · '.join(parts)}</p>"
    )


def _latency(breaker: BreakerHealth) -> str:
    p50, p90, p99 = breaker.latency_p50, breaker.latency_p90, breaker.latency_p99
    if p50 is None or p90 is None or p99 is None:
        return '<p class="none">no good answer yet</p>'
    return drawing.strip(p50, p90, p99) + (
        f'<p><b>{length(p50)}</b> <abbr title="90th percentile">p90</abbr> {length(p90)} '
        f'<abbr title="99th percentile">p99</abbr> {length(p99)}</p>'
    )


def _permits(bulkhead: BulkheadHealth) -> str:
    if bulkhead.limit is None:
        return f'<p><b>{bulkhead.in_flight:,}</b> out</p><p class="none">no limit</p>'
    notes = [f"{bulkhead.queue_depth:,} waiting"] if bulkhead.queue_depth else []
    if bulkhead.mean_wait:
        notes.append(f"{length(bulkhead.mean_wait)} mean wait")
    return (
        f"{drawing.meter(bulkhead.utilization, bulkhead.status)}<p><b>{bulkhead.in_flight:,}</b> of {bulkhead.limit:,} "
        f"out</p><p>{' · '.join(notes) or 'nobody waits'}</p>"
    )


def _tokens(budget: BudgetHealth) -> str:
    if budget.max is None or budget.available is None:
        return '<p class="none">unlimited</p>'
    denied = f'<p class="bad">{budget.denied:,} denied</p>' if budget.denied else _income(budget)
    return (
        f"{drawing.meter(1 - budget.utilization, budget.status)}"
        f"<p><b>{tokens(budget.available)}</b> of {tokens(budget.max)}</p>{denied}"
    )


def _income(budget: BudgetHealth) -> str:
    if budget.deposit_ratio:
        return f"<p>+{budget.deposit_ratio:g} a success</p>"
    return f"<p>+{number(budget.refill_rate)}/s</p>"


def _changes(breaker: BreakerHealth, now: float) -> str:
    if not breaker.transitions:
        return '<p class="none">none</p>'
    lines = "".join(
        f"<li>{_ago(now - one.at)} <b>{_STATES[one.after].lower()}</b>: {escape(one.reason)}</li>"
        for one in reversed(breaker.transitions[-CHANGES:])
    )
    return f"<ol>{lines}</ol>"


def _ago(seconds: float) -> str:
    return f"{length(seconds)} ago" if seconds >= 1 else "just now"
