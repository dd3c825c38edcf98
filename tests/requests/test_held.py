"""Streams held over adapters that are not the library's own."""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import BaseAdapter

from requests_resilience import ResilientAdapter
from tests.streams.scripts import HELLO, OVERLOADED, START, inspecting


class Reading(BaseAdapter):
    """Reads each answer itself before it hands it over, as caches do."""

    def __init__(self, *bodies: bytes) -> None:
        super().__init__()
        self.bodies = list(bodies)

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        response = requests.Response()
        response.status_code = 200
        response.headers["Content-Type"] = "text/event-stream"
        response.request, response.url = request, request.url
        response._content = self.bodies.pop(0)
        return response

    def close(self) -> None:
        pass


def test__answer_read_before__is_inspected_too() -> None:
    resilience = inspecting()
    with requests.Session() as session:
        session.mount("http://", ResilientAdapter(Reading(START + OVERLOADED, START + HELLO), resilience))
        assert session.get("http://a.test/x").content == START + HELLO
    (host,) = resilience.snapshots()
    assert (host.failures, host.successes, host.in_flight) == (1, 1, 0)
