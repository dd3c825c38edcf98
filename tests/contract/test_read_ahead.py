"""What is read of a failed answer before anybody asks for it: bounded, and judged as if the caller had read it."""

from __future__ import annotations

import time

import pytest

import seawall
from seawall import Ending, ErrorKind, Timeouts, Verdict
from tests.contract import steps
from tests.contract.clients import Client, Kit
from tests.contract.peer import Peer
from tests.contract.settings import only, quick
from tests.contract.steps import LONGEST, Exchange, Step, answer, head_of
from tests.contract.test_deadlines import dripping_chunks

JSON = [("Content-Type", "application/json"), ("Content-Length", "1000")]


def stalling(status: int) -> Step:
    """JSON that stops after its first bytes."""

    def play(exchange: Exchange) -> None:
        exchange.send(head_of(status, JSON) + b'{"a":')
        exchange.wait(LONGEST)
        exchange.keep = False

    return Step(play)


def cut_short(status: int) -> Step:
    """JSON that ends after its first bytes."""
    return steps.raw(head_of(status, JSON) + b'{"a":')


def dripping(status: int, count: int, gap: float) -> Step:
    """An answer of known length, a byte per `gap`."""

    def play(exchange: Exchange) -> None:
        exchange.send(head_of(status, [("Content-Length", str(count))]))
        for _ in range(count):
            if exchange.stopped.wait(gap) or not exchange.keep:
                return
            exchange.send(b".")

    return Step(play)


def told(x: object) -> seawall.Report:
    report = seawall.report(x)
    assert report is not None
    return report


async def read(client: Client, url: str, *, streamed: bool) -> None:
    """A GET whose body is read by the library, or by us."""
    if streamed:
        async with await client.stream("GET", url) as stream:
            await stream.read()
    else:
        await client.get(url)


async def test__truncated_502_between_a_503_and_a_200__each_attempt_keeps_its_own_story(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, b"no"), cut_short(502), answer(200, b"ok"))
    resilience = quick()
    async with kit.mounted(resilience) as client:
        got = await client.get(peer / "x")
    assert got.body == b"ok"
    assert [(a.status, a.kind, a.verdict) for a in told(got.raw).attempts] == [
        (503, ErrorKind.SERVICE_UNAVAILABLE, Verdict.FAILURE),
        (502, ErrorKind.BAD_GATEWAY, Verdict.FAILURE),
        (200, None, Verdict.SUCCESS),
    ]
    (host,) = resilience.snapshots()
    assert (host.failures, host.successes, host.in_flight) == (2, 1, 0)


async def test__deadline_passes_while_reading_ahead__is_the_deadline_and_blames_nobody(kit: Kit, peer: Peer) -> None:
    peer.script(answer(200), stalling(429))
    resilience = only(timeouts=Timeouts(total=0.4))
    async with kit.mounted(resilience) as client:
        await client.get(peer / "x")  # whatever is made at first use is made
        with pytest.raises(seawall.DeadlineExceeded) as caught:
            await client.get(peer / "x")
    assert isinstance(caught.value, kit.errors.timeout)
    assert caught.value.scope == "total"
    assert told(caught.value).ending is Ending.BODY_BROKE
    (host,) = resilience.snapshots()
    assert (host.throttled, host.failures, host.in_flight) == (0, 0, 0)


async def test__rest_of_an_answer_read_ahead__broken_by_a_clock__says_which(kit: Kit, peer: Peer) -> None:
    def play(exchange: Exchange) -> None:
        exchange.send(
            head_of(429, [("Content-Type", "application/json"), ("Content-Length", "200000")]) + b" " * 100_000
        )
        exchange.wait(LONGEST)
        exchange.keep = False

    peer.script(Step(play))
    resilience = only(timeouts=Timeouts(idle=0.3))
    async with kit.mounted(resilience) as client:
        async with await client.stream("GET", peer / "x") as stream:
            with pytest.raises(seawall.DeadlineExceeded) as caught:
                await stream.read()
    assert isinstance(caught.value, kit.errors.timeout)
    assert caught.value.scope == "idle"
    (host,) = resilience.snapshots()
    assert (host.failures, host.in_flight) == (1, 0)


async def test__answer_that_breaks_while_reading_ahead__is_the_hosts_failure_and_the_librarys_error(
    kit: Kit, peer: Peer
) -> None:
    peer.script(cut_short(429))
    resilience = only()
    async with kit.mounted(resilience) as client:
        with pytest.raises(kit.errors.short_body) as caught:
            await client.get(peer / "x")
    (attempt,) = told(caught.value).attempts
    assert (attempt.status, attempt.kind, attempt.verdict) == (429, ErrorKind.INVALID_RESPONSE, Verdict.FAILURE)
    (host,) = resilience.snapshots()
    assert (host.throttled, host.failures, host.in_flight) == (0, 1, 0)


async def test__dripping_503__is_read_ahead_for_about_a_second(kit: Kit, peer: Peer) -> None:
    for step in (dripping(503, 60, 0.1), dripping_chunks(503, 60, 0.1)):
        peer.script(step, answer(200))
        async with kit.mounted(quick()) as client:
            started = time.monotonic()
            assert (await client.get(peer / "x")).status == 200
        assert time.monotonic() - started < 3


@pytest.mark.parametrize("name", ["short_body", "bad_chunk"])
async def test__body_that_breaks__the_librarys_error_has_the_report(kit: Kit, peer: Peer, name: str) -> None:
    for streamed in (False, True):
        peer.script(answer(503), getattr(steps, name)())
        async with kit.mounted(quick()) as client:
            with pytest.raises(getattr(kit.errors, name)) as caught:
                await read(client, peer / "x", streamed=streamed)
        report = told(caught.value)
        assert report.ending is Ending.BODY_BROKE
        assert [(a.status, a.verdict) for a in report.attempts] == [(503, Verdict.FAILURE), (200, Verdict.FAILURE)]
        assert "body" in str(report)
