"""A failed call leaves nothing to the collector: an exception's frames hold sockets, bodies, and whatever the user has.

The exception the caller got, and each one that was retried, is gone as soon as nobody wants it: as below a bare client.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

import pytest

from seawall import Outcome, Timeouts
from tests.contract import steps
from tests.contract.clients import Client, Kit
from tests.contract.peer import Peer
from tests.contract.settings import only, retrying, tripping
from tests.contract.steps import answer
from tests.contract.test_read_ahead import cut_short

pytestmark = pytest.mark.usefixtures("no_collector")
Seen = list[Callable[[], object]]


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def fail(client: Client, url: str, seen: Seen) -> None:
    """One call that fails, and a caller who handles that."""
    try:
        await client.get(url)
    except Exception as error:
        seen.append(ref(error))
    else:
        raise AssertionError("it did not fail")


def assert_gone(seen: Seen, count: int = 1) -> None:
    assert len(seen) == count
    assert [error() for error in seen] == [None] * count


POLICIES: dict[str, Any] = {
    "one attempt": {},
    "retried": {"retry": retrying()},
    "an error of ours": {"retry": retrying(on_exhausted="raise")},
    "a clock of ours": {"timeouts": Timeouts(attempt=0.05)},
}
STEPS = {"hang": steps.hang(), "reset": steps.reset(), "short": steps.short_body(), "short, read ahead": cut_short(429)}


@pytest.mark.parametrize(
    ("policy", "step"),
    [
        *[("one attempt", step) for step in STEPS],
        ("retried", "reset"),
        ("an error of ours", "hang"),
        ("a clock of ours", "hang"),
    ],
)
async def test__exception__is_gone_with_its_handler(kit: Kit, peer: Peer, policy: str, step: str) -> None:
    seen: Seen = []
    peer.script(STEPS[step])
    async with kit.mounted(only(**POLICIES[policy]), timeout=0.2) as client:
        await fail(client, peer / "x", seen)
    assert_gone(seen)


async def test__exceptions_that_were_retried__are_gone_with_the_answer(kit: Kit, peer: Peer) -> None:
    seen: Seen = []

    def classify(outcome: Outcome, _: object) -> None:
        if outcome.error is not None:
            seen.append(ref(outcome.error))

    peer.script(steps.reset(), steps.reset(), answer(200))
    async with kit.mounted(only(retry=retrying(), classify=classify)) as client:
        assert (await client.get(peer / "x")).status == 200
    assert_gone(seen, 2)


def alive() -> list[BaseException]:
    """The libraries' exceptions that somebody still holds, or that wait for the collector."""
    libraries = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")
    exceptions = [thing for thing in gc.get_objects() if isinstance(thing, Exception)]
    return [error for error in exceptions if type(error).__module__.partition(".")[0] in libraries]


async def test__answer_that_broke_and_was_retried__its_error_is_gone_with_the_good_one(kit: Kit, peer: Peer) -> None:
    peer.script(cut_short(503), answer(200))
    async with kit.mounted(only(retry=retrying())) as client:
        assert (await client.get(peer / "x")).status == 200
        assert alive() == []


async def test__body_that_comes_too_late__its_error_is_gone_with_its_handler(kit: Kit, peer: Peer) -> None:
    seen: Seen = []
    peer.script(steps.drip(gap=0.3))
    async with kit.mounted(only(timeouts=Timeouts(total=0.1))) as client:
        await fail(client, peer / "x", seen)
    assert_gone(seen)


async def test__refusal_of_ours__is_gone_with_its_handler(kit: Kit, peer: Peer) -> None:
    seen: Seen = []
    resilience = only(breaker=tripping())
    resilience.isolate(peer.url)
    async with kit.mounted(resilience) as client:
        await fail(client, peer / "x", seen)
    assert_gone(seen)


@pytest.mark.parametrize("step", STEPS)
async def test__bare_client__does_the_same(kit: Kit, peer: Peer, step: str) -> None:
    seen: Seen = []
    peer.script(STEPS[step])
    async with kit.bare(timeout=0.2) as client:
        await fail(client, peer / "x", seen)
    assert_gone(seen)
