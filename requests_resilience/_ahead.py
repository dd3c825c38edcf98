"""Reading an answer before anybody asked for it: what was read is given again to whoever reads it later."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from urllib3 import HTTPResponse

from requests_resilience._stream import BODY
from seawall.mounted import PEEK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from requests_resilience._stream import Body


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


def can_read_ahead(response: Any) -> bool:
    """Is its body one that can be given again? An adapter of somebody's may have made it of any file."""
    return isinstance(response.raw, HTTPResponse)


def read_ahead(response: Any, admission: Any, goes_on: Callable[[int], bool]) -> ReadAhead:
    """Read raw while `goes_on(size)`, and put what was read in front of what comes."""
    raw, watch, inspector = response.raw, admission.watch, admission.inspector
    read = getattr(raw, "read1", raw.read)  # what is there, not all that may come
    ahead = admission.ahead = ReadAhead()
    admission.reading = True  # what breaks here is the flow's to judge, or whoever's reads on
    try:
        while goes_on(len(ahead.head)):
            if watch is not None:
                watch.left()
            piece = read(PEEK_BYTES, decode_content=False)
            if not piece:
                ahead.complete = True
                raw.release_conn()
                break
            ahead.head += piece
            if admission.copy is not None:
                admission.copy.add(piece)
            if inspector is not None:
                inspector.feed(piece)
    except Exception as error:
        ahead.error = error
    except BaseException:
        response.close()
        raise
    finally:
        admission.reading = False
    response.raw = served_again(raw, admission, ahead)
    return ahead


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
            rest.__dict__.pop(BODY, None)
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
