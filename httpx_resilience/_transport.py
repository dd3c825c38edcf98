"""Transports that run the flow around another transport. Nothing is decided here.

Duck-typed: both libraries accept any object with the right methods, and no class
can inherit from both without importing both. Type checkers see the base classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import count
from typing import TYPE_CHECKING, Any, Self, Union, cast

from httpx_resilience._clocks import LiveTimeouts, as_given, given_timeouts
from httpx_resilience._library import Library, library_of
from httpx_resilience._network import clamp, close_all, left_behind, needs_scopes, unclamp
from httpx_resilience._stream import ReadAhead
from httpx_resilience._upload import give_back, is_lent, lend, prepare
from seawall.classification import streams
from seawall.degrade.answer import Answer
from seawall.degrade.copying import copy_of
from seawall.degrading import journey, on_behalf
from seawall.drivers.aio import Loops, within
from seawall.drivers.forks import Lock
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
from seawall.scope import Carrier

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx
    import httpx2

    from seawall._story import Call
    from seawall.admission import Admission
    from seawall.degrade.fallback import Rewrite
    from seawall.outcome import Outcome
    from seawall.routing import Route
    from seawall.runtime import Runtime

    class _SyncBase(httpx.BaseTransport, httpx2.BaseTransport):
        def handle_request(self, request: Any) -> Any: ...

    class _AsyncBase(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any: ...
else:
    _SyncBase = _AsyncBase = object

Given = Union["Resilience", "Mapping[str, Policy]", "Policy", None]


_serials = count(1)


class _Port(ABC):
    """The runtime of one transport: sends through `inner`, reads its bodies."""

    __slots__ = ("_serial", "admission", "inner", "is_hard", "library", "resilience")

    def __init__(
        self, inner: Any, library: Library, body: type[Admission], resilience: Resilience, serial: int, *, is_hard: bool
    ) -> None:
        self.inner = inner
        self.library = library
        self.admission = body
        self.resilience = resilience
        self.is_hard = is_hard
        self._serial = serial

    def prepare(self, call: Call, admission: Admission) -> LiveTimeouts | None:
        """The timeouts to send with, where they must differ from the client's."""
        watch = admission.watch = watch_for(call, admission.started)
        return None if watch is None else LiveTimeouts.of(given_timeouts(call.request), watch, is_hard=self.is_hard)

    def taken(self, call: Call, body: Any, response: Any) -> Any:
        """The answer, its body now owned by the attempt."""
        body.headers_at = call.state.now()
        body.status = response.status_code
        watch = body.watch
        if watch is not None:
            watch.headers(streamed=watch.minds_streaming and (call.policy.stream or streams(response)))
        copy = None if call.slot is None else copy_of(call, body, body.status, response.headers.raw)
        if response.is_closed:  # a mock's, read before
            body.is_over = True
            if copy is not None and "content-encoding" not in response.headers:
                copy.add(response.content)
                call.copy = copy
        else:
            body.copy = copy
            body.inner = response.stream
            response.stream = body
        response.extensions["resilience"] = call
        return response

    async def peek(self, response: Any, admission: Any) -> bytes | None:
        if admission.is_over:
            return response.content  # type: ignore[no-any-return]
        ahead: ReadAhead | None = admission.ahead
        if ahead is None:
            clock = admission.call.state.clock
            ends = clock.monotonic() + PEEK_SECONDS
            ahead = ReadAhead(self.iterate(admission.inner))
            while ahead.is_open and ahead.size <= PEEK_BYTES and clock.monotonic() < ends:
                await self.read_on(admission, ahead)
        return b"".join(ahead.chunks) if ahead.rest is None else None

    async def hold(self, response: Any, admission: Any) -> Exception | None:
        inspector, watch = admission.inspector, admission.watch
        if admission.is_over:
            inspector.feed(response.content)
            inspector.end()
            return None
        watch.body_wanted()
        ahead = ReadAhead(self.iterate(admission.inner))
        while ahead.is_open and not inspector.is_decided:
            await self.read_on(admission, ahead)
        if ahead.rest is None:
            inspector.end()
        if ahead.error is None:
            watch.content()
        return ahead.error

    async def read_on(self, admission: Any, ahead: ReadAhead) -> None:
        """One piece more."""
        admission.ahead = ahead
        try:
            if admission.watch is not None:
                admission.watch.left()
            piece = await self.pull(ahead.rest, admission)
            if piece is None:
                ahead.rest = None
                await self.shut(admission.inner)
                return
            ahead.chunks.append(piece)
            ahead.size += len(piece)
            if admission.inspector is not None:
                admission.inspector.feed(piece)
        except Exception as error:
            ahead.error = error
        except GeneratorExit:  # no more awaiting: the stream is closed with its last reference
            raise
        except BaseException:
            await self.shut(admission.inner)
            raise

    async def discard(self, response: Any, admission: Any) -> None:
        try:
            if admission.ahead is not None:
                admission.ahead.error = None
                if admission.ahead.rest is not None:
                    await self.end(admission.ahead.rest)
            if admission.inner is not None:
                await self.shut(admission.inner)
        except Exception:
            pass  # it is being thrown away; what the attempt was worth is known

    def error(self, call: Call, error: Exception) -> Outcome:
        return self.library.outcome(error)

    def repeatable(self, call: Call) -> Repeatable:
        stream = call.request.stream
        body = call.upload.can_repeat if is_lent(call) else self.library.is_replayable(stream)
        return Repeatable.of(call.request, call.policy.retry, body=body)

    async def forward(self, call: Call, rewrite: Rewrite) -> Any:
        original = call.request
        given = as_given(original.extensions)
        extensions = {name: value for name, value in given.items() if name != "resilience"}
        body = {"stream": original.stream} if rewrite.body is None else {"content": rewrite.body}
        request = type(original)(rewrite.method, rewrite.url, headers=rewrite.headers, extensions=extensions, **body)
        url = request.url
        if rewrite.body is None:  # with a stream the library adds no fields of its own
            request.headers["host"] = url.netloc.decode("ascii")
            request.headers.update(_framing(original))
        route = self.resilience.route((url.scheme, url.host, url.port), url.scheme, url.host, url.port)
        other = self.resilience.call(route, request)
        if other is None:  # that host is switched off
            return None
        timeouts = given_timeouts(request)
        other.limits = other.policy.limits(timeouts.get("connect"), timeouts.get("read"))
        other.upload = call.upload
        return await on_behalf(call, other, cast("Runtime", self))

    def fields(self, call: Call) -> list[tuple[Any, Any]]:
        return call.request.headers.raw  # type: ignore[no-any-return]

    def identity(self, call: Call) -> str | int:
        # The SSL context does not tell whether it holds a client certificate.
        return self._serial if call.request.url.scheme == "https" else 0

    def content(self, call: Call) -> bytes | None:
        stream = call.request.stream
        if not self.library.is_replayable(stream):
            return None
        return b"".join(stream)  # a multipart body is put together only now

    def respond(self, call: Call, answer: Any) -> Any:
        if isinstance(answer, Answer):
            return self.library.answer(call, answer)
        if not isinstance(answer, self.library.response):
            raise TypeError("give a seawall.Answer")
        answer.extensions["resilience"] = call
        return answer

    def exception(self, call: Call, rejection: Rejection) -> BaseException:
        return dress(call, rejection, self.library.leaves)

    @abstractmethod
    def iterate(self, stream: Any) -> Any: ...

    @abstractmethod
    async def pull(self, iterator: Any, admission: Any) -> bytes | None:
        """The next piece; None at the end."""

    @abstractmethod
    async def end(self, iterator: Any) -> None:
        """Close what is left of an iteration, if it is a generator."""

    @abstractmethod
    async def shut(self, stream: Any) -> None: ...


class _SyncPort(_Port, Threads):
    __slots__ = ()

    async def send(self, call: Call, admission: Admission) -> Any:
        request = call.request
        timeouts = self.prepare(call, admission)
        try:
            if timeouts is None:
                return self.taken(call, admission, self.inner.handle_request(request))
            given = as_given(request.extensions)
            request.extensions = {**given, "timeout": timeouts}
            try:
                response = self.inner.handle_request(request)
            except BaseException:
                if self.is_hard and timeouts.watch.is_connecting:
                    for connection in left_behind(self.inner):
                        connection.close()
                raise
            finally:
                request.extensions = given  # mocks and redirects see what the user wrote
                timeouts.watch.report()
        except StopIteration as error:  # a mock ran out of answers
            raise Stopped from error
        return self.taken(call, admission, response)

    def iterate(self, stream: Any) -> Any:
        return iter(stream)

    async def pull(self, iterator: Any, admission: Any) -> bytes | None:
        return next(iterator, None)

    async def end(self, iterator: Any) -> None:
        if hasattr(iterator, "close"):
            iterator.close()

    async def shut(self, stream: Any) -> None:
        stream.close()

    async def call(self, function: Any, *args: Any) -> Any:
        return plain(function, *args)

    async def read(self, response: Any) -> Answer:
        return Answer.decoded(response.status_code, response.headers.multi_items(), response.read())


class _AsyncPort(_Port, Loops):
    __slots__ = ("scoped",)

    def __init__(
        self, inner: Any, library: Library, body: type[Admission], resilience: Resilience, serial: int, *, is_hard: bool
    ) -> None:
        super().__init__(inner, library, body, resilience, serial, is_hard=is_hard)
        self.scoped = not is_hard or needs_scopes(inner)
        """No socket of ours underneath, or one that requests share: cancel scopes hold the clocks."""

    async def send(self, call: Call, admission: Any) -> Any:
        request = call.request
        timeouts = self.prepare(call, admission)
        if timeouts is None:
            return self.taken(call, admission, await self.inner.handle_async_request(request))
        given, watch = as_given(request.extensions), timeouts.watch
        request.extensions = {**given, "timeout": timeouts}
        try:
            if self.scoped and watch.is_running:
                admission.scoped = True
                response = await within(watch.whole_within(), self.inner.handle_async_request(request))
            else:
                response = await self.inner.handle_async_request(request)
        except GeneratorExit:  # no more awaiting
            raise
        except BaseException:
            if self.is_hard and watch.is_connecting:
                await close_all(left_behind(self.inner))
            raise
        finally:
            request.extensions = given
            watch.is_exact = watch.is_exact or admission.scoped
            watch.report()
        return self.taken(call, admission, response)

    def iterate(self, stream: Any) -> Any:
        return stream.__aiter__()

    async def pull(self, iterator: Any, admission: Any) -> bytes | None:
        if admission.scoped:
            return await within(admission.watch.left(), anext(iterator, None))  # type: ignore[no-any-return]
        return await anext(iterator, None)

    async def end(self, iterator: Any) -> None:
        if hasattr(iterator, "aclose"):
            await iterator.aclose()

    async def shut(self, stream: Any) -> None:
        await stream.aclose()

    async def call(self, function: Any, *args: Any) -> Any:
        value = function(*args)
        return await value if hasattr(value, "__await__") else value

    async def read(self, response: Any) -> Answer:
        return Answer.decoded(response.status_code, response.headers.multi_items(), await response.aread())


class _SyncUploads(_SyncPort):
    """For requests whose body is read while it is sent."""

    __slots__ = ()

    async def send(self, call: Call, admission: Admission) -> Any:
        lend(call)
        try:
            return await super().send(call, admission)
        finally:
            give_back(call)
            call.upload.release()


class _AsyncUploads(_AsyncPort):
    """For requests whose body is read while it is sent."""

    __slots__ = ()

    async def send(self, call: Call, admission: Any) -> Any:
        lend(call)
        try:
            return await super().send(call, admission)
        finally:
            give_back(call)
            await call.upload.release()


def pass_on(call: Call, request: Any, response: Any, deadline: float) -> None:
    """The client follows a redirect with a request that gets these extensions: one deadline for all hops."""
    given = request.extensions.get("resilience")
    if isinstance(given, Carrier):
        given = given.override
    carrier = Carrier(request, response, "next_request", deadline, call.outer, given)
    request.extensions = {**request.extensions, "resilience": carrier}


def _framing(request: Any) -> list[tuple[str, str]]:
    """How the library framed a body that is sent as it is."""
    names = ("content-length", "transfer-encoding")
    return [(name, request.headers[name]) for name in names if name in request.headers]


class _Mounted:
    """What the transports of both worlds share."""

    def __init__(self, transport: Any, resilience: Given, method: str) -> None:
        if isinstance(transport, Policy | Resilience):
            raise TypeError(
                f"{type(self).__name__}: a {type(transport).__name__} stands where the transport belongs: write "
                f"{type(self).__name__}(resilience=…), or mount(client, …)"
            )
        while isinstance(transport, _Mounted):  # never nested; one without a transport of its own yet counts as none
            transport = transport.detach()
        if isinstance(transport, type) or (transport is not None and not hasattr(transport, method)):
            raise TypeError(
                f"{type(self).__name__}: {transport!r} has no {method}(): give "
                f"{'an async' if 'async' in method else 'a sync'} transport"
            )
        self.inner: Any = transport
        """The transport underneath; None until the first request tells which library's own is wanted."""
        self.resilience = resolve(resilience)
        self._routes = self.resilience.routes
        self._serial = next(_serials)
        """Whose remembered answers are not another transport's."""
        self._is_hard = False
        """Our sockets are underneath: `detach` takes them out."""
        self._entered = False
        self._first = Lock()
        if transport is not None:
            watch_below(getattr(getattr(transport, "_pool", None), "_retries", 0), self.resilience)
            self._attach()

    def _attach(self) -> None:
        """Put sockets that obey our clocks under the transport, if the user allows it and it can be done."""
        self._is_hard = self.resilience.hard_deadlines and clamp(self.inner)

    def _own_limits(self, library: Library) -> dict[str, Any]:
        """What a transport of our own making is to keep unused connections for."""
        seconds = keep_alive(self.resilience)
        if seconds is None:
            return {}
        # The library's own numbers, but for the last.
        limits = library.limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=seconds)
        return {"limits": limits}

    def detach(self) -> Any:
        """Take everything of ours out of the transport underneath, and return it."""
        if self._is_hard:
            self._is_hard = False
            unclamp(self.inner)
        return self.inner

    def _find(self, url: Any) -> Route | None:
        """The route of an origin met for the first time; None: the library shall say what is wrong with the URL."""
        if not url.scheme or not url.host:
            return None
        return self.resilience.route((url.scheme, url.host, url.port), url.scheme, url.host, url.port)

    def _end(self, call: Call, result: Any, library: Library) -> Any:
        """Hand over an error answer, raise what the call ended in, or answer for it."""
        watch_above(call, result, self.resilience)
        if type(result) is not Rejection:
            if isinstance(result, Failed):
                raise blame(call, result.take())
            return result
        if call.policy.rejections == "raise":
            raise to_raise(call, result, library.leaves)  # in no variable: with its traceback it would be a cycle
        return library.answer(call, refusal(dress(call, result, library.leaves)))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.inner, self.resilience)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} around {self.inner!r}>"


class ResilientTransport(_Mounted, _SyncBase):
    """A sync transport that keeps calls working, around `transport` (left out: the library's own, made on first use).

    `resilience`: a Resilience, a mapping from pattern to Policy, or one Policy; left out: the process's default.
    Thread-safe if `transport` is.
    """

    def __init__(self, transport: Any = None, resilience: Given = None) -> None:
        _Mounted.__init__(self, transport, resilience, "handle_request")
        self._port: _SyncPort | None = None
        self._uploads: Any = None
        """Made with it, and before it: whoever sees the one has the other."""

    def handle_request(self, request: Any) -> Any:
        port = self._port or self._settle_in(request)
        url = request.url
        route = self._routes.get((url.scheme, url.host, url.port)) or self._find(url)
        call = None if route is None else self.resilience.call(route, request, request.extensions.get("resilience"))
        if call is None:
            return port.inner.handle_request(request)
        result: Any = None if call.state.is_calm else turned_away(call)
        if result is None:
            given = given_timeouts(request)
            call.limits = call.policy.limits(given.get("connect"), given.get("read"))
            if call.policy.adds_key:
                add_key(call)
            if request.stream.__class__ is port.library.byte_stream:
                result = run_sync(journey(call, port))
            else:
                prepare(call, port.library, port.library.upload)
                try:
                    result = run_sync(journey(call, self._uploads))
                finally:
                    call.upload.forget()
        if call.answer is None:
            result = self._end(call, result, port.library)
        if call.deadline is not None and 300 < result.status_code < 309:
            pass_on(call, request, result, call.deadline)
        return result

    def _settle_in(self, request: Any) -> _SyncPort:
        library = library_of(request)
        with self._first:
            if self.inner is None:
                inner = library.transport(**self._own_limits(library))
                if self._entered:
                    inner.__enter__()
                self.inner = inner
                self._attach()
        given = self.inner, library, library.body, self.resilience, self._serial
        self._uploads = _SyncUploads(*given, is_hard=self._is_hard)
        self._port = _SyncPort(*given, is_hard=self._is_hard)
        return self._port

    def __enter__(self) -> Self:
        self._entered = True
        if self.inner is not None:
            self.inner.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._entered = False
        if self.inner is not None:
            self.inner.__exit__(*error)

    def close(self) -> None:
        if self.inner is not None:
            self.inner.close()


class AsyncResilientTransport(_Mounted, _AsyncBase):
    """`ResilientTransport` for async clients, under asyncio and trio; one may serve any number of loops."""

    def __init__(self, transport: Any = None, resilience: Given = None) -> None:
        _Mounted.__init__(self, transport, resilience, "handle_async_request")
        self._port: _AsyncPort | None = None
        self._uploads: Any = None
        """Made with it, and before it: whoever sees the one has the other."""

    async def handle_async_request(self, request: Any) -> Any:
        port = self._port or await self._settle_in(request)
        url = request.url
        route = self._routes.get((url.scheme, url.host, url.port)) or self._find(url)
        call = None if route is None else self.resilience.call(route, request, request.extensions.get("resilience"))
        if call is None:
            return await port.inner.handle_async_request(request)
        result: Any = None if call.state.is_calm else turned_away(call)
        if result is None:
            given = given_timeouts(request)
            call.limits = call.policy.limits(given.get("connect"), given.get("read"))
            if call.policy.adds_key:
                add_key(call)
            if request.stream.__class__ is port.library.byte_stream:
                result = await journey(call, port)
            else:
                prepare(call, port.library, port.library.async_upload)
                try:
                    result = await journey(call, self._uploads)
                finally:
                    await call.upload.forget()
        if call.answer is None:
            result = self._end(call, result, port.library)
        if call.deadline is not None and 300 < result.status_code < 309:
            pass_on(call, request, result, call.deadline)
        return result

    async def _settle_in(self, request: Any) -> _AsyncPort:
        library = library_of(request)
        if self.inner is None:
            # Nothing awaited in between: one, whatever tasks come together.
            self.inner = library.async_transport(**self._own_limits(library))
            if self._entered:
                await self.inner.__aenter__()
            self._attach()
        given = self.inner, library, library.async_body, self.resilience, self._serial
        self._uploads = _AsyncUploads(*given, is_hard=self._is_hard)
        self._port = _AsyncPort(*given, is_hard=self._is_hard)
        return self._port

    async def __aenter__(self) -> Self:
        self._entered = True
        if self.inner is not None:
            await self.inner.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._entered = False
        if self.inner is not None:
            await self.inner.__aexit__(*error)

    async def aclose(self) -> None:
        if self.inner is not None:
            await self.inner.aclose()
