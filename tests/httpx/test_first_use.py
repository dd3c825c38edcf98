"""A transport made without one underneath makes the library's own at its first request: one, whoever comes first."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import httpx2
import pytest

from httpx_resilience import ResilientTransport
from httpx_resilience._library import library_of
from tests.contract.settings import only


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
def test__four_threads_at_first_use__share_one_inner_transport(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    second = threading.Event()

    def make() -> Any:
        made.append(library.MockTransport(lambda _: library.Response(200)))
        if len(made) > 1:
            second.set()
        second.wait(0.3)  # room for another thread to make one too
        return made[-1]

    request = library.Request("GET", "http://a.test/x")
    monkeypatch.setattr(library_of(request), "transport", make)
    transport = ResilientTransport(None, only())
    together = threading.Barrier(4)
    seen: list[int] = []

    def call() -> None:
        together.wait(5)
        seen.append(transport.handle_request(library.Request("GET", "http://a.test/x")).status_code)

    threads = [threading.Thread(target=call, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert seen == [200] * 4
    assert made == [transport.inner]
