"""What does a long streamed body cost more than bare, in time and in memory?

`python -m benchmarks streams`, or `python -m benchmarks.streams 1024` for bodies of that many megabytes. A server in a
process of its own sends events in pieces of 64 KiB; the client reads them raw. Time is CPU of the reading thread, which
is stricter than the clock on the wall: waiting for the network costs the same for all. Memory is the peak that
tracemalloc sees while one body is read, less the bare client's.
"""

import asyncio
import importlib
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from benchmarks.clients import CELLS, clock
from benchmarks.measure import BARE, Block, Figures, Goal, goal_table, paired, table

MEGABYTES, QUICK_MEGABYTES = 256, 8
SECONDS, QUICK_SECONDS = 12.0, 0.3
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}],"padding":"%s"}\n\n' % (
    b"." * 100
)
PIECE = (EVENT * (65536 // len(EVENT) + 1))[: 65536 // len(EVENT) * len(EVENT)]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
SUBJECTS = ("ours", "ours, clocks set", "ours, inspecting")


def run(quick: bool, megabytes: int | None = None) -> list[Goal]:
    size = megabytes or (QUICK_MEGABYTES if quick else MEGABYTES)
    times: dict[str, dict[str, float]] = {name: {} for name in SUBJECTS}
    memory: dict[str, float] = {}
    with running(size) as url, asyncio.Runner() as runner:
        for library, mode in CELLS:
            cell = f"{library} {mode}"
            made = {name: block(library, mode, name, url, runner) for name in (BARE, *SUBJECTS)}
            found = paired(made, 1, QUICK_SECONDS if quick else SECONDS)
            peaks = {name: peak(made[name]) for name in made}
            show(f"{cell}, {size} MB", found, peaks)
            memory[cell] = (max(peaks[name] for name in SUBJECTS) - peaks[BARE]) / 1e6
            for name in SUBJECTS:
                times[name][cell] = found[name].ratio
    return [
        *(Goal(f"a streamed body, {name}, time × bare", 1.05, times[name]) for name in SUBJECTS),
        Goal("a streamed body, megabytes of memory added", 1.0, memory),
    ]


def show(title: str, found: dict[str, Figures], peaks: dict[str, int]) -> None:
    table(
        f"A long stream: {title}",
        ("subject", "CPU s", "ratio to bare", "peak memory kB"),
        ((name, f"{f.each / 1e6:.3f}", f"{f.ratio:.3f}", f"{peaks[name] / 1000:,.0f}") for name, f in found.items()),
    )


def peak(read: Block) -> int:
    """The most memory, in bytes, while one body is read."""
    tracemalloc.start()
    try:
        read(1)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def block(library: str, mode: str, subject: str, url: str, runner: asyncio.Runner) -> Block:
    """Reads so many bodies, and gives the CPU seconds of that."""
    if library == "requests":
        session = importlib.import_module("requests").Session()
        session.trust_env = False
        return partial(read_requests, mounted(session, subject), url)
    hx = importlib.import_module(library)
    if mode == "sync":
        return partial(read_sync, mounted(hx.Client(timeout=60, trust_env=False), subject), url)
    client = mounted(hx.AsyncClient(timeout=60, trust_env=False), subject)
    return lambda n: runner.run(read_async(client, url, n))


def mounted(client: Any, subject: str) -> Any:
    if subject == BARE:
        return client
    import seawall
    from seawall import Policy, Timeouts

    clocks = Timeouts(total=3000, idle=50, first_content=50)
    policy = {
        "ours": Policy(),
        "ours, clocks set": Policy(timeouts=clocks),
        "ours, inspecting": Policy(timeouts=clocks, inspect_streams=True),
    }[subject]
    return seawall.mount(client, seawall.Resilience(policy))


def read_sync(client: Any, url: str, n: int) -> float:
    start = clock()
    for _ in range(n):
        with client.stream("GET", url) as response:
            for _piece in response.iter_raw():
                pass
    return clock() - start


async def read_async(client: Any, url: str, n: int) -> float:
    start = clock()
    for _ in range(n):
        async with client.stream("GET", url) as response:
            async for _piece in response.aiter_raw():
                pass
    return clock() - start


def read_requests(session: Any, url: str, n: int) -> float:
    start = clock()
    for _ in range(n):
        with session.get(url, stream=True, timeout=60) as response:
            for _piece in response.iter_content(65536):
                pass
    return clock() - start


@contextmanager
def running(megabytes: int) -> Iterator[str]:
    """The URL of a server in a process of its own, that ends with ours."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.streams", "--serve", str(megabytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdin
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/stream"
        finally:
            process.stdin.close()
            process.terminate()


def serve(megabytes: int) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)

    def answer(client: socket.socket) -> None:
        chunk, count = b"%x\r\n%s\r\n" % (len(PIECE), PIECE), megabytes * 1_000_000 // len(PIECE)
        with client:
            while client.recv(65536):
                client.sendall(HEAD)
                for _ in range(count):
                    client.sendall(chunk)
                client.sendall(b"0\r\n\r\n")

    def accept() -> None:
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve(int(sys.argv[-1]))
    else:
        goal_table(run(quick=False, megabytes=int(sys.argv[1]) if len(sys.argv) > 1 else None))
