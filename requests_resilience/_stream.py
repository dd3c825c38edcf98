"""Following the body of an answer to its end, in urllib3's own response object.

The class of `response.raw` is exchanged for one that watches: a wrapper around it
would miss the ways requests and io read it (iteration, BufferedReader, `data`).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

from urllib3 import HTTPResponse

from requests_resilience._errors import LEAVES, outcome
from seawall.admission import Admission
from seawall.errors import dress
from seawall.judging import body_failed, check_time, inspect
from seawall.runtime import OutOfTime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seawall.clocks import Watch


_BODY: Final = "_seawall_body"
_PIECE: Final = 65536


class Body(Admission):
    """The attempt, and how far its body was read."""

    ahead: ReadAhead | None = None
    reading = False
    ended = False
    """The connection went back while a read was under way: its return shows whether that was the end or an error."""

    def came(self, piece: bytes) -> None:
        """A piece is here: in time?"""
        watch = self.watch
        if watch is not None:
            check_time(self)
            if piece:
                watch.content()
                if self.inspector is not None:
                    inspect(self, piece)

    def over(self) -> None:
        """The connection was given back or closed."""
        if self.reading:
            self.ended = True
        else:
            self.finish()

    def broke_off(self, error: BaseException) -> None:
        """A read raised: settle, and raise if a clock of ours broke it; else the caller raises the library's error."""
        self.reading = False
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
        body = self.__dict__.get(_BODY)
        if body is not None:
            body.over()

    def close(self: Any) -> None:
        kind.close(self)
        body = self.__dict__.get(_BODY)
        if body is not None:
            body.over()

    def read_chunked(self: Any, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        pieces = kind.read_chunked(self, *args, **kwargs)
        body: Body | None = self.__dict__.get(_BODY)

        def read(_: Any) -> bytes | None:
            piece: bytes | None = next(pieces, None)
            if piece is not None and body is not None:
                body.came(piece)
            return piece

        following = _watched(read)
        while (piece := following(self)) is not None:
            yield piece

    def __del__(self: Any) -> None:  # noqa: N807 - becomes the method
        # A finaliser may run while this thread holds our lock: the attempt dies silently, and its permit with it.
        self.__dict__.pop(_BODY, None)
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
            self.__dict__[_BODY].came(piece)
            return piece

        methods["read1"] = _watched(read1, kind.read1)
    watched = _WATCHED[kind] = type(kind.__name__, (kind,), methods)
    _WATCHED[watched] = watched
    return watched


def _watched(read: Callable[..., Any], plain: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """One read, its error judged, its end noticed. urllib3's reads call each other: the outermost counts."""

    plain = plain or read

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        body: Body | None = self.__dict__.get(_BODY)
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
        if body.ended or not piece or self.closed:  # a mock's body gives back no connection at its end
            body.finish()
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
        body = self.__dict__[_BODY]
        if one is None or cache_content:
            return plain(self, amt, decode_content, cache_content)
        pieces: list[bytes] = []
        while amt is None or amt > 0:
            piece: bytes = one(self, _PIECE if amt is None else amt, decode_content)
            if not piece:
                break
            body.came(piece)
            pieces.append(piece)
            amt = None if amt is None else amt - len(piece)
        return b"".join(pieces)

    return read


class ReadAhead:
    """What was read of a body before anybody asked for it."""

    __slots__ = ("complete", "error", "head")

    def __init__(self) -> None:
        self.head = b""
        self.complete = False
        """That was all of it."""
        self.error: Exception | None = None
        """What broke it: raised to whoever reads that far."""

    def take_error(self) -> Exception | None:
        """Not held any longer: its traceback leads to frames that hold us."""
        error, self.error = self.error, None
        return error


class _Again(io.RawIOBase):
    """Bytes read ahead, then the rest of the answer they are from, or the error that broke it."""

    def __init__(self, ahead: ReadAhead, rest: Any) -> None:
        self._head = io.BytesIO(ahead.head)
        self._rest = rest
        self.error = ahead.error
        """Raised by the response that is read from this: urllib3 would dress what comes from below it."""
        self.raised: BaseException | None = None
        """What the rest raised just now; dressed already."""

    def readable(self) -> bool:
        return True

    def read(self, amount: int | None = -1, /) -> bytes:
        wanted = -1 if amount is None else amount
        if self.closed or wanted == 0:
            return b""
        piece = self._head.read(wanted)
        if piece and (len(piece) == wanted or self.error is not None):
            return piece
        if self.error is None and self._rest is not None:
            piece += self._more(self._rest.read, None if wanted < 0 else wanted - len(piece))
        if wanted < 0 or len(piece) < wanted:  # as http.client does: urllib3 reads until the source is closed
            self.close()
        return piece

    def read1(self, amount: int = -1, /) -> bytes:
        """What is there, not all that may come."""
        if self.closed or amount == 0:
            return b""
        piece = self._head.read(amount)
        if not piece and self.error is None and self._rest is not None:
            piece = self._more(self._rest.read1, None if amount < 0 else amount)
        if not piece:
            self.close()
        return piece

    def _more(self, read: Callable[..., Any], amount: int | None) -> bytes:
        try:
            return read(amount, decode_content=False) or b""
        except BaseException as error:
            self.raised = error
            raise

    def isclosed(self) -> bool:
        """urllib3 reads until then: an error to come is not the end."""
        return self.closed and self.error is None

    def close(self) -> None:
        if self.error is None:  # else the answer is not over before its error was raised
            self.let_go()
        super().close()

    def let_go(self) -> None:
        """Close the answer all this is from."""
        if self._rest is not None:
            self._rest.close()
            self._rest.release_conn()


class _Served(HTTPResponse):
    """A response from memory, that goes on with the one it is from, and breaks where the first reading broke."""

    body: Body

    def read(self, *args: Any, **kwargs: Any) -> Any:
        piece = self._as_raised(super().read, *args, **kwargs)
        if piece and (args or kwargs.get("amt") is not None):
            return piece
        self._break()
        return piece

    def read1(self, *args: Any, **kwargs: Any) -> Any:
        piece = self._as_raised(super().read1, *args, **kwargs)
        if not piece:
            self._break()
        return piece

    def supports_chunked_reads(self) -> bool:
        return hasattr(HTTPResponse, "read1")

    def read_chunked(self, amt: int | None = None, decode_content: bool | None = None) -> Iterator[bytes]:  # type: ignore[override]
        """What comes in chunks is given as it comes, here too."""
        while piece := self.read1(amt, decode_content):
            yield piece

    def close(self) -> None:
        source: Any = self._fp
        if source.error is not None:  # left before the error was met
            source.error = None
            source.let_go()
        super().close()

    def __del__(self) -> None:
        source: Any = self.__dict__.get("_fp")
        rest = getattr(source, "_rest", None)
        if rest is not None:  # as there: the attempt dies silently
            rest.__dict__.pop(_BODY, None)
        super().__del__()

    def _as_raised(self, read: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the rest raises is dressed already: urllib3 does it again."""
        source: Any = self._fp
        try:
            return read(*args, **kwargs)
        except BaseException as error:
            raised, source.raised = source.raised, None
            if raised is None or raised is error:
                raise
            raise raised from raised.__cause__

    def _break(self) -> None:
        """Raise what ended the first reading."""
        source: Any = self._fp
        error, source.error = source.error, None
        if error is None:
            return
        try:
            self.body.broke_off(error)
            raise error
        finally:
            source.let_go()
            del error  # its traceback leads to this frame


def served_again(raw: Any, body: Body, ahead: ReadAhead) -> HTTPResponse:
    """A response like `raw` that gives what was read ahead first."""
    served = _Served(
        body=_Again(ahead, None if ahead.complete else raw),
        headers=raw.headers,
        status=raw.status,
        version=raw.version,
        reason=raw.reason,
        preload_content=False,
        decode_content=raw.decode_content,
        original_response=getattr(raw, "_original_response", None),
        enforce_content_length=ahead.error is None and ahead.complete is False,
    )
    served.body = body
    return served
