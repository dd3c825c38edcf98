"""Keep HTTP clients working while the servers they call fail, slow down or push back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seawall._mounting import mount, unmount
from seawall._story import Report, report
from seawall.bodies import AsyncReplayable, Replayable
from seawall.drivers.clock import deadline
from seawall.errors import (
    AllProvidersFailed,
    BulkheadClosed,
    BulkheadFull,
    CircuitOpen,
    DeadlineExceeded,
    HalfOpenLimit,
    MaxRetriesExceeded,
    NonRetryable,
    Queued,
    RateLimited,
    ResilienceError,
    RetryBudgetExhausted,
    ServiceDegraded,
)
from seawall.outcome import Attempt, Ending, ErrorKind, Outcome, Verdict
from seawall.policies.breaker import Breaker
from seawall.policies.budget import AdaptiveBudget, RetryBudget, TokenBudget
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.retry import Retry
from seawall.policies.timeouts import Timeouts
from seawall.policy import Policy, override
from seawall.resilience import Resilience, default
from seawall.scope import disabled

if TYPE_CHECKING:
    from seawall import health as health
    from seawall import telemetry as telemetry
    from seawall._installing import install, installed, uninstall
    from seawall.degrade.alternatives import ErrorWithAlternatives
    from seawall.degrade.answer import Answer
    from seawall.degrade.fallback import FallbackProvider
    from seawall.degrade.queue import QueueForRetry
    from seawall.degrade.simplified import SimplifiedResponse
    from seawall.degrade.stale import StaleResponse
    from seawall.health.model import Health, Recommendation
    from seawall.outbox import Outbox
    from seawall.snapshot import HostSnapshot
    from seawall.stores.items import OutboxError, OutboxFull, Receipt
    from seawall.stores.sqlite import SqliteStore

__version__ = "0.1.0"

__all__ = [
    "AdaptiveBudget",
    "AllProvidersFailed",
    "Answer",
    "AsyncReplayable",
    "Attempt",
    "Breaker",
    "Bulkhead",
    "BulkheadClosed",
    "BulkheadFull",
    "CircuitOpen",
    "DeadlineExceeded",
    "Ending",
    "ErrorKind",
    "ErrorWithAlternatives",
    "FallbackProvider",
    "HalfOpenLimit",
    "Health",
    "HostSnapshot",
    "MaxRetriesExceeded",
    "NonRetryable",
    "Outbox",
    "OutboxError",
    "OutboxFull",
    "Outcome",
    "Policy",
    "QueueForRetry",
    "Queued",
    "RateLimited",
    "Receipt",
    "Recommendation",
    "Replayable",
    "Report",
    "Resilience",
    "ResilienceError",
    "Retry",
    "RetryBudget",
    "RetryBudgetExhausted",
    "ServiceDegraded",
    "SimplifiedResponse",
    "SqliteStore",
    "StaleResponse",
    "Timeouts",
    "TokenBudget",
    "Verdict",
    "deadline",
    "default",
    "disabled",
    "install",
    "installed",
    "mount",
    "override",
    "report",
    "uninstall",
    "unmount",
]


_LATER = {
    "Answer": "degrade.answer",
    "ErrorWithAlternatives": "degrade.alternatives",
    "FallbackProvider": "degrade.fallback",
    "Health": "health.model",
    "HostSnapshot": "snapshot",
    "Outbox": "outbox",
    "OutboxError": "stores.items",
    "OutboxFull": "stores.items",
    "QueueForRetry": "degrade.queue",
    "Receipt": "stores.items",
    "Recommendation": "health.model",
    "SimplifiedResponse": "degrade.simplified",
    "SqliteStore": "stores.sqlite",
    "StaleResponse": "degrade.stale",
    "install": "_installing",
    "installed": "_installing",
    "uninstall": "_installing",
}
"""Not needed by every program, so loaded when asked for: name → module."""

_ROOMS = ("health", "telemetry")
"""Packages that `import seawall` makes reachable as attributes, and that are loaded likewise."""


def __getattr__(name: str) -> Any:
    if name in _LATER or name in _ROOMS:
        from importlib import import_module

        if name in _ROOMS:
            return import_module(f"seawall.{name}")
        return getattr(import_module(f"seawall.{_LATER[name]}"), name)
    raise AttributeError(f"module 'seawall' has no attribute {name!r}")
