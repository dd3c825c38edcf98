"""Another provider: the same request, rewritten by declared rules, as a call of its own host.

What crosses to another origin is an allow-list, since a credential sent to whoever
answers instead is given away (urllib3 and others had CVEs for less). Whether it may be
sent at all is asked by the rules of resending: a POST the primary may have executed is
not executed a second time elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from seawall import _check
from seawall.degrade.answer import Answer
from seawall.degrade.fields import CONNECTION, text
from seawall.outcome import Reason, Rejection, reject_async
from seawall.policies.retry import key_field

if TYPE_CHECKING:
    from seawall._story import Call, Source
    from seawall.degrade.step import Trouble
    from seawall.runtime import Runtime

CROSSES: Final = frozenset(
    {"accept", "accept-encoding", "accept-language", "content-encoding", "content-type", "user-agent"}
)
"""Header fields that go to another origin, besides the idempotency key and what the rules add."""

Headers = Mapping[str, str] | Callable[[Any], Mapping[str, str]] | None
Path = str | Callable[[str], str] | None


class Rewrite:
    """A request to another origin, for the mount to make its library's of it."""

    __slots__ = ("body", "headers", "method", "url")

    def __init__(self, method: str, url: str, headers: list[tuple[str, str]], body: bytes | None) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body
        """None: that of the original request."""


class FallbackProvider:
    """Send the request to another origin when the host failed or we refused; the first good answer is the caller's."""

    __slots__ = ("body", "headers", "methods", "origins", "path", "reserve", "response")

    source: Source = "fallback"

    def __init__(
        self,
        origin: str,
        *more: str,
        path: Path = None,
        headers: Headers = None,
        body: Callable[[bytes], bytes] | None = None,
        response: Callable[[Answer], Answer] | None = None,
        methods: Collection[str] | None = None,
        reserve: float | None = None,
    ) -> None:
        """
        origin, more: `scheme://host[:port]`, tried in order, each with its own state and policy in the same Resilience.
        path: the path there (a string), or a function of the path and query; left out: the same.
        headers: fields to add, or a function of the request that gives them. Of the request's own only those cross
            that say what the body is and what is wanted (`CROSSES`), and the idempotency key: no credential does.
        body: a function of the body's bytes, for another model name, say. Left out: the same body.
        response: a function of the whole answer (decoded), for another API's shape. Left out: the answer as it comes,
            streams too.
        methods: methods that may be sent; left out: those that may safely be sent again, any if the primary surely
            did not get it.
        reserve: seconds of the deadline the primary leaves; left out: half of what there is.
        """
        self.origins = tuple(_origin(given) for given in (origin, *more))
        if path is not None and not callable(path) and not (isinstance(path, str) and path.startswith("/")):
            raise ValueError(f"FallbackProvider: path={path!r}: give one that begins with '/', or a function of it")
        if headers is not None and not callable(headers) and not isinstance(headers, Mapping):
            raise TypeError(f"FallbackProvider: headers={headers!r}: give a mapping, or a function of the request")
        for name, function in (("path", path), ("headers", headers), ("body", body), ("response", response)):
            if callable(function):
                reject_async(function, f"FallbackProvider: {name}")
            elif name in ("body", "response") and function is not None:
                raise TypeError(f"FallbackProvider: {name}={function!r}: give a function")
        if methods is not None and not _are_names(methods):
            raise TypeError(f"FallbackProvider: methods={methods!r}: give a set of method names")
        self.path = path
        self.headers = headers
        self.body = body
        self.response = response
        self.methods = None if methods is None else frozenset(method.upper() for method in methods)
        self.reserve = reserve
        _check.duration(self, "reserve", optional=True)

    def begin(self, call: Call, runtime: Runtime) -> None:
        pass

    def could_answer(self, call: Call) -> bool:
        return True

    async def answer(self, trouble: Trouble) -> Any:
        """The first origin that is well answers; None: the request may not be sent there, or none was."""
        call, runtime = trouble.call, trouble.runtime
        if not self._may_send(trouble):
            return None
        errors = [trouble.error]
        for origin in self.origins:
            rewrite = self._rewrite(trouble, origin)
            if rewrite is None:
                continue
            result = await runtime.forward(call, rewrite)
            if isinstance(result, BaseException):
                errors.append(result)
            elif result is not None:
                if self.response is None:
                    return result
                try:
                    whole = await runtime.read(result)
                except Exception as error:  # it broke off: the next origin is asked
                    errors.append(error)
                    continue
                return self.response(whole)
        retry = call.policy.retry
        if len(errors) > 1 and retry is not None and retry.on_exhausted == "raise":
            return Rejection(
                Reason.ALL_FAILED,
                call.state.name,
                cause=errors[0],
                facts={"primary": errors[0], "fallback": errors[-1], "errors": tuple(errors)},
            )
        return None

    def _may_send(self, trouble: Trouble) -> bool:
        call = trouble.call
        if not hasattr(call.request, "headers"):  # an operation of `execute`, which has no origin
            return False
        request = trouble.runtime.repeatable(call)
        if not request.body and (call.attempts or self.body is not None):
            return False
        if self.methods is not None:
            return request.method in self.methods
        retry = call.policy.retry
        return not call.may_be_done or request.is_safe(None if retry is None else retry.methods)

    def _rewrite(self, trouble: Trouble, origin: str) -> Rewrite | None:
        request = trouble.call.request
        old, new = urlsplit(str(request.url)), urlsplit(origin)
        if old.scheme == "https" and new.scheme != "https":
            trouble.call.state.hub.complain(self, ValueError("https may not become http"))
            return None
        path = urlunsplit(("", "", old.path or "/", old.query, ""))
        if self.path is not None:
            path = self.path(path) if callable(self.path) else self.path
        retry = trouble.call.policy.retry
        crosses = CROSSES | {key_field(retry).lower()}
        same = (old.scheme, old.netloc) == (new.scheme, new.netloc)
        headers = [(name, value) for name, value in _fields(request) if same or name.lower() in crosses]
        added = self.headers(request) if callable(self.headers) else self.headers or {}
        replaced = {name.lower() for name in added}
        headers = [(name, value) for name, value in headers if name.lower() not in replaced | _RECOMPUTED]
        headers += added.items()
        content = None
        if self.body is not None:
            body = trouble.runtime.content(trouble.call)
            if body is None:
                return None
            content = self.body(body)
        return Rewrite(request.method, origin + path, headers, content)

    def __repr__(self) -> str:
        return f"FallbackProvider({', '.join(map(repr, self.origins))})"


def _are_names(methods: Any) -> bool:
    if not isinstance(methods, frozenset | set | list | tuple) or not methods:
        return False
    return all(isinstance(name, str) for name in methods)  # pyright: ignore[reportUnknownVariableType]


_RECOMPUTED: Final = CONNECTION | {"host", "content-length"}
"""The library's business, for the request as it is sent."""


def _fields(request: Any) -> list[tuple[str, str]]:
    return [(text(name), text(value)) for name, value in request.headers.items()]


def _origin(given: object) -> str:
    if not isinstance(given, str):
        raise TypeError(f"FallbackProvider: origin={given!r}: give scheme://host, or scheme://host:port")
    try:
        parts = urlsplit(given)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.path not in ("", "/")
        or "@" in parts.netloc
    ):
        raise ValueError(
            f"FallbackProvider: origin={given!r}: give scheme://host, or scheme://host:port; path= has the rest"
        )
    if parts.query or parts.fragment:
        raise ValueError(f"FallbackProvider: origin={given!r}: give it without query and fragment")
    return f"{parts.scheme}://{parts.netloc}"
