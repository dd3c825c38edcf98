"""I2: nobody stays shut out: once servers are well and the longest pause is over, every client is served again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.testing.sim.history import CallSeen, History

CALM_PATH: Final = "/calm"
SERVED: Final = 3
"""The last so many calls of the calm must be answered well, by the host itself."""


def check(history: History) -> Iterator[str]:
    """The calm at the end is calm; and then nothing is on the way, and nobody waits."""
    last: dict[tuple[object, str], list[CallSeen]] = {}
    for call in history.calls:
        if call.url.endswith(CALM_PATH):
            last.setdefault((call.client, call.origin), []).append(call)
    for (client, origin), calls in last.items():
        for call in calls[-SERVED:]:
            if call.response is None or call.response.status != 200 or call.response.source != "origin":
                yield f"I2 recovery: {client} is not served by {origin}, which is well: {call}"
                break
    final = {picture.client: picture for picture in history.pictures}
    for client, picture in final.items():
        for host in picture.hosts:
            if host.in_flight or host.queue_depth:
                yield f"I1: {client}: {host.in_flight} in flight at {host.host}, {host.queue_depth} waiting, at the end"
            if host.state not in ("closed", "half_open"):
                yield f"I2 recovery: {client}: {host.host} is {host.state} at the end"
