"""Transports and adapters that answer from a function: what a mock or another plugin looks like to a mount."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import httpx
import httpx2
import requests
import urllib3


@dataclass(frozen=True, slots=True)
class Asked:
    """What a fake below the mount was asked; `extras` is what the library hands down beside the request."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    extras: dict[str, Any]
    request: Any


@dataclass(frozen=True, slots=True)
class Reply:
    """What a fake answers; an exception is raised instead."""

    status: int = 200
    body: bytes = b"fake"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Asked], Reply | BaseException]


def always_fine(_: Asked) -> Reply:
    """A handler that can be pickled."""
    return Reply()


def always_busy(_: Asked) -> Reply:
    """Another one."""
    return Reply(503)


class Fake:
    """What the fakes of the libraries share: a handler, a log, and an attribute of their own."""

    controller = "the fake's own attribute"

    def __init__(self, handler: Handler = always_fine) -> None:
        super().__init__()
        self.handler = handler
        self.asked: list[Asked] = []
        self.entered = self.left = self.closed = 0

    def __getstate__(self) -> dict[str, Any]:
        return {"handler": self.handler}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["handler"])  # type: ignore[misc]

    def decide(self, asked: Asked) -> Reply:
        """Log the call and answer it, or raise what the handler gave."""
        self.asked.append(asked)
        reply = self.handler(asked)
        if isinstance(reply, BaseException):
            raise reply
        return reply


class _HttpxFake(Fake):
    library: Any

    def __enter__(self) -> Self:
        self.entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.left += 1

    async def __aenter__(self) -> Self:
        self.entered += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.left += 1

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1

    def handle_request(self, request: Any) -> Any:
        return self._reply(request, request.read())

    async def handle_async_request(self, request: Any) -> Any:
        return self._reply(request, await request.aread())

    def _reply(self, request: Any, body: bytes) -> Any:
        headers = dict(request.headers)
        reply = self.decide(Asked(request.method, str(request.url), headers, body, dict(request.extensions), request))
        stream = self.library.ByteStream(reply.body)
        return self.library.Response(reply.status, headers=list(reply.headers), stream=stream)


class HttpxFake(_HttpxFake, httpx.BaseTransport, httpx.AsyncBaseTransport):
    library = httpx


class Httpx2Fake(_HttpxFake, httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    library = httpx2


class RequestsFake(Fake, requests.adapters.HTTPAdapter):
    def send(self, request: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        body = request.body or b""
        if not isinstance(body, (bytes, str)):
            body = b"".join(body)
        reply = self.decide(
            Asked(
                request.method,
                request.url,
                dict(request.headers),
                body if isinstance(body, bytes) else body.encode(),
                kwargs,
                request,
            )
        )
        wire = urllib3.HTTPResponse(
            io.BytesIO(reply.body),
            urllib3.HTTPHeaderDict(reply.headers),
            reply.status,
            preload_content=False,
            request_method=request.method,
        )
        return self.build_response(request, wire)

    def close(self) -> None:
        self.closed += 1
        super().close()
