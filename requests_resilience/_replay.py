"""Sending a request that an outbox kept, through a requests session, as if it were a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import requests

from requests_resilience._adapter import ResilientAdapter

if TYPE_CHECKING:
    from seawall.stores.items import Item

_TIMEOUT: Final = 90.0
"""Seconds of silence: a session without policies has no limit of its own, and a worker must not hang on one item."""


def is_async(_: requests.Session) -> bool:
    return False


def build(session: requests.Session, item: Item) -> Any:
    """The request, with what the session adds to all of its own: credentials, cookies."""
    headers: dict[str, str] = {}
    for name, value in item.headers:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    request = session.prepare_request(requests.Request(item.method, item.url, headers=headers, data=item.body))
    request.url = item.url  # without the parameters a session adds: they are in it
    return request


def send(session: requests.Session, request: Any, limit: int) -> tuple[Any, bytes, bool]:
    """The answer, the first `limit` bytes of its body as they came, and whether that is all of it."""
    settings = session.merge_environment_settings(request.url, {}, True, None, None)
    mounted = isinstance(session.get_adapter(request.url), ResilientAdapter)
    response = session.send(
        request, timeout=None if mounted else _TIMEOUT, allow_redirects=request.method != "HEAD", **settings
    )
    body = bytearray()
    try:
        for chunk in _pieces(response):
            body += chunk
            if len(body) > limit:
                break
    finally:
        response.close()
    return response, bytes(body[:limit]), len(body) <= limit


def _pieces(response: Any) -> Any:
    if response._content is not False:  # a mock's is read
        return [response._content or b""]
    return response.raw.stream(65536, decode_content=False)
