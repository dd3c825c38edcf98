"""What is different between httpx and httpx2, as one record, and how either's errors read.

Decided by the class of the object at hand, never by the name imported: with
httpx2's alias switched on, `import httpx` gives httpx2.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

from seawall import classification
from seawall.outcome import ErrorKind, Outcome, Sent

if TYPE_CHECKING:
    from seawall._story import Call
    from seawall.degrade.answer import Answer
    from seawall.errors import ResilienceError

_KINDS = (
    # Class name → kind, the first that fits; None: the cause tells.
    ("PoolTimeout", ErrorKind.POOL_TIMEOUT),
    ("ConnectTimeout", ErrorKind.CONNECTION_TIMEOUT),
    ("TimeoutException", ErrorKind.TIMEOUT),
    ("ProxyError", ErrorKind.PROXY),
    ("LocalProtocolError", ErrorKind.FOREIGN),
    ("UnsupportedProtocol", ErrorKind.FOREIGN),
    ("TooManyRedirects", ErrorKind.FOREIGN),
    ("DecodingError", ErrorKind.FOREIGN),
    ("ConnectError", None),
    ("NetworkError", ErrorKind.CONNECTION_RESET),
    ("RemoteProtocolError", ErrorKind.INVALID_RESPONSE),
    ("TransportError", ErrorKind.UNKNOWN),
)

_PIECE: Final = 1024
"""Bytes decoded at a time: a kilobyte may hold a megabyte."""
_REFUSED_STREAM = 7  # RFC 9113 §7


class Library:
    """One of the two, with the few concrete classes it insists on."""

    def __init__(
        self,
        module: Any,
        body: type[Any],
        async_body: type[Any],
        upload: type[Any],
        async_upload: type[Any],
        leaves: dict[type[ResilienceError], type[ResilienceError]],
    ) -> None:
        self.body = body
        self.async_body = async_body
        self.upload = upload
        self.async_upload = async_upload
        self.leaves = leaves
        self.response: Any = module.Response
        self.transport: Any = module.HTTPTransport
        self.async_transport: Any = module.AsyncHTTPTransport
        self.client: Any = module.Client
        self.async_client: Any = module.AsyncClient
        self.byte_stream: Any = module.ByteStream
        self.limits: Any = module.Limits
        self._undecodable: type[Exception] = module.DecodingError
        self._kinds = [(getattr(module, name), kind) for name, kind in _KINDS]

    def outcome(self, error: Exception) -> Outcome:
        """What an exception of the transport, or of a body, means."""
        name = next((name for kind, name in self._kinds if isinstance(error, kind)), ErrorKind.FOREIGN)
        if name is None:  # nothing was sent before there was a connection
            found = classification.of_cause(error) or ErrorKind.CONNECTION_REFUSED
            return classification.of_error(error, found, Sent.NO)
        if name is ErrorKind.INVALID_RESPONSE:
            if _was_refused(error):
                return classification.of_error(error, ErrorKind.CONNECTION_RESET, Sent.NO)
            if "disconnected" in str(error):
                name = ErrorKind.CONNECTION_RESET
        return classification.of_error(error, name)

    def answer(self, call: Call, answer: Answer) -> Any:
        """The response for an answer of ours."""
        headers = [(name.encode("latin-1"), _encoded(value)) for name, value in answer.headers]
        if call.request.method != "HEAD" and answer.status not in (204, 304):
            headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
            headers.append((b"content-length", b"%d" % len(answer.content)))
        stream, extensions = self.byte_stream(answer.content), {"resilience": call}
        return self.response(answer.status, headers=headers, stream=stream, request=call.request, extensions=extensions)

    def can_decode(self, answer: Answer) -> bool:
        """Will whoever reads the answer get its content? Tried piece by piece, nothing of it is kept."""
        headers = [(name, value) for name, value in answer.headers if name.lower() == "content-encoding"]
        if not headers:
            return True
        pieces = (answer.content[at : at + _PIECE] for at in range(0, len(answer.content), _PIECE))
        try:
            for _ in self.response(200, headers=headers, content=pieces).iter_bytes():
                pass
        except self._undecodable:
            return False
        return True

    def is_replayable(self, stream: Any) -> bool:
        """Will a second reading of the request's body give the same bytes?

        An allow-list: a file read twice is silently empty the second time, a generator is used up.
        """
        if isinstance(stream, self.byte_stream):
            return True
        fields = getattr(stream, "fields", None)  # multipart
        return isinstance(fields, list) and all(_is_replayable_part(part) for part in fields)  # pyright: ignore[reportUnknownVariableType]


def _encoded(value: str) -> bytes:
    try:
        return value.encode("latin-1")  # as they came
    except UnicodeEncodeError:
        return value.encode()


def _is_replayable_part(part: Any) -> bool:
    file = getattr(part, "file", None)
    if file is None or isinstance(file, str | bytes):
        return hasattr(part, "value") or file is not None
    try:
        # The library goes to the start before each reading, the first too, and overlooks it when that fails.
        return bool(file.seekable()) and file.seek(0, io.SEEK_CUR) >= 0
    except Exception:
        return False


def _was_refused(error: Exception) -> bool:
    """An HTTP/2 stream the server says it never processed (REFUSED_STREAM, or a GOAWAY before it)."""
    arguments = error.__cause__.args if error.__cause__ is not None else ()
    event = arguments[0] if arguments else None
    last = getattr(event, "last_stream_id", None)
    return last == 0 if last is not None else getattr(event, "error_code", None) == _REFUSED_STREAM


def library_of(thing: object) -> Library:
    """The library a request or client comes from. Raises TypeError for anything else."""
    for kind in type(thing).__mro__:
        root = kind.__module__.partition(".")[0]
        if root == "httpx":
            from httpx_resilience._httpx import LIBRARY

            return LIBRARY
        if root == "httpx2":
            from httpx_resilience._httpx2 import LIBRARY as LIBRARY2

            return LIBRARY2
    raise TypeError(f"{type(thing).__module__}.{type(thing).__qualname__} is neither httpx's nor httpx2's")
