"""The body of an answer, which is its attempt: where it ends, the verdict falls and the permits go back.

One object is wrapper, permit and verdict at once; a second one per request would
show in the overhead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from httpx_resilience._library import library_of
from seawall.admission import Admission
from seawall.degrade.copying import copy_of
from seawall.drivers.aio import within
from seawall.errors import dress
from seawall.judging import body_failed, came
from seawall.mounted import headers_came

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from httpx_resilience._ahead import ReadAhead
    from seawall.degrade.copying import Copy


class _Body(Admission):
    """What both kinds share."""

    inner: Any = None
    """The library's own stream."""
    ahead: ReadAhead | None = None
    copy: Copy | None = None
    """What is to be remembered of it."""
    scoped = False
    """A cancel scope holds the clocks for every piece: there is no socket of ours that would."""

    def receive(self, response: Any) -> Any:
        call, watch = self.call, self.watch
        self.headers_at = call.state.now()
        self.status = status = response.status_code
        if watch is not None:
            headers_came(call, watch, response)
        copy = None if call.slot is None else copy_of(call, self, status, response.headers.raw)
        if response.is_closed:  # a mock's, read before
            self.is_over = True
            if copy is not None and "content-encoding" not in response.headers:
                copy.add(response.content)
                call.copy = copy
        else:
            if copy is not None:
                self.copy = copy
            self.inner = response.stream
            response.stream = self
        response.extensions["resilience"] = call
        return response

    def remember(self) -> None:
        """All of it passed, and what it was worth is known."""
        if self.copy is not None:
            self.copy.keep(self.outcome)

    def leave(self) -> None:
        """Nobody reads on. Before the end, the headers stand."""
        if not self.settled:
            self.finish()
        if self.copy is not None:
            self.copy.leave()

    def fail(self, error: Exception) -> None:
        """The body broke: settle, and raise if a clock of ours broke it; else the caller raises the library's error."""
        if self.ahead is not None:
            self.ahead.error = None
        library = library_of(self.call.request)
        rejection = body_failed(self.call, self, error, library.outcome(error))
        if rejection is not None:
            raise dress(self.call, rejection, library.leaves)


class BodyLogic(_Body):
    """A sync body. The library's `SyncByteStream` is mixed in beside it."""

    def __iter__(self) -> Iterator[bytes]:
        rest, watch, ahead = self.inner, self.watch, self.ahead
        if watch is not None:
            watch.body_wanted()
        if ahead is not None:
            yield from ahead.chunks if self.copy is None else self.copy.follow(ahead.chunks)
            if ahead.rest is None:
                self.remember()
                return
            rest = ahead.rest
        if self.copy is not None:
            rest = self.copy.follow(rest)
        try:
            if ahead is not None and ahead.error is not None:
                raise ahead.error
            if watch is None:
                yield from rest
            else:
                for chunk in rest:
                    came(self, chunk)
                    yield chunk
        except Exception as error:
            self.fail(error)
            raise
        except GeneratorExit:  # left early: `close` follows, the headers stand
            raise
        except BaseException:
            self.abandon()
            raise
        self.finish()
        self.remember()

    def close(self) -> None:
        try:
            self.inner.close()
        finally:
            self.leave()


class AsyncBodyLogic(_Body):
    """An async body. An iterator, not an async generator: those cost several times as much and end when they like."""

    _next: Any = None
    _head: Iterator[bytes] | None = None
    """Pieces read ahead and not given yet."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self.watch is not None:
            self.watch.body_wanted()
        if self.ahead is not None:
            self._head = iter(self.ahead.chunks)
            self._next = self.ahead.rest.__anext__ if self.ahead.rest is not None else None
        else:
            self._next = self.inner.__aiter__().__anext__
        if self.copy is not None and self._next is not None:
            self._next = self.copy.following(self._next)
        return self

    async def __anext__(self) -> bytes:
        if self._head is not None:
            for chunk in self._head:
                if self.copy is not None:  # not before: httpx2 asks twice for an iterator
                    self.copy.add(chunk)
                return chunk
            self._head = None
        if self._next is None:
            self.remember()
            raise StopAsyncIteration
        try:
            if self.ahead is not None and self.ahead.error is not None:
                raise self.ahead.error
            watch = self.watch
            if watch is None:
                return await self._next()  # type: ignore[no-any-return]
            piece: bytes = await (within(watch.left(), self._next()) if self.scoped else self._next())
            came(self, piece)
            return piece
        except StopAsyncIteration:
            self.finish()
            self.remember()
            raise
        except Exception as error:
            self.fail(error)
            raise
        except BaseException:
            self.abandon()
            raise

    async def aclose(self) -> None:
        try:
            await self.inner.aclose()
        except BaseException as error:
            if not isinstance(error, Exception):
                self.abandon()
            raise
        finally:
            self.leave()
