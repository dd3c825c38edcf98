"""Sending a request that an outbox kept, through a client of httpx or httpx2, as if it were a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from httpx_resilience._library import library_of

if TYPE_CHECKING:
    from seawall.stores.items import Item


def is_async(client: Any) -> bool:
    return isinstance(client, library_of(client).async_client)


def build(client: Any, item: Item) -> Any:
    """The request, with what the client adds to all of its own: credentials, cookies, timeouts."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in item.headers]
    request = client.build_request(item.method, item.url, headers=headers, content=item.body)
    request.url = type(request.url)(item.url)  # without the parameters a client adds: they are in it
    return request


def send(client: Any, request: Any, limit: int) -> tuple[Any, bytes, bool]:
    """The answer, the first `limit` bytes of its body as they came, and whether that is all of it."""
    response = client.send(request, stream=True)
    body = bytearray()
    try:
        for chunk in [response.content] if response.is_stream_consumed else response.iter_raw():  # a mock's is read
            body += chunk
            if len(body) > limit:
                break
    finally:
        response.close()
    return response, bytes(body[:limit]), len(body) <= limit


async def asend(client: Any, request: Any, limit: int) -> tuple[Any, bytes, bool]:
    """`send` for async clients."""
    response = await client.send(request, stream=True)
    body = bytearray()
    try:
        if response.is_stream_consumed:
            body += response.content
        else:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > limit:
                    break
    finally:
        await response.aclose()
    return response, bytes(body[:limit]), len(body) <= limit
