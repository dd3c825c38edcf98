"""Answers that nobody closes, collected at the worst moment: in the middle of a visit of their host, its lock held."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import httpx
import httpx2
import pytest

from httpx_resilience import mount
from seawall import Breaker, Bulkhead, Resilience, Retry, TokenBudget
from tests.core.interrupting import quick_collections
from tests.drivers.quick import only

__all__ = ["quick_collections"]

pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.usefixtures("quick_collections")]

URL = "https://api.test/x"
ANSWERS = 60


class Kept:
    """An answer in a cycle: only a collection finds it. `closes`: and whoever held it closes it then."""

    def __init__(self, response: Any, *, closes: bool) -> None:
        self.response = response
        self.closes = closes
        self.cycle = self

    def __del__(self) -> None:
        if self.closes:
            self.response.close()


class Collecting:
    """Lets one answer go, and collects, each time a function is entered while the host's lock is held."""

    def __init__(self, state: Any, kept: list[Kept]) -> None:
        self.state = state
        self.kept = kept

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if self.kept and "/core/seawall/" in frame.f_code.co_filename and self.state._lock._is_owned():
            self.kept.pop()
            gc.collect()


def in_thread(act: Callable[[], object]) -> None:
    """Run it in a thread of its own; fail, instead of hanging, if it does not come back."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            act()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "the thread waits for itself"
    assert errors == []


@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize("closes", [False, True], ids=["dropped", "closed by a finaliser"])
@pytest.mark.parametrize("listening", [False, True])
def test__collected_inside_the_hosts_lock__all_permits_come_back(library: Any, closes: bool, listening: bool) -> None:
    class Pieces(library.SyncByteStream):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Iterator[bytes]:
            yield b"one"
            yield b"two"

    statuses = iter([200] * ANSWERS + [200, 503, 429] * 1000)
    resilience = Resilience(
        only(
            retry=Retry(max_retries=1, base_delay=0, max_delay=0),
            budget=TokenBudget(max_tokens=1000),
            breaker=Breaker(failure_threshold=1000, failure_rate_threshold=1),
            bulkhead=Bulkhead(max_concurrent=ANSWERS + 1, max_wait=1),
        )
    )
    if listening:
        resilience.subscribe(lambda event: None)
    transport = library.MockTransport(lambda request: library.Response(next(statuses), stream=Pieces()))
    with mount(library.Client(transport=transport), resilience) as client:

        def open_one() -> Any:
            return client.send(client.build_request("GET", URL), stream=True)

        kept = [Kept(open_one(), closes=closes) for _ in range(ANSWERS)]
        (before,) = resilience.snapshots()
        assert before.in_flight == ANSWERS
        state = resilience._registry.items()[0][1]

        def visits() -> None:
            sys.settrace(Collecting(state, kept))
            try:
                while kept:
                    client.get(URL)
            finally:
                sys.settrace(None)

        in_thread(visits)
        (after,) = resilience.snapshots()
        assert (after.in_flight, after.queue_depth) == (0, 0)
        if closes:
            assert after.total_successes >= ANSWERS
