"""Fixtures for tests of code that uses seawall. No fixture acts unless a test asks for it.

A package of its own, which imports nothing of seawall until then: pytest loads plugins before coverage starts.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from seawall import Resilience
    from seawall.testing import Answer, FaultProxy, ScriptedServer, VirtualClock


@pytest.fixture
def resilience_off() -> Generator[None]:
    """Calls go straight to the client, as if nothing were mounted (in this thread, and the tasks it starts)."""
    import seawall

    with seawall.disabled():
        yield


@pytest.fixture
def fresh_resilience() -> Generator[Resilience]:
    """A new `seawall.default()` for this test, which fails if it left a permit or a waiter behind."""
    from seawall.testing import assert_no_leaks, default_is

    with default_is() as resilience:
        yield resilience
        assert_no_leaks(resilience)


@pytest.fixture
def resilience_clock() -> Generator[VirtualClock]:
    """No real backoff: a new `seawall.default()` whose waits pass at once, on the clock this gives.

    For a Resilience of your own: `Resilience(policies, clock=resilience_clock)`. `clock.advance(60)` lets time pass.
    """
    from seawall.testing import VirtualClock, default_is, no_waits

    clock = VirtualClock()
    with default_is(clock=clock), no_waits(clock):
        yield clock


@pytest.fixture
def scripted_server() -> Generator[Callable[..., ScriptedServer]]:
    """`scripted_server(503, 200)`: a `seawall.testing.ScriptedServer` that answers so, closed with the test."""
    from seawall.testing import ScriptedServer

    with ExitStack() as stack:

        def make(*script: Answer | int) -> ScriptedServer:
            return stack.enter_context(ScriptedServer(*script))

        yield make


@pytest.fixture
def fault_proxy() -> Generator[Callable[..., FaultProxy]]:
    """`fault_proxy(url, seed=0)`: a `seawall.testing.FaultProxy` in front of that server, closed with the test."""
    from seawall.testing import FaultProxy

    with ExitStack() as stack:

        def make(upstream: str, *, seed: int = 0) -> FaultProxy:
            return stack.enter_context(FaultProxy(upstream, seed=seed))

        yield make
