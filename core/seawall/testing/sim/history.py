"""What happened, as the servers and the callers saw it: the evidence that checkers judge by.

Nothing in here is asked of the product. Instants are the simulation's clock; `number`s
count from 1 in the order things began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from seawall import Report
    from seawall.events import Event
    from seawall.snapshot import HostSnapshot
    from seawall.testing.sim.messages import Exchange, Request


Entry = tuple[str, float, Any]
"""What happened ("call", "sent", "headers", "judged", "ended", "returned", "act", "picture"), when, and to what."""


class Sending:
    """One request that left a client: what it was, and what came of it on the wire."""

    __slots__ = (
        "at",
        "call",
        "content",
        "end",
        "ended_at",
        "error",
        "exchange",
        "fields",
        "got",
        "headers_at",
        "judged_at",
        "log",
        "method",
        "origin",
        "peeks",
        "url",
    )

    def __init__(self, call: CallSeen, request: Request, origin: str, at: float, log: list[Entry]) -> None:
        self.call = call
        self.log = log
        self.at = at
        self.origin = origin
        self.method = request.method
        self.url = request.url
        self.fields = dict(request.headers)
        """As the server saw them."""
        self.content = request.content
        self.exchange: Exchange | None = None
        self.headers_at: float | None = None
        """When the client had the headers of an answer."""
        self.judged_at: float | None = None
        """When the client knew as much as it waits for before it decides what to do: the headers, the body of a 429 in
        JSON, the first content of a stream that it holds; or the error."""
        self.error = ""
        """What the library raised, in a word or two."""
        self.ended_at: float | None = None
        """When nothing of it was under way at the client any more; None: it still is."""
        self.end: str = ""
        """How: "error", "eof", "broke", "closed", "read ahead", "discarded", "dropped", "cancelled"."""
        self.got = 0
        """Bytes of the body that came."""
        self.peeks = 0
        """How often the client looked into the answer by itself."""

    @property
    def status(self) -> int | None:
        """The answer's, if the client saw it."""
        return self.exchange.status if self.exchange is not None and self.headers_at is not None else None

    def see_headers(self, now: float) -> None:
        self.headers_at = now
        self.log.append(("headers", now, self))

    def judge(self, now: float, error: str = "") -> None:
        self.judged_at, self.error = now, error
        self.log.append(("judged", now, self))

    def finish(self, end: str, now: float) -> None:
        """Only the first end counts."""
        if self.ended_at is None:
            self.ended_at, self.end = now, end
            self.log.append(("ended", now, self))

    def __repr__(self) -> str:
        what = self.status or self.error or "no answer"
        return f"<{self.method} {self.url} at {self.at:.3f}: {what}, {self.end or 'under way'}>"


class CallSeen:
    """One call, as its caller saw it."""

    __slots__ = (
        "began",
        "body",
        "body_ended",
        "body_error",
        "client",
        "content",
        "deadline",
        "ended",
        "error",
        "fields",
        "method",
        "number",
        "origin",
        "override",
        "reads_since",
        "replayable",
        "report",
        "response",
        "sendings",
        "url",
    )

    def __init__(self, client: Any, number: int, request: Request, origin: str, began: float) -> None:
        self.client = client
        self.number = number
        self.origin = origin
        self.method = request.method
        self.url = request.url
        self.fields = dict(request.headers)
        """As the caller wrote them."""
        self.content = request.content
        self.replayable = request.replayable
        self.began = began
        self.deadline: float | None = None
        """The instant the caller asked to be answered by."""
        self.override: Any = None
        self.ended: float | None = None
        """When the caller had an answer or an exception."""
        self.response: ResponseSeen | None = None
        self.error: BaseException | None = None
        """What the caller caught instead."""
        self.report: Report | None = None
        self.reads_since: float | None = None
        """When the caller began to read."""
        self.body_ended: float | None = None
        """When the caller had read the answer, or had let it go."""
        self.body_error: BaseException | None = None
        self.body = b""
        """What the caller read of it."""
        self.sendings: list[Sending] = []

    def __repr__(self) -> str:
        got = self.response.status if self.response is not None else type(self.error).__name__
        return f"<call {self.number} of {self.client}: {self.method} {self.url} at {self.began:.3f}: {got}>"


class ResponseSeen(NamedTuple):
    """What a caller got. (Not the response itself: it would keep permits alive.)"""

    status: int
    headers: dict[str, str]
    source: str
    """"origin", or whoever answered instead."""
    sending: Sending | None
    """Whose answer it is; None: no server's."""


class Remembered(NamedTuple):
    """What one store holds, and what it may."""

    entries: int
    max_entries: int
    bytes: int
    max_bytes: int


class Picture(NamedTuple):
    """What one client said of its hosts at an instant."""

    at: float
    client: Any
    hosts: list[HostSnapshot]
    known: int
    """`len(resilience)`."""
    remembered: tuple[Remembered, ...] = ()
    """What is in its stores."""


class History:
    """All of it, in the order it happened."""

    def __init__(self) -> None:
        self.calls: list[CallSeen] = []
        self.sendings: list[Sending] = []
        self.log: list[Entry] = []
        """Everything that happened to calls and sendings, in the order it did: also within one instant."""
        self.pictures: list[Picture] = []
        self.events: list[tuple[Any, Event]] = []
        """What listeners were told: client, event."""
        self.unsteady: set[Any] = set()
        """Clients whose store of remembered answers fails at times."""
        self.oddities: list[str] = []
        """What a hook or the wire saw that must not be."""

    def act(self, now: float, client: Any, what: str, origin: str) -> None:
        """An operator does something to a client's host."""
        self.log.append(("act", now, (client, what, origin)))
