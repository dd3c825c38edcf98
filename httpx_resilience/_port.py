"""The flow's runtime over a transport of httpx or httpx2: how to send, what came, and what degradation needs besides.

One for sync and async, and for either the few lines that send and wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from httpx_resilience._ahead import ReadingAhead
from httpx_resilience._clocks import as_given, given_timeouts, timed
from httpx_resilience._connection import close_all
from httpx_resilience._network import goes_straight, left_behind, needs_scopes
from httpx_resilience._upload import give_back, is_lent, lend, prepare
from seawall import mounted
from seawall.degrade.answer import Answer
from seawall.degrade.fields import framing
from seawall.drivers.aio import Loops, within
from seawall.drivers.threads import Threads
from seawall.idempotency import add_key
from seawall.judging import watch_for
from seawall.outcome import WrongValue
from seawall.policies.retry import Repeatable
from seawall.runtime import Stopped
from seawall.scope import Carrier

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from httpx_resilience._library import Library
    from seawall._story import Call
    from seawall.admission import Admission
    from seawall.clocks import Watch
    from seawall.degrade.fallback import Rewrite
    from seawall.outcome import Outcome
    from seawall.resilience import Resilience


class Port(mounted.Port, ReadingAhead):
    """The runtime of one transport: sends through `inner`, reads its bodies."""

    __slots__ = ("_is_plain", "admission", "inner", "is_hard", "library", "upload")

    admission: type[Admission]
    upload: Any
    """The class of what stands in for a body that is read while it is sent."""

    def __init__(self, inner: Any, library: Library, resilience: Resilience, serial: int, *, is_hard: bool) -> None:
        super().__init__(resilience, library.leaves, serial)
        self.inner = inner
        self.library = library
        self.is_hard = is_hard
        is_own = type(inner) in (library.transport, library.async_transport)
        self._is_plain = is_own and resilience.hard_deadlines and goes_straight(inner)
        """What it brings without TLS is what any other would bring."""

    def begin(self, request: Any) -> Call | None:
        """The call for a request; None: it is sent as if nothing were mounted."""
        url = request.url
        route = self.routes.get((url.scheme, url.host, url.port))
        if route is None:
            if not url.scheme or not url.host:  # the library shall say what is wrong with it
                return None
            route = self.resilience.route((url.scheme, url.host, url.port), url.scheme, url.host, url.port)
        return self.resilience.call(route, request, request.extensions.get("resilience"))

    def ready(self, call: Call) -> Self:
        """Make the call ready to be sent: the port for it, another one if its body is read while it is sent."""
        request = call.request
        given = given_timeouts(request)
        call.limits = call.policy.limits(given.get("connect"), given.get("read"))
        if call.policy.adds_key:
            add_key(call)
        if request.stream.__class__ is self.library.byte_stream:
            return self
        prepare(call, self.library, self.upload)
        return self.uploads

    def pass_on(self, call: Call, request: Any, response: Any) -> None:
        given = request.extensions.get("resilience")
        if isinstance(given, Carrier):
            given = given.override
        assert call.deadline is not None
        carrier = Carrier(request, response, "next_request", call.deadline, call.outer, given)
        request.extensions = {**request.extensions, "resilience": carrier}

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
            request.headers.update(framing(original.headers))
        route = self.resilience.route((url.scheme, url.host, url.port), url.scheme, url.host, url.port)
        timeouts = given_timeouts(request)
        return await self.send_for(call, route, request, timeouts.get("connect"), timeouts.get("read"))

    def fields(self, call: Call) -> list[tuple[Any, Any]]:
        return call.request.headers.raw  # type: ignore[no-any-return]

    def identity(self, call: Call) -> str | int:
        # The SSL context does not tell whether it holds a client certificate.
        return self.serial if not self._is_plain or call.request.url.scheme == "https" else 0

    def content(self, call: Call) -> bytes | None:
        stream = call.request.stream
        if not self.library.is_replayable(stream):
            return None
        return b"".join(stream)  # a multipart body is put together only now

    def respond(self, call: Call, answer: Any) -> Any:
        if isinstance(answer, Answer):
            return self.library.answer(call, answer) if self.library.can_decode(answer) else None
        if not isinstance(answer, self.library.response):
            raise WrongValue(f"it gave {type(answer).__name__}: give a seawall.Answer, or None")
        answer.extensions["resilience"] = call
        return answer


class SyncPort(Port, Threads):
    """The runtime of a sync transport."""

    __slots__ = ()

    def __init__(self, inner: Any, library: Library, resilience: Resilience, serial: int, *, is_hard: bool) -> None:
        super().__init__(inner, library, resilience, serial, is_hard=is_hard)
        self.admission, self.upload = library.body, library.upload

    async def send(self, call: Call, admission: Admission) -> Any:
        request = call.request
        watch = admission.watch = watch_for(call, admission.started)
        try:
            if watch is None:
                return self.inner.handle_request(request)
            given = as_given(request.extensions)
            request.extensions = timed(given, watch, is_hard=self.is_hard)
            try:
                return self.inner.handle_request(request)
            except BaseException:
                if self.is_hard and watch.is_connecting:
                    for connection in left_behind(self.inner):
                        connection.close()
                raise
            finally:
                request.extensions = given  # mocks and redirects see what the user wrote
                watch.report()
        except StopIteration as error:  # a mock ran out of answers
            raise Stopped from error

    def iterate(self, stream: Any) -> Any:
        return iter(stream)

    async def pull(self, iterator: Any, admission: Any) -> bytes | None:
        return next(iterator, None)

    async def end(self, iterator: Any) -> None:
        if hasattr(iterator, "close"):
            iterator.close()

    async def shut(self, stream: Any) -> None:
        stream.close()

    async def read(self, response: Any) -> Answer:
        return Answer.decoded(response.status_code, response.headers.multi_items(), response.read())


class AsyncPort(Port, Loops):
    """The runtime of an async transport."""

    __slots__ = ("scoped",)

    def __init__(self, inner: Any, library: Library, resilience: Resilience, serial: int, *, is_hard: bool) -> None:
        super().__init__(inner, library, resilience, serial, is_hard=is_hard)
        self.admission, self.upload = library.async_body, library.async_upload
        self.scoped = not is_hard or needs_scopes(inner)
        """No socket of ours underneath, or one that requests share: cancel scopes hold the clocks."""

    def send(self, call: Call, admission: Any) -> Awaitable[Any]:
        watch = admission.watch = watch_for(call, admission.started)
        if watch is None:  # thousands wait here: a coroutine of ours around the transport's would be theirs, too
            return self.inner.handle_async_request(call.request)  # type: ignore[no-any-return]
        return self._send_in_time(call.request, admission, watch)

    async def _send_in_time(self, request: Any, admission: Any, watch: Watch) -> Any:
        given = as_given(request.extensions)
        request.extensions = timed(given, watch, is_hard=self.is_hard)
        try:
            if self.scoped and watch.is_running:
                admission.scoped = True
                return await within(watch.whole_within(), self.inner.handle_async_request(request))
            return await self.inner.handle_async_request(request)
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

    async def read(self, response: Any) -> Answer:
        return Answer.decoded(response.status_code, response.headers.multi_items(), await response.aread())


class SyncUploads(SyncPort):
    """For requests whose body is read while it is sent."""

    __slots__ = ()

    async def send(self, call: Call, admission: Admission) -> Any:
        lend(call)
        try:
            return await super().send(call, admission)
        finally:
            give_back(call)
            call.upload.release()


class AsyncUploads(AsyncPort):
    """For requests whose body is read while it is sent."""

    __slots__ = ()

    async def send(self, call: Call, admission: Any) -> Any:
        lend(call)
        try:
            return await super().send(call, admission)
        finally:
            give_back(call)
            await call.upload.release()
