"""Every place where threads meet."""

from __future__ import annotations

from tests.interleave import hosts, others
from tests.interleave.exploring import Scene

HOSTS = ("visit a new one", "isolate a new one", "configure")
VISITS = ("visit the idle one", "visit the busy one")

SCENES: dict[str, Scene] = {
    f"a host, {name.replace('_', ' ')}": Scene(
        make, hosts.OPERATIONS, hosts.word, hosts.observe, hosts.check, hosts.CORE, hosts.FINALISERS
    )
    for name, make in hosts.SITUATIONS.items()
} | {
    "hosts": Scene(others.Place, others.HOSTS, others.only_errors, others.nothing, others.check_hosts, HOSTS, VISITS),
    "named hosts": Scene(
        others.named, others.HOSTS, others.only_errors, others.nothing, others.check_hosts, HOSTS[::3], VISITS
    ),
    "store": Scene(
        others.store, others.STORE, others.word, others.store_left, others.check_store, finalisers=tuple(others.STORE)
    ),
    "flights": Scene(
        others.Equal,
        others.FLIGHTS,
        others.nothing,
        others.nothing,
        others.check_flights,
        finalisers=("leave", "resign", "die"),
    ),
    "values": Scene(
        others.values, others.VALUES, others.word, others.nothing, others.check_values, finalisers=tuple(others.VALUES)
    ),
    "listeners": Scene(
        others.Audience,
        others.AUDIENCE,
        others.word,
        others.audience_left,
        others.check_audience,
        finalisers=("go", "be around no more", "say once"),
    ),
}
