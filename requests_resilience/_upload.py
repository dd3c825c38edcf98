"""Requests whose body is read while it is sent: what stands in for it during each attempt.

Only while it is sent: what the user, their hooks and a redirect see of the request is what
they made. A file that can be rewound needs no stand-in, it goes back to where it stood
when the call began. Framing is never touched: it is in the headers already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seawall.bodies import Replayable, Upload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall._story import Call

_BLOCK = 16384
"""Bytes urllib3 reads of a file at a time."""


def is_upload(body: Any) -> bool:
    """Is it read while it is sent? Not what lies in memory, nor what urllib3 will refuse."""
    if body is None or isinstance(body, bytes | str | bytearray | memoryview):
        return False
    return hasattr(body, "read") or hasattr(body, "__iter__")


def prepare(call: Call) -> None:
    """Give the call an upload for the body of its request."""
    body, room = call.request.body, call.policy.keeps_of_body
    if isinstance(body, Upload):  # one request object sent several times at once
        body = body.given
    if isinstance(body, Replayable):
        call.upload = Upload(body, body, replays=True)
    elif (start := _position(body)) is not None:
        call.upload = FileInPlace(body, start)
    elif hasattr(body, "read"):
        call.upload = FileUpload(body, room)
    else:
        call.upload = Upload(body, body, replays=False, room=room)


def lend(call: Call) -> None:
    """Put the upload in the place of the body it is for."""
    upload = call.upload
    upload.error = None
    if isinstance(upload, FileInPlace):
        upload.given.seek(upload.start)
        return
    if isinstance(upload, FileUpload):
        upload.rewind()
    if call.request.body is upload.given or isinstance(call.request.body, Upload):
        call.request.body = upload


def give_back(call: Call) -> None:
    """The request as the user made it."""
    if call.request.body is call.upload:
        call.request.body = call.upload.given
    call.upload.release()


def content_of(call: Call) -> bytes | None:
    """The bytes of a request's body; None: they cannot be known without using it up."""
    body: Any = call.request.body
    if isinstance(call.upload, FileInPlace):
        body = call.upload.content()
    if isinstance(body, str):
        return body.encode()
    return b"" if body is None else body if isinstance(body, bytes) else None


class FileInPlace:
    """A file that can be rewound: requests and its adapters get it as it is."""

    error: Exception | None = None

    def __init__(self, given: Any, start: Any) -> None:
        self.given = given
        self.start = start

    @property
    def can_repeat(self) -> bool:
        """Can it still go back there? It is left where it stands, should nothing follow."""
        try:
            here = self.given.tell()
            self.given.seek(self.start)
            self.given.seek(here)
        except Exception:
            return False
        return True

    def content(self) -> Any:
        """From where it stood; it is left there."""
        self.given.seek(self.start)
        content = self.given.read()
        self.given.seek(self.start)
        return content

    def release(self) -> None: ...

    def forget(self) -> None: ...


class FileUpload(Upload):
    """A file that cannot be rewound: read by who sends it, in pieces of the size they ask for."""

    def __init__(self, given: Any, room: int) -> None:
        super().__init__(given, _Blocks(self), replays=False, room=room)
        self.size = _BLOCK
        self._reading: Iterator[Any] | None = None

    def rewind(self) -> None:
        """Read what is remembered first."""
        self._reading = None

    def read(self, size: int = -1, /) -> Any:
        """The next piece; empty at the end."""
        if self._reading is None:
            self._reading = iter(self)
        self.size = size
        return next(self._reading, b"")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "given":
            raise AttributeError(name)
        return getattr(self.given, name)


class _Blocks:
    def __init__(self, upload: FileUpload) -> None:
        self._upload = upload

    def __iter__(self) -> Iterator[Any]:
        while piece := self._upload.given.read(self._upload.size):
            yield piece


def _position(body: Any) -> Any:
    """Where a file stands, if it can go back there; urllib3's own responses only tell where they stand."""
    try:
        return body.tell() if body.seekable() else None
    except Exception:
        return None
