"""Health: how all hosts are at this instant, for people and machines; `Resilience.health()`, a page, a command.

`wsgi_app(resilience)` and `asgi_app(resilience)` serve it: one page for people, /health.json for machines.
"""

from seawall.health.apps import asgi_app, wsgi_app
from seawall.health.model import BreakerHealth, BudgetHealth, BulkheadHealth, Health, Recommendation

__all__ = [
    "BreakerHealth",
    "BudgetHealth",
    "BulkheadHealth",
    "Health",
    "Recommendation",
    "asgi_app",
    "wsgi_app",
]
