"""Requests whose body is read while it is sent: an `Upload` stands in for it during each attempt.

Only while it is sent: what the user, their hooks and a redirect see of the request is what
they made. Put back only if it is still there, since a mock may have read the body and
left its bytes in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seawall.bodies import AsyncReplayable, Replayable

if TYPE_CHECKING:
    from httpx_resilience._library import Library
    from seawall._story import Call


def prepare(call: Call, library: Library, kind: type[Any]) -> None:
    """Give the call an upload of `kind` for the body of its request."""
    request = call.request
    given = request.stream
    if isinstance(given, library.upload | library.async_upload):  # one request object sent several times at once
        given = given.given
    made = getattr(given, "_stream", None)  # where both libraries keep what they were given
    if isinstance(made, Replayable | AsyncReplayable):
        if made.length is not None and request.headers.get("transfer-encoding") == "chunked":
            del request.headers["transfer-encoding"]
            request.headers["content-length"] = str(made.length)
        call.upload = kind(given, made, replays=True)
    else:
        room = call.policy.keeps_of_body
        call.upload = kind(given, given, replays=library.is_replayable(given), room=room)


def lend(call: Call) -> None:
    """Put the upload in the place of the body it is for."""
    call.upload.error = None
    if is_lent(call):
        call.request.stream = call.upload


def give_back(call: Call) -> None:
    """The request as the user made it."""
    request, upload = call.request, call.upload
    if request.stream is upload:
        request.stream = upload.given


def is_lent(call: Call) -> bool:
    """Has the call an upload for the body that would be sent: the user's, or what another send put in its place?"""
    stream, upload = call.request.stream, call.upload
    return upload is not None and (stream is upload.given or type(stream) is type(upload))
