"""A signal between any two bytecodes of a mounted session's call: its permit comes back, and no lock stays held."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from contextvars import copy_context

import pytest
import requests

import seawall
from requests_resilience import mount
from seawall import Bulkhead, Policy, Resilience, Retry, Timeouts, TokenBudget
from tests.contract.peer import Peer
from tests.contract.steps import answer
from tests.core.interrupting import quick_collections, strikes

__all__ = ["quick_collections"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("quick_collections"),
]

ROOMS = ("/requests_resilience/", "/seawall/clocks.py", "/seawall/drivers/")
"""The others are under fire in tests/core."""
POLICY = Policy(
    retry=Retry(max_retries=1, base_delay=0, max_delay=0, jitter="none"),
    budget=TokenBudget(max_tokens=10, refill_rate=0),
    breaker=None,
    bulkhead=Bulkhead(max_concurrent=1, max_wait=0),
    timeouts=Timeouts(total=30, attempt=20, connect=10, idle=10),
)


@pytest.fixture(autouse=True)
def watchdog() -> None:
    """The one for single calls has no patience for hundreds."""


def look(resilience: Resilience) -> tuple[int, int]:
    """Permits and waiters, unless a lock is held for ever."""
    seen: list[tuple[int, int]] = []
    thread = threading.Thread(
        target=lambda: seen.extend((one.in_flight, one.queue_depth) for one in resilience.snapshots()), daemon=True
    )
    thread.start()
    thread.join(5)
    assert not thread.is_alive(), "a lock was never released"
    return seen[0]


def get(session: requests.Session, url: str) -> None:
    with seawall.deadline(20):
        session.get(url)


def read(session: requests.Session, url: str) -> None:
    with session.get(url, stream=True) as response:
        for _ in response.iter_content(2):
            pass


@pytest.mark.parametrize("act", [get, read])
def test__interrupted_anywhere__no_permit_is_lost(act: Callable[[requests.Session, str], None], peer: Peer) -> None:
    sessions: list[requests.Session] = []

    def prepare() -> tuple[Resilience, Callable[[], object]]:
        for used in sessions:
            used.close()
        resilience = Resilience(POLICY)
        peer.script(answer(200, b"fine"))
        session = mount(requests.Session(), resilience)
        sessions[:] = [session]
        session.get(peer / "x")
        peer.script(answer(503, b"sorry"), answer(200, b"fine"))
        return resilience, lambda: copy_context().run(act, session, peer / "x")

    places = 0
    for where, resilience in strikes(prepare, ROOMS, finalisers=True):
        places += 1
        gc.collect()
        assert look(resilience) == (0, 0), where
        assert sessions[0].get(peer / "x").status_code in (200, 503), where
    assert places > 30
