"""An adapter that runs the flow around another adapter. Nothing is decided here."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Union
from urllib.parse import urlsplit

from requests.adapters import BaseAdapter, HTTPAdapter
from requests.utils import rewind_body
from urllib3 import HTTPResponse
from urllib3.util import Timeout

from requests_resilience._errors import LEAVES, outcome
from requests_resilience._network import Clocks, clamp, unclamp
from requests_resilience._stream import Body, follow, served_again
from seawall._story import attach
from seawall.classification import streams
from seawall.clocks import Watch
from seawall.drivers.threads import Threads
from seawall.errors import dress
from seawall.flow import Failed, run
from seawall.idempotency import add_key
from seawall.mounted import (
    PEEK_BYTES,
    PEEK_SECONDS,
    answer_body,
    blame,
    keep_alive,
    retry_after_header,
    watch_above,
    watch_below,
)
from seawall.outcome import Rejection
from seawall.policies.retry import SAFE_METHODS, Repeatable
from seawall.policy import Policy
from seawall.resilience import Resilience, resolve
from seawall.runtime import Stopped, run_sync
from seawall.scope import Carrier, earliest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from requests import PreparedRequest, Response

    from seawall._story import Call
    from seawall.outcome import Outcome
    from seawall.routing import Route

Given = Union["Resilience", "Mapping[str, Policy]", "Policy", None]


class _Port(Threads):
    """The runtime of one adapter. A call carries the arguments of its `send`."""

    __slots__ = ("_adapter",)

    admission = Body

    def __init__(self, adapter: BaseAdapter) -> None:
        self._adapter: Any = adapter

    async def send(self, call: Call, admission: Any) -> Any:
        request = call.request
        if admission.number > 1 and isinstance(getattr(request, "_body_position", None), int):
            rewind_body(request)
        stream, given, verify, cert, proxies = call.sending
        connect, read, total = _client_limits(given)
        limits = call.limits = call.policy.limits(connect, read)
        timeout, watch = given, None
        if not limits.passive or call.deadline is not None or request.method not in SAFE_METHODS:
            watch = admission.watch = Watch(call, admission.started)
            timeout = Clocks(watch, earliest(connect, total), earliest(read, total))
        try:
            response = self._adapter.send(
                request, stream=stream, timeout=timeout, verify=verify, cert=cert, proxies=proxies
            )
        except StopIteration as error:  # a mock ran out of answers
            raise Stopped from error
        finally:
            if watch is not None:
                watch.report()
        admission.headers_at = call.state.clock.monotonic()
        admission.status = response.status_code
        raw = response.raw
        if watch is not None:
            watch.headers(streamed=watch.minds_streaming and (stream or call.policy.stream or streams(response)))
            if not watch.is_exact:
                self._loosen(watch, raw, read)
        # urllib3 knows of a body that is none (HEAD, 204, 304, Content-Length: 0): it never gives that connection back.
        if getattr(raw, "length_remaining", 0) == 0 or response._content is not False or not follow(raw, admission):
            admission.is_over = True
        attach(response, call)
        return response

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
            raw, clock = response.raw, admission.call.state.clock
            read = getattr(raw, "read1", raw.read)  # what is there, not all that may come
            ends = clock.monotonic() + PEEK_SECONDS
            head, complete, error = b"", False, None
            admission.reading = True  # what breaks here is the flow's to judge, or whoever's reads on
            try:
                while len(head) <= PEEK_BYTES and clock.monotonic() < ends:
                    piece = read(PEEK_BYTES, decode_content=False)
                    if not piece:
                        complete = True
                        raw.release_conn()
                        break
                    head += piece
            except Exception as broken:
                error = broken
            except BaseException:
                response.close()
                raise
            finally:
                admission.reading = False
            if complete:
                admission.finish()
            response.raw = served_again(raw, admission, head, complete=complete, error=error)
            ahead = admission.ahead = (head, complete)
        head, complete = ahead
        return head if complete else None

    async def discard(self, response: Any, admission: Any) -> None:
        try:
            response.close()
        except Exception:
            pass  # it is being thrown away; what the attempt was worth is known

    def error(self, call: Call, error: Exception) -> Outcome:
        return outcome(error)

    def repeatable(self, call: Call) -> Repeatable:
        request, retry = call.request, call.policy.retry
        body = request.body
        replayable = body is None or isinstance(body, bytes | str) or _can_rewind(request)
        has_key = retry is not None and retry.idempotency_header in request.headers
        return Repeatable((request.method or "GET").upper(), body=replayable, has_key=has_key)


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
        self._port = _Port(self.inner)
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
        call.sending = (stream, timeout, verify, cert, proxies)
        if call.policy.adds_key:
            add_key(call)
        result = run_sync(run(call, self._port))
        if call.answer is None:
            result = self._end(call, result)
        if call.deadline is not None and 300 < result.status_code < 309:
            request.hooks = _Hooks(request.hooks, Carrier(request, call.deadline, call.outer))
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
        watch_above(call.request.headers, self.resilience)
        if isinstance(result, Failed):
            raise blame(call, result.error)
        if not isinstance(result, Rejection):
            return result
        error = dress(call, result, LEAVES)
        if call.policy.rejections == "raise":
            raise error from result.cause
        body = answer_body(error)
        headers = {"content-type": "application/json", "x-should-retry": "false", **retry_after_header(error)}
        raw = HTTPResponse(
            io.BytesIO(body), headers=headers, status=503, reason="Service Unavailable", preload_content=False
        )
        response = HTTPAdapter.build_response(self, call.request, raw)  # type: ignore[arg-type]
        attach(response, call)
        return response

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return ResilientAdapter, (self.inner, self.resilience)

    def __repr__(self) -> str:
        return f"<ResilientAdapter around {self.inner!r}>"


def _can_rewind(request: Any) -> bool:
    """A file that stood somewhere and can go back there; urllib3's own responses only tell where they stand."""
    try:
        return isinstance(request._body_position, int) and bool(request.body.seekable())
    except Exception:
        return False


def _client_limits(timeout: Any) -> tuple[float | None, float | None, float | None]:
    """Connect, read and total of what requests was given as `timeout`."""
    if timeout is None or isinstance(timeout, float | int):
        return timeout, timeout, None
    if isinstance(timeout, Timeout):
        return _seconds(timeout.connect_timeout), _seconds(timeout.read_timeout), _seconds(timeout.total)
    connect, read = timeout
    return connect, read, None


def _seconds(value: Any) -> float | None:
    """urllib3 has a marker for "the socket's default"."""
    return value if isinstance(value, float | int) else None
