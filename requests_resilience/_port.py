"""The flow's runtime over an adapter: how to send, what came, and what degradation needs besides."""

from __future__ import annotations

import io
from http.client import responses
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from requests import Response
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.hooks import default_hooks
from requests.structures import CaseInsensitiveDict
from requests.utils import select_proxy
from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout

from requests_resilience._ahead import ReadAhead, can_read_ahead, read_ahead, served_again
from requests_resilience._errors import LEAVES, outcome
from requests_resilience._network import Clocks
from requests_resilience._stream import Body, follow
from requests_resilience._upload import content_of, give_back, is_upload, lend, prepare
from seawall import mounted
from seawall._story import attach
from seawall.degrade.answer import Answer
from seawall.degrade.copying import copy_of
from seawall.degrade.fields import framing
from seawall.drivers.threads import Threads
from seawall.idempotency import add_key
from seawall.judging import watch_for
from seawall.mounted import PEEK_BYTES, PEEK_SECONDS
from seawall.outcome import WrongValue
from seawall.policies.retry import Repeatable
from seawall.runtime import Stopped
from seawall.scope import Carrier, earliest

if TYPE_CHECKING:
    from seawall._story import Call
    from seawall.clocks import Watch
    from seawall.degrade.fallback import Rewrite
    from seawall.outcome import Outcome
    from seawall.resilience import Resilience


_PIECE: Final = 1024
"""Bytes decoded at a time: a kilobyte may hold a megabyte."""


class Port(mounted.Port, Threads):
    """The runtime of one adapter. A call carries the arguments of its `send`."""

    __slots__ = ("_adapter",)

    admission = Body

    def __init__(self, adapter: BaseAdapter, resilience: Resilience, serial: int) -> None:
        super().__init__(resilience, LEAVES, serial)
        self._adapter: Any = adapter

    def begin(self, request: Any) -> Call | None:
        """The call for a request; None: it is sent as if nothing were mounted."""
        parts = urlsplit(request.url or "")
        netloc = parts[1] if "@" not in parts[1] else parts[1].rpartition("@")[2]
        route = self.routes.get((parts[0], netloc))
        if route is None:
            try:
                host, port = parts.hostname, parts.port
            except ValueError:  # requests shall say what is wrong with it
                return None
            if not parts.scheme or not host:
                return None
            route = self.resilience.route((parts.scheme, netloc), parts.scheme, host, port)
        return self.resilience.call(route, request, request.hooks.carrier if type(request.hooks) is _Hooks else None)

    def ready(self, call: Call, sending: tuple[Any, ...]) -> Self:
        """Make the call ready to be sent: the port for it, another one if its body is read while it is sent."""
        body = call.request.body
        connect, read, _ = _client_limits(sending[1])
        call.limits = call.policy.limits(connect, read)
        call.sending = sending
        if call.policy.adds_key:
            add_key(call)
        if not is_upload(body):
            return self
        prepare(call)
        return self.uploads

    def pass_on(self, call: Call, request: Any, response: Any) -> None:
        assert call.deadline is not None
        request.hooks = _Hooks(request.hooks, Carrier(request, response, "next", call.deadline, call.outer))

    async def send(self, call: Call, admission: Any) -> Any:
        request = call.request
        stream, given, verify, cert, proxies = call.sending
        connect, read, total = _client_limits(given)
        watch = admission.watch = watch_for(call, admission.started)
        timeout = given if watch is None else Clocks(watch, earliest(connect, total), earliest(read, total))
        try:
            response = self._adapter.send(
                request, stream=stream, timeout=timeout, verify=verify, cert=cert, proxies=proxies
            )
        except StopIteration as error:  # a mock ran out of answers
            raise Stopped from error
        finally:
            if watch is not None:
                watch.report()
        admission.headers_at = call.state.now()
        admission.status = response.status_code
        raw = response.raw
        if watch is not None:
            mounted.headers_came(call, watch, response, asked=stream)
            if not watch.is_exact:
                self._loosen(watch, raw, read)
        # urllib3 knows of a body that is none (HEAD, 204, 304, Content-Length: 0): it never gives that connection back.
        if getattr(raw, "length_remaining", 0) == 0 or response._content is not False or not follow(raw, admission):
            admission.is_over = True
        if call.slot is not None:
            self._copy(call, admission, response)
        attach(response, call)
        return response

    def _copy(self, call: Call, admission: Any, response: Any) -> None:
        """Copy the answer for whom it is to be remembered, raw: now, as requests itself would next, or as it passes."""
        raw, stream = response.raw, call.sending[0]
        fields = getattr(raw, "headers", None) or response.headers
        copy = copy_of(call, admission, response.status_code, fields.items())
        if copy is None:
            return
        if response._content is not False:  # a mock's, read before
            if "content-encoding" not in response.headers:
                copy.add(response._content or b"")
                call.copy = copy
        elif getattr(raw, "length_remaining", None) == 0:
            call.copy = copy
        elif admission.is_over or not can_read_ahead(response):
            pass
        elif stream:
            admission.copy = copy
            if "content-encoding" in fields:  # else what its reader gets is what came
                response.raw = served_again(raw, admission, ReadAhead())
        else:
            ahead = read_ahead(response, admission, lambda size: size <= call.slot.limit)
            ahead.take_error()  # the response raises it to whoever reads that far
            if ahead.complete:
                admission.is_over = True
                copy.add(ahead.head)
                call.copy = copy

    def _loosen(self, watch: Watch, raw: Any, read: float | None) -> None:
        """After the headers another clock runs; a socket that is not ours is told, where it can be reached."""
        sock = getattr(getattr(raw, "connection", None), "sock", None)
        if sock is not None:
            sock.settimeout(watch.read_within(read))

    async def peek(self, response: Any, admission: Any) -> bytes | None:
        if response._content is not False:
            return response._content or b""
        if not can_read_ahead(response):
            return None
        ahead = admission.ahead
        if ahead is None:
            clock = admission.call.state.clock
            ends = clock.monotonic() + PEEK_SECONDS
            ahead = read_ahead(response, admission, lambda size: size <= PEEK_BYTES and clock.monotonic() < ends)
            ahead.take_error()  # the response raises it, should anybody read that far
            if ahead.complete:
                admission.finish()
        return ahead.head if ahead.complete else None

    async def hold(self, response: Any, admission: Any) -> Exception | None:
        inspector, watch = admission.inspector, admission.watch
        if response._content is not False:
            inspector.feed(response._content or b"")
            inspector.end()
        elif admission.ahead is not None and admission.ahead.complete:  # read to be remembered
            inspector.feed(admission.ahead.head)
            inspector.end()
        elif admission.is_over or not can_read_ahead(response) or not hasattr(response.raw, "read1"):
            admission.inspector = None  # what cannot be given again, or an urllib3 that reads all or nothing
        else:
            watch.body_wanted()
            ahead = read_ahead(response, admission, lambda _: not inspector.is_decided)
            if ahead.complete:
                inspector.end()
                admission.is_over = True
                if admission.copy is not None:  # nobody will read it to an end that we see
                    admission.call.copy, admission.copy = admission.copy, None
            if ahead.error is not None:
                return ahead.take_error()
            watch.content()
        return None

    async def discard(self, response: Any, admission: Any) -> None:
        try:
            response.close()
        except Exception:
            pass  # it is being thrown away; what the attempt was worth is known

    def error(self, call: Call, error: Exception) -> Outcome:
        return outcome(error)

    def repeatable(self, call: Call) -> Repeatable:
        body, upload = call.request.body, call.upload
        in_memory = body is None or isinstance(body, bytes | str)
        return Repeatable.of(
            call.request, call.policy.retry, body=in_memory or (upload is not None and upload.can_repeat)
        )

    async def forward(self, call: Call, rewrite: Rewrite) -> Any:
        request = call.request.copy()
        request.url, request.headers = rewrite.url, CaseInsensitiveDict(rewrite.headers)
        request.hooks = default_hooks()
        if rewrite.body is not None:
            request.body = rewrite.body
        if rewrite.body is not None or not is_upload(request.body):
            request.prepare_content_length(request.body)
        else:
            request.headers.update(framing(call.request.headers))
        parts = urlsplit(rewrite.url)
        route = self.resilience.route((parts.scheme, parts.netloc), parts.scheme, parts.hostname or "", parts.port)
        connect, read, _ = _client_limits(call.sending[1])
        return await self.send_for(call, route, request, connect, read)

    async def read(self, response: Any) -> Answer:
        return Answer.decoded(response.status_code, response.headers.items(), response.content)

    def fields(self, call: Call) -> list[tuple[Any, Any]]:
        return list(call.request.headers.items())

    def identity(self, call: Call) -> str | int:
        """The client's certificate, how the server's is checked, and the proxy, which may let in one and not another;
        somebody else's adapter may hide its own."""
        _, _, verify, cert, proxies = call.sending
        if type(self._adapter) is not HTTPAdapter:
            return self.serial
        proxy = select_proxy(call.request.url, proxies)
        return "" if cert is None and verify is True and proxy is None else f"{cert!r} {verify!r} {proxy!r}"

    def content(self, call: Call) -> bytes | None:
        return content_of(call)

    def respond(self, call: Call, answer: Any) -> Any:
        if not isinstance(answer, Answer):
            if not isinstance(answer, Response):
                raise WrongValue(f"it gave {type(answer).__name__}: give a seawall.Answer, or None")
            attach(answer, call)
            return answer
        if not _can_decode(answer):
            return None
        response = HTTPAdapter.build_response(self._adapter, call.request, _raw(answer))
        attach(response, call)
        return response


class Uploads(Port):
    """For requests whose body is read while it is sent."""

    __slots__ = ()

    async def send(self, call: Call, admission: Any) -> Any:
        lend(call)
        try:
            return await super().send(call, admission)
        finally:
            give_back(call)


def _raw(answer: Answer) -> HTTPResponse:
    return HTTPResponse(
        io.BytesIO(answer.content),
        headers=HTTPHeaderDict(answer.headers),
        status=answer.status,
        reason=responses.get(answer.status),
        preload_content=False,
        enforce_content_length=False,  # what answered a HEAD tells the length of a body it has not
    )


def _can_decode(answer: Answer) -> bool:
    """Will whoever reads the answer get its content? Tried piece by piece, nothing of it is kept."""
    if not any(name.lower() == "content-encoding" for name, _ in answer.headers):
        return True
    try:
        for _ in _raw(answer).stream(_PIECE, decode_content=True):
            pass
    except HTTPError:
        return False
    return True


class _Hooks(dict[str, Any]):
    """A request's hooks, which requests hands on to the one that follows a redirect: the deadline goes with them."""

    def __init__(self, hooks: dict[str, Any], carrier: Carrier) -> None:
        super().__init__(hooks)
        self.carrier = carrier

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def _client_limits(timeout: Any) -> tuple[float | None, float | None, float | None]:
    """Connect, read and total of what requests was given as `timeout`."""
    if timeout is None or isinstance(timeout, (float, int)):  # no union: that would be made anew each time
        return timeout, timeout, None
    if isinstance(timeout, Timeout):
        return _seconds(timeout.connect_timeout), _seconds(timeout.read_timeout), _seconds(timeout.total)
    connect, read = timeout
    return connect, read, None


def _seconds(value: Any) -> float | None:
    """urllib3 has a marker for "the socket's default"."""
    return value if isinstance(value, float | int) else None
