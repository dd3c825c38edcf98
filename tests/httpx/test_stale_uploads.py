"""Remembered answers to requests whose body httpx puts together while it is sent."""

from __future__ import annotations

from typing import Any

import httpx
import httpx2
import pytest

import seawall
from httpx_resilience import mount
from seawall import StaleResponse
from tests.contract.settings import only


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test__multipart_over_tls__the_same_transport_remembers_it(library: Any) -> None:
    answers = iter([library.Response(200, content=b"good"), library.Response(503)])
    client = library.Client(transport=library.MockTransport(lambda request: next(answers)))
    mount(client, only(degrade=[StaleResponse(methods={"POST"})]))
    fields = {"Content-Type": "multipart/form-data; boundary=between"}
    for source in ("origin", "stale"):
        response = client.post("https://api.example.com/search", files={"image": b"bytes"}, headers=fields)
        assert (response.status_code, response.content) == (200, b"good")
        report = seawall.report(response)
        assert report is not None
        assert report.served_from == source
