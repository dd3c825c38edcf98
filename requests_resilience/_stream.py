"""Following the body of an answer to its end, in urllib3's own response object.

The class of `response.raw` is exchanged for one that watches: a wrapper around it
would miss the ways requests and io read it (iteration, BufferedReader, `data`).
"""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any

from requests_resilience._errors import LEAVES, outcome
from seawall import classification
from seawall.admission import Admission
from seawall.errors import dress
from seawall.flow import body_failed
from seawall.outcome import ErrorKind
from urllib3 import HTTPResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BODY = "_seawall_body"


class Body(Admission):
    """The attempt, and how far its body was read."""

    reading = False
    ahead: tuple[bytes, bool] | None = None
    """What was read before anybody asked for it, and whether that was all."""
    ended = False
    """The connection went back while a read was under way: whether that was the end or an error shows when it returns."""

    def over(self) -> None:
        """The connection was given back or closed."""
        if self.reading:
            self.ended = True
        else:
            self.finish()

    def watched(self, read: Callable[[], Any]) -> Any:
        """One read, its error judged, its end noticed."""
        if self.reading:  # urllib3's reads call each other
            return read()
        self.reading = True
        try:
            piece = read()
        except StopIteration:
            self.finish()
            raise
        except Exception as error:
            raise self._failed(error) from error
        except BaseException:
            self.abandon()
            raise
        finally:
            self.reading = False
        if self.ended:
            self.finish()
        elif self.call.deadline is not None and self.call.state.clock.monotonic() >= self.call.deadline:
            raise self._failed(TimeoutError("between two pieces of the body"))
        return piece

    def _failed(self, error: Exception) -> Exception:
        late = isinstance(error, TimeoutError)
        what = classification.of_error(error, ErrorKind.TIMEOUT) if late else outcome(error)
        rejection = body_failed(self.call, self, what)
        return error if rejection is None else dress(self.call, rejection, LEAVES)


def follow(raw: Any, body: Body) -> bool:
    """Tie `body` to the end of `raw`. False: not possible, its class is fixed in C."""
    try:
        raw.__class__ = _watching(_plain(type(raw)))
        setattr(raw, _BODY, body)
    except (TypeError, AttributeError):
        return False
    return True


def _plain(kind: type[Any]) -> type[Any]:
    """The class without ours, should a mock hand out one response twice."""
    return getattr(kind, "_seawall_plain", kind)


@cache
def _watching(kind: type[Any]) -> type[Any]:
    """`kind`, watched. One class per class of response, and there are few."""

    class Watched(kind):  # type: ignore[misc]
        _seawall_plain = kind

        def read(self, *args: Any, **kwargs: Any) -> Any:
            body = self.__dict__.get(_BODY)
            read = super().read
            return read(*args, **kwargs) if body is None else body.watched(lambda: read(*args, **kwargs))

        def read1(self, *args: Any, **kwargs: Any) -> Any:
            body = self.__dict__.get(_BODY)
            read = super().read1
            return read(*args, **kwargs) if body is None else body.watched(lambda: read(*args, **kwargs))

        def read_chunked(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
            body = self.__dict__.get(_BODY)
            pieces = super().read_chunked(*args, **kwargs)
            while True:
                try:
                    piece = next(pieces) if body is None else body.watched(lambda: next(pieces))
                except StopIteration:
                    return
                yield piece

        def release_conn(self) -> None:
            super().release_conn()
            body = self.__dict__.get(_BODY)
            if body is not None:
                body.over()

        def close(self) -> None:
            super().close()
            body = self.__dict__.get(_BODY)
            if body is not None:
                body.over()

        def __del__(self) -> None:
            # A finaliser may run while this thread holds our lock: the attempt dies silently, and its permit with it.
            self.__dict__.pop(_BODY, None)
            finalise = getattr(super(), "__del__", None)
            if finalise is not None:
                finalise()

    Watched.__name__, Watched.__qualname__, Watched.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    return Watched


class _Again(io.RawIOBase):
    """Bytes read ahead, then the rest of the answer they are from, or the error that broke it."""

    def __init__(self, head: bytes, rest: Any, error: Exception | None) -> None:
        self._head = io.BytesIO(head)
        self._rest = rest
        self._error = error

    def readable(self) -> bool:
        return True

    def read(self, amount: int | None = -1, /) -> bytes:
        wanted = -1 if amount is None else amount
        piece = self._head.read(wanted)
        if piece and 0 <= wanted <= len(piece):
            return piece
        if self._error is not None:
            if piece:
                return piece
            raise self._error
        if self._rest is None:
            return piece
        more = self._rest.read(None if wanted < 0 else wanted - len(piece), decode_content=False)
        return piece + (more or b"")

    def close(self) -> None:
        if self._rest is not None:
            self._rest.close()
            self._rest.release_conn()
        super().close()


def served_again(raw: Any, head: bytes, *, complete: bool, error: Exception | None) -> HTTPResponse:
    """A response like `raw` that gives `head` first."""
    return HTTPResponse(
        body=_Again(head, None if complete else raw, error),  # type: ignore[arg-type]
        headers=raw.headers,
        status=raw.status,
        version=raw.version,
        reason=raw.reason,
        preload_content=False,
        decode_content=raw.decode_content,
        original_response=getattr(raw, "_original_response", None),
        enforce_content_length=error is None and complete is False,
    )
