"""What does a client cost to make while `seawall.install` holds, and one short call with it?

`as usual` makes it as most code does, TLS context included; `context given` takes the cost of loading certificates out.
A client is made, and left to the collector. The call is `get` at the module: a client for one request, answered from
memory, so that everything but making it is small.
"""

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import httpx2
import requests
from requests.adapters import HTTPAdapter

import seawall
from benchmarks.measure import BARE, OURS, Block, Goal, paired, table

HAND = "mount() by hand"
URL = "http://api.example.com/"


def made(make: Callable[[], Any], hand: bool = False) -> Block:
    mount = seawall.mount

    def block(n: int) -> float:
        start = time.thread_time()
        if hand:
            for _ in range(n):
                mount(make())
        else:
            for _ in range(n):
                make()
        return time.thread_time() - start

    return block


def installed(block: Block) -> Block:
    def run(n: int) -> float:
        with seawall.installed():
            return block(n)

    return run


def variants(quick: bool) -> Iterator[tuple[str, Callable[[], Any], int]]:
    context = ssl.create_default_context()
    for library in (httpx, httpx2):
        name = library.__name__
        yield f"{name}.Client, as usual", library.Client, 1 if quick else 4
        yield f"{name}.Client, context given", partial(library.Client, verify=context), 50
        yield f"{name}.AsyncClient, context given", partial(library.AsyncClient, verify=context), 50
    yield "requests.Session", requests.Session, 50


@contextmanager
def canned() -> Iterator[None]:
    """requests answers from memory: below the mount, as a mock does."""
    from benchmarks.clients import canned_adapter

    plain = HTTPAdapter.send
    answering = canned_adapter()()
    HTTPAdapter.send = lambda self, *args, **options: answering.send(*args, **options)
    try:
        yield
    finally:
        HTTPAdapter.send = plain


def run(quick: bool) -> list[Goal]:
    seconds = 0.3 if quick else 4.0
    rows = []
    for name, make, n in variants(quick):
        figures = paired(
            {BARE: made(make), HAND: made(make, hand=True), OURS: installed(made(make))}, n=n, seconds=seconds
        )
        rows.append((name, figures))
    with canned():
        call = made(partial(requests.get, URL))
        rows.append(("requests.get, answered from memory", paired({BARE: call, OURS: installed(call)}, 50, seconds)))
    table(
        "Making a client",
        ("what", "bare µs", "mount() by hand, + µs", "installed, + µs", "installed, × bare"),
        (
            (
                name,
                f"{figures[BARE].each:,.0f}",
                f"{figures[HAND].over:,.0f}" if HAND in figures else "–",
                f"{figures[OURS].over:,.0f}",
                f"{figures[OURS].ratio:.2f}",
            )
            for name, figures in rows
        ),
    )
    usual = {name.partition(".")[0]: figures[OURS].ratio for name, figures in rows if name.endswith("as usual")}
    bare = {
        name.partition(",")[0]: figures[OURS].over for name, figures in rows if "given" in name or "Session" in name
    }
    return [
        Goal("making a client while installed, × bare", 1.05, usual),
        Goal("making a client while installed, µs more", 50.0, bare),
    ]
