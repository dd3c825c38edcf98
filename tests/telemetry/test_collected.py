"""A collection may strike inside a lock that a listener needs: what it closes is told later."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import httpx
import httpx2
import pytest
import requests

import seawall
from seawall import Resilience
from seawall.events import AttemptEnded, Event
from tests.contract.peer import Peer
from tests.contract.steps import answer


def of_requests(peer: Peer, resilience: Resilience) -> Any:
    session = seawall.mount(requests.Session(), resilience)
    session.trust_env = False
    pieces = session.get(peer / "x", stream=True).iter_content(100)
    next(pieces)
    return pieces


def of_httpx(library: Any) -> Callable[[Peer, Resilience], Any]:
    def iterating(peer: Peer, resilience: Resilience) -> Any:
        client = seawall.mount(library.Client(trust_env=False), resilience)

        def pieces() -> Any:
            with client.stream("GET", peer / "x") as response:
                yield from response.iter_bytes()

        found = pieces()
        next(found)
        return found

    return iterating


@pytest.mark.parametrize(
    "iterating", [of_httpx(httpx), of_httpx(httpx2), of_requests], ids=["httpx", "httpx2", "requests"]
)
def test__iteration_is_collected_inside_a_listeners_lock__nobody_waits_for_himself(
    iterating: Callable[[Peer, Resilience], Any], peer: Peer
) -> None:
    peer.script(answer(200, b"x" * 200_000, chunks=20))
    resilience = Resilience()
    lock, found = threading.Lock(), list[Event]()

    def listener(event: Event) -> None:
        assert lock.acquire(timeout=3), "it waits for itself"
        found.append(event)
        lock.release()

    resilience.subscribe(listener, [AttemptEnded])
    pieces = iterating(peer, resilience)
    with lock:  # as prometheus_client's, while the application counts something of its own
        del pieces
        gc.collect()
        assert found == []
    resilience.isolate("https://other.test")
    assert len(found) == 1
