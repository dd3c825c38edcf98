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
    RateLimited,
    ResilienceError,
    RetryBudgetExhausted,
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
    from seawall.snapshot import HostSnapshot

__version__ = "0.1.0"

__all__ = [
    "AdaptiveBudget",
    "AllProvidersFailed",
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
    "HalfOpenLimit",
    "HostSnapshot",
    "MaxRetriesExceeded",
    "NonRetryable",
    "Outcome",
    "Policy",
    "RateLimited",
    "Replayable",
    "Report",
    "Resilience",
    "ResilienceError",
    "Retry",
    "RetryBudget",
    "RetryBudgetExhausted",
    "Timeouts",
    "TokenBudget",
    "Verdict",
    "deadline",
    "default",
    "disabled",
    "mount",
    "override",
    "report",
    "unmount",
]


def __getattr__(name: str) -> Any:
    if name == "HostSnapshot":  # needed by readers of pictures only
        from seawall.snapshot import HostSnapshot

        return HostSnapshot
    raise AttributeError(f"module 'seawall' has no attribute {name!r}")
