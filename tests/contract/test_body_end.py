"""Verdict and permits travel with the body: they fall where the exchange ends, however it ends."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import pytest

import seawall
from seawall import HostSnapshot, Resilience
from tests.contract import steps
from tests.contract.clients import Kit
from tests.contract.peer import Peer
from tests.contract.settings import only, tripping
from tests.contract.steps import Step, answer

QUOTA = b'{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'
BODILESS: dict[str, tuple[str, Step]] = {
    "HEAD": ("HEAD", answer(200, b"not sent")),
    "204": ("GET", answer(204)),
    "304": ("GET", answer(304)),
    "empty": ("GET", answer(200, b"")),
}


def look(resilience: Resilience, peer: Peer) -> HostSnapshot:
    snapshot = resilience.snapshot(peer.url)
    assert snapshot is not None
    return snapshot


def figures(resilience: Resilience, peer: Peer) -> tuple[int, int, int]:
    """Permits out, successes, failures."""
    seen = look(resilience, peer)
    return seen.in_flight, seen.successes, seen.failures


async def test__stream__permit_and_verdict_wait_for_the_last_byte(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    peer.script(steps.drip(b"first", b"rest", gate=gate))
    resilience = only()
    async with kit.mounted(resilience) as client:
        async with await client.stream("GET", peer / "x") as stream:
            assert figures(resilience, peer) == (1, 0, 0)
            gate.set()
            assert await stream.read() == b"firstrest"
            assert figures(resilience, peer) == (0, 1, 0)
    assert figures(resilience, peer) == (0, 1, 0)


@pytest.mark.parametrize(
    ("step", "error"),
    [(steps.short_body, "short_body"), (steps.bad_chunk, "bad_chunk")],
    ids=["short", "bad-chunk"],
)
async def test__broken_body__is_the_hosts_failure_and_the_callers_error(
    kit: Kit, peer: Peer, step: Callable[[], Step], error: str
) -> None:
    peer.script(step(), answer(200))
    resilience = only(breaker=tripping(failure_threshold=1), retry=seawall.Retry(max_retries=3, base_delay=0.01))
    async with kit.mounted(resilience) as client:
        with pytest.raises(getattr(kit.errors, error)) as caught:
            await client.get(peer / "x")
        assert type(caught.value) is getattr(kit.errors, error)
        assert figures(resilience, peer) == (0, 0, 1)
        with pytest.raises(seawall.CircuitOpen):
            await client.get(peer / "x")
    assert peer.count == 1


async def test__body_that_cannot_be_decoded__is_no_failure_of_the_host(kit: Kit, peer: Peer) -> None:
    peer.script(steps.bad_gzip())
    resilience = only(breaker=tripping(failure_threshold=1))
    async with kit.mounted(resilience) as client:
        with pytest.raises(kit.errors.bad_gzip):
            await client.get(peer / "x")
    in_flight, _, failures = figures(resilience, peer)
    assert (in_flight, failures, look(resilience, peer).state) == (0, 0, "closed")


async def test__body_that_stops_coming__is_a_failure(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    peer.script(steps.drip(b"first", b"rest", gate=gate))
    resilience = only()
    async with kit.mounted(resilience, timeout=(2, 0.06)) as client:
        async with await client.stream("GET", peer / "x") as stream:
            with pytest.raises(kit.errors.base):
                await stream.read()
    gate.set()
    assert figures(resilience, peer) == (0, 0, 1)


async def test__left_early__is_a_success_and_gives_the_permit_back(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    peer.script(steps.drip(b"first", b"rest" * 1000, gate=gate))
    resilience = only(breaker=tripping(failure_threshold=1))
    async with kit.mounted(resilience) as client:
        async with await client.stream("GET", peer / "x") as stream:
            assert await stream.some() == b"first"
        assert figures(resilience, peer) == (0, 1, 0)
    gate.set()


async def test__left_by_an_exception_of_the_caller__is_no_failure(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    peer.script(steps.drip(b"first", b"rest", gate=gate))
    resilience = only(breaker=tripping(failure_threshold=1))
    async with kit.mounted(resilience) as client:
        with pytest.raises(KeyError):
            async with await client.stream("GET", peer / "x"):
                raise KeyError("the caller's own")
        in_flight, _, failures = figures(resilience, peer)
    gate.set()
    assert (in_flight, failures) == (0, 0)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test__dropped_unclosed__the_permit_comes_back(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    peer.script(steps.drip(b"first", b"rest" * 1000, gate=gate))
    resilience = only(breaker=tripping(failure_threshold=1))
    async with kit.mounted(resilience) as client:
        stream = await client.stream("GET", peer / "x")
        assert figures(resilience, peer)[0] == 1
        del stream
        gc.collect()
        in_flight, _, failures = figures(resilience, peer)
        gate.set()
    assert (in_flight, failures) == (0, 0)


@pytest.mark.parametrize("name", BODILESS)
async def test__answer_without_a_body__settles_without_being_read(kit: Kit, peer: Peer, name: str) -> None:
    method, step = BODILESS[name]
    peer.script(step)
    resilience = only()
    async with kit.mounted(resilience) as client:
        async with await client.stream(method, peer / "x"):
            pass
        assert figures(resilience, peer) == (0, 1, 0)


async def test__followed_redirects__each_hop_settles(kit: Kit, peer: Peer) -> None:
    peer.script(steps.redirect("/b"), steps.redirect("/c"), answer(200))
    resilience = only()
    async with kit.mounted(resilience) as client:
        assert (await client.get(peer / "a", follow=True)).status == 200
        assert figures(resilience, peer) == (0, 3, 0)


async def test__retried_answers__each_attempt_settles_once(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503), answer(503), answer(200))
    resilience = only(retry=seawall.Retry(max_retries=3, base_delay=0.01))
    async with kit.mounted(resilience) as client:
        await client.get(peer / "x")
    assert figures(resilience, peer) == (0, 1, 2)


async def test__listener__hears_one_end_per_call_and_per_attempt(kit: Kit, peer: Peer) -> None:
    heard: list[str] = []
    resilience = only(retry=seawall.Retry(max_retries=3, base_delay=0.01))
    resilience.subscribe(lambda event: heard.append(type(event).__name__))
    peer.script(answer(503), answer(200))
    async with kit.mounted(resilience) as client:
        await client.get(peer / "x")
        peer.script(steps.short_body())
        with pytest.raises(kit.errors.short_body):
            await client.get(peer / "y")
    assert (heard.count("AttemptEnded"), heard.count("RetryScheduled"), heard.count("CallEnded")) == (3, 1, 2)


async def test__answer_read_ahead__is_still_the_callers_to_read_or_leave(kit: Kit, peer: Peer) -> None:
    body = bytes(range(256)) * 120
    for leave in (False, True):
        peer.script(answer(503, body, chunks=10))
        resilience = only(breaker=tripping(failure_threshold=1), retry=seawall.Retry(base_delay=0.01))
        async with kit.mounted(resilience, pool=1) as client:
            async with await client.stream("GET", peer / "x") as stream:
                assert stream.status == 503
                if leave:
                    assert body.startswith(await stream.some())
                else:
                    assert await stream.read() == body
            assert figures(resilience, peer) == (0, 0, 1)
            resilience.reset(peer.url)
            peer.script(answer(200))
            assert (await client.get(peer / "x")).status == 200


async def test__answer_too_big_to_read_ahead__the_refusal_is_raised_instead(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, bytes(500_000)))
    resilience = only(breaker=tripping(failure_threshold=1), retry=seawall.Retry(base_delay=0.01))
    async with kit.mounted(resilience, pool=1) as client:
        with pytest.raises(seawall.CircuitOpen) as caught:
            await client.get(peer / "x")
        assert caught.value.attempts == 1
        assert figures(resilience, peer) == (0, 0, 1)
        resilience.reset(peer.url)
        peer.script(answer(200))
        assert (await client.get(peer / "x")).status == 200


@pytest.mark.parametrize("size", [None, 13, 4096], ids=str)
async def test__quota_answer_read_ahead__is_whole_however_it_is_read(kit: Kit, peer: Peer, size: int | None) -> None:
    for body in (QUOTA, QUOTA + b" " * 3000, QUOTA + b" " * 90_000):
        peer.script(answer(429, body, [("Content-Type", "application/json")]))
        async with kit.mounted(only(retry=seawall.Retry(base_delay=0.01)), pool=1) as client:
            async with await client.stream("GET", peer / "x") as stream:
                pieces = [piece async for piece in stream.chunks(size)]
            assert b"".join(pieces) == body
            async with await client.stream("GET", peer / "x") as stream:
                assert body.startswith(await stream.some())
