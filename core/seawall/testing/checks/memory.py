"""I12: what is remembered stays within its bounds at every step, and what matters is not forgotten to make room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seawall.testing.checks.evidence import EPSILON, SHARED, Evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.testing.sim.history import Picture


def check(evidence: Evidence) -> Iterator[str]:
    """Hosts, answers, waiters: never more than may be. A circuit that is open is not forgotten."""
    before: dict[Any, Picture] = {}
    acts = [(now, what[0]) for kind, now, what in evidence.history.log if kind == "act"]
    for picture in evidence.history.pictures:
        earlier, before[picture.client] = before.get(picture.client), picture
        wrong = bounds(picture)
        if not wrong and earlier is not None:
            if not any(client is picture.client and earlier.at <= now <= picture.at for now, client in acts):
                wrong = forgotten(earlier, picture)
        if wrong:
            yield f"I12: {picture.client} {wrong}, at {picture.at:.6f}"


def bounds(picture: Picture) -> str:
    resilience = picture.client.resilience
    if picture.known > resilience.max_hosts:
        return f"knows {picture.known} hosts, and may know {resilience.max_hosts}"
    for held in picture.remembered:
        if held.entries > held.max_entries or held.bytes > held.max_bytes:
            return f"remembers too much: {held}"
    for host in picture.hosts:
        bulkhead = resilience.policy_for("GET", "https://any.test").bulkhead
        if bulkhead is not None and bulkhead.max_concurrent is not None and host.queue_depth > bulkhead.max_queue:
            return f"has {host.queue_depth} waiters at {host.host}, and may have {bulkhead.max_queue}"
        if host.host == SHARED and host.state != "closed":
            return f"keeps all strangers away: {host.state}"
    return ""


def forgotten(earlier: Picture, later: Picture) -> str:
    """Which circuit was open, is to be open still, and is not any more?"""
    for host in earlier.hosts:
        if host.state == "open" and host.retry_after is not None and earlier.at + host.retry_after > later.at + EPSILON:
            if not any(other.host == host.host and other.state == "open" for other in later.hosts):
                return f"has forgotten that {host.host} is open"
    return ""
