"""Which transports bring what any other would bring: only their remembered answers are shared, without TLS."""

from __future__ import annotations

from typing import Any

import httpx
import httpx2
import pytest

from httpx_resilience._network import goes_straight

LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)


@LIBRARIES
def test__the_librarys_own_transport__goes_straight(library: Any) -> None:
    for kind in (library.HTTPTransport, library.AsyncHTTPTransport):
        assert goes_straight(kind(http2=False, retries=1))


@LIBRARIES
@pytest.mark.parametrize(
    "options", [{"uds": "/run/a.sock"}, {"proxy": "http://proxy.test"}, {"local_address": "127.0.0.1"}], ids=repr
)
def test__another_way__is_seen(library: Any, options: Any) -> None:
    for kind in (library.HTTPTransport, library.AsyncHTTPTransport):
        assert not goes_straight(kind(**options))


@LIBRARIES
@pytest.mark.parametrize("name", ["_pool", "_uds", "_local_address"])
def test__what_cannot_be_seen__is_not_taken_for_granted(library: Any, name: str) -> None:
    transport = library.HTTPTransport()
    delattr(transport if name == "_pool" else transport._pool, name)
    assert not goes_straight(transport)


@LIBRARIES
def test__mock__goes_nowhere(library: Any) -> None:
    assert not goes_straight(library.MockTransport(lambda request: library.Response(200)))
