"""Reading an answer before anybody asked for it: what was read is given again to whoever reads it later."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from seawall.mounted import PEEK_BYTES, PEEK_SECONDS


class ReadAhead:
    """What was read of a body before anybody asked for it."""

    __slots__ = ("chunks", "error", "rest", "size")

    def __init__(self, rest: Any) -> None:
        self.chunks: list[bytes] = []
        self.size = 0
        self.rest = rest
        """The iterator to go on with; None: that was all."""
        self.error: Exception | None = None
        """What broke it: raised again to whoever reads that far."""

    @property
    def is_open(self) -> bool:
        """Is there more to read ahead?"""
        return self.rest is not None and self.error is None


class ReadingAhead(ABC):
    """The half of a port that reads bodies."""

    __slots__ = ()

    async def peek(self, response: Any, admission: Any) -> bytes | None:
        if admission.is_over:
            return response.content  # type: ignore[no-any-return]
        ahead: ReadAhead | None = admission.ahead
        if ahead is None:
            clock = admission.call.state.clock
            ends = clock.monotonic() + PEEK_SECONDS
            ahead = ReadAhead(self.iterate(admission.inner))
            while ahead.is_open and ahead.size <= PEEK_BYTES and clock.monotonic() < ends:
                await self.read_on(admission, ahead)
        return b"".join(ahead.chunks) if ahead.rest is None else None

    async def hold(self, response: Any, admission: Any) -> Exception | None:
        inspector, watch = admission.inspector, admission.watch
        if admission.is_over:
            inspector.feed(response.content)
            inspector.end()
            return None
        watch.body_wanted()
        ahead = ReadAhead(self.iterate(admission.inner))
        while ahead.is_open and not inspector.is_decided:
            await self.read_on(admission, ahead)
        if ahead.rest is None:
            inspector.end()
        if ahead.error is None:
            watch.content()
        return ahead.error

    async def read_on(self, admission: Any, ahead: ReadAhead) -> None:
        """One piece more."""
        admission.ahead = ahead
        try:
            if admission.watch is not None:
                admission.watch.left()
            piece = await self.pull(ahead.rest, admission)
            if piece is None:
                ahead.rest = None
                await self.shut(admission.inner)
                return
            ahead.chunks.append(piece)
            ahead.size += len(piece)
            if admission.inspector is not None:
                admission.inspector.feed(piece)
        except Exception as error:
            ahead.error = error
        except GeneratorExit:  # no more awaiting: the stream is closed with its last reference
            raise
        except BaseException:
            await self.shut(admission.inner)
            raise

    async def discard(self, response: Any, admission: Any) -> None:
        try:
            if admission.ahead is not None:
                admission.ahead.error = None
                if admission.ahead.rest is not None:
                    await self.end(admission.ahead.rest)
            if admission.inner is not None:
                await self.shut(admission.inner)
        except Exception:
            pass  # it is being thrown away; what the attempt was worth is known

    @abstractmethod
    def iterate(self, stream: Any) -> Any: ...

    @abstractmethod
    async def pull(self, iterator: Any, admission: Any) -> bytes | None:
        """The next piece; None at the end."""

    @abstractmethod
    async def end(self, iterator: Any) -> None:
        """Close what is left of an iteration, if it is a generator."""

    @abstractmethod
    async def shut(self, stream: Any) -> None: ...
