"""The policies of the scenarios, in one place: the defaults with their times shortened.

Every part that a scenario is not about is off, so that one behaviour is seen at a time.
"""

from __future__ import annotations

from typing import Any

from seawall import Breaker, Bulkhead, Policy, Resilience, Retry


def retrying(**changes: Any) -> Retry:
    """Two quick retries."""
    return Retry(**({"max_retries": 2, "base_delay": 0.01, "max_delay": 0.02} | changes))


def tripping(**changes: Any) -> Breaker:
    """Opens after two failures in a row, for longer than any scenario; one probe that succeeds closes it."""
    defaults: dict[str, Any] = {
        "failure_threshold": 2,
        "min_failure_span": 0,
        "open_duration": 30,
        "max_open_duration": 30,
        "open_multiplier": 1,
        "open_jitter": 0,
        "success_threshold": 1,
        "half_open_max_requests": 1,
    }
    return Breaker(**(defaults | changes))


RECOVERS_IN = 0.15


def recovering(**changes: Any) -> Breaker:
    """The same, but a probe is let through when `RECOVERS_IN` seconds have passed."""
    return tripping(**({"open_duration": 0.1, "max_open_duration": 0.1} | changes))


def one_at_a_time(**changes: Any) -> Bulkhead:
    """One permit, and hardly any patience."""
    return Bulkhead(**({"max_concurrent": 1, "max_wait": 0.05} | changes))


def only(**parts: Any) -> Resilience:
    """A Resilience in which only these parts of the policy are on."""
    return Resilience({"all://": Policy(**({"retry": None, "budget": None, "breaker": None} | parts))})


def quick(**changes: Any) -> Resilience:
    """Two quick retries and nothing else."""
    return only(retry=retrying(**changes))
