"""The small pictures of the page, as inline SVG: sizes are attributes and colours are classes, so that the page needs
neither script nor inline style."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

ICONS: Final = """\
<svg width="0" height="0" class="defs" aria-hidden="true"><defs>
<symbol id="i-healthy" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7"/>\
<path class="mark" d="M4.6 8.3 7 10.6l4.4-4.9"/></symbol>
<symbol id="i-info" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7"/>\
<path class="mark" d="M8 7.4v3.9M8 4.7v.1"/></symbol>
<symbol id="i-warning" viewBox="0 0 16 16"><path d="M8 .9 15.6 14.6H.4z"/>\
<path class="mark" d="M8 5.8v4M8 12.2v.1"/></symbol>
<symbol id="i-degraded" viewBox="0 0 16 16"><path d="M8 .4 15.6 8 8 15.6.4 8z"/>\
<path class="mark" d="M5 8h5.6M8.3 5.6 10.8 8l-2.5 2.4"/></symbol>
<symbol id="i-critical" viewBox="0 0 16 16"><path d="M5 .8h6L15.2 5v6L11 15.2H5L.8 11V5z"/>\
<path class="mark" d="m5.6 5.6 4.8 4.8m0-4.8-4.8 4.8"/></symbol>
</defs></svg>"""

_FASTEST: Final = 0.001
_SLOWEST: Final = 60.0


def icon(name: str) -> str:
    """One of `ICONS`, in the colour of that status or severity. Beside a word, so it says nothing to screen readers."""
    return f'<svg class="icon {name}" aria-hidden="true"><use href="#i-{name}"/></svg>'


def bubble(volume: float, failing: float, status: str) -> str:
    """The circle of the Hystrix dashboard: size is volume (a share of the busiest host's), colour is health, and the
    ring around it shows the share that failed."""
    radius = 4 + 11 * math.sqrt(volume)
    turn = 2 * math.pi * 19
    ring = '<circle class="track" cx="22" cy="22" r="19"/>'
    if failing:
        ring += (
            f'<circle class="failing" cx="22" cy="22" r="19" transform="rotate(-90 22 22)" '
            f'stroke-dasharray="{failing * turn:.1f} {turn:.1f}"/>'
        )
    return (
        f'<svg class="bubble {status}" viewBox="0 0 44 44" aria-hidden="true">{ring}'
        f'<circle class="core" cx="22" cy="22" r="{radius:.1f}"/></svg>'
    )


def bars(timeline: Sequence[tuple[int, int, int]], label: str) -> str:
    """Ten columns of what was answered, failed and refused, as high as the highest of this host."""
    most = max((sum(tenth) for tenth in timeline), default=0)
    drawn: list[str] = []
    for place, tenth in enumerate(timeline):
        x, y = place * 11, 30.0
        if most == 0 or not sum(tenth):
            drawn.append(f'<rect class="none" x="{x}" y="29" width="9" height="1"/>')
            continue
        for kind, amount in zip(("answered", "failed", "refused"), tenth, strict=True):
            height = 29 * amount / most
            y -= height
            if amount:
                drawn.append(f'<rect class="{kind}" x="{x}" y="{y:.1f}" width="9" height="{height:.1f}"/>')
    return f'<svg class="bars" viewBox="0 0 108 30" role="img" aria-label="{label}">{"".join(drawn)}</svg>'


def strip(p50: float, p90: float, p99: float) -> str:
    """From median to 99th percentile, on one logarithmic scale for all hosts: 1 ms to a minute."""
    left, middle, right = (100 * _place(seconds) for seconds in (p50, p90, p99))
    return (
        '<svg class="strip" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" x="0" y="4" width="100" height="2"/>'
        f'<rect class="range" x="{left:.1f}" y="3" width="{max(0.8, right - left):.1f}" height="4"/>'
        f'<rect class="tick" x="{left:.1f}" y="0" width="1.2" height="10"/>'
        f'<rect class="tick" x="{middle:.1f}" y="2" width="0.8" height="6"/>'
        f'<rect class="tick" x="{right:.1f}" y="0" width="0.8" height="10"/></svg>'
    )


def meter(ratio: float, status: str) -> str:
    """A share, as the filled part of a line."""
    return (
        '<svg class="meter" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="4"/>'
        f'<rect class="fill {status}" width="{100 * min(1.0, max(0.0, ratio)):.1f}" height="4"/></svg>'
    )


def stack(shares: Sequence[tuple[str, int]]) -> str:
    """How many hosts are in which status, side by side; none is too few to be seen."""
    total = sum(amount for _, amount in shares)
    widths = [max(0.6, 100 * amount / total) if amount else 0.0 for _, amount in shares]
    x, drawn = 0.0, ""
    for (status, _), wanted in zip(shares, widths, strict=True):
        if wanted:
            width = 100 * wanted / sum(widths)
            drawn += f'<rect class="fill {status}" x="{x:.2f}" width="{width:.2f}" height="4"/>'
            x += width
    return f'<svg class="stack" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">{drawn}</svg>'


def _place(seconds: float) -> float:
    """0–1 on the scale of `strip`."""
    share = math.log(max(seconds, _FASTEST) / _FASTEST) / math.log(_SLOWEST / _FASTEST)
    return min(0.99, share)
