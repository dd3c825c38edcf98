"""What does it cost to remember a 10 kB answer, and to give it again, beside hishel with its store in memory?

Through the sync transports, with the same requests and the same answers underneath, in one piece of 10,000 bytes. Both
keep key, fields and body in memory, and work the rules out of the fields; each is charged for what it adds to the same
answer made without a cache, so neither for the client library's own work:

remember: a request that nobody made before is answered by the host, and the body read to the end. Ours is a policy
with `StaleResponse`, less one without a step; hishel's, its transport, less the bare one.

look up: a request made before is answered from memory, and the body read to the end. Ours is asked only when the host
is not: with the circuit held open, `StaleResponse` answers, less the same answer given by `SimplifiedResponse`.
hishel's is a fresh answer, less the same one given by the bare transport.

And what a policy without a step pays for those that have one: the turning where a call that may degrade takes another
way, less the way itself (a coroutine made, and closed unused).
"""

import importlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.clients import clock
from benchmarks.measure import BARE, OURS, Block, Goal, least, say_once, table
from seawall import Answer, Policy, Resilience, SimplifiedResponse, StaleResponse, degrading, flow

HISHEL = "hishel, in memory"
PLAIN = "ours, no cache"
BODY = b"x" * 10_000
HOST = "https://api.example.com"
LIMIT, UNUSED = 0.33, 0.1
SIZE = 200


def run(quick: bool) -> list[Goal]:
    rows = []
    ratios: dict[str, float] = {}
    unused: dict[str, float] = {}
    for library in ("httpx", "httpx2"):
        remember, look_up = measure(library, 1.0 if quick else 15.0)
        unused[library] = turning(library, 0.2 if quick else 3.0)
        costs = {}
        for name, base in ((OURS, PLAIN), (HISHEL, BARE)):
            if name not in remember:
                say_once(f"skipped: {HISHEL} for {library}")
                continue
            whole = remember[name], look_up[name]
            costs[name] = sum(added := (whole[0] - remember[base], whole[1] - look_up[base]))
            rows.append((library, name, *(f"{figure:.1f}" for figure in (*added, *whole))))
        if HISHEL in costs:
            ratios[library] = costs[OURS] / costs[HISHEL]
    table(
        "A 10 kB answer (sync, fastest rounds)",
        ("library", "subject", "remember: added µs", "look up: added µs", "remember: whole", "look up: whole"),
        rows,
    )
    return [
        Goal("remembering and looking up 10 kB, × hishel's in memory", LIMIT, ratios),
        Goal("a policy without a step to degrade, µs a request", UNUSED, unused),
    ]


def measure(library: str, seconds: float) -> tuple[dict[str, float], dict[str, float]]:
    """Microseconds of remembering and of looking up, by subject."""
    hx = importlib.import_module(library)
    inner, same = server(hx), request(hx, 0)
    remember = {
        BARE: block(hx, inner),
        PLAIN: block(hx, mounted(inner)),
        OURS: block(hx, mounted(inner, StaleResponse())),
    }
    look_up = {BARE: block(hx, inner, same)}
    canned = Answer(headers=[(name.decode(), value.decode()) for name, value in FIELDS], content=BODY)
    for name, step in ((PLAIN, SimplifiedResponse(lambda request, error: canned)), (OURS, StaleResponse())):
        transport = mounted(inner, step)
        ask(transport, same)
        transport.resilience.isolate(HOST)
        look_up[name] = block(hx, transport, same)
    theirs = hishel(library, inner)
    if theirs is not None:
        ask(theirs, same)
        remember[HISHEL], look_up[HISHEL] = block(hx, theirs), block(hx, theirs, same)
    # Looking up first: remembering goes on until what is looked up has had to make room.
    looked_up = least(look_up, SIZE, seconds / 2)
    return least(remember, SIZE, seconds), looked_up


def mounted(inner: Any, *steps: Any) -> Any:
    from httpx_resilience import ResilientTransport

    return ResilientTransport(inner, Resilience(Policy(degrade=steps)))


FIELDS = [
    (b"content-type", b"application/json"),
    (b"date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()).encode()),
    (b"vary", b"Accept-Encoding"),
    (b"etag", b'"abc"'),
    (b"cache-control", b"max-age=1000"),
    (b"content-length", b"%d" % len(BODY)),
    (b"server", b"test"),
]


def server(hx: Any) -> Any:
    class Stream(hx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield BODY

        def close(self) -> None:
            pass

    class Server(hx.BaseTransport):
        def handle_request(self, request: Any) -> Any:
            return hx.Response(200, headers=FIELDS, stream=Stream())

    return Server()


def hishel(library: str, inner: Any) -> Any:
    try:
        from hishel import SqliteStorage

        # Not by `database_path`: that is a file, whatever its name.
        memory = sqlite3.connect(":memory:", check_same_thread=False)
        return importlib.import_module(f"hishel.{library}").CacheTransport(inner, SqliteStorage(connection=memory))
    except (ImportError, AttributeError):
        return None


def request(hx: Any, number: int) -> Any:
    return hx.Request("GET", f"{HOST}/v1/{number}", headers={"authorization": "Bearer a"})


def ask(transport: Any, asked: Any) -> None:
    answer = transport.handle_request(asked)
    if len(answer.read()) != len(BODY):
        raise AssertionError(f"{transport!r} answered something else")
    answer.close()


def block(hx: Any, transport: Any, same: Any = None) -> Block:
    """Requests nobody made before, or the same one again and again."""
    numbers = iter(range(1, 1_000_000_000))

    def run(n: int) -> float:
        asked = [request(hx, next(numbers)) if same is None else same for _ in range(n)]
        start = clock()
        for each in asked:
            ask(transport, each)
        return clock() - start

    return run


def turning(library: str, seconds: float) -> float:
    """Microseconds that a call without a step to degrade spends on finding that out."""
    hx = importlib.import_module(library)
    call = mounted(server(hx)).handle_request(request(hx, 0)).extensions["resilience"]

    def made(way: Callable[..., Any]) -> Block:
        def run(n: int) -> float:
            start = clock()
            for _ in range(n):
                way(call, None).close()
            return clock() - start

        return run

    found = least({"the way": made(flow.run), "with the turning": made(degrading.journey)}, 20_000, seconds)
    return found["with the turning"] - found["the way"]
