"""Who is measured: name → factory, for each client library and mode.

A factory of the httpx tables gets an inner transport and returns a transport; one of requests' table gets an
HTTPAdapter class, because peers there subclass it, and returns an adapter. Libraries that decorate functions are put
around the sending method itself, as if around `client.send`, so that each pays for itself alone. Peers have the
settings their users would write; where a library has no default, three attempts and a breaker after 20 failures.
"""

import importlib
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any

from benchmarks.floor import Policy
from benchmarks.floor_clients import of_httpx, of_requests
from benchmarks.measure import BARE, BY_HAND, FLOOR, LEAN, NOOP, OURS, say_once

Send = Callable[..., Any]
Factory = Callable[[Any], Any]
Decorator = Callable[[Send, type[Exception]], Send]

ATTEMPTS, FAILURES, OPEN_FOR, SLOTS, TIMEOUT = 3, 20, 30, 64, 30


def make(table: Mapping[str, Factory], inner: Callable[[], Any], only: Collection[str] | None = None) -> dict[str, Any]:
    """Each subject on an inner transport of its own; what is not installed is left out with a line saying so."""
    made = {}
    for name, factory in table.items():
        if only is None or name in only:
            try:
                made[name] = factory(inner())
            except ImportError as error:
                say_once(f"skipped: {name} ({error})")
    return made


# Decorators around a function that sends; `errors` is what they retry on.


def tenacity(send: Send, errors: type[Exception]) -> Send:
    import tenacity as t

    retry = t.retry_if_exception_type(errors)
    return t.retry(stop=t.stop_after_attempt(ATTEMPTS), wait=t.wait_exponential_jitter(), retry=retry, reraise=True)(
        send
    )


def stamina(send: Send, errors: type[Exception]) -> Send:
    import stamina as s

    return s.retry(on=errors, attempts=ATTEMPTS)(send)


def circuitbreaker(send: Send, errors: type[Exception]) -> Send:
    import circuitbreaker as c

    return c.CircuitBreaker(FAILURES, OPEN_FOR, expected_exception=errors)(send)


def pybreaker(send: Send, _errors: type[Exception]) -> Send:
    import pybreaker as p

    return p.CircuitBreaker(fail_max=FAILURES, reset_timeout=OPEN_FOR)(send)


def purgatory(send: Send, _errors: type[Exception]) -> Send:
    from purgatory import SyncCircuitBreakerFactory

    return SyncCircuitBreakerFactory(default_threshold=FAILURES)("x")(send)


def by_hand(send: Send, errors: type[Exception]) -> Send:
    """What people assemble: tenacity around pybreaker around a semaphore."""
    slots = threading.BoundedSemaphore(SLOTS)

    def limited(*args: Any, **kwargs: Any) -> Any:
        with slots:
            return send(*args, **kwargs)

    return tenacity(pybreaker(limited, errors), errors)


def aiobreaker(send: Send, _errors: type[Exception]) -> Send:
    import aiobreaker as a

    async def function(request: Any) -> Any:  # it refuses bound methods
        return await send(request)

    return a.CircuitBreaker(fail_max=FAILURES, timeout_duration=timedelta(seconds=OPEN_FOR))(function)


def async_purgatory(send: Send, _errors: type[Exception]) -> Send:
    from purgatory import AsyncCircuitBreakerFactory

    return AsyncCircuitBreakerFactory(default_threshold=FAILURES)("x")(send)


def hyx_breaker(send: Send, _errors: type[Exception]) -> Send:
    from hyx.circuitbreaker import consecutive_breaker

    return consecutive_breaker(failure_threshold=FAILURES)(send)


def hyx_stack(send: Send, errors: type[Exception]) -> Send:
    from hyx.bulkhead import bulkhead
    from hyx.retry import retry
    from hyx.timeout import timeout

    limited = bulkhead(max_concurrency=SLOTS, max_capacity=2 * SLOTS)(timeout(TIMEOUT)(send))
    return retry(on=errors, attempts=ATTEMPTS)(hyx_breaker(limited, errors))


def async_by_hand(send: Send, errors: type[Exception]) -> Send:
    """The same for tasks, where people also add a timeout: tenacity, aiobreaker, anyio."""
    import anyio

    slots = anyio.Semaphore(SLOTS)

    async def limited(request: Any) -> Any:
        with anyio.fail_after(TIMEOUT):
            async with slots:
                return await send(request)

    return tenacity(aiobreaker(limited, errors), errors)


DECORATORS: dict[str, Decorator] = {
    "tenacity": tenacity,
    "stamina": stamina,
    "pybreaker": pybreaker,
    "circuitbreaker": circuitbreaker,
    "purgatory": purgatory,
    BY_HAND: by_hand,
}
ASYNC_DECORATORS: dict[str, Decorator] = {
    "tenacity": tenacity,
    "stamina": stamina,
    "aiobreaker": aiobreaker,
    "circuitbreaker": circuitbreaker,
    "purgatory": async_purgatory,
    "hyx breaker": hyx_breaker,
    "hyx stack": hyx_stack,
    BY_HAND: async_by_hand,
}


def httpx_retries(inner: Any) -> Any:
    from httpx_retries import RetryTransport

    return RetryTransport(inner)


def interlock(hx: Any, name: str) -> Factory:
    def factory(inner: Any) -> Any:
        return getattr(importlib.import_module(f"interlock.integrations.{hx.__name__}"), name)(inner)

    return factory


def sync_subjects(hx: Any) -> dict[str, Factory]:
    """For httpx.Client or httpx2.Client."""

    class Noop(hx.BaseTransport):
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def handle_request(self, request: Any) -> Any:
            return self.inner.handle_request(request)

    class Decorated(hx.BaseTransport):
        def __init__(self, decorate: Decorator, inner: Any) -> None:
            # Some decorators set attributes on what they wrap, which a bound method refuses.
            self.handle_request = decorate(lambda request: inner.handle_request(request), hx.TransportError)

    def ours(inner: Any) -> Any:
        from httpx_resilience import ResilientTransport

        return ResilientTransport(inner)

    table: dict[str, Factory] = {
        BARE: lambda inner: inner,
        NOOP: Noop,
        FLOOR: of_httpx(hx)[0],
        LEAN: lambda inner: of_httpx(hx)[0](inner, Policy(lean=True)),
        "interlock-cb": interlock(hx, "CircuitBreakerTransport"),
        OURS: ours,
    }
    if hx.__name__ == "httpx":
        table["httpx-retries"] = httpx_retries
    return table | {
        name: lambda inner, decorate=decorate: Decorated(decorate, inner) for name, decorate in DECORATORS.items()
    }


def async_subjects(hx: Any) -> dict[str, Factory]:
    """For httpx.AsyncClient or httpx2.AsyncClient."""

    class Noop(hx.AsyncBaseTransport):
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def handle_async_request(self, request: Any) -> Any:
            return await self.inner.handle_async_request(request)

    class Decorated(hx.AsyncBaseTransport):
        def __init__(self, decorate: Decorator, inner: Any) -> None:
            self.handle_async_request = decorate(inner.handle_async_request, hx.TransportError)

    def ours(inner: Any) -> Any:
        from httpx_resilience import AsyncResilientTransport

        return AsyncResilientTransport(inner)

    table: dict[str, Factory] = {
        BARE: lambda inner: inner,
        NOOP: Noop,
        FLOOR: of_httpx(hx)[1],
        LEAN: lambda inner: of_httpx(hx)[1](inner, Policy(lean=True)),
        "interlock-cb": interlock(hx, "AsyncCircuitBreakerTransport"),
        OURS: ours,
    }
    if hx.__name__ == "httpx":
        table["httpx-retries"] = httpx_retries
    return table | {
        name: lambda inner, decorate=decorate: Decorated(decorate, inner) for name, decorate in ASYNC_DECORATORS.items()
    }


def requests_subjects() -> dict[str, Factory]:
    """For requests.Session."""
    from requests import ConnectionError as RequestsConnectionError
    from urllib3.util import Retry

    def noop(base: Any) -> Any:
        class Noop(base):
            def send(self, *args: Any, **kwargs: Any) -> Any:
                return super().send(*args, **kwargs)

        return Noop()

    def interlock(base: Any) -> Any:
        from interlock.integrations.requests import CircuitBreakerAdapter

        return type("Interlock", (CircuitBreakerAdapter, base), {})()

    def urllib3_retry(base: Any) -> Any:
        return base(max_retries=Retry(total=3, backoff_factor=0.1, status_forcelist=(429, 500, 502, 503, 504)))

    def decorated(base: Any, decorate: Decorator) -> Any:
        adapter = base()
        send = adapter.send
        adapter.send = decorate(lambda *args, **kwargs: send(*args, **kwargs), RequestsConnectionError)
        return adapter

    def ours(base: Any) -> Any:
        from requests_resilience import ResilientAdapter

        return ResilientAdapter(base())

    table: dict[str, Factory] = {
        BARE: lambda base: base(),
        NOOP: noop,
        FLOOR: lambda base: of_requests(base)(),
        LEAN: lambda base: of_requests(base)(Policy(lean=True)),
        "interlock-cb": interlock,
        "urllib3 Retry": urllib3_retry,
        OURS: ours,
    }
    return table | {
        name: lambda base, decorate=decorate: decorated(base, decorate) for name, decorate in DECORATORS.items()
    }
