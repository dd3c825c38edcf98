"""The bank's customers: many calls of every kind through each mount."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
import httpx2
import requests

from httpx_resilience import AsyncResilientTransport, ResilientTransport
from requests_resilience import ResilientAdapter
from seawall import AsyncReplayable, Policy, Replayable, Resilience, Retry
from tests.payments.bank import RETRIES, Bank, Payment
from tests.payments.wires import WIRES, RequestsWire

URL = "http://bank.test"
AT_ONCE = 20


def resilience(url: str = URL, retries: int = RETRIES) -> Resilience:
    """Retries at once, whatever they cost; `/auto` under a key of ours, `…/remembered` with bodies kept."""

    def retrying(**parts: Any) -> Retry:
        return Retry(max_retries=retries, base_delay=0, max_delay=0, jitter="none", max_elapsed=None, **parts)

    return Resilience(
        {
            "all://": Policy(retry=retrying(), budget=None, breaker=None, timeouts=None),
            f"{url}/remembered": Policy(retry=retrying(buffer_body=1000)),
            f"{url}/auto": Policy(retry=retrying(idempotency_key="auto")),
            f"{url}/auto/remembered": Policy(retry=retrying(idempotency_key="auto", buffer_body=1000)),
        }
    )


def address(call: Payment, url: str) -> str:
    """The path says which policy is meant."""
    keyed = "/auto" if call.key == "auto" else ""
    return f"{url}{keyed}{'/remembered' if call.body == 'remembered' else '/payment'}"


def headers(call: Payment) -> dict[str, str]:
    own = {"Idempotency-Key": f"own-{call.number}"} if call.key == "own" else {}
    return {"x-call": str(call.number), **own}


def body(call: Payment, *, is_async: bool) -> Any:
    """What the client is given as the body."""

    def plain() -> Iterator[bytes]:
        yield from call.pieces

    async def later() -> AsyncIterator[bytes]:
        for piece in call.pieces:
            yield piece

    match call.body:
        case "none":
            return None
        case "bytes":
            return b"".join(call.pieces)
        case "made anew":
            return AsyncReplayable(later) if is_async else Replayable(plain)
        case _:
            return later() if is_async else plain()


@cache
def _parsed(library: Any, url: str) -> Any:
    return library.URL(url)


def asked(library: Any, call: Payment, *, is_async: bool) -> Any:
    """The call as a request of the library's; its number beside it, where the wire finds it sooner than in a header."""
    own = {"Idempotency-Key": f"own-{call.number}"} if call.key == "own" else {}
    url, content = _parsed(library, address(call, URL)), body(call, is_async=is_async)
    return library.Request(call.method, url, headers=own, content=content, extensions={"call": call.number})


def through_httpx(library: Any, bank: Bank) -> None:
    """One after the other."""
    transport = ResilientTransport(WIRES[library][0](bank), resilience())
    for call in bank.calls:
        request = asked(library, call, is_async=False)
        try:
            transport.handle_request(request).read()
        except library.TransportError:
            pass


def through_async_httpx(library: Any, bank: Bank) -> None:
    """Some at once."""

    async def pay(calls: Iterator[Payment], transport: Any) -> None:
        for call in calls:
            request = asked(library, call, is_async=True)
            try:
                await (await transport.handle_async_request(request)).aread()
            except library.TransportError:
                pass

    async def pay_all() -> None:
        transport = AsyncResilientTransport(WIRES[library][1](bank), resilience())
        calls = iter(bank.calls)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(pay(calls, transport))

    asyncio.run(pay_all())


def through_requests(bank: Bank) -> None:
    """One after the other."""
    adapter = ResilientAdapter(RequestsWire(bank), resilience())
    for call in bank.calls:
        request = requests.PreparedRequest()
        request.method, request.url, request.hooks = call.method, address(call, URL), {}
        request.prepare_headers(headers(call))
        request.prepare_body(body(call, is_async=False), None)
        try:
            response = adapter.send(request, stream=True)
            response.content  # noqa: B018 - reads it
        except requests.RequestException:
            pass


@dataclass(frozen=True)
class Mount:
    """One way to the bank."""

    name: str
    run: Callable[[Bank], None]

    def __repr__(self) -> str:
        return self.name


MOUNTS = [
    Mount("httpx-sync", lambda bank: through_httpx(httpx, bank)),
    Mount("httpx-async", lambda bank: through_async_httpx(httpx, bank)),
    Mount("httpx2-sync", lambda bank: through_httpx(httpx2, bank)),
    Mount("httpx2-async", lambda bank: through_async_httpx(httpx2, bank)),
    Mount("requests", through_requests),
]
