"""An adapter that runs the flow around another adapter. Nothing is decided here."""

from __future__ import annotations

from itertools import count
from operator import getitem
from typing import TYPE_CHECKING, Any, Union
from urllib.parse import urlsplit

from requests.adapters import BaseAdapter, HTTPAdapter

from requests_resilience._errors import LEAVES
from requests_resilience._network import clamp, unclamp
from requests_resilience._port import Port, Uploads, client_limits
from requests_resilience._upload import is_upload, prepare
from seawall.degrading import journey
from seawall.errors import dress, to_raise
from seawall.flow import Failed, turned_away
from seawall.idempotency import add_key
from seawall.mounted import blame, keep_alive, refusal, watch_above, watch_below
from seawall.outcome import Rejection
from seawall.policy import Policy
from seawall.resilience import Resilience, resolve
from seawall.runtime import run_sync
from seawall.scope import Carrier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from requests import PreparedRequest, Response

    from seawall._story import Call
    from seawall.routing import Route

Given = Union["Resilience", "Mapping[str, Policy]", "Policy", None]

_serials = count(1)


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
        self.is_installed = False
        """Put there by `seawall.install`, which may take it out again: no part of a pickle or a copy."""
        self._serial = next(_serials)
        self._attach(keep_alive(self.resilience) if adapter is None else None)
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
        call = self._begin(request)
        if call is None:
            return self.inner.send(request, stream=stream, timeout=timeout, verify=verify, cert=cert, proxies=proxies)
        result: Any = None if call.state.is_calm else turned_away(call)
        if result is None:
            port = self._ready(call, (stream, timeout, verify, cert, proxies))
            try:
                result = run_sync(journey(call, port))
            finally:
                if call.upload is not None:
                    call.upload.forget()
        return self._finish(call, request, result)

    def close(self) -> None:
        self.inner.close()

    def _attach(self, keep_seconds: float | None = None) -> None:
        given = self.inner, self.resilience, self._serial
        self._port, self._uploads = Port(*given), Uploads(*given)
        self._is_hard = self.resilience.hard_deadlines and clamp(self.inner, keep_seconds)
        """Our sockets are underneath: `detach` takes them out."""

    def follow(self, resilience: Resilience) -> None:
        """Serve under another Resilience from the next call on; calls under way end as they began."""
        self.detach()
        self.resilience = resilience
        self._attach()

    def detach(self) -> BaseAdapter:
        """Take everything of ours out of the adapter underneath, and return it."""
        if self._is_hard:
            self._is_hard = False
            unclamp(self.inner)
        return self.inner

    def _begin(self, request: Any) -> Call | None:
        """The call for a request; None: it is sent as if nothing were mounted."""
        parts = urlsplit(request.url or "")
        netloc = parts[1] if "@" not in parts[1] else parts[1].rpartition("@")[2]
        resilience = self.resilience  # read once: `follow` may exchange it meanwhile
        route = resilience.routes.get((parts[0], netloc)) or _find(resilience, parts, netloc)
        carried = request.hooks.carrier if type(request.hooks) is _Hooks else None
        return None if route is None else resilience.call(route, request, carried)

    def _ready(self, call: Call, sending: tuple[Any, ...]) -> Port:
        """Make the call ready to be sent: the port for it, another one if its body is read while it is sent."""
        body = call.request.body
        connect, read, _ = client_limits(sending[1])
        call.limits = call.policy.limits(connect, read)
        call.sending = sending
        if call.policy.adds_key:
            add_key(call)
        if not is_upload(body):
            return self._port
        prepare(call)
        return self._uploads

    def _finish(self, call: Call, request: Any, result: Any) -> Response:
        """Hand the answer over, and a deadline on to the request that follows a redirect."""
        if call.answer is None:
            result = self._end(call, result)
        if call.deadline is not None and 300 < result.status_code < 309:
            carrier = Carrier(request, result, "next", call.deadline, call.outer)
            request.hooks = _Hooks(request.hooks, carrier)
        result.connection = self  # digest auth sends its second leg through it
        return result  # type: ignore[no-any-return]

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
        if self.is_installed:
            return getitem, ((self.inner,), 0)  # the adapter itself, also where seawall is not known
        return ResilientAdapter, (self.inner, self.resilience)

    def __repr__(self) -> str:
        return f"<ResilientAdapter around {self.inner!r}>"


def _find(resilience: Resilience, parts: Any, netloc: str) -> Route | None:
    """The route of an origin met for the first time; None: requests shall say what is wrong with the URL."""
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not parts.scheme or not host:
        return None
    return resilience.route((parts.scheme, netloc), parts.scheme, host, port)
