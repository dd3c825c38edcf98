"""Bodies that are read while they are sent, and how they can be sent again.

A second reading is never trusted: a file read twice is silently empty, a generator is
used up. So a body is either made anew by the user (`Replayable`), or remembered while
it is first read (`Retry(buffer_body=…)`), or known by its kind, or it goes out once.

`Upload` stands in a request for such a body while its call lasts. It knows what the
body itself raised (the caller's error, whoever dresses it on the way), whether anybody
began to read it, and breaks off a reading that ends sooner than an earlier one got.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator

_PIECE: Final = 65536
_IN_MEMORY: Final[Any] = bytes | bytearray | memoryview


class Readable(Protocol):
    """A file open for reading bytes."""

    def read(self, size: int, /) -> bytes: ...


class _Factory:
    """What both kinds share: asking the user's function, and distrusting what it gives."""

    _last: object = None

    def __init__(self, factory: Callable[[], Any], *, length: int | None = None) -> None:
        if not callable(factory):
            raise TypeError(f"{type(self).__name__}: {factory!r} is not callable: give a function that makes the body")
        if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 0):
            raise ValueError(f"{type(self).__name__}: length={length!r}: give the number of bytes, or leave it out")
        self._factory = factory
        if length is not None:
            self.len = length  # the name requests looks for
        self.length = length
        """Bytes, if known beforehand: sent as Content-Length; else the body goes out chunked."""

    def _make(self) -> Any:
        made = self._factory()
        if made is self._last and any(hasattr(made, name) for name in ("read", "__next__", "__anext__")):
            raise TypeError(f"{type(self).__name__}: the function gave the same {_name(made)} twice: make a new one")
        self._last = made
        return made

    def _checked(self, got: int, piece: Any) -> int:
        """How much came by now. What is no bytes, or more than was said, is not sent: it would pass for a request."""
        if not isinstance(piece, _IN_MEMORY):
            raise TypeError(f"{type(self).__name__}: the function gave {_name(piece)} to send: give bytes")
        got += len(piece)
        if self.length is not None and got > self.length:
            raise ValueError(f"{type(self).__name__}: length={self.length}, but more bytes than that came")
        return got

    def _check_length(self, got: int) -> None:
        if self.length is not None and got < self.length:
            raise ValueError(f"{type(self).__name__}: length={self.length}, but only {got} bytes came")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {getattr(self._factory, '__qualname__', self._factory)}>"


class Replayable(_Factory):
    """A body made anew for every attempt: `content=` of httpx and httpx2, `data=` of requests; sync clients.

    `factory()` gives bytes, a file open for reading bytes, or an iterable of bytes, a new one each time and with the
    same content; what it gave is closed after it was sent. `length`: its bytes, if known, for a Content-Length.
    """

    def __init__(self, factory: Callable[[], bytes | Readable | Iterable[bytes]], *, length: int | None = None) -> None:
        super().__init__(factory, length=length)

    def __iter__(self) -> Iterator[bytes]:
        made, got = self._make(), 0
        try:
            for piece in self._pieces(made):
                got = self._checked(got, piece)
                yield piece
            self._check_length(got)
        finally:
            close: Any = getattr(made, "close", None)
            if close is not None:
                close()

    def _pieces(self, made: Any) -> Iterator[Any]:
        if isinstance(made, _IN_MEMORY):
            yield bytes(made)
        elif hasattr(made, "read"):
            while piece := made.read(_PIECE):
                yield piece
        elif hasattr(made, "__iter__") and not isinstance(made, str):
            yield from made
        else:
            cure = "an async client takes AsyncReplayable" if hasattr(made, "__aiter__") else "give bytes"
            raise TypeError(f"Replayable: the function gave a {_name(made)}, which has no bytes to read: {cure}")


class AsyncReplayable(_Factory):
    """`Replayable` for async clients: `factory()` gives bytes or an async iterable of bytes, a new one each time."""

    def __init__(self, factory: Callable[[], bytes | AsyncIterable[bytes]], *, length: int | None = None) -> None:
        super().__init__(factory, length=length)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        made, got = self._make(), 0
        try:
            if isinstance(made, _IN_MEMORY):
                got = self._checked(got, made)
                yield bytes(made)
            elif hasattr(made, "__aiter__"):
                async for piece in made:
                    got = self._checked(got, piece)
                    yield piece
            else:
                if hasattr(made, "close"):  # a coroutine, which would complain, or a file
                    made.close()
                cure = "a sync client takes Replayable" if hasattr(made, "__iter__") else "give bytes"
                raise TypeError(f"AsyncReplayable: the function gave a {_name(made)}, no async iterable: {cure}")
            self._check_length(got)
        finally:
            close: Any = getattr(made, "aclose", None)
            if close is not None:
                await close()


def _name(made: object) -> str:
    return type(made).__name__


class _Upload:
    """What sync and async share. `source` is what is read; `room`: bytes of it to remember, 0 for none."""

    def __init__(self, given: Any, source: Any, *, replays: bool, room: int = 0) -> None:
        self.given = given
        """What the user's request has, and has again when the call is over."""
        self.error: Exception | None = None
        """What the body itself raised in this attempt."""
        self._source: Any = source
        self._replays = replays
        self._room = room
        self._kept: bytearray | None = bytearray() if room and not replays else None
        self._rest: Any = None
        """Where the reading goes on: of a body that is remembered, shared by all readings."""
        self._got = 0
        """Bytes of the longest reading."""
        self._is_touched = False

    @property
    def can_repeat(self) -> bool:
        """Would another reading give the same bytes?"""
        return self._replays or self._kept is not None or not self._is_touched

    def _begin(self) -> Iterator[bytes]:
        """Somebody reads from the start: what is remembered."""
        self._is_touched = True
        if self._kept is None:
            self._rest = None
        kept = self._kept or b""
        return (bytes(kept[at : at + _PIECE]) for at in range(0, len(kept), _PIECE))

    def _keep(self, piece: Any) -> None:
        """Remember a piece, as long as there is room."""
        if self._kept is None:
            return
        if isinstance(piece, str):  # urllib3 takes it
            piece = piece.encode()
        if isinstance(piece, memoryview):
            piece = piece.tobytes()
        if isinstance(piece, bytes | bytearray) and len(self._kept) + len(piece) <= self._room:
            self._kept += piece
        else:
            self._kept = None

    def _count(self, got: int, piece: Any) -> int:
        got += len(piece) if hasattr(piece, "__len__") else 0
        if got > self._got:
            self._got = got
        return got

    def _check_end(self, got: int) -> None:
        """Sent short, the server might take it for the whole: better that it never ends."""
        if got < self._got:
            raise ValueError(
                f"seawall: the body ended after {got} bytes, where an earlier attempt had got {self._got}: "
                "each attempt needs the same bytes"
            )

    def _broke(self, error: BaseException) -> None:
        self._kept = None  # what is left of it ends here
        if isinstance(error, Exception):
            self.error = error


class Upload(_Upload):
    """The body of a request under way, for sync clients."""

    def __iter__(self) -> Iterator[Any]:
        got = 0
        for piece in self._begin():
            got = self._count(got, piece)
            yield piece
        try:
            if self._rest is None:
                self._rest = iter(self._source)
            for piece in self._rest:
                self._keep(piece)
                got = self._count(got, piece)
                yield piece
            self._check_end(got)
        except GeneratorExit:  # the attempt is over, the body is not
            raise
        except BaseException as error:
            self._broke(error)
            raise

    def release(self) -> None:
        """The attempt is over: close what the user's function made for it, and drop what nobody will read on."""
        if self._kept is None:
            rest, self._rest = self._rest, None
            if isinstance(self._source, Replayable) and rest is not None:
                rest.close()

    def forget(self) -> None:
        """The call is over."""
        self._kept = None
        self.release()


class AsyncUpload(_Upload):
    """The body of a request under way, for async clients."""

    def __aiter__(self) -> AsyncIterator[Any]:
        return _Reading(self)

    async def release(self) -> None:
        """The attempt is over: close what nobody will read on, an async generator of the library's or of ours."""
        if self._kept is None:
            rest, self._rest = self._rest, None
            if rest is not None and hasattr(rest, "aclose"):
                await rest.aclose()

    async def forget(self) -> None:
        """The call is over."""
        self._kept = None
        await self.release()


class _Reading:
    """One reading. An iterator, not an async generator: those end when they like."""

    def __init__(self, upload: Any) -> None:
        self._upload = upload
        self._head: Iterator[bytes] | None = None
        self._got = 0

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        upload = self._upload
        if self._head is None:
            self._head = iter(upload._begin())
        for piece in self._head:
            self._got = upload._count(self._got, piece)
            return piece
        try:
            if upload._rest is None:
                upload._rest = upload._source.__aiter__()
            piece = await upload._rest.__anext__()
            upload._keep(piece)
        except StopAsyncIteration:
            try:
                upload._check_end(self._got)
            except ValueError as error:
                upload._broke(error)
                raise error from None
            raise
        except BaseException as error:
            upload._broke(error)
            raise
        self._got = upload._count(self._got, piece)
        return piece
