"""Answers, and their bodies, which are their attempts: what a mount wraps around a library's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seawall.admission import Admission
from seawall.classification import of_error
from seawall.errors import dress
from seawall.judging import body_failed, came
from seawall.outcome import ErrorKind, Outcome
from seawall.testing.sim.messages import BREAKS, HANGS, Exchange, Headers, NetworkError
from seawall.testing.sim.network import until, what
from seawall.testing.sim.server import FOR_EVER

if TYPE_CHECKING:
    from seawall.degrade.copying import Copy
    from seawall.testing.sim.history import Sending
    from seawall.testing.virtual import VirtualClock


class Body(Admission):
    """The body of an answer, which is its attempt."""

    exchange: Exchange
    sending: Sending
    clock: VirtualClock
    read_limit: float | None = None
    copy: Copy | None = None
    ahead: list[bytes] | None = None
    """What was read before anybody asked for it."""
    ahead_error: Exception | None = None
    is_read = False
    """Nothing is left on the wire."""

    async def pull(self) -> bytes | None:
        """The next piece off the wire; None at the end."""
        exchange, clock, watch = self.exchange, self.clock, self.watch
        if exchange.pieces:
            at = exchange.pieces[0][0]
        elif exchange.body_ends == BREAKS:
            raise NetworkError(ErrorKind.INVALID_RESPONSE)
        elif exchange.body_ends == HANGS:
            at = FOR_EVER
        else:
            self.is_read = True
            return None
        limit = self.read_limit if watch is None else watch.left(self.read_limit)
        await until(clock, at, limit, ErrorKind.TIMEOUT)
        _, piece = exchange.pieces.pop(0)
        self.sending.got += len(piece)
        return piece

    async def read_ahead(self) -> bool:
        """One piece more, kept for whoever reads the answer later. False: there is no more."""
        ahead = self.ahead
        if ahead is None:
            ahead = self.ahead = []
        try:
            if self.watch is not None:
                self.watch.left()
            piece = await self.pull()
            if piece is None:
                return False
            ahead.append(piece)
            if self.inspector is not None:
                self.inspector.feed(piece)
            return True
        except Exception as error:
            self.ahead_error = error
            return False
        except BaseException:
            self.sending.finish("cancelled", self.clock.now)
            raise

    async def next(self) -> bytes | None:
        """The next piece for the caller; None at the end."""
        watch, copy = self.watch, self.copy
        if watch is not None:
            watch.body_wanted()
        if self.ahead:
            piece = self.ahead.pop(0)
            if copy is not None:
                copy.add(piece)
            return piece
        try:
            if self.ahead_error is not None:
                raise self.ahead_error
            found = None if self.is_read else await self.pull()
            if found is None:
                self.end("eof")
                if copy is not None:
                    copy.keep(self.outcome)
                return None
            came(self, found)
            if copy is not None:
                copy.add(found)
            return found
        except Exception as error:
            self.sending.finish("broke", self.clock.now)
            self.sending.error = what(error)
            outcome = judge(error)
            self.ahead_error = None
            rejection = body_failed(self.call, self, error, outcome)
            if rejection is not None:
                raise dress(self.call, rejection) from error
            raise
        except BaseException:
            self.sending.finish("cancelled", self.clock.now)
            self.abandon()
            raise

    def end(self, how: str) -> None:
        """Read to its end, or closed."""
        self.sending.finish(how, self.clock.now)
        if not self.settled:
            self.finish()


class Response:
    """What a caller gets. Read it, close it, or drop it."""

    def __init__(self, status: int, headers: Headers, body: Body | None, content: bytes = b"") -> None:
        self.status_code = status
        self.headers = headers
        self.body = body
        self._content = content

    async def read(self) -> bytes:
        """The whole body."""
        if self.body is None:
            return self._content
        pieces: list[bytes] = []
        while (piece := await self.body.next()) is not None:
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Nobody will read on."""
        if self.body is not None:
            self.body.end("closed")

    def __repr__(self) -> str:
        return f"<Response {self.status_code}>"


def judge(error: Exception) -> Outcome:
    """What an exception of the library means."""
    if isinstance(error, NetworkError):
        return of_error(error, error.kind, error.sent)
    return of_error(error, ErrorKind.FOREIGN)
