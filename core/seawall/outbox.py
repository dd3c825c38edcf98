"""The outbox as users hold it: the file, and what sends from it.

Sending goes through the client the user gives, hence through the policies mounted on it:
breaker, retries, deadlines hold as for any call, and "is the host well again?" is asked
by sending. A host that failed is left alone for a while, whatever the item: one probe at
a time, not a thousand. Written once as `async def` for both worlds, like the flow.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

from seawall import backoff
from seawall._mounting import replayer
from seawall.classification import of_response, of_status
from seawall.degrade.credentials import is_credential
from seawall.drivers.clock import process_now
from seawall.drivers.threads import pause, repeating
from seawall.errors import BulkheadClosed, ResilienceError
from seawall.outcome import Again, Verdict, reject_async
from seawall.policy import override
from seawall.runtime import run_sync
from seawall.stores.items import OutboxError, Result, sound_fields
from seawall.stores.outbox import LONGEST_WAIT, OutboxFile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from seawall.runtime import Clock
    from seawall.stores.items import Item, Receipt

_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 60.0
"""Seconds between two tries of an item, if the server asked for no other wait."""
_FIRST_HOLD: Final = 0.5
_LONGEST_HOLD: Final = 30.0
"""Seconds a host is left alone after it failed, likewise."""
_FIRST_LOOK: Final = 0.02
_SELDOM: Final = 0.5
"""Seconds between two looks at what became of a request: at first, and at last."""
_UNDEGRADED: Final = override(degrade=())
"""A stale or simplified answer delivers nothing, and what waits already is not queued again."""
_UNPACKED: Final = ("accept-encoding", "identity")
"""Results are kept as they come over the wire, and should be readable."""
_HEADER_BYTES: Final = 16 * 1024
"""Of an answer's header, what is kept."""


class Outbox(OutboxFile):
    """Requests kept on disk until they can be sent. Safe from any number of processes, threads, tasks and forks."""

    @cached_property
    def holds(self) -> Holds:
        """Which hosts are left alone for now, as far as this process knows."""
        return Holds(self.clock)

    def drain(
        self,
        client: Any,
        *,
        attach: Callable[[Any], object] | None = None,
        lease: float = 30.0,
        stop: Callable[[], bool] | None = None,
    ) -> int:
        """Send what is due, one after the other, and return how many requests were answered for good.

        client: of httpx, httpx2 or requests, mounted or bare, or an SDK around one. What it adds to its own requests
            (auth, cookies, headers) it adds here too.
        attach: `attach(request)` puts credentials on the library's request before it is sent; look at its host first.
        lease: seconds an item is nobody else's; renewed while it is being sent. If this process dies, another gets the
            item after that.
        stop: asked before each item; True ends the drain.

        What the host could not take stays, for a later `drain`. Raises OutboxError if the file cannot be used,
        TypeError for another client, whatever `attach` raises, and BulkheadClosed.
        """
        inner, mount = replayer(client)
        if mount.is_async(inner):
            raise TypeError(f"drain: {type(client).__name__} is async: use await outbox.adrain(client)")
        reject_async(attach, "drain: attach")
        return run_sync(_drain(self, _Plain(inner, mount, attach), lease, stop))  # type: ignore[no-any-return]

    async def adrain(
        self,
        client: Any,
        *,
        attach: Callable[[Any], object] | None = None,
        lease: float = 30.0,
        stop: Callable[[], bool] | None = None,
    ) -> int:
        """`drain` for async clients, under asyncio and trio; `attach` may be async. Several may run at once."""
        inner, mount = replayer(client)
        if not mount.is_async(inner):
            raise TypeError(f"adrain: {type(client).__name__} is not async: use outbox.drain(client)")
        return await _drain(self, _Async(inner, mount, attach), lease, stop)

    def wait(self, receipt: Receipt, timeout: float) -> Result:
        """What became of a request, once somebody has sent it.

        Raises TimeoutError if that takes longer than `timeout` seconds, LookupError if the request is gone.
        """
        return run_sync(_wait(self, receipt, timeout, _at_once, pause))  # type: ignore[no-any-return]

    async def wait_async(self, receipt: Receipt, timeout: float) -> Result:
        """`wait` for asyncio and trio."""
        from seawall.drivers.aio import in_thread, sleep

        return await _wait(self, receipt, timeout, in_thread, sleep)

    def sendable_in(self) -> float | None:
        """Seconds until `drain` will have something to do, as far as is known; None: nothing waits."""
        return min((max(wait, self.holds.left(host)) for host, wait in self.due().items()), default=None)


class Holds:
    """Hosts that failed, and until when each is left alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hosts: dict[str, tuple[float, int]] = {}
        """Until when, and how often in a row it has failed."""

    def failed(self, host: str, asked: float | None) -> None:
        """Leave it alone: as long as it asked for, or longer each time."""
        _, streak = self._hosts.get(host, (0.0, 0))
        wait = _wait_of(asked, _FIRST_HOLD, _LONGEST_HOLD, streak, self._clock.random())
        self._hosts[host] = (self._clock.monotonic() + wait, streak + 1)

    def well(self, host: str) -> None:
        """It answered."""
        self._hosts.pop(host, None)

    def left(self, host: str) -> float:
        """Seconds it is still left alone."""
        return max(0.0, self._hosts.get(host, (0.0, 0))[0] - self._clock.monotonic())

    def hosts(self) -> list[str]:
        """Those left alone now."""
        return [host for host in list(self._hosts) if self.left(host) > 0]


class _Plain:
    """How a sync drain reaches disk, client and user. `async` by name only."""

    def __init__(self, client: Any, mount: Any, attach: Callable[[Any], Any] | None) -> None:
        self.client = client
        self.mount = mount
        self.user = attach

    async def disk(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    async def attach(self, request: Any) -> None:
        if self.user is not None:
            self.user(request)

    async def send(self, request: Any, limit: int) -> tuple[Any, bytes, bool]:
        return self.mount.send(self.client, request, limit)  # type: ignore[no-any-return]


class _Async(_Plain):
    """The same in an event loop, which the disk must not stop."""

    async def disk(self, function: Callable[..., Any], *args: Any) -> Any:
        from seawall.drivers.aio import in_thread

        return await in_thread(function, *args)

    async def attach(self, request: Any) -> None:
        if self.user is not None:
            value = self.user(request)
            if hasattr(value, "__await__"):
                await value

    async def send(self, request: Any, limit: int) -> tuple[Any, bytes, bool]:
        return await self.mount.asend(self.client, request, limit)  # type: ignore[no-any-return]


async def _drain(outbox: Outbox, port: _Plain, lease: float, stop: Callable[[], bool] | None) -> int:
    sent = 0
    while stop is None or not stop():
        item: Item | None = await port.disk(outbox.lease, lease, outbox.holds.hosts())
        if item is None:
            break
        with repeating(partial(_renew, outbox, item, lease), lease / 3):
            sent += await _send(outbox, port, item)
    return sent


async def _send(outbox: Outbox, port: _Plain, item: Item) -> bool:
    """Send one item and write down what became of it. True: it was answered for good."""
    try:
        request = port.mount.build(port.client, item._replace(headers=(*item.headers, _UNPACKED)))
    except Exception as error:  # what the library cannot make sense of today it will not tomorrow
        await port.disk(outbox.settle, item, Result("failed", error=type(error).__name__))
        return False
    try:
        await port.attach(request)
    except Exception as error:
        await port.disk(outbox.put_back, item, _FIRST_WAIT, f"attach raised {type(error).__name__}")
        raise
    try:
        with _UNDEGRADED:
            response, body, complete = await port.send(request, outbox.max_result)
    except BulkheadClosed:
        await port.disk(outbox.put_back, item, 0.0, "closed")
        raise
    except Exception as error:
        return await _later(outbox, port, item, getattr(error, "retry_after", None), _word(error))
    status, row = response.status_code, of_status(response.status_code)
    if row is not None and (row[1] is not Verdict.SUCCESS or row[2] is not Again.NO):
        asked = of_response(response, outbox.clock.wall()).retry_after
        return await _later(outbox, port, item, asked, f"status {status}")
    outbox.holds.well(item.host)
    kept = (status, _fields(response), body, complete, item.attempts)
    result = Result("done", *kept) if row is None else Result("failed", *kept, f"status {status}")
    return await port.disk(outbox.settle, item, result)  # type: ignore[no-any-return]


async def _later(outbox: Outbox, port: _Plain, item: Item, asked: object, error: str) -> bool:
    """The host could not take it: it waits its turn again, and the host is left alone for a while."""
    delay = asked if isinstance(asked, float | int) else None
    outbox.holds.failed(item.host, delay)
    wait = _wait_of(delay, _FIRST_WAIT, _LONGEST_WAIT, item.attempts - 1, outbox.clock.random())
    await port.disk(outbox.put_back, item, wait, error)
    return False


def _wait_of(asked: float | None, first: float, longest: float, n: int, u: float) -> float:
    """Seconds: what the server asked for, else ever longer."""
    if asked:
        return min(backoff.obey(asked, longest, LONGEST_WAIT, u), LONGEST_WAIT)
    return backoff.spread("equal", backoff.grow("exponential", first, 2.0, longest, n), u)


def _renew(outbox: Outbox, item: Item, lease: float) -> bool:
    try:
        return outbox.renew(item, lease)
    except OutboxError:  # another writer was slow: next time
        return True


def _word(error: Exception) -> str:
    """What went wrong, without the library's text: that may hold the URL."""
    return error.reason if isinstance(error, ResilienceError) and error.reason else type(error).__name__


def _fields(response: Any) -> tuple[tuple[str, str], ...]:
    """The header that is kept of an answer: no cookies, no tokens, and not without end."""
    kept: list[tuple[str, str]] = []
    room = _HEADER_BYTES
    for name, value in sound_fields(response.headers.items()):
        room -= len(name) + len(value)
        if room >= 0 and not is_credential(name):
            kept.append((name, value))
    return tuple(kept)


async def _at_once(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


async def _wait(
    outbox: Outbox,
    receipt: Receipt,
    timeout: float,
    disk: Callable[..., Awaitable[Any]],
    sleep: Callable[[float], Awaitable[None]],
) -> Result:
    ends, look = process_now() + timeout, _FIRST_LOOK
    while True:
        result: Result | None = await disk(outbox.result, receipt)
        if result is not None:
            return result
        if await disk(outbox.state, receipt) == "gone":
            raise LookupError(f"{receipt!r}: not in {outbox.path}, or no longer")
        left = ends - process_now()
        if left <= 0:
            raise TimeoutError(f"{receipt!r}: not sent within {timeout:g} s")
        await sleep(min(look, left))
        look = min(look * 1.5, _SELDOM)
