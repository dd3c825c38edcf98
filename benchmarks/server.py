"""The smallest HTTP/1.1 keep-alive server, in a process of its own: every request gets the same 200.

It ends when its standard input closes, so it cannot outlive a benchmark that was killed.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

BODY = b'{"ok": true, "data": "' + b"x" * 200 + b'"}'
REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
END = b"\r\n\r\n"


class Handler(asyncio.Protocol):
    """Answers each blank line: requests have no body here."""

    def __init__(self, delay: float) -> None:
        self.delay, self.pending = delay, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *whole, self.pending = (self.pending + data).split(END)
        if not whole:
            return
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self.transport.write, REPLY * len(whole))
        else:
            self.transport.write(REPLY * len(whole))


async def serve(delay: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Handler(delay), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


@contextmanager
def running(delay: float = 0.0) -> Iterator[str]:
    """The URL of a server that answers after `delay` seconds."""
    with subprocess.Popen(
        [sys.executable, __file__, str(delay)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1/things?page=1"
        finally:
            process.stdin.close()
            process.terminate()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
