"""An adapter that runs the flow around another adapter. Nothing is decided here."""

from __future__ import annotations

from operator import getitem
from typing import TYPE_CHECKING, Any, Union

from requests.adapters import BaseAdapter, HTTPAdapter

from requests_resilience._network import clamp, unclamp
from requests_resilience._port import Port, Uploads
from seawall.degrading import journey
from seawall.flow import turned_away
from seawall.mounted import keep_alive, next_serial, watch_below
from seawall.policy import Policy
from seawall.resilience import Resilience, resolve
from seawall.runtime import run_sync

if TYPE_CHECKING:
    from collections.abc import Mapping

    from requests import PreparedRequest, Response


Given = Union["Resilience", "Mapping[str, Policy]", "Policy", None]


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
        self._serial = next_serial()
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
        port = self._port
        call = port.begin(request)
        if call is None:
            return self.inner.send(request, stream=stream, timeout=timeout, verify=verify, cert=cert, proxies=proxies)
        result: Any = None if call.state.is_calm else turned_away(call)
        if result is None:
            chosen = port.ready(call, (stream, timeout, verify, cert, proxies))
            try:
                result = run_sync(journey(call, chosen))
            finally:
                if chosen is not port:
                    call.upload.forget()
        result = port.finish(call, request, result)
        result.connection = self  # digest auth sends its second leg through it
        return result  # type: ignore[no-any-return]

    def close(self) -> None:
        self.inner.close()

    def _attach(self, keep_seconds: float | None = None) -> None:
        given = self.inner, self.resilience, self._serial
        port = Port(*given)
        port.uploads = Uploads(*given)
        self._port = port
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
