"""`extensions["timeout"]` whose values know the attempt they are for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seawall.clocks import Left, Watch

NO_TIMEOUT: Final[dict[str, Any]] = {}


class LiveTimeouts(dict[str, Any]):
    """The client's timeouts, lowered to what is left: the library asks once per phase, our sockets each time.

    Equal to what the client had set, should anybody compare.
    """

    __slots__ = ("client", "is_hard", "left_to_read", "left_to_write", "watch")

    client: Mapping[str, Any]
    """What the client itself had set."""
    watch: Watch
    is_hard: bool
    """The pool underneath makes connections of ours."""
    left_to_read: Left | None
    left_to_write: Left | None

    @classmethod
    def of(cls, given: Mapping[str, Any], watch: Watch, *, is_hard: bool) -> LiveTimeouts:
        """Those of one attempt."""
        made = cls(given)  # an __init__ in Python would take as long again
        made.client, made.watch, made.is_hard, made.left_to_read, made.left_to_write = given, watch, is_hard, None, None
        return made

    def __getitem__(self, key: str) -> Any:
        return self.get(key)

    def get(self, key: str, default: Any = None) -> Any:
        own, watch = self.client.get(key, default), self.watch
        left: Left | None
        # The headers are sent and read with the same limit as the body, if a socket of ours asks it again each time.
        if key == "read":
            left = self.left_to_read
            if left is None or not watch.is_exact or watch.reads_since is None:
                left = self.left_to_read = watch.read_within(own)
        elif key == "write":
            left = self.left_to_write
            if left is None or not watch.is_exact:
                left = self.left_to_write = watch.write_within(own)
        elif key == "pool":
            left = watch.pool_within(own, is_exact=self.is_hard)
        else:
            left = watch.connect_within(own)
        return own if left is None else left


def given_timeouts(request: Any) -> Mapping[str, Any]:
    """What the client itself had set."""
    given: Mapping[str, Any] = request.extensions.get("timeout") or NO_TIMEOUT
    return given.client if type(given) is LiveTimeouts else given  # one request object sent several times at once


def as_given(extensions: Any) -> Any:
    """The extensions as the user wrote them, should another send of the same request be under way."""
    timeout = extensions.get("timeout")
    return {**extensions, "timeout": timeout.client} if type(timeout) is LiveTimeouts else extensions


def timed(given: Mapping[str, Any], watch: Watch, *, is_hard: bool) -> dict[str, Any]:
    """The extensions to send with: those `given`, with timeouts that know the attempt."""
    own = given.get("timeout") or NO_TIMEOUT
    return {**given, "timeout": LiveTimeouts.of(own, watch, is_hard=is_hard)}
