"""What other libraries of this kind get wrong, each seen over real sockets: one regression case for each."""

from __future__ import annotations

import logging
import os
import pickle
import threading
import time
from contextlib import suppress

import pytest

import seawall
from seawall import Breaker, Resilience
from tests.contract import steps
from tests.contract.clients import Kit
from tests.contract.peer import Peer
from tests.contract.settings import RECOVERS_IN, one_at_a_time, only, quick, recovering, retrying, tripping
from tests.contract.steps import answer

SPELLINGS = [
    "http://api.test/x",
    "http://API.Test/x",
    "http://api.test./x",
    "http://api.test:80/x",
    "http://api.test.:80/x?q=1",
    "http://user:word@api.test/y",
]
IDN = ["http://bücher.test/x", "http://BÜCHER.test/x", "http://xn--bcher-kva.test/x"]


async def test__retried_put__never_goes_out_with_an_empty_body(kit: Kit, peer: Peer) -> None:
    """urllib3's Retry: the second PUT of a generator or file is empty, and answered 200."""
    peer.script(answer(503, b"the real answer"), answer(200))
    async with kit.mounted(quick()) as client:
        got = await client.request("PUT", peer / "x", content=kit.source([b"all of it"]))
    assert (got.status, got.body, peer.bodies) == (503, b"the real answer", [b"all of it"])


async def test__no_lock_during_calls__ten_calls_take_as_long_as_one(kit: Kit, peer: Peer) -> None:
    """pybreaker holds its lock during the call: ten calls of 0.2 s take 2 s."""
    peer.script(steps.slow(0.15, answer(200)))
    async with kit.mounted(Resilience()) as client:
        started = time.monotonic()
        got = await kit.together(*[lambda: client.get(peer / "x")] * 10)
    assert [one.status for one in got] == [200] * 10
    assert time.monotonic() - started < 1.2


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test__fork_during_calls__the_child_goes_on(kit: Kit, peer: Peer) -> None:
    """pybreaker again: a child forked meanwhile inherits a lock that nobody will release."""
    gate = threading.Event()
    peer.script(steps.held(gate, answer(200)))
    resilience = only(bulkhead=one_at_a_time(max_concurrent=4))
    codes: list[int] = []

    async def fork() -> None:
        await kit.until(lambda: peer.count == 3)
        child = os.fork()
        if child == 0:
            code = 1
            with suppress(BaseException):
                resilience.snapshots()
                code = resilience.execute("provider", lambda: 0)
            os._exit(code)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                codes.append(os.waitstatus_to_exitcode(status))
                break
            await kit.sleep(0.01)
        else:
            os.kill(child, 9)
            os.waitpid(child, 0)
        gate.set()

    async with kit.mounted(resilience) as client:
        await kit.together(*[lambda: client.get(peer / "x")] * 3, fork)
    assert codes == [0]


async def test__half_open__fifty_callers_one_probe(kit: Kit, peer: Peer) -> None:
    """aiobreaker, purgatory, hyx: all fifty get through to the host that is just recovering."""
    peer.script(answer(503))
    gate = threading.Event()
    refused: list[seawall.HalfOpenLimit] = []
    async with kit.mounted(only(breaker=recovering())) as client:
        for _ in range(2):
            await client.get(peer / "x")
        peer.forget()
        peer.script(steps.held(gate, answer(200)))
        await kit.sleep(RECOVERS_IN)

        async def call() -> None:
            try:
                await client.get(peer / "x")
            except seawall.HalfOpenLimit as error:
                refused.append(error)
                if len(refused) == 49:
                    gate.set()

        await kit.together(*[call] * 50)
    assert (peer.count, len(refused)) == (1, 49)


async def test__rejection__pickles_is_the_librarys_and_says_when_and_what(kit: Kit, peer: Peer) -> None:
    """interlock-cb, purgatory: rejections that break on pickling, that no `except` of the library catches."""
    peer.script(answer(503))
    async with kit.mounted(only(breaker=tripping())) as client:
        for _ in range(2):
            await client.get(peer / "x")
        with pytest.raises(kit.errors.base) as caught:
            await client.get(peer / "x")
    error = caught.value
    assert isinstance(error, seawall.CircuitOpen)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert error.retry_after is not None
    assert str(error.request.url) == peer / "x"


async def test__verdict__is_not_given_at_the_headers(kit: Kit, peer: Peer) -> None:
    """Many: bodies that break leave the circuit closed, and the permit is back while the body still runs."""
    resilience = only(breaker=tripping(), bulkhead=one_at_a_time())
    peer.script(steps.short_body())
    async with kit.mounted(resilience) as client:
        for _ in range(2):
            stream = await client.stream("GET", peer / "x")
            assert resilience.snapshots()[0].in_flight == 1
            with pytest.raises(kit.errors.short_body):
                await stream.read()
            await stream.close()
        with pytest.raises(seawall.CircuitOpen):
            await client.get(peer / "x")


async def test__total__covers_body_and_redirects(kit: Kit, peer: Peer) -> None:
    """Many: 3.1 s under a total of 0.5 s."""
    peer.script(steps.slow(0.1, steps.redirect("/b")), path="/a")
    peer.script(steps.drip(b"first", b"." * 300, gap=0.01), path="/b")
    async with kit.mounted(only(timeouts=seawall.Timeouts(total=0.25))) as client:
        started = time.monotonic()
        with pytest.raises(seawall.DeadlineExceeded):
            await client.get(peer / "a", follow=True)
    assert time.monotonic() - started < 1.5


async def test__key__ports_are_apart(kit: Kit, peer: Peer, other: Peer) -> None:
    """Several key by the host name alone: a sick service opens the circuit of its neighbour."""
    peer.script(answer(503))
    resilience = only(breaker=tripping())
    async with kit.mounted(resilience) as client:
        for _ in range(2):
            await client.get(peer / "x")
        with pytest.raises(seawall.CircuitOpen):
            await client.get(peer / "x")
        assert (await client.get(other / "x")).status == 200
    assert {snapshot.host: snapshot.state for snapshot in resilience.snapshots()} == {
        peer.url: "open",
        other.url: "closed",
    }


async def test__key__spellings_of_one_host_are_together(kit: Kit) -> None:
    """`example.com.` and `example.com` apart."""
    for spellings in (SPELLINGS, IDN):
        resilience = Resilience()
        async with kit.mounted(resilience, fake=kit.fake()) as client:
            for url in spellings:
                await client.get(url)
        (snapshot,) = resilience.snapshots()
        assert snapshot.successes == len(spellings)
        assert "word" not in snapshot.host


async def test__retry_after_beyond_the_deadline__is_not_slept_out(kit: Kit, peer: Peer) -> None:
    """Several sleep to the deadline and fail then."""
    peer.script(answer(429, b"in a while", [("Retry-After", "3")]))
    async with kit.mounted(quick()) as client:
        started = time.monotonic()
        with seawall.deadline(2):
            assert (await client.get(peer / "x")).body == b"in a while"
    assert time.monotonic() - started < 1


async def test__jitter__is_not_lost_at_the_cap(kit: Kit, peer: Peer) -> None:
    """httpx-retries, stamina: jitter first and the cap after, so that nearly all delays are equal."""
    peer.script(answer(503))
    async with kit.mounted(quick(max_retries=36, base_delay=0.004, max_delay=0.004)) as client:
        got = await client.get(peer / "x")
    delays = sorted(attempt.wait for attempt in _report(got.raw).attempts[1:])
    assert len(delays) == 36
    assert sum(delay < 0.0025 for delay in delays) >= 5, "the lower half of the range is hardly used"


async def test__first_retry__does_not_follow_at_once(kit: Kit, peer: Peer) -> None:
    """urllib3's first retry has no delay at all."""
    peer.script(answer(503), answer(200))
    async with kit.mounted(quick(base_delay=0.1, max_delay=0.1, jitter="equal")) as client:
        got = await client.get(peer / "x")
    assert _report(got.raw).attempts[1].wait >= 0.05


async def test__post_501_505_409__are_not_retried(kit: Kit, peer: Peer) -> None:
    """openai's SDK retries a POST without a key, and statuses that will not change."""
    async with kit.mounted(quick()) as client:
        for method, status in (("POST", 503), ("POST", 500), ("GET", 501), ("GET", 505), ("GET", 409), ("POST", 409)):
            peer.forget()
            peer.script(answer(status))
            await client.request(method, peer / "x")
            assert peer.count == 1, (method, status)


async def test__secrets__are_in_no_log_note_or_message_of_ours(
    kit: Kit, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    """httpx-retries logs full URLs; urllib3 has them in its exception texts."""
    url = f"http://user:canary@127.0.0.1:{peer.port}/x?token=canary"
    headers = {"X-Api-Key": "canary", "Authorization": "Bearer canary"}
    texts: list[str] = []
    resilience = only(retry=retrying(max_retries=1, on_exhausted="raise"), breaker=tripping(failure_threshold=4))
    resilience.subscribe(lambda event: texts.append(repr(event)))
    with caplog.at_level(logging.DEBUG):
        async with kit.mounted(resilience) as client:
            peer.script(answer(503, b"canary"), answer(503), steps.reset())
            for _ in range(3):
                with pytest.raises(seawall.ResilienceError) as caught:
                    await client.get(url, headers=headers)
                texts += [str(caught.value), repr(caught.value), str(caught.value.report), repr(caught.value.report)]
    ours = ("seawall", "httpx_resilience", "requests_resilience")
    texts += [record.getMessage() for record in caplog.records if record.name.startswith(ours)]
    texts += [repr(snapshot) for snapshot in resilience.snapshots()] + [repr(resilience)]
    assert texts
    assert [text for text in texts if "canary" in text] == []


async def test__read_timeout__stays_a_timeout_of_the_library(kit: Kit, peer: Peer) -> None:
    """urllib3's Retry turns it into ConnectionError, so that `except Timeout` stops working."""
    peer.script(steps.hang())
    async with kit.mounted(quick(max_retries=1), timeout=(2, 0.06)) as client:
        with pytest.raises(kit.errors.timeout) as caught:
            await client.get(peer / "x")
    assert type(caught.value) is kit.errors.read_timeout
    assert peer.count == 2


async def test__last_error__is_never_lost(kit: Kit, peer: Peer) -> None:
    """hyx: "max attempts exceeded", without a cause."""
    peer.script(steps.reset())
    async with kit.mounted(quick(on_exhausted="raise")) as client:
        with pytest.raises(seawall.MaxRetriesExceeded) as caught:
            await client.get(peer / "x")
    assert type(caught.value.__cause__) is kit.errors.reset
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.attempts, str(again)) == (3, str(caught.value))


async def test__hung_calls__count_before_they_end(kit: Kit, peer: Peer) -> None:
    """Nobody sees calls that hang: their clients queue up behind a host that never answers."""
    gate = threading.Event()
    peer.script(steps.held(gate, answer(200)))
    breaker = Breaker(min_requests=4, slow_call_duration=0.1, slow_call_rate_threshold=0.5, sampling_window=1)
    ends: list[object] = []
    async with kit.mounted(only(breaker=breaker)) as client:

        async def late() -> None:
            await kit.until(lambda: peer.count == 6)
            await kit.sleep(0.25)
            try:
                ends.append(await client.get(peer / "late"))
            except seawall.CircuitOpen as error:
                ends.append(error)
            finally:
                gate.set()

        await kit.together(*[lambda: client.get(peer / "x")] * 6, late)
    assert [isinstance(end, seawall.CircuitOpen) for end in ends] == [True]
    assert peer.count == 6


def _report(raw: object) -> seawall.Report:
    report = seawall.report(raw)
    assert report is not None
    return report
