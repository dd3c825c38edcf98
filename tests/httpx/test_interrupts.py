"""A signal between any two bytecodes of a mounted call: its permit comes back, and no lock stays held.

The clocks, the wrappers of the network and the body are under fire too. What the interrupt may cost is the connection:
an answer that dies on its way to the caller is one that nobody closes.
"""

from __future__ import annotations

import gc
import ssl
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import httpx
import httpx2
import pytest

import seawall
from httpx_resilience import mount
from seawall import Bulkhead, Policy, Resilience, Retry, Timeouts, TokenBudget
from tests.core.interrupting import quick_collections, strikes
from tests.httpx.suspending import said

__all__ = ["quick_collections"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("quick_collections"),
]

ROOMS = ("/httpx_resilience/", "/seawall/clocks.py", "/seawall/drivers/")
"""The others are under fire in tests/core."""
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
POLICY = Policy(
    retry=Retry(max_retries=1, base_delay=0, max_delay=0, jitter="none"),
    budget=TokenBudget(max_tokens=10, refill_rate=0),
    breaker=None,
    bulkhead=Bulkhead(max_concurrent=1, max_wait=0),
    timeouts=Timeouts(total=30, attempt=20, connect=10, idle=10),
)


class Wire:
    """A network of one server, in memory: it is its own connection."""

    def __init__(self, *script: list[Any]) -> None:
        self.script = list(script)
        self.pieces: list[Any] = []

    def connect_tcp(self, *args: Any, **options: Any) -> Wire:
        return self

    def start_tls(self, *args: Any, **options: Any) -> Wire:
        return self

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if b" /" in buffer:
            self.pieces = list(self.script.pop(0) if len(self.script) > 1 else self.script[0])

    def close(self) -> None:
        pass

    def get_extra_info(self, info: str) -> Any:
        return None


def client_of(library: Any, resilience: Resilience, *script: list[Any]) -> Any:
    transport = library.HTTPTransport(verify=TLS)
    transport._pool._network_backend = Wire(*script)
    return mount(library.Client(transport=transport, timeout=60, follow_redirects=True), resilience)


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


def get_by_tls(client: Any) -> None:
    client.get("https://10.0.0.1/x")


def read(client: Any) -> None:
    with client.stream("GET", "http://10.0.0.1/x") as response:
        for _ in response.iter_raw():
            pass


def by_a_deadline(client: Any) -> None:
    with seawall.deadline(20):
        client.get("http://10.0.0.1/x")


OK, SORRY = said(200, b"one", b"two"), said(503, b"so", b"rry")
SCENES: list[Any] = [
    pytest.param(httpx2, get_by_tls, [OK], id="over TLS"),
    pytest.param(httpx2, read, [OK], id="read raw"),
    pytest.param(httpx, by_a_deadline, [SORRY, OK], id="retried by a deadline"),
]


@pytest.mark.parametrize(("library", "act", "script"), SCENES)
def test__interrupted_anywhere__no_permit_is_lost(library: Any, act: Callable[[Any], None], script: list[Any]) -> None:
    def prepare() -> tuple[Resilience, Callable[[], object]]:
        resilience = Resilience(POLICY)
        client_of(library, resilience, said(200)).get("http://10.0.0.1/x")
        client_of(library, resilience, said(200)).get("https://10.0.0.1/x")
        client = client_of(library, resilience, *script)
        return resilience, lambda: copy_context().run(act, client)

    places = 0
    for where, resilience in strikes(prepare, ROOMS):
        places += 1
        gc.collect()
        assert look(resilience) == (0, 0), where
        response = client_of(library, resilience, said(200)).get("http://10.0.0.1/x")
        assert response.status_code == 200, where
    assert places > 30
