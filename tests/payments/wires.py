"""Transports and adapters that lead to the bank without a network, and fail with the library's real exceptions."""

from __future__ import annotations

import io
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import httpx2
import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import exceptions as below

from tests.payments.bank import STATUSES, Bank, Fate

HALF = (Fate.RESET_HALF_READ, Fate.WRITE_LATE)
BEFORE = (Fate.REFUSED, Fate.UNRESOLVED, Fate.CONNECT_LATE, Fate.NO_CONNECTION)


def caused(error: Exception, cause: BaseException) -> Exception:
    """The error as the library raises it, from what the system said."""
    error.__cause__ = cause
    return error


def httpx_faults(library: Any) -> dict[Fate, Callable[[], Exception]]:
    """What httpx and httpx2 raise."""
    closed = "Server disconnected without sending a response."
    return {
        Fate.REFUSED: lambda: caused(library.ConnectError("refused"), ConnectionRefusedError(111, "refused")),
        Fate.UNRESOLVED: lambda: caused(library.ConnectError("no name"), socket.gaierror(-2, "no name")),
        Fate.CONNECT_LATE: lambda: library.ConnectTimeout("late"),
        Fate.NO_CONNECTION: lambda: library.PoolTimeout("none free"),
        Fate.RESET_HALF_READ: lambda: library.WriteError("reset"),
        Fate.WRITE_LATE: lambda: library.WriteTimeout("late"),
        Fate.RESET_BEFORE: lambda: caused(library.ReadError("reset"), ConnectionResetError(104, "reset")),
        Fate.CLOSED_BEFORE: lambda: library.RemoteProtocolError(closed),
        Fate.LATE_BEFORE: lambda: library.ReadTimeout("late"),
        Fate.RESET_AFTER: lambda: caused(library.ReadError("reset"), ConnectionResetError(104, "reset")),
        Fate.CLOSED_AFTER: lambda: library.RemoteProtocolError(closed),
        Fate.LATE_AFTER: lambda: library.ReadTimeout("late"),
        Fate.GARBAGE_AFTER: lambda: library.RemoteProtocolError("illegal status line"),
    }


class HttpxWire:
    """What the sync and async transports of both libraries share."""

    library: Any
    breaks: Any

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._faults = httpx_faults(self.library)

    def _number(self, request: Any) -> int:
        number: int = request.extensions["call"]
        return number

    def _end(self, request: Any, body: bytes | None) -> Any:
        fate = self._bank.take(self._number(request), request.headers.get("idempotency-key"), body)
        if fate in self._faults:
            raise self._faults[fate]()
        status, headers = STATUSES[fate]
        if fate is Fate.MID_RESPONSE:
            return self.library.Response(status, headers=headers, stream=self.breaks())
        return self.library.Response(status, headers=headers, content=b"paid")


class SyncWire(HttpxWire):
    """For `httpx.Client` and `httpx2.Client`."""

    def handle_request(self, request: Any) -> Any:
        fate = self._bank.fate(self._number(request))
        body = None
        if fate in HALF:
            for _ in request.stream:
                break
        elif fate not in BEFORE:
            body = b"".join(request.stream)
        return self._end(request, body)


class AsyncWire(HttpxWire):
    """For `httpx.AsyncClient` and `httpx2.AsyncClient`."""

    async def handle_async_request(self, request: Any) -> Any:
        fate = self._bank.fate(self._number(request))
        body = None
        if fate in HALF:
            reading = request.stream.__aiter__()
            await reading.__anext__()
        elif fate not in BEFORE:
            body = b"".join([piece async for piece in request.stream])
        return self._end(request, body)


def _wires(library: Any) -> tuple[type[SyncWire], type[AsyncWire]]:
    class Breaks(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Iterator[bytes]:
            yield b"pa"
            raise library.RemoteProtocolError("peer closed connection without sending complete message body")

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in self:
                yield piece

    parts = {"library": library, "breaks": Breaks}
    return type("Wire", (SyncWire,), parts), type("Wire", (AsyncWire,), parts)


WIRES = {library: _wires(library) for library in (httpx, httpx2)}


def _aborted(cause: Exception) -> Exception:
    return requests.ConnectionError(below.ProtocolError("Connection aborted.", cause))


def _no_more(cause: Any) -> Any:
    return below.MaxRetryError(None, "/", cause)  # type: ignore[arg-type]


def requests_faults() -> dict[Fate, Callable[[], Exception]]:
    """What requests raises, around what urllib3 raises."""
    pool: Any = None
    connection = urllib3.connection.HTTPConnection("bank.test")
    new, name = below.NewConnectionError, below.NameResolutionError
    refused, unknown = ConnectionRefusedError(111, "refused"), socket.gaierror(-2, "no name")
    closed = below.ProtocolError("Connection aborted.", ConnectionResetError(104, "closed"))
    late = below.ReadTimeoutError(pool, "/", "late")
    return {
        Fate.REFUSED: lambda: requests.ConnectionError(_no_more(caused(new(connection, "refused"), refused))),
        Fate.UNRESOLVED: lambda: requests.ConnectionError(_no_more(name("bank.test", connection, unknown))),
        Fate.CONNECT_LATE: lambda: requests.ConnectTimeout(_no_more(below.ConnectTimeoutError(connection, "late"))),
        Fate.NO_CONNECTION: lambda: requests.ConnectionError(below.EmptyPoolError(pool, "none free")),
        Fate.RESET_HALF_READ: lambda: _aborted(ConnectionResetError(104, "reset")),
        Fate.WRITE_LATE: lambda: _aborted(TimeoutError("late")),
        Fate.RESET_BEFORE: lambda: _aborted(ConnectionResetError(104, "reset")),
        Fate.CLOSED_BEFORE: lambda: requests.ConnectionError(closed),
        Fate.LATE_BEFORE: lambda: requests.ReadTimeout(late),
        Fate.RESET_AFTER: lambda: _aborted(ConnectionResetError(104, "reset")),
        Fate.CLOSED_AFTER: lambda: requests.ConnectionError(closed),
        Fate.LATE_AFTER: lambda: requests.ReadTimeout(late),
        Fate.GARBAGE_AFTER: lambda: _aborted(__import__("http.client").client.BadStatusLine("garbage")),
    }


class _Breaks(io.RawIOBase):
    def __init__(self) -> None:
        self._pieces = iter([b"pa"])

    def readable(self) -> bool:
        return True

    def read(self, *_: Any) -> bytes:
        for piece in self._pieces:
            return piece
        raise below.ProtocolError("Connection broken", ConnectionResetError(104, "reset"))

    read1 = read


class RequestsWire(BaseAdapter):
    """For `requests.Session`."""

    def __init__(self, bank: Bank) -> None:
        super().__init__()
        self._bank = bank
        self._faults = requests_faults()
        self._build = HTTPAdapter().build_response

    def send(self, request: Any, *_: Any, **__: Any) -> Any:
        number = int(request.headers["x-call"])
        fate, body, given = self._bank.fate(number), None, request.body
        if fate in HALF:
            if hasattr(given, "__iter__") and not isinstance(given, bytes):
                for _piece in given:
                    break
        elif fate not in BEFORE:
            body = b"" if given is None else given if isinstance(given, bytes) else b"".join(given)
        fate = self._bank.take(number, request.headers.get("idempotency-key"), body)
        if fate in self._faults:
            raise self._faults[fate]()
        status, headers = STATUSES[fate]
        source = _Breaks() if fate is Fate.MID_RESPONSE else io.BytesIO(b"paid")
        raw = urllib3.HTTPResponse(source, status=status, headers=headers, preload_content=False)
        return self._build(request, raw)

    def close(self) -> None: ...
