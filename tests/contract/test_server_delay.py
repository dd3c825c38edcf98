"""Retry-After: obeyed, distrusted, and shared by everybody who calls the host."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

import seawall
from tests.contract.clients import Kit
from tests.contract.peer import Peer
from tests.contract.settings import only, quick, retrying
from tests.contract.steps import answer

MALFORMED = [
    "1_0",
    "1m0s",
    "-5",
    "soon",
    "1e9999",
    "\xd9\xa3",
    "0x10",
    "1,5",
    "Thu, 99 Foo 99999 99:99:99 GMT",
    "7" * 5000,
]
QUOTA = b'{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'
JSON = ("Content-Type", "application/json")


def in_future(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


async def test__seconds__are_read_as_seconds(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, headers=[("Retry-After", "0")]), answer(503, headers=[("Retry-After", "1")]), answer(200))
    async with kit.mounted(quick(max_retry_after=0.5)) as client:
        got = await client.get(peer / "x")
    report = seawall.report(got.raw)
    assert report is not None
    assert (got.status, peer.count) == (503, 2)
    assert [attempt.retry_after for attempt in report.attempts] == [0, 1]


async def test__milliseconds__win_over_seconds(kit: Kit, peer: Peer) -> None:
    peer.script(answer(429, headers=[("Retry-After", "60"), ("retry-after-ms", "100")]), answer(200))
    started = time.monotonic()
    async with kit.mounted(quick()) as client:
        assert (await client.request("POST", peer / "x", content=b"pay")).status == 200
    assert 0.1 <= time.monotonic() - started < 1.5


async def test__longer_than_the_cap__stops_and_returns_at_once(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, b"later", [("Retry-After", "120")]), answer(200))
    started = time.monotonic()
    async with kit.mounted(quick()) as client:
        got = await client.get(peer / "x")
    assert (got.status, got.body, got.header("retry-after"), peer.count) == (503, b"later", "120", 1)
    assert time.monotonic() - started < 1
    report = seawall.report(got.raw)
    assert report is not None
    assert report.ending is seawall.Ending.SERVER_DELAY_TOO_LONG


async def test__date_in_the_future__is_read_as_a_delay(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, headers=[("Retry-After", in_future(90))]), answer(200))
    async with kit.mounted(quick()) as client:
        got = await client.get(peer / "x")
    report = seawall.report(got.raw)
    assert report is not None
    assert (got.status, peer.count) == (503, 1)
    assert 80 < (report.attempts[0].retry_after or 0) < 95


async def test__date_in_the_past__is_no_delay(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, headers=[("Retry-After", in_future(-3600))]), answer(200))
    started = time.monotonic()
    async with kit.mounted(quick()) as client:
        assert (await client.get(peer / "x")).status == 200
    assert time.monotonic() - started < 1


async def test__malformed__is_as_good_as_none(kit: Kit, peer: Peer) -> None:
    started = time.monotonic()
    async with kit.mounted(quick()) as client:
        for value in MALFORMED:
            peer.forget()
            peer.script(answer(503, headers=[("Retry-After", value)]), answer(200))
            assert (await client.get(peer / "x")).status == 200, value
            assert peer.count == 2, value
    assert time.monotonic() - started < 3


async def test__absurd__costs_an_answer_and_no_hang(kit: Kit, peer: Peer) -> None:
    started = time.monotonic()
    for value in ("9999999999", "2147483648", in_future(10**8)):
        peer.forget()
        peer.script(answer(503, b"never", [("Retry-After", value)]), answer(200))
        async with kit.mounted(quick()) as client:
            got = await client.get(peer / "x")
        assert (got.status, got.body, peer.count) == (503, b"never", 1), value
    assert time.monotonic() - started < 3


async def test__over_the_deadline__is_answered_at_once(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, b"later", [("Retry-After", "5")]), answer(200))
    started = time.monotonic()
    async with kit.mounted(quick()) as client:
        with seawall.deadline(1):
            got = await client.get(peer / "x")
    assert (got.status, got.body, peer.count) == (503, b"later", 1)
    assert time.monotonic() - started < 0.8


async def test__on_a_good_answer__means_nothing(kit: Kit, peer: Peer) -> None:
    peer.script(answer(200, headers=[("Retry-After", "60")]))
    started = time.monotonic()
    async with kit.mounted(quick()) as client:
        assert [(await client.get(peer / "x")).status for _ in range(2)] == [200, 200]
    assert time.monotonic() - started < 1


async def test__shared__the_next_call_waits_at_the_gate(kit: Kit, peer: Peer) -> None:
    peer.script(answer(429, headers=[("retry-after-ms", "150")]), answer(200))
    async with kit.mounted(only(retry=retrying(max_retries=0))) as client:
        assert (await client.get(peer / "a")).status == 429
        started = time.monotonic()
        assert (await client.get(peer / "b")).status == 200
    assert 0.1 < time.monotonic() - started < 2


async def test__not_shared__the_next_call_does_not_wait(kit: Kit, peer: Peer) -> None:
    peer.script(answer(429, headers=[("retry-after-ms", "2000")]), answer(200))
    async with kit.mounted(only(retry=retrying(max_retries=0, share_retry_after=False))) as client:
        assert (await client.get(peer / "a")).status == 429
        started = time.monotonic()
        assert (await client.get(peer / "b")).status == 200
    assert time.monotonic() - started < 1


async def test__gate_closed_for_longer_than_the_cap__refuses_without_network(kit: Kit, peer: Peer) -> None:
    peer.script(answer(429, headers=[("Retry-After", "60")]), answer(200))
    async with kit.mounted(quick()) as client:
        assert (await client.get(peer / "a")).status == 429
        with pytest.raises(seawall.RateLimited) as caught:
            await client.get(peer / "b")
    assert isinstance(caught.value, kit.errors.base)
    assert (caught.value.host, caught.value.attempts, peer.count) == (peer.url, 0, 1)
    assert 55 < (caught.value.retry_after or 0) <= 90


async def test__gate_outlasts_the_deadline__refuses_at_once(kit: Kit, peer: Peer) -> None:
    peer.script(answer(429, headers=[("Retry-After", "5")]), answer(200))
    async with kit.mounted(only(retry=retrying(max_retries=0))) as client:
        assert (await client.get(peer / "a")).status == 429
        started = time.monotonic()
        with seawall.deadline(1), pytest.raises(seawall.RateLimited):
            await client.get(peer / "b")
    assert time.monotonic() - started < 0.8
    assert peer.count == 1


async def test__quota_used_up__is_not_repeated_and_its_body_is_whole(kit: Kit, peer: Peer) -> None:
    peer.script(answer(429, QUOTA, [JSON]), answer(200))
    async with kit.mounted(quick()) as client:
        got = await client.get(peer / "x")
        async with await client.stream("GET", peer / "other") as stream:
            assert stream.status == 200
        peer.script(answer(429, QUOTA, [JSON]), answer(200))
        async with await client.stream("GET", peer / "x") as stream:
            streamed = await stream.read()
    assert (got.status, got.body, streamed) == (429, QUOTA, QUOTA)
    report = seawall.report(got.raw)
    assert report is not None
    assert [attempt.kind for attempt in report.attempts] == [seawall.ErrorKind.QUOTA_EXCEEDED]


async def test__429_with_another_json_body__is_repeated(kit: Kit, peer: Peer) -> None:
    peer.script(answer(429, b'{"error": {"message": "slow down"}}', [JSON]), answer(200))
    async with kit.mounted(quick()) as client:
        assert (await client.get(peer / "x")).status == 200
