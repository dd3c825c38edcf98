"""Remembered answers, the same for every client: raw, complete, marked, and only for who asked."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import pytest
import requests

import seawall
from seawall import SqliteStore, StaleResponse
from tests.contract import steps
from tests.contract.clients import Kit
from tests.contract.fakes import always_busy
from tests.contract.peer import Peer
from tests.contract.settings import RECOVERS_IN, only, recovering, retrying, tripping
from tests.contract.steps import answer

GOOD = answer(200, b"remembered", headers=[("x-kind", "good")])


async def test__host_fails__the_same_caller_gets_what_it_got(kit: Kit, peer: Peer) -> None:
    peer.script(GOOD, answer(503))
    resilience = only(degrade=[StaleResponse()])
    async with kit.mounted(resilience, pool=1) as client:
        first = await client.get(peer / "x?a=1")
        again = await client.get(peer / "x?a=1")
        other = await client.get(peer / "x?a=2")
    assert (first.status, again.status, other.status) == (200, 200, 503)
    assert (again.body, again.header("x-kind")) == (b"remembered", "good")
    assert again.header("age") is not None
    assert "seawall" in (again.header("cache-status") or "")
    assert first.header("cache-status") is None
    report = seawall.report(again.raw)
    assert report is not None
    assert report.served_from == "stale"
    assert report.error is not None
    (host,) = resilience.snapshots()
    assert (host.successes, host.failures, host.total_degraded, host.in_flight) == (1, 2, 1, 0)


async def test__network_fails__and_we_refuse__too(kit: Kit, peer: Peer) -> None:
    peer.script(GOOD, steps.reset())
    resilience = only(degrade=[StaleResponse()], breaker=tripping(failure_threshold=1))
    async with kit.mounted(resilience) as client:
        for _ in range(3):
            assert (await client.get(peer / "x")).body == b"remembered"
    assert peer.count == 2


async def test__circuit_closes__the_next_request_goes_to_the_host_and_is_remembered_anew(kit: Kit, peer: Peer) -> None:
    peer.script(GOOD, answer(503), answer(200, b"newer"), answer(503))
    resilience = only(degrade=[StaleResponse()], breaker=recovering(failure_threshold=1))
    async with kit.mounted(resilience) as client:
        got = [(await client.get(peer / "x")).body for _ in range(3)]
        assert (got, peer.count) == ([b"remembered"] * 3, 2)
        await kit.sleep(RECOVERS_IN)
        assert peer.count == 2, "nobody asks in the background"
        got = [(await client.get(peer / "x")).body for _ in range(2)]
        assert (got, peer.count) == ([b"newer"] * 2, 4)


async def test__retries__come_first(kit: Kit, peer: Peer) -> None:
    peer.script(GOOD, answer(503), answer(200, b"fresh"))
    async with kit.mounted(only(degrade=[StaleResponse()], retry=retrying())) as client:
        await client.get(peer / "x")
        assert (await client.get(peer / "x")).body == b"fresh"


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "X-API-Key", "Proxy-Authorization", "X-Tenant"])
async def test__another_caller__gets_nothing_of_it(kit: Kit, peer: Peer, name: str) -> None:
    peer.script(GOOD, answer(503))
    async with kit.mounted(only(degrade=[StaleResponse()])) as client:
        await client.get(peer / "x", headers={name: "alice"})
        assert (await client.get(peer / "x", headers={name: "bob"})).status == 503
        assert (await client.get(peer / "x")).status == 503
        assert (await client.get(peer / "x", headers={name: "alice"})).body == b"remembered"


@pytest.mark.parametrize(
    "headers", [[("cache-control", "no-store")], [("cache-control", "no-cache")], [("vary", "*")]], ids=repr
)
async def test__forbidden_to_store__is_not_remembered(kit: Kit, peer: Peer, headers: Any) -> None:
    peer.script(answer(200, b"once", headers=headers), answer(503))
    async with kit.mounted(only(degrade=[StaleResponse()])) as client:
        await client.get(peer / "x")
        assert (await client.get(peer / "x")).status == 503


async def test__compressed__is_remembered_raw(kit: Kit, peer: Peer) -> None:
    body = b"x" * 100_000
    peer.script(steps.gzipped(body), answer(503))
    async with kit.mounted(only(degrade=[StaleResponse()])) as client:
        await client.get(peer / "x")
        again = await client.get(peer / "x")
    assert again.body == body
    assert int(again.header("content-length") or 0) == len(gzip.compress(body))


async def test__chunked__is_remembered(kit: Kit, peer: Peer) -> None:
    peer.script(answer(200, b"piece by piece", chunks=4), answer(503))
    async with kit.mounted(only(degrade=[StaleResponse()])) as client:
        await client.get(peer / "x")
        assert (await client.get(peer / "x")).body == b"piece by piece"


async def test__not_complete__is_not_remembered(kit: Kit, peer: Peer) -> None:
    peer.script(steps.short_body(), answer(503))
    async with kit.mounted(only(degrade=[StaleResponse()])) as client:
        with pytest.raises(kit.errors.short_body):
            await client.get(peer / "x")
        assert (await client.get(peer / "x")).status == 503


async def test__left_early__is_not_remembered(kit: Kit, peer: Peer) -> None:
    peer.script(answer(200, b"x" * 500_000), answer(503))
    async with kit.mounted(only(degrade=[StaleResponse()])) as client:
        stream = await client.stream("GET", peer / "x")
        await stream.some()
        await stream.close()
        assert (await client.get(peer / "x")).status == 503


@pytest.mark.parametrize("encoding", [[], [("content-encoding", "gzip")]], ids=["plain", "compressed"])
async def test__read_by_its_caller__is_remembered_when_it_was_read_to_the_end(
    kit: Kit, peer: Peer, encoding: list[tuple[str, str]]
) -> None:
    body = b"piece by piece" * 50
    peer.script(answer(200, gzip.compress(body) if encoding else body, encoding, chunks=4), answer(503))
    async with kit.mounted(only(degrade=[StaleResponse()])) as client:
        async with await client.stream("GET", peer / "x") as stream:
            assert await stream.read() == body
        again = await client.get(peer / "x")
    assert (again.status, again.body) == (200, body)


async def test__too_long__passes_and_is_not_remembered(kit: Kit, peer: Peer) -> None:
    peer.script(answer(200, b"x" * 3000, chunks=3), answer(503))
    async with kit.mounted(only(degrade=[StaleResponse(max_body=2000)])) as client:
        assert len((await client.get(peer / "x")).body) == 3000
        assert (await client.get(peer / "x")).status == 503


async def test__head__and_no_content__are_remembered_as_they_are(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(only(degrade=[StaleResponse()])) as client:
        peer.script(answer(200, headers=[("x-kind", "good")]), answer(503))
        await client.request("HEAD", peer / "x")
        again = await client.request("HEAD", peer / "x")
        assert (again.status, again.header("x-kind")) == (200, "good")


async def test__change_by_the_caller__forgets_what_was_remembered(kit: Kit, peer: Peer) -> None:
    peer.script(GOOD, answer(204), answer(503))
    async with kit.mounted(only(degrade=[StaleResponse()])) as client:
        await client.get(peer / "x")
        await client.request("DELETE", peer / "x")
        assert (await client.get(peer / "x")).status == 503


async def test__404__is_an_answer(kit: Kit, peer: Peer) -> None:
    peer.script(GOOD, answer(404))
    async with kit.mounted(only(degrade=[StaleResponse()])) as client:
        await client.get(peer / "x")
        assert (await client.get(peer / "x")).status == 404


async def test__degrade_after__does_not_wait_for_a_retry_when_there_is_an_answer(kit: Kit, peer: Peer) -> None:
    peer.script(GOOD, answer(503))
    slow = retrying(base_delay=5, max_delay=5, jitter="none")
    async with kit.mounted(only(degrade=[StaleResponse()], degrade_after=0.1, retry=slow)) as client:
        await client.get(peer / "x")
        again = await client.get(peer / "x")
    assert (again.body, peer.count) == (b"remembered", 2)


async def test__sqlite__another_resilience_gets_it(kit: Kit, peer: Peer, tmp_path: Path) -> None:
    peer.script(GOOD, answer(503))
    async with kit.mounted(only(degrade=[StaleResponse(store=SqliteStore(tmp_path / "answers.db"))])) as client:
        await client.get(peer / "x")
    async with kit.mounted(only(degrade=[StaleResponse(store=SqliteStore(tmp_path / "answers.db"))])) as client:
        assert (await client.get(peer / "x")).body == b"remembered"


async def test__two_resiliences__share_nothing_in_memory(kit: Kit, peer: Peer) -> None:
    peer.script(GOOD, answer(503))
    step = StaleResponse()
    async with kit.mounted(only(degrade=[step])) as client:
        await client.get(peer / "x")
    async with kit.mounted(only(degrade=[step])) as client:
        assert (await client.get(peer / "x")).status == 503


async def test__used_longest_ago__makes_room(kit: Kit, peer: Peer) -> None:
    peer.script(answer(200, b"a"), answer(200, b"b"), answer(503), answer(200, b"c"), answer(503))
    async with kit.mounted(only(degrade=[StaleResponse(max_entries=2)])) as client:
        for path in ("a", "b", "a", "c"):
            await client.get(peer / path)
        ends = [(await client.get(peer / path)).status for path in ("a", "b", "c")]
    assert ends == [200, 503, 200]


BAD_EVENT = b'data: {"error": {"type": "overloaded_error", "message": "x"}}\n\n'
CONTENT = b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\n'


@pytest.mark.parametrize("events", [BAD_EVENT, CONTENT + BAD_EVENT], ids=["first", "late"])
async def test__stream_that_tells_of_an_error__is_judged_and_not_remembered(
    kit: Kit, peer: Peer, events: bytes
) -> None:
    peer.script(answer(200, events, headers=[("content-type", "text/event-stream")]), answer(503))
    resilience = only(degrade=[StaleResponse()], inspect_streams=True)
    async with kit.mounted(resilience, pool=1) as client:
        assert (await client.get(peer / "x")).body == events
        (host,) = resilience.snapshots()
        assert (host.successes, host.failures) == (0, 1)
        assert (await client.get(peer / "x")).status == 503


async def test__good_stream__is_remembered(kit: Kit, peer: Peer) -> None:
    peer.script(answer(200, CONTENT, headers=[("content-type", "text/event-stream")]), answer(503))
    async with kit.mounted(only(degrade=[StaleResponse()], inspect_streams=True), pool=1) as client:
        for _ in range(2):
            assert (await client.get(peer / "x")).body == CONTENT


@pytest.mark.parametrize("body", [b"", b"an error page"])
async def test__failure_by_the_users_word__is_not_remembered(kit: Kit, peer: Peer, body: bytes) -> None:
    def classify(outcome: seawall.Outcome, request: Any) -> seawall.Verdict | None:
        return seawall.Verdict.FAILURE if outcome.status == 200 else None

    peer.script(answer(200, body), answer(503))
    async with kit.mounted(only(degrade=[StaleResponse()], classify=classify), pool=1) as client:
        assert (await client.get(peer / "x")).status == 200
        assert (await client.get(peer / "x")).status == 503


class Counted(io.BytesIO):
    """A file that knows how much of it was read."""

    total = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes."""
        piece = super().read(size)
        self.total += len(piece)
        return piece


async def test__upload_that_is_not_remembered__is_not_read_for_its_key(kit: Kit, peer: Peer) -> None:
    file = Counted(b"x" * 100_000)
    given: dict[str, Any] = {"content": file} if kit.library is requests else {"files": {"f": ("f.bin", file)}}
    async with kit.mounted(only(degrade=[StaleResponse()])) as client:
        await client.request("POST", peer / "x", **given)
    assert file.total == 100_000


async def test__head__is_remembered_with_the_length_it_told(kit: Kit, peer: Peer) -> None:
    peer.script(steps.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 123\r\n\r\n"), answer(503))
    async with kit.mounted(only(degrade=[StaleResponse()])) as client:
        for _ in range(2):
            got = await client.request("HEAD", peer / "x")
            assert (got.status, got.header("content-length"), got.body) == (200, "123", b"")


@pytest.mark.parametrize("chunks", [0, 2])
async def test__not_to_be_decoded__is_never_given_again(kit: Kit, peer: Peer, chunks: int) -> None:
    broken = gzip.compress(b"x" * 1000)[:-100] + b"y" * 100
    peer.script(answer(200, broken, [("content-encoding", "gzip")], chunks=chunks), answer(503))
    async with kit.mounted(only(degrade=[StaleResponse()])) as client:
        with pytest.raises(kit.errors.bad_gzip):
            await client.get(peer / "x")
        assert (await client.get(peer / "x")).status == 503


async def test__not_to_be_decoded__and_read_raw__is_never_given_decoded(kit: Kit, peer: Peer) -> None:
    peer.script(steps.bad_gzip(), answer(503))
    async with kit.mounted(only(degrade=[StaleResponse()])) as client:
        async with await client.stream("GET", peer / "x") as stream:
            if kit.library is requests:
                raw = stream.raw.raw.read(decode_content=False)
            else:
                raw = b"".join(
                    [piece async for piece in stream.raw.aiter_raw()] if kit.is_async else stream.raw.iter_raw()
                )
        assert raw == b"this was never compressed"
        assert (await client.get(peer / "x")).status == 503


async def test__not_to_be_decoded__is_given_to_nobody_who_waits_for_it(kit: Kit, peer: Peer) -> None:
    peer.script(steps.slow(0.3, steps.bad_gzip()), answer(200, b"mine"))
    async with kit.mounted(only(degrade=[StaleResponse(coalesce=True)])) as client:

        async def follows() -> Any:
            await kit.until(lambda: peer.count == 1)
            return await client.get(peer / "x")

        first, second = await kit.together(lambda: client.get(peer / "x"), follows)
    assert isinstance(first, kit.errors.bad_gzip)
    assert second.body == b"mine"


async def test__compressed_and_empty__is_given_again(kit: Kit, peer: Peer) -> None:
    peer.script(answer(200, b"", [("content-encoding", "gzip")]), answer(503))
    async with kit.mounted(only(degrade=[StaleResponse()])) as client:
        for _ in range(2):
            got = await client.get(peer / "x")
            assert (got.status, got.body) == (200, b"")


async def test__another_server_under_the_same_name__is_not_the_one_that_answered(kit: Kit) -> None:
    resilience = only(degrade=[StaleResponse()])
    async with (
        kit.mounted(resilience, fake=kit.fake()) as one,
        kit.mounted(resilience, fake=kit.fake(always_busy)) as other,
    ):
        assert (await one.get("http://app.test/x")).body == b"fake"
        assert (await other.get("http://app.test/x")).status == 503


async def test__another_proxy__may_let_somebody_else_in(kit: Kit, peer: Peer, other: Peer) -> None:
    peer.script(GOOD, answer(503))
    other.script(answer(503))
    resilience = only(degrade=[StaleResponse()])
    url = "http://app.test/x"
    async with kit.mounted(resilience, proxy=peer.url) as client:
        assert (await client.get(url)).body == b"remembered"
        assert (await client.get(url)).body == b"remembered"
    async with kit.mounted(resilience, proxy=other.url) as client:
        assert (await client.get(url)).status == 503


async def test__clients_one_after_the_other__find_what_was_remembered(kit: Kit, peer: Peer) -> None:
    peer.script(GOOD, answer(503))
    resilience = only(degrade=[StaleResponse()])
    for _ in range(2):
        async with kit.mounted(resilience) as client:
            assert (await client.get(peer / "x")).body == b"remembered"
