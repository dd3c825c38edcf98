"""The page for people: one HTML document that needs nothing else. No script; everything from outside is escaped.

Recommendations on top, then the hosts, worst first. It is bounded: a page of
thousands of hosts shows the worst and says how many it leaves out.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from functools import cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from seawall.health import drawing, rows
from seawall.health.markup import host_name, moment, shown
from seawall.health.model import STATUSES, worst
from seawall.health.words import count, number, share, span

if TYPE_CHECKING:
    from seawall.health.model import Health, Recommendation, Status

EVERY: Final = 5
"""Seconds between reloads."""
HOSTS: Final = 100
"""Most hosts shown."""
RECOMMENDATIONS: Final = 20
"""Most recommendations shown."""


@cache
def style() -> str:
    return files("seawall.health").joinpath("style.css").read_text("utf-8")


@cache
def csp() -> str:
    """The page's Content-Security-Policy: nothing is loaded, nothing runs; its own style is known by its hash."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def render(health: Health, *, data: str, paused: bool = False) -> bytes:
    """The whole page. `data`: where /health.json is, relative to it; `paused`: it does not reload itself."""
    status, name = health.status, shown(health.name or "")
    refresh = "" if paused else f'<meta http-equiv="refresh" content="{EVERY}">'
    title = f"{status} · {name or 'seawall'} health"
    text = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">{refresh}
<title>{title}</title><link rel="icon" href="{_favicon(status)}"><style>{style()}</style></head>
<body>{drawing.ICONS}
{_top(health, name, data, paused)}
<main>
{_summary(health)}
{_recommendations(health.recommendations)}
{_hosts(health)}
</main>
{_legend(health)}
</body></html>
"""
    return text.encode("utf-8", "replace")


def _top(health: Health, name: str, data: str, paused: bool) -> str:
    at = moment(health.timestamp)
    reload = '<a href="?">Resume</a>' if paused else f'every {EVERY} s · <a href="?refresh=off">Pause</a>'
    return f"""<header><h1><svg class="logo" viewBox="0 0 24 24" aria-hidden="true">\
<path d="M2 9c3.3-3.4 6.7-3.4 10 0s6.7 3.4 10 0M2 16c3.3-3.4 6.7-3.4 10 0s6.7 3.4 10 0"/></svg>\
<span>seawall</span>{f' <span class="name"><bdi>{name}</bdi></span>' if name else ""}</h1>
<p class="meta">{at} · {reload} · <a href="{escape(data)}">health.json</a></p></header>"""


def _summary(health: Health) -> str:
    status = health.status
    tally: Counter[Status] = Counter(worst(host) for host in health.hosts())
    judged = sum(breaker.requests for breaker in health.breakers)
    failed = sum(breaker.failures for breaker in health.breakers)
    figures = [
        (f"{len(health.breakers):,}", "hosts"),
        (f"{health.open_circuit_count:,}", "open circuits"),
        (f"{health.degraded_provider_count:,}", "degraded"),
        (number(sum(breaker.request_rate for breaker in health.breakers)), "attempts/s"),
        (share(failed / judged if judged else 0), "failed"),
        (f"{sum(bulkhead.queue_depth for bulkhead in health.bulkheads):,}", "waiting"),
    ]
    tiles = "".join(f"<div><dt>{label}</dt><dd>{figure}</dd></div>" for figure, label in figures)
    shares = [(word, tally[word]) for word in reversed(STATUSES)]
    words = "".join(f"<li>{drawing.icon(word)}<b>{amount:,}</b> {word}</li>" for word, amount in shares if amount)
    return f"""<section class="summary {status}" aria-label="Summary"><div class="verdict">{drawing.icon(status)}
<div><h2>{status.capitalize()}</h2><p>{_sentence(health, tally)}</p></div></div>
<dl class="figures">{tiles}</dl>
<div class="shares">{drawing.stack(shares)}<ul>{words}</ul></div></section>"""


def _sentence(health: Health, tally: Counter[Status]) -> str:
    if not health.breakers:
        return "No host has been called yet."
    match health.status:
        case "critical":
            return f"Callers of {count(tally['critical'], 'host')} get no answer."
        case "degraded":
            found = count(tally["degraded"], "host")
            return f"{found} cannot be called, but nobody goes without an answer."
        case "warning":
            return f"{count(tally['warning'], 'host')} should be looked at."
        case "healthy":
            return "The host is well." if len(health.breakers) == 1 else f"All {len(health.breakers):,} hosts are well."


def _recommendations(found: tuple[Recommendation, ...]) -> str:
    if not found:
        return ""
    items = "\n".join(
        f'<li class="{one.severity}"><p class="kind">{drawing.icon(one.severity)}{one.severity.capitalize()}</p>'
        f"<div><h3>{host_name(one.host)}</h3><p>{one.component}</p></div>"
        f'<div class="what"><p>{escape(one.message[:1].upper() + one.message[1:])}.</p>'
        f'<p class="action">{escape(one.action)} <code>{escape(one.setting)}</code></p></div></li>'
        for one in found[:RECOMMENDATIONS]
    )
    more = len(found) - RECOMMENDATIONS
    rest = f'<p class="more">and {more:,} more, no more severe than these</p>' if more > 0 else ""
    return f'<section class="advice"><h2>What to look at</h2><ol>{items}</ol>{rest}</section>'


def _hosts(health: Health) -> str:
    hosts = list(health.hosts())
    if not hosts:
        return ""
    busiest = max(breaker.request_rate for breaker in health.breakers) or 1.0
    shown_hosts = "\n".join(rows.host(*host, busiest, health.timestamp) for host in hosts[:HOSTS])
    left = Counter(worst(host) for host in hosts[HOSTS:])
    rest = ", ".join(f"{left[word]:,} {word}" for word in reversed(STATUSES) if left[word])
    more = f'<p class="more">{len(hosts) - HOSTS:,} hosts are left out: {rest}.</p>' if rest else ""
    return f"""<section class="hosts"><h2>Hosts</h2>
<div class="heads" aria-hidden="true"><span>Host</span><span>Traffic</span><span>Latency</span><span>Permits</span>\
<span>Retry budget</span><span>Last changes</span></div>
<ol>{shown_hosts}</ol>{more}</section>"""


def _legend(health: Health) -> str:
    windows = [breaker.sampling_window for breaker in health.breakers] or [10.0]
    looked = " to ".join(dict.fromkeys((span(min(windows)), span(max(windows)))))
    keys = "".join(
        f'<li><svg class="key" viewBox="0 0 9 9" aria-hidden="true"><rect class="{kind}" width="9" height="9"/></svg>'
        f"{word}</li>"
        for kind, word in (("answered", "answered"), ("failed", "failed"), ("refused", "refused by us"))
    )
    return f"""<footer><ul>{keys}</ul>
<p>Counts and rates are of the last {looked}. A circle's size is the host's share of traffic, its ring the share
that failed. Latency is to the headers, of the last 400 good answers: median, p90, p99, from 1 ms to a minute.</p>
</footer>"""


def _favicon(status: Status) -> str:
    """The status as the tab's picture."""
    colour = {"healthy": "#2da44e", "warning": "#d4a72c", "degraded": "#8250df", "critical": "#cf222e"}[status]
    circle = f"<circle cx='8' cy='8' r='7' fill='{colour}'/>"
    picture = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>{circle}</svg>"
    return "data:image/svg+xml," + quote(picture, safe="/:=' ")
