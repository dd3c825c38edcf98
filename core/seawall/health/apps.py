"""The health page as a WSGI and an ASGI app: `/` for people, `/health.json` for machines.

Both are thin shells around one function from method, path and query to an answer.
They read and never change anything, need no library and no event loop, and work
under any mount prefix. Whoever may see the page sees the names of all hosts: where
that is not everybody's business, mount it behind what guards your other pages.
"""

from __future__ import annotations

import json
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from seawall.health import page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from seawall.resilience import Resilience

    Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_LONGEST: Final = 30.0
"""Seconds the making of an answer may take; it takes one for thousands of hosts."""
_PAGE: Final = ("", "/")
_JSON: Final = "/health.json"
_COMMON: Final = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)


class _Request(NamedTuple):
    method: str
    path: str
    """Below the mount."""
    mount: str
    query: str


class _Answer(NamedTuple):
    status: HTTPStatus
    headers: list[tuple[str, str]]
    body: bytes


def wsgi_app(resilience: Resilience) -> Wsgi:
    """The health of `resilience` as a WSGI app: `/` is the page, `/health.json` the data.

    `/health.json` has the status 503 when health is critical, else 200: for monitors, not for probes that restart or
    unplug this process, since an ill host elsewhere is no reason to. Safe from any thread.
    """

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path, mount = environ.get("PATH_INFO", ""), environ.get("SCRIPT_NAME", "")
        mount = mount.encode("latin-1", "replace").decode("utf-8", "replace")  # bytes in disguise, as PEP 3333 has them
        asked = _Request(environ.get("REQUEST_METHOD", "GET"), path, mount, environ.get("QUERY_STRING", ""))
        status, headers, body = _answer(resilience, asked)
        start_response(f"{status.value} {status.phrase}", headers)
        return [body]

    return app


def asgi_app(resilience: Resilience) -> Asgi:
    """`wsgi_app` for ASGI servers and frameworks; asyncio, trio or any other loop."""

    from seawall.drivers.aio import Loops
    from seawall.drivers.aside import Aside

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"seawall's health page is HTTP, this is {scope['type']}")
        path, mount = scope["path"], scope.get("root_path", "").rstrip("/")
        if mount and (path == mount or path.startswith(mount + "/")):  # most leave the prefix on, some take it off
            path = path.removeprefix(mount)
        asked = _Request(scope["method"], path, mount, scope.get("query_string", b"").decode("latin-1"))
        # In a thread of its own: many hosts take a while, which is the loop's, and executors may be full of what hangs.
        work = Aside(partial(_answer, resilience, asked))
        work.start()
        status, headers, body = await work.result(_LONGEST, Loops())
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": status.value, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    return app


def _answer(resilience: Resilience, asked: _Request) -> _Answer:
    if asked.path not in (*_PAGE, _JSON):
        return _text(HTTPStatus.NOT_FOUND, "There is / and /health.json.\n", asked)
    if asked.method not in ("GET", "HEAD"):
        return _text(HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD.\n", asked, ("Allow", "GET, HEAD"))
    health = resilience.health()
    if asked.path == _JSON:
        body = json.dumps(health.to_dict(), allow_nan=False).encode()
        status = HTTPStatus.SERVICE_UNAVAILABLE if health.status == "critical" else HTTPStatus.OK
        return _whole(status, "application/json", body, asked)
    paused = "refresh=off" in asked.query.split("&")
    shown = page.render(health, data=_beside(asked), paused=paused)
    policy = ("Content-Security-Policy", page.csp())
    return _whole(HTTPStatus.OK, "text/html; charset=utf-8", shown, asked, policy)


def _beside(asked: _Request) -> str:
    """Where /health.json is, seen from the page: relative, so that it is right behind proxies that hide a prefix."""
    folder = "" if asked.path else quote(asked.mount.rpartition("/")[2])
    return f"./{folder}{'/' if folder else ''}health.json"


def _text(status: HTTPStatus, text: str, asked: _Request, *more: tuple[str, str]) -> _Answer:
    return _whole(status, "text/plain; charset=utf-8", text.encode(), asked, *more)


def _whole(status: HTTPStatus, kind: str, body: bytes, asked: _Request, *more: tuple[str, str]) -> _Answer:
    """With all headers; for HEAD without the body they describe."""
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), *_COMMON, *more]
    return _Answer(status, headers, b"" if asked.method == "HEAD" else body)


async def _live(receive: Receive, send: Send) -> None:
    """There is nothing to start or stop; a server that asks is told so."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
