"""`extensions["timeout"]` whose values know the attempt they are for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seawall.clocks import Watch

NO_TIMEOUT: Final[dict[str, Any]] = {}


class LiveTimeouts(dict[str, Any]):
    """The client's timeouts, lowered to what is left: the library asks once per phase, our sockets each time.

    Equal to what the client had set, should anybody compare.
    """

    __slots__ = ("client", "watch")

    def __init__(self, given: Mapping[str, Any], watch: Watch) -> None:
        super().__init__(given)
        self.client = given
        """What the client itself had set."""
        self.watch = watch

    def __getitem__(self, key: str) -> Any:
        return self.get(key)

    def get(self, key: str, default: Any = None) -> Any:
        own = super().get(key, default)
        if key == "read":
            left: Any = self.watch.read_within(own)
        elif key == "write":
            left = self.watch.write_within(own)
        else:
            left = self.watch.connect_within(own)
        return own if left is None else left


def as_given(extensions: Any) -> Any:
    """The extensions as the user wrote them, should another send of the same request be under way."""
    timeout = extensions.get("timeout")
    return {**extensions, "timeout": timeout.client} if type(timeout) is LiveTimeouts else extensions
