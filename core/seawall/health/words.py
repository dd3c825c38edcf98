"""Figures as people read them."""

from __future__ import annotations

import math


def span(seconds: float) -> str:
    """A length of time in its largest unit: 4 ms, 0.35 s, 12 s, 3 min, 5 h, 2 d."""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.2g} s"
    for unit, length, until in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < until:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def share(ratio: float) -> str:
    """0.305 as 31 %; never 0 % for something, nor 100 % for not everything."""
    percent = round(ratio * 100)
    if percent == 0 and ratio > 0:
        return "< 1 %"
    if percent == 100 and ratio < 1:
        return "> 99 %"
    return f"{percent} %"


def number(value: float) -> str:
    """1234.0 as 1,234; 3.25 as 3.2; 0.04 as 0.04."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}".removesuffix(".0") if value >= 1 else f"{value:.2g}"


def count(amount: int, noun: str) -> str:
    """1 call, 2 calls."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def tokens(amount: float) -> str:
    """9.96 as 9.9: a token that is not whole buys nothing."""
    return f"{math.floor(amount * 10) / 10:,.1f}".removesuffix(".0")


def printable(text: str, most: int) -> str:
    """The text without what a terminal or a reader would be led astray by; cut when too long."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in cut)
