"""What the soak calls: a server that is well, sick by turns, short of quota, or never to be trusted.

In a process of its own, so that the figures of the soak are the clients'. It ends when its standard input closes. The
path says how it behaves; on Linux every address of 127.0.0.0/8 leads to it, so that there are as many hosts as wanted.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

KINDS = ("well", "sick", "limited", "odd")
TURN = 4.0
"""Seconds the sick one is well, and then is not."""

_chance = random.Random(7)


def whole(status: int, body: bytes = b"here you are", *fields: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status} -", f"Content-Length: {len(body)}", *fields])
    return head.encode() + b"\r\n\r\n" + body


async def answer(kind: str, writer: asyncio.StreamWriter) -> bool:
    """Is the connection still good for another request?"""
    dice = _chance.random()
    if kind == "sick" and time.monotonic() % (2 * TURN) > TURN:
        if dice < 0.1:
            await asyncio.sleep(5)
            return False
        writer.write(whole(503))
    elif kind == "limited" and dice < 0.05:
        writer.write(whole(429, b"", "Retry-After: 1"))
    elif kind == "odd":
        return await misbehave(dice, writer)
    else:
        await asyncio.sleep(0.002)
        writer.write(whole(200, b"x" * _chance.choice((20, 2_000, 100_000)), "Cache-Control: max-age=1"))
    return True


async def misbehave(dice: float, writer: asyncio.StreamWriter) -> bool:
    """Resets, hangs, drips, breaks off, and lies; every second time it is well."""
    if dice < 0.1:
        writer.transport.abort()
    elif dice < 0.15:
        await asyncio.sleep(5)
    elif dice < 0.25:
        writer.write(whole(200, b"y" * 5_000)[:1_000])  # breaks off
    elif dice < 0.3:
        writer.write(b"this is no HTTP\r\n\r\n")
    elif dice < 0.4:
        writer.write(b"HTTP/1.1 200 -\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(_chance.randrange(40)):
            if writer.transport.is_closing():
                return False
            writer.write(b"3\r\nbit\r\n")
            await asyncio.sleep(0.02)
        writer.write(b"0\r\n\r\n")
        return True
    elif dice < 0.5:
        writer.write(whole(500))
        return True
    else:
        writer.write(whole(200))
        return True
    return False


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, IndexError, ValueError):
        is_good = True
        while is_good:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            if "content-length: " in head:
                await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r")[0]))
            is_good = await answer(head.split("/", 2)[1].partition("?")[0].partition(" ")[0], writer)
            await writer.drain()
    writer.close()


async def serve() -> None:
    server = await asyncio.start_server(converse, "0.0.0.0" if sys.platform == "linux" else "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextmanager
def running() -> Iterator[int]:
    """Its port."""
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.terminate()


if __name__ == "__main__":
    asyncio.run(serve())
