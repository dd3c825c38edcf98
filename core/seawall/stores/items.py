"""What an outbox holds and tells: an item to send, what became of it, and the receipt for it.

Rows are outside data. Requests are JSON and bytes, never pickle, under a digest: what is
sent is what was put, or nothing.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seawall.outbox import Outbox

State = Literal["queued", "leased", "done", "failed", "expired", "gone"]

Fields = tuple[tuple[str, str], ...]

_METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}\Z")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")
_LINE_BREAK: Final = re.compile(r"[\r\n\0]")


class OutboxError(Exception):
    """The outbox's file cannot be used: it is something else, damaged, locked for too long, or the disk is full."""


class OutboxFull(OutboxError):
    """As many requests, or bytes, are waiting as may."""


class Damaged(ValueError):
    """A row is not what was once written."""


class Item(NamedTuple):
    """A request that was leased to be sent."""

    id: str
    fence: int
    """Grows with each lease: whoever holds an older one can change nothing any more."""
    attempts: int
    """Leases so far, this one included."""
    host: str
    method: str
    url: str
    headers: Fields
    body: bytes | None


class Result(NamedTuple):
    """What became of a request."""

    state: State
    """ "done": answered below 400; "failed": refused by the server for good; "expired": not sent in time."""
    status: int | None = None
    headers: Fields = ()
    """Without cookies."""
    content: bytes = b""
    """The body as it came over the wire, at most `max_result` bytes of it."""
    complete: bool = True
    """Is that the whole body?"""
    attempts: int = 0
    error: str | None = None
    """What went wrong last, in a word or two."""


class Receipt:
    """For a request that was queued: look what became of it, or wait for that. Pickles, with the outbox's path."""

    __slots__ = ("id", "outbox")

    def __init__(self, outbox: Outbox, id: str) -> None:  # noqa: A002
        self.outbox = outbox
        self.id = id

    @property
    def state(self) -> State:
        """ "queued", "leased" (somebody is sending it), "done", "failed", "expired"; "gone": not kept any longer."""
        return self.outbox.state(self)

    def result(self) -> Result | None:
        """What became of it; None: it waits, or is gone."""
        return self.outbox.result(self)

    def wait(self, timeout: float) -> Result:
        """Until somebody has sent it, at most `timeout` seconds: then TimeoutError. LookupError: it is gone."""
        return self.outbox.wait(self, timeout)

    async def wait_async(self, timeout: float) -> Result:
        """`wait` for asyncio and trio."""
        return await self.outbox.wait_async(self, timeout)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Receipt) and (self.id, self.outbox.path) == (other.id, other.outbox.path)

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<Receipt {self.id}>"


def digest(id: str, method: str, url: str, headers: str, body: bytes | None) -> bytes:  # noqa: A002
    """Of a request as it is stored."""
    from hashlib import blake2b

    told = json.dumps([id, method, url, headers, body is None]).encode()
    return blake2b(told + b"\0" + (body or b""), digest_size=16).digest()


def headers_to_text(headers: Fields) -> str:
    return json.dumps(headers, separators=(",", ":"))


def headers_from_text(text: object) -> Fields:
    """Raises Damaged for anything that is not names and values."""
    pairs: Any
    try:
        pairs = json.loads(text) if isinstance(text, str) else None
        fields = tuple((name, value) for name, value in pairs)
    except (ValueError, TypeError, RecursionError) as error:
        raise Damaged("headers") from error
    if sound_fields(fields) != fields:
        raise Damaged("headers")
    return fields


def sound_fields(pairs: Iterable[tuple[Any, Any]]) -> Fields:
    """Those that are names and values of header fields: a server, or a file, may say anything."""
    return tuple((name, value) for name, value in pairs if _is_field(name, value))


def _is_field(name: object, value: object) -> bool:
    if not isinstance(name, str) or not isinstance(value, str):
        return False
    return _NAME.match(name) is not None and _LINE_BREAK.search(value) is None


def item_of(row: tuple[Any, ...]) -> Item:
    """The request of a row (id, fence, attempts, host, method, url, headers, body, digest). Raises Damaged."""
    id, fence, attempts, host, method, url, headers, body, written = row  # noqa: A001
    texts = (id, host, method, url, headers)
    if not all(isinstance(text, str) for text in texts) or not isinstance(body, bytes | None):
        raise Damaged("types")
    if not isinstance(fence, int) or not isinstance(attempts, int):
        raise Damaged("counts")
    if written != digest(id, method, url, headers, body):
        raise Damaged("digest")
    if not _METHOD.match(method) or not url.lower().startswith(("http://", "https://")) or _LINE_BREAK.search(url):
        raise Damaged("request line")
    return Item(id, fence, attempts, host, method, url, headers_from_text(headers), body)


def result_of(row: tuple[Any, ...]) -> Result:
    """The end of a row (state, status, headers, body, complete, attempts, error). Raises Damaged."""
    state, status, headers, content, complete, attempts, error = row
    if (
        state not in ("done", "failed", "expired")
        or not isinstance(status, int | None)
        or not isinstance(content, bytes)
        or not isinstance(attempts, int)
        or not isinstance(error, str | None)
    ):
        raise Damaged("result")
    return Result(state, status, headers_from_text(headers), content, complete == 1, attempts, error)
