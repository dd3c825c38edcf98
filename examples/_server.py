"""The far side of the examples: a local server that answers from a script and remembers what it was sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One line of the script: after `delay` seconds, this status with this JSON body and these headers."""

    status: int = 200
    body: Any = "fine"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    delay: float = 0.0


@dataclass
class Peer:
    """The running server: where it is, and the headers of every request that reached it."""

    url: str
    seen: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])


@contextmanager
def serve(*script: Answer, then: Answer = Answer()) -> Generator[Peer]:
    """Serve on a free port of the loopback: the answers of `script` once each, in order, then `then` for ever."""
    answers = list(script)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with lock:
                peer.seen.append(dict(self.headers.items()))
                answer = answers.pop(0) if answers else then
            time.sleep(answer.delay)
            body = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing: the example's own words are what its reader came for."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that gave up waiting is part of some examples."""

    with Server(("127.0.0.1", 0), Handler) as server:
        peer = Peer(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield peer
        finally:
            server.shutdown()


def completion(text: str) -> Answer:
    """A chat completion that says `text`, in the form most LLM providers use."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    body = {"id": "chat-1", "object": "chat.completion", "created": 0, "model": "local", "choices": [choice]}
    return Answer(200, body)
