"""What does it cost to remember a 10 kB answer, and to look it up, beside hishel with its store in memory?

Ours is the cache alone (key, rules, record, store), with the request and answer of the client library; hishel's
figures are those of its transport less those of the client library's answer made without it. A cache of ours is
looked up only when the host failed, so a healthy call pays for remembering only.
"""

import importlib
import time
from collections.abc import Callable
from typing import Any

from benchmarks.clients import clock
from benchmarks.measure import BARE, OURS, Block, Figures, Goal, paired, say_once, table

HISHEL = "hishel, in memory"
BODY = b"x" * 10_000
LIMIT = 0.33


def run(quick: bool) -> list[Goal]:
    found = {library: measure(library, 0.4 if quick else 5.0) for library in ("httpx", "httpx2")}
    rows = []
    measured: dict[str, float] = {}
    for library, (remember, look_up) in found.items():
        for what, figures in (("remember", remember), ("look up", look_up)):
            rows += [(library, what, name, f"{f.over:.1f}", f"{f.spread:.1f}") for name, f in figures.items()]
        if HISHEL in remember:
            both = {name: remember[name].over + look_up[name].over for name in (OURS, HISHEL)}
            measured[library] = both[OURS] / both[HISHEL]
    table("A 10 kB answer remembered and looked up (sync)", ("library", "", "subject", "µs", "IQR"), rows)
    return [Goal("remembering and looking up 10 kB, × hishel's in memory", LIMIT, measured)]


def measure(library: str, seconds: float) -> tuple[dict[str, Figures], dict[str, Figures]]:
    """Figures over bare, for remembering and for looking up."""
    hx = importlib.import_module(library)
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    fields = hx.Headers(
        {
            "content-type": "application/json",
            "date": date,
            "vary": "Accept-Encoding",
            "etag": '"abc"',
            "cache-control": "max-age=1000",
            "content-length": str(len(BODY)),
            "server": "test",
        }
    )

    def answer(request: Any) -> Any:
        return hx.Response(200, headers=fields, content=BODY)

    numbers = iter(range(1_000_000_000))

    def fresh() -> Any:
        return hx.Request("GET", f"https://api.example.com/v1/{next(numbers)}", headers={"authorization": "Bearer a"})

    same = fresh()
    slot, keep, find = ours(fields)
    keep(slot(same))
    remember: dict[str, Callable[[], object]] = {
        BARE: lambda: answer(fresh()).read(),
        OURS: lambda: (request := fresh(), answer(request).read(), keep(slot(request))),
    }
    look_up: dict[str, Callable[[], object]] = {
        BARE: lambda: answer(same).read(),
        OURS: lambda: response(hx, find(slot(same))).read(),
    }
    theirs = hishel(library, hx.MockTransport(answer))
    if theirs is not None:
        theirs(same)
        remember[HISHEL] = lambda: theirs(fresh())
        look_up[HISHEL] = lambda: theirs(same)
    else:
        say_once(f"skipped: {HISHEL} for {library}")
    # Looking up first: remembering goes on until what is looked up has had to make room.
    looked_up, remembered = (
        paired({name: block(work) for name, work in works.items()}, 200, seconds, warm=20)
        for works in (look_up, remember)
    )
    for figures in (looked_up, remembered):
        del figures[BARE]
    return remembered, looked_up


def ours(fields: Any) -> tuple[Callable[[Any], Any], Callable[[Any], None], Callable[[Any], Any]]:
    from seawall.degrade.cache import StaleState
    from seawall.degrade.stale import StaleResponse

    state = StaleState(StaleResponse(), lambda function, error: None)
    wall = time.time()

    def slot(request: Any) -> Any:
        return state.slot(request, request.headers.raw, b"", 0)

    def keep(asked: Any) -> None:
        if asked.begin(200, fields.raw, 1000.0, wall, 0.1):
            asked.keep(BODY)

    return slot, keep, lambda asked: state.find(asked, 1050.0, wall + 50, sent=False, why="circuit open")


def response(hx: Any, answer: Any) -> Any:
    return hx.Response(answer.status, headers=answer.headers, content=answer.content)


def hishel(library: str, inner: Any) -> Callable[[Any], Any] | None:
    try:
        from hishel import SqliteStorage

        transport = importlib.import_module(f"hishel.{library}").CacheTransport(
            inner, SqliteStorage(database_path=":memory:")
        )
    except (ImportError, AttributeError):
        return None

    def send(request: Any) -> None:
        answer = transport.handle_request(request)
        answer.read()
        answer.close()

    return send


def block(work: Callable[[], object]) -> Block:
    def run(n: int) -> float:
        start = clock()
        for _ in range(n):
            work()
        return clock() - start

    return run
