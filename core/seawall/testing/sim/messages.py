"""What goes over a simulated wire: requests, what the server will do with one, and what a library raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from seawall.outcome import ErrorKind, Sent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Headers(dict[str, str]):
    """Header fields under lower-case names."""

    def __init__(self, fields: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        super().__init__()
        if fields:
            given: Any = fields
            pairs: Iterable[tuple[str, str]] = given.items() if hasattr(given, "items") else given
            for name, value in pairs:
                self[name] = value

    def __setitem__(self, name: str, value: str) -> None:
        super().__setitem__(name.lower(), value)

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)

    def copy(self) -> Headers:
        same = Headers()
        same.update(self)
        return same


class Request:
    """A request as a client library would make it."""

    def __init__(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        content: bytes = b"",
        replayable: bool = True,
    ) -> None:
        self.method = method
        self.url = url
        self.headers = Headers(headers)
        self.content = content
        self.replayable = replayable
        """Can the same bytes be sent again? False: as a generator's, which is used up."""

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.url}>"


class NetworkError(Exception):
    """What a library raises when no answer came, or not all of it. `kind` says what it means, `sent` if it went out."""

    def __init__(self, kind: ErrorKind, sent: Sent | None = None) -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.sent = sent
        self.sending: Any = None
        """Whose it is, for the history. (Which must not keep the error: its frames hold whatever was under way.)"""


EOF: Final = "eof"
BREAKS: Final = "breaks"
HANGS: Final = "hangs"


class Exchange:
    """What will come of one request: decided by the server when it arrives, met by the client as time passes.

    Instants are those of the clock; a hanging one is infinite.
    """

    __slots__ = (
        "acted_at",
        "body",
        "body_ends",
        "connected_at",
        "error",
        "headers",
        "headers_at",
        "pieces",
        "replica",
        "status",
    )

    def __init__(self, now: float) -> None:
        self.connected_at = now
        self.headers_at = now
        """When the answer, or the error, is there."""
        self.error: tuple[ErrorKind, Sent] | None = None
        """What the library raises instead of an answer."""
        self.status = 200
        self.headers: Headers = Headers()
        self.pieces: list[tuple[float, bytes]] = []
        """The body: when each piece comes, less what came."""
        self.body = b""
        """The whole of it, as the server meant it."""
        self.body_ends: str = EOF
        """After the last piece: `eof`, `breaks` or `hangs`."""
        self.acted_at: float | None = None
        """When the server did what it was asked; None: never."""
        self.replica = 0
