"""What every mount does alike: how calls end, on whose behalf others are made, the retriers it watches for.

No library is known here.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from itertools import count
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final, Self, cast

from seawall._story import attach
from seawall.classification import streams
from seawall.degrade.answer import Answer
from seawall.degrading import on_behalf
from seawall.errors import Queued, dress, to_raise
from seawall.flow import Failed
from seawall.outcome import Ending, ErrorKind, Rejection
from seawall.runtime import Stopped

if TYPE_CHECKING:
    from seawall._story import Call
    from seawall.clocks import Watch
    from seawall.errors import ResilienceError
    from seawall.resilience import Resilience
    from seawall.routing import Route
    from seawall.runtime import Runtime

PEEK_BYTES: Final = 65536
"""Most of an answer that is read ahead, to give its connection back and to hand it over later."""
PEEK_SECONDS: Final = 1.0
"""Longest that reading ahead takes, one read more at most."""
_LOOK_EVERY: Final = 0.1
"""Seconds between two refusals that are looked at for an SDK's mark."""


next_serial: Final = count(1).__next__
"""The number of a transport: whose remembered answers are not another one's, of whatever library."""


class Port(ABC):
    """The half of a mount's runtime that no library is needed for."""

    __slots__ = ("leaves", "resilience", "routes", "serial", "uploads")

    uploads: Self
    """The port for requests whose body is read while it is sent."""

    def __init__(
        self, resilience: Resilience, leaves: dict[type[ResilienceError], type[ResilienceError]], serial: int
    ) -> None:
        self.resilience = resilience
        self.routes = resilience.routes
        self.leaves = leaves
        """Our errors → those in the library's own tree."""
        self.serial = serial

    def finish(self, call: Call, request: Any, result: Any) -> Any:
        """The answer to a call. Raises what it failed with. `request`: as the client gave it.

        The client follows a redirect with another request: the deadline goes on to that one.
        """
        if call.answer is None:
            result = self._end(call, result)
        if call.deadline is not None and 300 < result.status_code < 309:
            self.pass_on(call, request, result)
        return result

    def _end(self, call: Call, result: Any) -> Any:
        """Hand over an error answer, raise what the call ended in, or answer for it."""
        watch_above(call, result, self.resilience)
        if type(result) is not Rejection:
            if isinstance(result, Failed):
                raise blame(call, result.take())
            return result
        if call.policy.rejections == "raise":
            raise to_raise(call, result, self.leaves)  # in no variable: with its traceback it would be a cycle
        return self.respond(call, refusal(dress(call, result, self.leaves)))

    async def send_for(self, call: Call, route: Route, request: Any, connect: float | None, read: float | None) -> Any:
        """Send `request`, with these limits of the client's, as a call to another host: its answer or its exception;
        None: that host is switched off."""
        other = self.resilience.call(route, request)
        if other is None:
            return None
        other.limits = other.policy.limits(connect, read)
        other.upload, other.sending = call.upload, call.sending
        return await on_behalf(call, other, cast("Runtime", self))

    def exception(self, call: Call, rejection: Rejection) -> BaseException:
        return dress(call, rejection, self.leaves)

    @abstractmethod
    def respond(self, call: Call, answer: Any) -> Any:
        """The library's response for what a step gave."""

    @abstractmethod
    def pass_on(self, call: Call, request: Any, response: Any) -> None:
        """Leave the deadline where the client's following request will have it."""


def headers_came(call: Call, watch: Watch, response: Any, *, asked: bool = False) -> None:
    """From here on the clocks of the body run. `asked`: the caller wants it piece by piece."""
    watch.headers(streamed=watch.minds_streaming and (asked or call.policy.stream or streams(response)))


def blame(call: Call, error: BaseException) -> BaseException:
    """The library's own exception, as it came, with the story attached and one note."""
    if isinstance(error, Stopped):
        return error.__cause__ or error
    attach(error, call)
    attempts = call.attempts
    if attempts and attempts[-1].kind is not ErrorKind.FOREIGN:
        ending = call.ending or Ending.NOT_RETRYABLE
        times = f"{len(attempts)} attempt{'s' * (len(attempts) > 1)}"
        notes = getattr(error, "__notes__", [])  # a mock may raise one exception again and again
        notes[:] = [note for note in notes if not str(note).startswith("seawall:")]
        error.add_note(f"seawall: {call.host}: {times} in {call.elapsed:.3g} s, then stopped: {ending.value}")
    return error


def refusal(error: ResilienceError) -> Answer:
    """A synthetic 503, in the shape the SDKs of LLM vendors show; `Retry-After` in whole seconds, if anybody knows."""
    headers = {"x-should-retry": "false"}
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
    told = {"type": f"seawall_{error.policy}", "message": str(error)}
    if isinstance(error, Queued) and error.receipt is not None:  # else nobody could ask for the result
        told["receipt"] = error.receipt.id
    return Answer(503, headers=headers, json={"error": told})


def watch_below(retries: Any, resilience: Resilience) -> None:
    """Warn, once per Resilience, if the transport underneath makes `retries` extra attempts itself."""
    if isinstance(retries, int) and retries > 0 and resilience.hub.is_first("retrier below"):
        warnings.warn(
            f"seawall: the transport underneath retries {retries} times itself, and attempts multiply: up to "
            f"{_attempts(resilience) * (1 + retries)} a call with this policy. Set its retries to 0",
            RuntimeWarning,
            stacklevel=4,
        )


def watch_above(call: Call, result: object, resilience: Resilience) -> None:
    """Warn, once per Resilience, if an SDK's own retry was retried here too, or refused: its headers number the tries.

    Refusals come by the thousand a second, and looking at headers costs half of one: then it is done now and then.
    """
    hub = resilience.hub
    if type(result) is Rejection:
        if call.started < hub.looks_at:
            return
        hub.looks_at = call.started + _LOOK_EVERY
    elif len(call.attempts) < 2:  # one attempt a try: nothing multiplies
        return
    count = call.request.headers.get("x-stainless-retry-count")
    if isinstance(count, bytes):
        count = count.decode("ascii", "replace")
    if not isinstance(count, str) or not count.isascii() or not count.isdigit() or int(count[:4]) == 0:
        return
    if hub.is_first("retrier above"):
        text = (
            "seawall: the SDK above retries too, and attempts multiply: each of its tries makes up to "
            f"{_attempts(resilience)}. Give the SDK client max_retries=0, or use seawall.mount(sdk_client)"
        )
        try:
            warnings.warn(text, RuntimeWarning, stacklevel=5)
        except RuntimeWarning:  # -W error: an answer is in hand, and its connection would be lost with it
            getLogger("seawall").warning("%s", text)


def keep_alive(resilience: Resilience) -> float | None:
    """Seconds a transport of the mount's own making keeps unused connections; None: as the library does."""
    policy = resilience.policies.get("all://")
    limit = getattr(policy.timeouts, "keep_alive", None) if policy is not None else None
    return limit if isinstance(limit, float) else None


def _attempts(resilience: Resilience) -> int:
    from seawall._describe import most_attempts
    from seawall.effective import Effective

    return max((most_attempts(Effective(policy)) for policy in resilience.policies.values()), default=4)


def warn_of_longer_clocks(resilience: Resilience, connect: float | None, read: float | None) -> None:
    """Warn, once per Resilience, at mounting, of clocks that the client's own shorter limits will never let ring."""
    for pattern, policy in resilience.policies.items():
        clocks = policy.timeouts
        if not clocks or policy.is_preset:  # a preset's clocks are not the user's
            continue
        for name, kind, own in (("connect", "connect", connect), ("attempt", "read", read), ("idle", "read", read)):
            ours = getattr(clocks, name)
            if isinstance(ours, float) and own is not None and own < ours:
                if resilience.hub.is_first("longer clocks"):
                    warnings.warn(
                        f"seawall: {pattern!r} sets {name}={ours:g} s, but the client's own {kind} timeout of "
                        f"{own:g} s is shorter and holds: give the client a longer one (timeout=…), or None",
                        RuntimeWarning,
                        stacklevel=3,
                    )
                return
