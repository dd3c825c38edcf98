"""What a server may say about when to come back, true or not, and what it means."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DELAYS: Final[tuple[tuple[Mapping[str, str], float | None], ...]] = (
    ({"retry-after": "1"}, 1.0),
    ({"retry-after": "3"}, 3.0),
    ({"retry-after": "45"}, 45.0),
    ({"retry-after": "9999999999"}, 1e9),
    ({"retry-after": "99999999999999999999"}, None),
    ({"retry-after": "-5"}, None),
    ({"retry-after": "1_0"}, None),
    ({"retry-after": "٣"}, None),
    ({"retry-after": "1m0s"}, None),
    ({"retry-after": "0"}, 0.0),
    ({"retry-after": ""}, None),
    ({"retry-after-ms": "250"}, 0.25),
    ({"retry-after-ms": "nonsense", "retry-after": "2"}, 2.0),
    ({"retry-after": "Mon, 01 Jan 1990 00:00:00 GMT"}, 0.0),
    ({"retry-after": "Fri, 31 Dec 99999 23:59:59 GMT"}, None),
    ({"x-should-retry": "false"}, None),
    ({"x-should-retry": "true"}, None),
    ({"retry-after": "x" * 5000}, None),
)
"""Fields, and the seconds they mean; None: nothing that may be believed."""

_KNOWN: Final = {(fields.get("retry-after"), fields.get("retry-after-ms")): meaning for fields, meaning in DELAYS}
_PLAIN: Final = re.compile(r"[0-9]{1,10}")


def meaning_of(fields: Mapping[str, str]) -> float | None:
    """Seconds an answer asks to wait; None: none that may be believed. Of dates it knows those above."""
    told = fields.get("retry-after"), fields.get("retry-after-ms")
    if told in _KNOWN:
        return _KNOWN[told]
    seconds, milliseconds = told
    if milliseconds is not None and _PLAIN.fullmatch(milliseconds):
        return int(milliseconds) / 1000
    return float(seconds) if seconds is not None and _PLAIN.fullmatch(seconds) else None
