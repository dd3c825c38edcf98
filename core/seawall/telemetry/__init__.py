"""Ready-made listeners: `logging` (standard library), `otel` (extra `otel`), `prometheus` (extra `prometheus`).

Each has `instrument(resilience, …)`, which returns what ends it. Imported when first used: `import seawall` then
`seawall.telemetry.logging.instrument(resilience)`, or `from seawall.telemetry import otel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seawall.telemetry import logging, otel, prometheus

__all__ = ["logging", "otel", "prometheus"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib import import_module

        return import_module(f"seawall.telemetry.{name}")
    raise AttributeError(f"module 'seawall.telemetry' has no attribute {name!r}")
