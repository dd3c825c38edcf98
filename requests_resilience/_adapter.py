"""An adapter that runs the flow around another adapter. Nothing is decided here."""

from __future__ import annotations

import io
from http.client import responses
from itertools import count
from typing import TYPE_CHECKING, Any, Union
from urllib.parse import urlsplit

from requests import Response
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.hooks import default_hooks
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.util import Timeout

from requests_resilience._errors import LEAVES, outcome
from requests_resilience._network import Clocks, clamp, unclamp
from requests_resilience._stream import Body, ReadAhead, follow, served_again
from requests_resilience._upload import content_of, give_back, is_upload, lend, prepare
from seawall._story import attach
from seawall.classification import streams
from seawall.degrade.answer import Answer
from seawall.degrade.copying import copy_of
from seawall.degrading import journey, on_behalf
from seawall.drivers.threads import Threads
from seawall.errors import dress, to_raise
from seawall.flow import Failed, turned_away
from seawall.idempotency import add_key
from seawall.judging import watch_for
from seawall.mounted import (
    PEEK_BYTES,
    PEEK_SECONDS,
    blame,
    keep_alive,
    refusal,
    watch_above,
    watch_below,
)
from seawall.outcome import Rejection
from seawall.policies.retry import Repeatable
from seawall.policy import Policy
from seawall.resilience import Resilience, resolve
from seawall.runtime import Stopped, plain, run_sync
from seawall.scope import Carrier, earliest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from requests import PreparedRequest

    from seawall._story import Call
    from seawall.clocks import Watch
    from seawall.degrade.fallback import Rewrite
    from seawall.outcome import Outcome
    from seawall.routing import Route

Given = Union["Resilience", "Mapping[str, Policy]", "Policy", None]


_serials = count(1)


class _Port(Threads):
    """The runtime of one adapter. A call carries the arguments of its `send`."""

    __slots__ = ("_adapter", "_resilience", "_serial")

    admission = Body

    def __init__(self, adapter: BaseAdapter, resilience: Resilience, serial: int) -> None:
        self._adapter: Any = adapter
        self._resilience = resilience
        self._serial = serial

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
            watch.headers(streamed=watch.minds_streaming and (stream or call.policy.stream or streams(response)))
            if not watch.is_exact:
                self._loosen(watch, raw, read)
        # urllib3 knows of a body that is none (HEAD, 204, 304, Content-Length: 0): it never gives that connection back.
        if getattr(raw, "length_remaining", 0) == 0 or response._content is not False or not follow(raw, admission):
            admission.is_over = True
        if call.slot is not None and not stream:
            self._copy(call, admission, response)
        attach(response, call)
        return response

    def _copy(self, call: Call, admission: Any, response: Any) -> None:
        """Read the answer for whom it is to be remembered: raw, and now, as requests itself would next."""
        fields = getattr(response.raw, "headers", None) or response.headers
        copy = copy_of(call, admission, response.status_code, fields.items())
        if copy is None:
            return
        if response._content is not False:  # a mock's, read before
            if "content-encoding" not in response.headers:
                copy.add(response._content or b"")
                call.copy = copy
        elif admission.is_over:
            call.copy = copy
        else:
            ahead = self._read_ahead(response, admission, lambda size: size <= call.slot.limit)
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
        ahead = admission.ahead
        if ahead is None:
            clock = admission.call.state.clock
            ends = clock.monotonic() + PEEK_SECONDS
            ahead = self._read_ahead(response, admission, lambda size: size <= PEEK_BYTES and clock.monotonic() < ends)
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
        elif admission.is_over or not hasattr(response.raw, "read1"):  # an urllib3 that reads all or nothing
            admission.inspector = None
        else:
            watch.body_wanted()
            ahead = self._read_ahead(response, admission, lambda _: not inspector.is_decided)
            if ahead.complete:
                inspector.end()
                admission.is_over = True
            if ahead.error is not None:
                return ahead.take_error()
            watch.content()
        return None

    def _read_ahead(self, response: Any, admission: Any, goes_on: Callable[[int], bool]) -> ReadAhead:
        """Read raw while `goes_on(size)`, and put what was read in front of what comes."""
        raw, watch, inspector = response.raw, admission.watch, admission.inspector
        read = getattr(raw, "read1", raw.read)  # what is there, not all that may come
        ahead = admission.ahead = ReadAhead()
        admission.reading = True  # what breaks here is the flow's to judge, or whoever's reads on
        try:
            while goes_on(len(ahead.head)):
                if watch is not None:
                    watch.left()
                piece = read(PEEK_BYTES, decode_content=False)
                if not piece:
                    ahead.complete = True
                    raw.release_conn()
                    break
                ahead.head += piece
                if inspector is not None:
                    inspector.feed(piece)
        except Exception as error:
            ahead.error = error
        except BaseException:
            response.close()
            raise
        finally:
            admission.reading = False
        response.raw = served_again(raw, admission, ahead)
        return ahead

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

    async def call(self, function: Any, *args: Any) -> Any:
        return plain(function, *args)

    async def forward(self, call: Call, rewrite: Rewrite) -> Any:
        request = call.request.copy()
        request.url, request.headers = rewrite.url, CaseInsensitiveDict(rewrite.headers)
        request.hooks = default_hooks()
        if rewrite.body is not None:
            request.body = rewrite.body
        if rewrite.body is not None or not is_upload(request.body):
            request.prepare_content_length(request.body)
        else:
            request.headers.update(_framing(call.request))
        parts = urlsplit(rewrite.url)
        route = self._resilience.route((parts.scheme, parts.netloc), parts.scheme, parts.hostname or "", parts.port)
        other = self._resilience.call(route, request)
        if other is None:  # that host is switched off
            return None
        connect, read, _ = _client_limits(call.sending[1])
        other.sending, other.limits = call.sending, other.policy.limits(connect, read)
        other.upload = call.upload
        return await on_behalf(call, other, self)

    async def read(self, response: Any) -> Answer:
        return Answer.decoded(response.status_code, response.headers.items(), response.content)

    def fields(self, call: Call) -> list[tuple[Any, Any]]:
        return list(call.request.headers.items())

    def identity(self, call: Call) -> str | int:
        """The client's certificate, and how the server's is checked; somebody else's adapter may hide its own."""
        _, _, verify, cert, _ = call.sending
        if type(self._adapter) is not HTTPAdapter:
            return self._serial
        return "" if cert is None and verify is True else f"{cert!r} {verify!r}"

    def content(self, call: Call) -> bytes | None:
        return content_of(call)

    def respond(self, call: Call, answer: Any) -> Any:
        if not isinstance(answer, Answer):
            if not isinstance(answer, Response):
                raise TypeError("give a seawall.Answer")
            attach(answer, call)
            return answer
        raw = HTTPResponse(
            io.BytesIO(answer.content),
            headers=HTTPHeaderDict(answer.headers),
            status=answer.status,
            reason=responses.get(answer.status),
            preload_content=False,
            enforce_content_length=False,  # what answered a HEAD tells the length of a body it has not
        )
        response = HTTPAdapter.build_response(self._adapter, call.request, raw)
        attach(response, call)
        return response

    def exception(self, call: Call, rejection: Rejection) -> BaseException:
        return dress(call, rejection, LEAVES)


class _Uploads(_Port):
    """For requests whose body is read while it is sent."""

    __slots__ = ()

    async def send(self, call: Call, admission: Any) -> Any:
        lend(call)
        try:
            return await super().send(call, admission)
        finally:
            give_back(call)


def _framing(request: Any) -> dict[str, str]:
    """How requests framed a body that is sent as it is."""
    names = ("Content-Length", "Transfer-Encoding")
    return {name: request.headers[name] for name in names if name in request.headers}


class _Hooks(dict[str, Any]):
    """A request's hooks, which requests hands on to the one that follows a redirect: the deadline goes with them."""

    def __init__(self, hooks: dict[str, Any], carrier: Carrier) -> None:
        super().__init__(hooks)
        self.carrier = carrier

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class ResilientAdapter(BaseAdapter):
    """An adapter that keeps calls working, around `adapter` (left out: a plain HTTPAdapter).

    `resilience`: a Resilience, a mapping from pattern to Policy, or one Policy; left out: the process's default.
    Thread-safe if `adapter` is. Pickles with its policies, without their state.
    """

    def __init__(self, adapter: BaseAdapter | None = None, resilience: Given = None) -> None:
        while isinstance(adapter, ResilientAdapter):  # never nested
            adapter = adapter.detach()
        if adapter is not None and (
            isinstance(adapter, type) or not hasattr(adapter, "send") or hasattr(adapter, "mount")
        ):
            raise TypeError(
                f"ResilientAdapter: {adapter!r} stands where the adapter belongs: write "
                "ResilientAdapter(resilience=…), or mount(session, …)"
            )
        super().__init__()
        self.inner: BaseAdapter = HTTPAdapter() if adapter is None else adapter
        """The adapter underneath."""
        self.resilience = resolve(resilience)
        given = self.inner, self.resilience, next(_serials)
        self._port, self._uploads = _Port(*given), _Uploads(*given)
        self._is_hard = self.resilience.hard_deadlines and clamp(
            self.inner, keep_alive(self.resilience) if adapter is None else None
        )
        """Our sockets are underneath: `detach` takes them out."""
        watch_below(getattr(getattr(self.inner, "max_retries", None), "total", 0), self.resilience)

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> Response:
        """Send, as often as the policy wants. Raises what the inner adapter raises, or an error of ours."""
        parts = urlsplit(request.url or "")
        netloc = parts[1] if "@" not in parts[1] else parts[1].rpartition("@")[2]
        route = self.resilience.routes.get((parts[0], netloc)) or self._find(parts, netloc)
        carried = request.hooks.carrier if type(request.hooks) is _Hooks else None
        call = None if route is None else self.resilience.call(route, request, carried)
        if call is None:
            return self.inner.send(request, stream=stream, timeout=timeout, verify=verify, cert=cert, proxies=proxies)
        result: Any = None if call.state.is_calm else turned_away(call)
        if result is None:
            connect, read, _ = _client_limits(timeout)
            call.limits = call.policy.limits(connect, read)
            call.sending = (stream, timeout, verify, cert, proxies)
            if call.policy.adds_key:
                add_key(call)
            if not is_upload(request.body):
                result = run_sync(journey(call, self._port))
            else:
                prepare(call)
                try:
                    result = run_sync(journey(call, self._uploads))
                finally:
                    call.upload.forget()
        if call.answer is None:
            result = self._end(call, result)
        if call.deadline is not None and 300 < result.status_code < 309:
            carrier = Carrier(request, result, "next", call.deadline, call.outer)
            request.hooks = _Hooks(request.hooks, carrier)
        result.connection = self  # digest auth sends its second leg through it
        return result  # type: ignore[no-any-return]

    def close(self) -> None:
        self.inner.close()

    def detach(self) -> BaseAdapter:
        """Take everything of ours out of the adapter underneath, and return it."""
        if self._is_hard:
            self._is_hard = False
            unclamp(self.inner)
        return self.inner

    def _find(self, parts: Any, netloc: str) -> Route | None:
        """The route of an origin met for the first time; None: requests shall say what is wrong with the URL."""
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            return None
        if not parts.scheme or not host:
            return None
        return self.resilience.route((parts.scheme, netloc), parts.scheme, host, port)

    def _end(self, call: Call, result: Any) -> Any:
        """Hand over an error answer, raise what the call ended in, or answer for it."""
        watch_above(call, result, self.resilience)
        if type(result) is not Rejection:
            if isinstance(result, Failed):
                raise blame(call, result.take())
            return result
        if call.policy.rejections == "raise":
            raise to_raise(call, result, LEAVES)  # in no variable: with its traceback it would be a cycle
        return self._port.respond(call, refusal(dress(call, result, LEAVES)))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return ResilientAdapter, (self.inner, self.resilience)

    def __repr__(self) -> str:
        return f"<ResilientAdapter around {self.inner!r}>"


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
