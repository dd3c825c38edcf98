"""One host, as the rules of health look at it, and how a rule says what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seawall.health.model import Component, Recommendation, Severity, Status

if TYPE_CHECKING:
    from seawall.policy import EffectivePolicy
    from seawall.snapshot import HostSnapshot


class Subject(NamedTuple):
    """One host, as health looks at it."""

    snapshot: HostSnapshot
    policy: EffectivePolicy
    """In force for its state."""
    is_shared: bool = False
    """It stands for all hosts beyond `max_hosts`, and never opens."""

    def say(
        self, severity: Severity, component: Component, message: str, action: str, setting: str, **numbers: float
    ) -> Recommendation:
        """A recommendation about this host."""
        return Recommendation(
            severity=severity,
            component=component,
            host=self.snapshot.host,
            message=message,
            action=action,
            setting=setting,
            numbers=numbers,
        )


def status_of(found: Recommendation | None) -> Status:
    """What a recommendation makes of the part it is about."""
    return found.severity if found is not None and found.severity != "info" else "healthy"
