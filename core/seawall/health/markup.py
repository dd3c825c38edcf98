"""Names and moments as HTML. Everything that users named is escaped here."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Final

from seawall.health.words import printable, span

LONGEST: Final = 120
"""Letters of a name that are shown."""


def host_name(host: str) -> str:
    """A host with its scheme set back: the name is what differs."""
    scheme, mark, rest = host.partition("://")
    if not mark or not scheme.isalnum():
        return f"<bdi>{shown(host)}</bdi>"
    dotted = shown(rest).replace(".", ".<wbr>")  # where it may break
    return f'<bdi><span class="scheme">{shown(scheme)}://</span>{dotted}</bdi>'


def shown(text: str) -> str:
    """A name users gave, fit for the page: no control or direction characters, cut when too long."""
    return escape(printable(text, LONGEST))


def length(seconds: float) -> str:
    """A length of time that is not broken between figure and unit."""
    return span(seconds).replace(" ", "&nbsp;")


def moment(instant: float) -> str:
    try:
        at = datetime.fromtimestamp(instant, UTC)
    except (OverflowError, OSError, ValueError):  # a clock of somebody's own
        return escape(str(instant))
    return f'<time datetime="{at.isoformat(timespec="seconds")}">{at:%Y-%m-%d %H:%M:%S} UTC</time>'
