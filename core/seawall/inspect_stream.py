"""What an answer that comes piece by piece says inside its 200: nothing yet, content, or an error.

LLM servers send their headers before they know whether the answer will succeed, so an
overloaded one says so in an event of the stream. An inspector is fed the raw bytes as
they pass and keeps none of them but an unfinished event. It reads `text/event-stream`
(WHATWG HTML §9.2.6) and NDJSON; what an event means is in vendors.py. It never raises,
whatever the bytes, and looks at a bounded number of them: what it cannot read is content.

Rejected: looking only at the first event, which for most vendors is an announcement;
and taking every event for content, since then the clock to the first token would end
with a ping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from seawall.classification import STREAMS, is_quota, media_type, text
from seawall.outcome import ErrorKind
from seawall.vendors import ERROR, delay_of, meaning_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from seawall.outcome import Response

    Ask = Callable[[str, Any], ErrorKind | bool | None]

K = ErrorKind

LOOK_BYTES: Final = 65536
"""So much without content or error is content; an event longer than this is not looked at."""
_LAST_BYTES: Final = 2048
"""Once there was content, no more than this of the end of a piece is looked at: after an error comes only the end."""
_UNPACKED: Final = 16
"""Times `LOOK_BYTES` that one piece may unpack to before the inspector stops looking."""


def inspector_for(response: Response, ask: Ask | None = None) -> Inspector | None:
    """An inspector for an answer with these headers; None: of another type, or packed in a way not read here.

    `ask(event, data)` is the user's word on an event, before the tables; it must not raise.
    """
    kind = media_type(response)
    packed = text(response, "content-encoding").lower()
    if kind not in STREAMS or packed not in ("", "identity", "gzip", "x-gzip", "deflate"):
        return None
    unpack = None if packed in ("", "identity") else _unpacker()
    return Inspector(ask, unpack, events=kind == "text/event-stream")


class Inspector:
    """Fed with the pieces of one answer, in order."""

    __slots__ = (
        "_ask",
        "_begun",
        "_events",
        "_is_blind",
        "_looked_at",
        "_return",
        "_separator",
        "_skipping",
        "_tail",
        "_unpack",
        "delay",
        "is_decided",
        "kind",
    )

    def __init__(
        self, ask: Ask | None = None, unpack: Callable[[bytes], Iterator[bytes]] | None = None, *, events: bool = True
    ) -> None:
        self.is_decided = False
        """There was content, or an error."""
        self.kind: ErrorKind | None = None
        """What the answer said went wrong with it."""
        self.delay: float | None = None
        """Seconds it asked to wait."""
        self._ask = ask
        self._unpack = unpack
        self._events = events
        """Of events; else of lines."""
        self._separator = b"\n\n" if events else b"\n"
        self._tail = bytearray()
        """The event under way."""
        self._looked_at = 0
        self._begun = False
        self._return = False
        """The last byte was a carriage return: a line feed that follows belongs to it."""
        self._skipping = False
        """In the middle of an event that is too long."""
        self._is_blind = False
        """Nothing more is looked at."""

    def feed(self, piece: bytes) -> bool:
        """Look at the next piece. True: it told of an error, and is the first that did."""
        if self._is_blind or not piece:
            return False
        self._looked_at += len(piece)
        try:
            if self._unpack is None:
                self._look(piece)
            else:
                for part in self._unpack(piece):
                    self._looked_at += len(part)
                    self._look(part)
        except Exception:  # not packed as it said, or more than is good for us
            self._is_blind = self.is_decided = True
        if not self.is_decided and self._looked_at > LOOK_BYTES:
            self.is_decided = True
        if self.kind is not None:
            self._is_blind = True
            self._tail.clear()
            return True
        return False

    def end(self) -> None:
        """The answer is over. That, or its last words, may be an error."""
        if self._is_blind:
            return
        self._judge(bytes(self._tail))  # a last line without its end; of an error, an event too
        self._is_blind = True
        if not self.is_decided:
            self.is_decided = True
            if self._events:  # no lines are an answer; a stream of events announced one
                self.kind = K.INVALID_RESPONSE

    def _look(self, part: bytes) -> None:
        if self._is_blind or self.kind is not None:
            return
        if self.is_decided and len(part) > _LAST_BYTES:
            part = part[-_LAST_BYTES:]
            self._tail.clear()
            self._skipping = True
        if self._events:
            part = self._one_line_end(part)
        tail, separator = self._tail, self._separator
        fresh = max(0, len(tail) - 1)
        tail += part
        if self._skipping:
            cut = tail.find(separator)
            if cut < 0:
                del tail[:-1]
                return
            del tail[: cut + len(separator)]
            self._skipping, fresh = False, 0
        cut = tail.rfind(separator, fresh)
        if cut >= 0:
            if not self.is_decided or self._ask is not None or tail.find(ERROR, 0, cut) >= 0:
                for event in bytes(tail[:cut]).split(separator):
                    self._judge(event)
            del tail[: cut + len(separator)]
        if len(tail) > LOOK_BYTES:
            self._skipping = self.is_decided = True
            del tail[:-1]

    def _one_line_end(self, part: bytes) -> bytes:
        """CR, LF and CRLF end a line in a stream of events: here only LF does."""
        if self._return and part[:1] == b"\n":
            part = part[1:]
            self._return = False
        if part:
            self._return = part[-1:] == b"\r"
        if b"\r" in part:
            part = part.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return part

    def _judge(self, event: bytes) -> None:
        if self.kind is not None or (self.is_decided and self._ask is None and ERROR not in event):
            return
        if not self._begun:
            self._begun = True
            event = event.removeprefix(b"\xef\xbb\xbf")
        found = _event(event) if self._events else _line(event)
        if found is None or len(event) > LOOK_BYTES:
            return
        name, written = found
        data = _read(written)
        meaning = None if self._ask is None else self._ask(name, data)
        if meaning is None:
            meaning = meaning_of(name, data)
        if isinstance(meaning, ErrorKind):
            self.kind, self.is_decided = meaning, True
            if meaning is K.TOO_MANY_REQUESTS and is_quota(written.encode("utf-8", "replace")):
                self.kind = K.QUOTA_EXCEEDED
            self.delay = delay_of(data)
        elif meaning:
            self.is_decided = True


def _event(raw: bytes) -> tuple[str, str] | None:
    """Name and data of an event; None: comments, or fields that are nothing to us."""
    name, data = b"", None
    for line in raw.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data = value if data is None else data + b"\n" + value
        elif field == b"event":
            name = value
    if data is None and name != ERROR:
        return None
    return name.decode("utf-8", "replace"), (data or b"").decode("utf-8", "replace").strip()


def _line(raw: bytes) -> tuple[str, str] | None:
    raw = raw.strip()
    return ("", raw.decode("utf-8", "replace")) if raw else None


def _read(written: str) -> Any:
    if written[:1] in ("{", "["):
        import json

        try:
            return json.loads(written)
        except (ValueError, RecursionError):
            pass
    return written


def _unpacker() -> Callable[[bytes], Iterator[bytes]]:
    """What makes gzip and deflate readable, a bounded part at a time; raises for what is neither, and for too much."""
    import zlib

    begun = bytearray()
    how: Any = None

    def unpack(piece: bytes) -> Iterator[bytes]:
        nonlocal how
        if how is None:
            begun.extend(piece)
            if len(begun) < 2:
                return
            piece = bytes(begun)
            mark = int.from_bytes(piece[:2])  # of gzip (RFC 1952 §2.3.1) or zlib (RFC 1950 §2.2); else bare deflate
            has_header = mark == 0x1F8B or (piece[0] & 15 == 8 and mark % 31 == 0)
            how = zlib.decompressobj(zlib.MAX_WBITS | 32 if has_header else -zlib.MAX_WBITS)
        for _ in range(_UNPACKED):
            yield how.decompress(piece, LOOK_BYTES)
            piece = how.unconsumed_tail
            if not piece:
                return
        raise OverflowError

    return unpack
