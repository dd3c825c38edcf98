"""Streams a server can send, over a real socket: what comes, when, and how it ends."""

from __future__ import annotations

import json
import threading
from typing import Any, Final

from seawall import Resilience
from tests.contract.settings import only, retrying
from tests.contract.steps import LONGEST, Exchange, Step, head_of, raw

SSE: Final = "text/event-stream"
NDJSON: Final = "application/x-ndjson"


class Cut:
    """The connection ends here: cleanly, without the end of the body, or with a reset."""

    def __init__(self, *, reset: bool = False) -> None:
        self.reset = reset


EOF, RESET = Cut(), Cut(reset=True)
Piece = bytes | float | Cut | threading.Event


def stream(*pieces: Piece, kind: str = SSE, encoding: str = "") -> Step:
    """A chunked answer: a chunk per piece of bytes, seconds of silence, a gate to wait for, or a cut."""

    def play(exchange: Exchange) -> None:
        packed = [("Content-Encoding", encoding)] if encoding else []
        exchange.send(head_of(200, [("Content-Type", kind), *packed, ("Transfer-Encoding", "chunked")]))
        for piece in pieces:
            if isinstance(piece, bytes):
                exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            elif isinstance(piece, Cut):
                raw(b"", reset=piece.reset).play(exchange)
                return
            elif isinstance(piece, float):
                exchange.wait(piece)
            else:
                piece.wait(LONGEST)
            if not exchange.keep:
                return
        exchange.send(b"0\r\n\r\n")

    return Step(play)


def data(value: Any, name: str = "") -> bytes:
    """One event."""
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


PING: Final = b": ping\n\n" + data({"type": "ping"}, "ping")
START: Final = data({"type": "message_start", "message": {"id": "m"}}, "message_start")
HELLO: Final = data({"choices": [{"index": 0, "delta": {"content": "hello"}}]})
DONE: Final = b"data: [DONE]\n\n"
OVERLOADED: Final = data({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error")
SERVER_ERROR: Final = data({"error": {"type": "server_error", "message": "The server had an error"}})
GOOD: Final = (START, PING, HELLO, HELLO, DONE)
HANG: Final = LONGEST


def inspecting(**parts: Any) -> Resilience:
    """Streams are inspected, two quick retries, and nothing else."""
    return only(**({"inspect_streams": True, "retry": retrying()} | parts))
