"""Deadlines and clocks over real sockets: what they mean. How precise they are under attack: tests/deadlines."""

from __future__ import annotations

import pickle
import time
import warnings
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import requests
import urllib3

import seawall
from seawall import Resilience, Timeouts
from tests.contract import steps
from tests.contract.clients import Client, Kit, settle
from tests.contract.peer import BlackHole, Peer
from tests.contract.settings import only, quick, retrying
from tests.contract.steps import Exchange, Step, answer, head_of

MARGIN = 1.2
"""Seconds a busy machine may be late; what the deadline cuts short lasts far longer."""


async def ends_in(seconds: float, client: Client, url: str, **options: Any) -> seawall.DeadlineExceeded:
    """GET must raise our DeadlineExceeded after `seconds`."""
    started = time.monotonic()
    with pytest.raises(seawall.DeadlineExceeded) as caught:
        await client.get(url, **options)
    assert seconds * 0.8 <= time.monotonic() - started < seconds + MARGIN
    assert isinstance(caught.value, client.kit.errors.timeout)
    assert isinstance(caught.value, client.kit.errors.base)
    return caught.value


async def test__silent_server__deadline_ends_the_call_in_time(kit: Kit, peer: Peer) -> None:
    peer.script(steps.hang())
    async with kit.mounted(quick()) as client:
        with seawall.deadline(0.12):
            error = await ends_in(0.12, client, peer / "x?token=secret")
    assert (error.scope, error.host) == ("total", peer.url)
    assert error.request is not None
    assert "secret" not in str(error)


async def test__total__bounds_the_call_and_says_its_length(kit: Kit, peer: Peer) -> None:
    peer.script(steps.hang())
    async with kit.mounted(only(timeouts=Timeouts(total=0.12))) as client:
        error = await ends_in(0.12, client, peer / "x")
    assert (error.scope, error.duration) == ("total", 0.12)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.scope, again.duration, str(again)) == (type(error), "total", 0.12, str(error))


async def test__total__covers_all_attempts_and_their_waits(kit: Kit, peer: Peer) -> None:
    peer.script(steps.slow(0.06, answer(503, b"last")))
    resilience = only(timeouts=Timeouts(total=0.15), retry=retrying(max_retries=50))
    started = time.monotonic()
    async with kit.mounted(resilience) as client:
        # Whether the last attempt is answered or cut depends on the machine; both end in time.
        with suppress(seawall.DeadlineExceeded):
            assert (await client.get(peer / "x")).body == b"last"
    assert time.monotonic() - started < 0.15 + MARGIN
    assert 2 <= peer.count <= 4


async def test__backoff_longer_than_the_deadline__the_answer_is_returned_at_once(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, b"last"))
    started = time.monotonic()
    async with kit.mounted(quick(base_delay=5, max_delay=5, jitter="none")) as client:
        with seawall.deadline(1):
            got = await client.get(peer / "x")
    report = seawall.report(got.raw)
    assert report is not None
    assert (got.status, got.body, peer.count) == (503, b"last", 1)
    assert report.ending is seawall.Ending.OUT_OF_TIME
    assert time.monotonic() - started < 0.9


async def test__attempt_clock__a_hung_attempt_is_repeated(kit: Kit, peer: Peer) -> None:
    peer.script(steps.hang(), answer(200))
    async with kit.mounted(only(timeouts=Timeouts(attempt=0.15), retry=retrying())) as client:
        got = await client.get(peer / "x")
    assert (got.status, peer.count) == (200, 2)


async def test__attempt_clock__to_the_end__says_attempt(kit: Kit, peer: Peer) -> None:
    peer.script(steps.hang())
    resilience = only(timeouts=Timeouts(attempt=0.1), retry=retrying(max_retries=1))
    async with kit.mounted(resilience) as client:
        error = await ends_in(0.2, client, peer / "x")
    assert (error.scope, error.duration, error.attempts, peer.count) == ("attempt", 0.1, 2, 2)


async def test__connect_clock__a_black_hole_is_left_and_may_be_repeated(kit: Kit) -> None:
    with BlackHole() as hole:
        resilience = only(timeouts=Timeouts(connect=0.1), retry=retrying(max_retries=1))
        async with kit.mounted(resilience) as client:
            started = time.monotonic()
            with pytest.raises(kit.errors.timeout) as caught:
                await client.request("POST", hole / "x", content=b"never sent")
    assert 0.15 < time.monotonic() - started < 0.2 + MARGIN
    report = seawall.report(caught.value)
    assert report is not None
    assert len(report.attempts) == 2


async def test__client_with_the_shorter_clock__wins_with_its_own_error(kit: Kit, peer: Peer) -> None:
    peer.script(steps.hang())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mounting may say that our clock is the longer one
        client = kit.mounted(only(timeouts=Timeouts(attempt=5, total=8)), timeout=0.1)
    async with client:
        started = time.monotonic()
        with pytest.raises(kit.errors.read_timeout) as caught:
            await client.get(peer / "x")
    assert type(caught.value) is kit.errors.read_timeout
    assert time.monotonic() - started < 0.1 + MARGIN


async def test__timeout_of_one_call__is_kept(kit: Kit, peer: Peer) -> None:
    peer.script(steps.hang())
    async with kit.mounted(only(), timeout=9) as client:
        started = time.monotonic()
        with pytest.raises(kit.errors.read_timeout):
            await client.get(peer / "x", timeout=0.1)
    assert time.monotonic() - started < 0.1 + MARGIN


async def test__deadline__spans_redirects(kit: Kit, peer: Peer) -> None:
    peer.script(steps.slow(0.06, steps.redirect("/again")))
    async with kit.mounted(only()) as client:
        with seawall.deadline(0.15):
            await ends_in(0.15, client, peer / "x", follow=True)
    assert peer.count <= 4


async def test__total__spans_redirects(kit: Kit, peer: Peer) -> None:
    peer.script(steps.slow(0.06, steps.redirect("/again")))
    async with kit.mounted(only(timeouts=Timeouts(total=0.15))) as client:
        await ends_in(0.15, client, peer / "x", follow=True)
    assert peer.count <= 4


def following(raw: Any) -> Any:
    """The request a user sends to follow a redirect himself."""
    return raw.next if isinstance(raw, requests.Response) else raw.next_request


async def send(client: Client, request: Any) -> Any:
    """Send that very request, and follow nothing."""
    options = {"allow_redirects": False} if client.kit.library is requests else {}
    return await settle(client.inner.send(request, **options))


@pytest.mark.parametrize("kept", [True, False], ids=["answer kept", "answer dropped"])
async def test__redirect_followed_by_hand__starts_afresh(kit: Kit, peer: Peer, kept: bool) -> None:
    peer.script(steps.redirect("/b"), steps.redirect("/c"), answer(200, b"there"))
    async with kit.mounted(only(timeouts=Timeouts(total=0.2))) as client:
        got = (await client.get(peer / "a")).raw
        for _ in range(2):
            await kit.sleep(0.15)  # twice that is more than the first call had
            request = following(got)
            if not kept:
                del got
            got = await send(client, request)
        assert (got.status_code, got.content) == (200, b"there")


async def test__redirect_followed_by_hand__keeps_the_deadline_around_it(kit: Kit, peer: Peer) -> None:
    peer.script(steps.redirect("/b"), answer(200, b"there"))
    async with kit.mounted(only()) as client:
        with seawall.deadline(0.1):
            got = (await client.get(peer / "a")).raw
            await kit.sleep(0.12)
            with pytest.raises(seawall.DeadlineExceeded):
                await send(client, following(got))
    assert peer.count == 1


async def test__deadline__covers_the_body(kit: Kit, peer: Peer) -> None:
    peer.script(steps.drip(b"first", b"." * 200, gap=0.01))
    async with kit.mounted(only()) as client:
        with seawall.deadline(0.15):
            await ends_in(0.15, client, peer / "x")


async def test__deadline__covers_a_streamed_body(kit: Kit, peer: Peer) -> None:
    peer.script(steps.drip(b"first", b"." * 200, gap=0.01))
    async with kit.mounted(only()) as client:
        started = time.monotonic()
        with seawall.deadline(0.15):
            async with await client.stream("GET", peer / "x") as stream:
                with pytest.raises(seawall.DeadlineExceeded) as caught:
                    await stream.read()
    assert time.monotonic() - started < 0.15 + MARGIN
    assert isinstance(caught.value, kit.errors.timeout)


async def test__deadline_gone__nothing_is_sent(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(only()) as client:
        with seawall.deadline(0.03):
            await kit.sleep(0.05)
            with pytest.raises(seawall.DeadlineExceeded):
                await client.get(peer / "x")
    assert (peer.count, peer.connections) == (0, 0)


async def test__nested_deadlines__the_earliest_holds_and_none_detaches(kit: Kit, peer: Peer) -> None:
    peer.script(steps.slow(0.15, answer(200)))
    async with kit.mounted(only()) as client:
        with seawall.deadline(0.08), seawall.deadline(5):
            await ends_in(0.08, client, peer / "x")
        with seawall.deadline(0.08), seawall.deadline(None):
            assert (await client.get(peer / "x")).status == 200


async def test__no_deadline_and_no_clock_of_ours__healthy_slowness_is_not_cut(kit: Kit, peer: Peer) -> None:
    peer.script(steps.drip(b"first", b"." * 15, gap=0.02))
    async with kit.mounted(Resilience(), timeout=0.25) as client:
        got = await client.get(peer / "x")
    assert got.body == b"first" + b"." * 15


async def test__deadline__is_each_tasks_or_threads_own(kit: Kit, peer: Peer) -> None:
    peer.script(steps.slow(0.2, answer(200)))
    async with kit.mounted(only()) as client:

        async def call(seconds: float) -> int:
            with seawall.deadline(seconds):
                return (await client.get(peer / "x")).status

        short, long = await kit.together(partial(call, 0.08), partial(call, 5))
    assert isinstance(short, seawall.DeadlineExceeded)
    assert long == 200


def limits(kit: Kit, extras: dict[str, Any]) -> Any:
    """Connect and read timeout as the library hands them down."""
    timeout = extras["timeout"]
    if isinstance(timeout, urllib3.Timeout):
        return timeout.connect_timeout, timeout.read_timeout
    return timeout if kit.name == "requests" else (timeout.get("connect"), timeout.get("read"))  # as httpcore asks


async def test__clients_own_limits__reach_the_transport_unchanged(kit: Kit) -> None:
    fake = kit.fake()
    async with kit.mounted(Resilience(), fake=fake, timeout=(3, 7)) as client:
        await client.get("http://a.test/x")
    assert limits(kit, fake.asked[0].extras) == (3, 7)


async def test__client_without_limits__gets_ours(kit: Kit) -> None:
    fake = kit.fake()
    async with kit.mounted(Resilience(), fake=fake, timeout=None) as client:
        await client.get("http://a.test/x")
    assert limits(kit, fake.asked[0].extras) == pytest.approx((5, 90), abs=0.5)


async def test__deadline__lowers_the_limits_handed_down(kit: Kit) -> None:
    fake = kit.fake()
    async with kit.mounted(Resilience(), fake=fake, timeout=(3, 7)) as client:
        with seawall.deadline(1):
            await client.get("http://a.test/x")
    connect, read = limits(kit, fake.asked[0].extras)
    assert 0.5 < connect <= 1
    assert 0.5 < read <= 1


def dripping_chunks(status: int, count: int, gap: float) -> Step:
    """A chunked answer, a chunk of one byte per `gap`."""

    def play(exchange: Exchange) -> None:
        exchange.send(head_of(status, [("Transfer-Encoding", "chunked")]))
        for _ in range(count):
            if exchange.stopped.wait(gap) or not exchange.keep:
                return
            exchange.send(b"1\r\n.\r\n")
        exchange.send(b"0\r\n\r\n")

    return Step(play)


async def test__total__covers_a_chunked_body_that_drips(kit: Kit, peer: Peer) -> None:
    peer.script(dripping_chunks(200, 80, 0.05))
    async with kit.mounted(only(timeouts=Timeouts(total=0.3))) as client:
        error = await ends_in(0.3, client, peer / "x")
    assert error.scope == "total"


def dripping_headers(gap: float) -> Step:
    """A good answer, whose headers take a second to arrive."""

    def play(exchange: Exchange) -> None:
        for byte in head_of(200, [("X-Slow", "." * int(1 / gap)), ("Content-Length", "0")]):
            exchange.send(bytes([byte]))
            if exchange.stopped.wait(gap) or not exchange.keep:
                return

    return Step(play)


async def test__total__covers_headers_that_drip(kit: Kit, peer: Peer) -> None:
    peer.script(dripping_headers(0.02))
    async with kit.mounted(only(timeouts=Timeouts(total=0.3)), timeout=5) as client:
        error = await ends_in(0.3, client, peer / "x")
    report = seawall.report(error)
    assert report is not None
    assert (error.scope, report.deadline_precision) == ("total", "exact")


async def test__body_that_came_in_time__is_a_slow_consumers_to_read(kit: Kit, peer: Peer) -> None:
    for step in (answer(200, b"hello"), answer(200, b"hello", chunks=1)):
        peer.script(answer(200), step)
        resilience = only()
        async with kit.mounted(resilience) as client:
            await client.get(peer / "x")  # whatever is made at first use is made
            with seawall.deadline(0.4):
                async with await client.stream("GET", peer / "x") as stream:
                    got = b""
                    async for chunk in stream.chunks(100):
                        got += chunk
                        await kit.sleep(0.45)
        assert got == b"hello"
        (host,) = resilience.snapshots()
        assert (host.successes, host.failures, host.in_flight) == (2, 0, 0)
