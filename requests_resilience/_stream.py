"""Following the body of an answer to its end, in urllib3's own response object.

The class of `response.raw` is exchanged for one that watches: a wrapper around it
would miss the ways requests and io read it (iteration, BufferedReader, `data`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from requests_resilience._errors import LEAVES, outcome
from seawall.admission import Admission
from seawall.errors import dress
from seawall.judging import body_failed, came
from seawall.runtime import OutOfTime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from requests_resilience._ahead import ReadAhead
    from seawall.clocks import Watch
    from seawall.degrade.copying import Copy


BODY: Final = "_seawall_body"
"""Where a response keeps whose body it is."""
_PIECE: Final = 65536


class Body(Admission):
    """The attempt, and how far its body was read."""

    ahead: ReadAhead | None = None
    reading = False
    ended = False
    """The connection went back while a read was under way: its return shows whether that was the end or an error."""
    copy: Copy | None = None
    """What passed of an answer that is to be remembered when its reader comes to the end."""

    def over(self) -> None:
        """The connection was given back or closed."""
        if self.reading:
            self.ended = True
        else:
            self.finish()
            self.leave()

    def remember(self) -> None:
        """All of it passed, and what it was worth is known."""
        copy, self.copy = self.copy, None
        if copy is not None:
            copy.keep(self.outcome)

    def leave(self) -> None:
        """Nobody reads on."""
        copy, self.copy = self.copy, None
        if copy is not None:
            copy.leave()

    def broke_off(self, error: BaseException) -> None:
        """A read raised: settle, and raise if a clock of ours broke it; else the caller raises the library's error."""
        self.reading = False
        self.leave()
        if not isinstance(error, Exception):
            self.abandon()
            return
        rejection = body_failed(self.call, self, error, outcome(error))
        if rejection is not None:
            raise dress(self.call, rejection, LEAVES)


def follow(raw: Any, body: Body) -> bool:
    """Tie `body` to the end of `raw`. False: not possible, its class is fixed in C."""
    kind = raw.__class__
    try:
        raw.__class__ = _WATCHED.get(kind) or _watching(kind)
        raw._seawall_body = body
        body.reading = body.ended = False
    except (TypeError, AttributeError):
        return False
    return True


_WATCHED: Final[dict[Any, Any]] = {}
"""Class of response → the same, watched; there are few. A watched one stays: a mock may hand out one response twice."""


def _watching(kind: Any) -> Any:
    """`kind`, watched."""
    finalise: Any = getattr(kind, "__del__", None)

    def release_conn(self: Any) -> None:
        kind.release_conn(self)
        body = self.__dict__.get(BODY)
        if body is not None:
            body.over()

    def close(self: Any) -> None:
        kind.close(self)
        body = self.__dict__.get(BODY)
        if body is not None:
            body.over()

    def read_chunked(self: Any, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        pieces = kind.read_chunked(self, *args, **kwargs)
        body: Body | None = self.__dict__.get(BODY)

        def read(_: Any) -> bytes | None:
            piece: bytes | None = next(pieces, None)
            if piece is not None and body is not None:
                came(body, piece)
            return piece

        following = _watched(read)
        while (piece := following(self)) is not None:
            yield piece

    def __del__(self: Any) -> None:  # noqa: N807 - becomes the method
        # A finaliser may run while this thread holds our lock: the attempt dies silently, and its permit with it.
        self.__dict__.pop(BODY, None)
        if finalise is not None:
            finalise(self)

    methods: dict[str, Any] = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "release_conn": release_conn,
        "close": close,
        "read_chunked": read_chunked,
        "__del__": __del__,
    }
    methods["read"] = _watched(_in_time(kind), kind.read)
    if hasattr(kind, "read1"):

        def read1(self: Any, *args: Any, **kwargs: Any) -> bytes:
            piece: bytes = kind.read1(self, *args, **kwargs)
            came(self.__dict__[BODY], piece)
            return piece

        methods["read1"] = _watched(read1, kind.read1)
    watched = _WATCHED[kind] = type(kind.__name__, (kind,), methods)
    _WATCHED[watched] = watched
    return watched


def _watched(read: Callable[..., Any], plain: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """One read, its error judged, its end noticed. urllib3's reads call each other: the outermost counts."""

    plain = plain or read

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        body: Body | None = self.__dict__.get(BODY)
        if body is None or body.reading:
            return plain(self, *args, **kwargs)
        body.reading, watch = True, body.watch
        if watch is not None:
            watch.body_wanted()
        try:
            piece = (plain if _may_read_on(body, watch) else read)(self, *args, **kwargs)
        except BaseException as error:
            try:
                body.broke_off(error)
            finally:
                if isinstance(error, OutOfTime):  # urllib3 closes what it sees break itself
                    self.close()
            raise
        body.reading = False
        if piece and body.copy is not None:
            body.copy.add(piece)
        is_whole = body.ended or self.closed  # a mock's body gives back no connection at its end
        if is_whole or not piece:
            body.finish()
            if is_whole:  # not of `read(0)`
                body.remember()
        return piece

    return watched


def _may_read_on(body: Body, watch: Watch | None) -> bool:
    """Need the pieces of one read not be looked at one by one? Sockets of ours do, and no clock ends with the first."""
    return watch is None or (watch.is_exact and not watch.minds_streaming and body.inspector is None)


def _in_time(kind: Any) -> Callable[..., Any]:
    """`kind.read`, which under a deadline looks at the clock after each piece the network gives, not after the last."""
    plain: Callable[..., Any] = kind.read
    one: Callable[..., Any] | None = getattr(kind, "read1", None)

    def read(self: Any, amt: int | None = None, decode_content: Any = None, cache_content: bool = False) -> Any:
        body = self.__dict__[BODY]
        if one is None or cache_content:
            return plain(self, amt, decode_content, cache_content)
        pieces: list[bytes] = []
        while amt is None or amt > 0:
            piece: bytes = one(self, _PIECE if amt is None else amt, decode_content)
            if not piece:
                break
            came(body, piece)
            pieces.append(piece)
            amt = None if amt is None else amt - len(piece)
        return b"".join(pieces)

    return read
