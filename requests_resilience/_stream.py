"""Following the body of an answer to its end, in urllib3's own response object.

The class of `response.raw` is exchanged for one that watches: a wrapper around it
would miss the ways requests and io read it (iteration, BufferedReader, `data`).
"""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from urllib3 import HTTPResponse

from requests_resilience._errors import LEAVES, outcome
from seawall.admission import Admission
from seawall.errors import dress
from seawall.judging import body_failed, check_time
from seawall.runtime import OutOfTime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seawall.clocks import Watch


_BODY: Final = "_seawall_body"
_PLAIN: Final = "_seawall_plain"
_PIECE: Final = 65536


class Body(Admission):
    """The attempt, and how far its body was read."""

    ahead: tuple[bytes, bool] | None = None
    """What was read before anybody asked for it, and whether that was all."""
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

    def over(self) -> None:
        """The connection was given back or closed."""
        if self.reading:
            self.ended = True
        else:
            self.finish()

    def read_one(self, raw: Any, piece: Any) -> None:
        """A read came back whole."""
        self.reading = False
        if self.ended or not piece or raw.closed:  # a mock's body gives back no connection at its end
            self.finish()

    def broke_off(self, error: BaseException) -> BaseException:
        """A read raised: settle, and give the exception to raise."""
        self.reading = False
        if not isinstance(error, Exception):
            self.abandon()
            return error
        rejection = body_failed(self.call, self, error, outcome(error))
        return error if rejection is None else dress(self.call, rejection, LEAVES)


def follow(raw: Any, body: Body) -> bool:
    """Tie `body` to the end of `raw`. False: not possible, its class is fixed in C."""
    kind = raw.__class__
    try:
        raw.__class__ = _watching(getattr(kind, _PLAIN, kind))  # a mock may hand out one response twice
        setattr(raw, _BODY, body)
    except (TypeError, AttributeError):
        return False
    return True


@cache
def _watching(kind: Any) -> Any:
    """`kind`, watched. One class per class of response, and there are few."""
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
        _PLAIN: kind,
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "release_conn": release_conn,
        "close": close,
        "read_chunked": read_chunked,
        "__del__": __del__,
    }
    methods["read"] = _watched(_in_time(kind), kind.read)
    if hasattr(kind, "read1"):
        methods["read1"] = _watched(kind.read1)
    return type(kind.__name__, (kind,), methods)


def _watched(read: Callable[..., Any], plain: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """One read, its error judged, its end noticed. urllib3's reads call each other: the outermost counts."""

    plain = plain or read

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        body: Body | None = self.__dict__.get(_BODY)
        if body is None or body.reading:
            return plain(self, *args, **kwargs)
        body.reading = True
        if body.watch is not None:
            body.watch.body_wanted()
        try:
            piece = (plain if _may_read_on(body.watch) else read)(self, *args, **kwargs)
        except BaseException as error:
            raised = body.broke_off(error)
            if isinstance(error, OutOfTime):  # urllib3 closes what it sees break itself
                self.close()
            if raised is error:
                raise
            raise raised from error
        body.read_one(self, piece)
        return piece

    return watched


def _may_read_on(watch: Watch | None) -> bool:
    """Need the pieces of one read not be looked at one by one? Sockets of ours do, and no clock ends with the first."""
    return watch is None or (watch.is_exact and not watch.minds_streaming)


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


class _Again(io.RawIOBase):
    """Bytes read ahead, then the rest of the answer they are from, or the error that broke it."""

    def __init__(self, head: bytes, rest: Any, error: Exception | None) -> None:
        self._head = io.BytesIO(head)
        self._rest = rest
        self.error = error
        """Raised by the response that is read from this: urllib3 would dress what comes from below it."""

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
            piece += self._rest.read(None if wanted < 0 else wanted - len(piece), decode_content=False) or b""
        if wanted < 0 or len(piece) < wanted:  # as http.client does: urllib3 reads until the source is closed
            self.close()
        return piece

    read1 = read

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
    """A response from memory, that breaks where the first reading broke."""

    body: Body

    def read(self, *args: Any, **kwargs: Any) -> Any:
        piece = super().read(*args, **kwargs)
        source: Any = self._fp
        error: Exception | None = source.error
        if error is None or (piece and (args or kwargs.get("amt") is not None)):
            return piece
        source.error = None
        raised = self.body.broke_off(error)
        source.let_go()
        if raised is error:
            raise error
        raise raised from error

    def close(self) -> None:
        source: Any = self._fp
        if source.error is not None:  # left before the error was met
            source.error = None
            source.let_go()
        super().close()


def served_again(raw: Any, body: Body, head: bytes, *, complete: bool, error: Exception | None) -> HTTPResponse:
    """A response like `raw` that gives `head` first."""
    served = _Served(
        body=_Again(head, None if complete else raw, error),
        headers=raw.headers,
        status=raw.status,
        version=raw.version,
        reason=raw.reason,
        preload_content=False,
        decode_content=raw.decode_content,
        original_response=getattr(raw, "_original_response", None),
        enforce_content_length=error is None and complete is False,
    )
    served.body = body
    return served
