"""What a drain sends and what it writes down, over real sockets with every client."""

from __future__ import annotations

import gzip
import threading
from typing import Any

import pytest

import seawall
from seawall import Outbox, Policy, QueueForRetry, Receipt, Resilience, Retry
from seawall.stores.items import OutboxError
from seawall.testing.virtual import VirtualClock
from tests.contract import steps
from tests.contract.clients import Client, Kit, settle
from tests.contract.peer import Peer
from tests.contract.settings import only, quick, tripping
from tests.contract.steps import Exchange, Step, answer

KEY = "7d444840-9dc0-11d1-b245-5ffdce74fad2"


def put(outbox: Outbox, url: str, body: bytes | None = b"body", **options: Any) -> Receipt:
    """A POST with a key, queued for the origin of its URL."""
    host = url.rpartition("/")[0]
    fields = (("Idempotency-Key", options.pop("key", KEY)), ("Content-Type", "text/plain"))
    return outbox.put("POST", url, fields, body, host=host, **{"queue_timeout": 600.0, **options})


async def drain(client: Client, outbox: Outbox, **options: Any) -> int:
    run = outbox.adrain if client.kit.is_async else outbox.drain
    return await settle(run(client.inner, **options))  # type: ignore[no-any-return]


def kept(client: Client, queue: QueueForRetry, method: str, url: str, **given: Any) -> Receipt:
    """Queue what the client would have sent."""
    body = given.get("content")
    if client.kit.library.__name__ == "requests":
        given["data"] = given.pop("content")
        request = client.inner.prepare_request(client.kit.library.Request(method, url, **given))
    else:
        request = client.inner.build_request(method, url, **given)
    receipt = queue.keep(request, body, url.rpartition("/")[0], None)
    assert receipt is not None
    return receipt


# -- the request ---------------------------------------------------------------------------------------------------


async def test__request__is_sent_as_the_client_would_have_sent_it(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    headers = {"X-Thing": "th\xefng".encode("latin-1"), "Idempotency-Key": KEY, "Content-Encoding": "gzip"}
    given = {"headers": headers, "content": gzip.compress(b"hello"), "params": {"q": "a b&c"}}
    async with kit.mounted(quick()) as client:
        receipt = kept(client, QueueForRetry(outbox), "POST", peer / "x", **given)
        await client.request("POST", peer / "x", **given)
        assert await drain(client, outbox) == 1
    direct, later = peer.requests
    assert (later.method, later.target, later.body) == (direct.method, direct.target, direct.body)
    told = {name.lower(): value for name, value in later.headers}
    expected = {name.lower(): value for name, value in direct.headers}
    assert told == expected | {"accept-encoding": "identity"}
    assert receipt.state == "done"


async def test__clients_own_parameters__are_not_added_twice(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    async with kit.mounted(quick()) as client:
        client.inner.params = {"version": "2"}
        put(outbox, peer / "x?version=2&q=1")
        assert await drain(client, outbox) == 1
    assert peer.requests[0].target == "/x?version=2&q=1"


@pytest.mark.parametrize("body", [None, b"", b"\0\xff" * 50_000], ids=["none", "empty", "100 kB"])
async def test__body__arrives_whole(kit: Kit, peer: Peer, outbox: Outbox, body: bytes | None) -> None:
    put(outbox, peer / "x", body)
    async with kit.bare() as client:
        assert await drain(client, outbox) == 1
    assert peer.bodies == [body or b""]


async def test__credentials__come_from_attach_and_from_the_client(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    def attach(request: Any) -> None:
        assert str(request.url) == peer / "x"
        request.headers["Authorization"] = "Bearer fresh"

    async with kit.mounted(quick()) as client:
        kept(client, QueueForRetry(outbox), "PUT", peer / "x", headers={"Authorization": "Bearer old"}, content=b"b")
        client.inner.headers["X-Api-Key"] = "of the client"
        assert await drain(client, outbox, attach=attach) == 1
    assert peer.requests[0].header("authorization") == "Bearer fresh"
    assert peer.requests[0].header("x-api-key") == "of the client"


async def test__attach__may_be_async_in_an_async_drain_only(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    async def attach(request: Any) -> None:
        await kit.sleep(0)
        request.headers["Authorization"] = "Bearer fresh"

    put(outbox, peer / "x")
    async with kit.bare() as client:
        if kit.is_async:
            assert await drain(client, outbox, attach=attach) == 1
            assert peer.requests[0].header("authorization") == "Bearer fresh"
        else:
            with pytest.raises(TypeError, match="attach"):
                await drain(client, outbox, attach=attach)
            assert len(outbox) == 1


async def test__attach_that_raises__is_raised_and_nothing_is_lost(
    kit: Kit, peer: Peer, outbox: Outbox, clock: VirtualClock
) -> None:
    def attach(request: Any) -> None:
        raise KeyError("CANARY")

    receipt = put(outbox, peer / "x")
    async with kit.bare() as client:
        with pytest.raises(KeyError):
            await drain(client, outbox, attach=attach)
        assert (peer.count, receipt.state) == (0, "queued")
        clock.advance(2)
        assert await drain(client, outbox) == 1


# -- the answer ----------------------------------------------------------------------------------------------------


async def test__answer__is_readable_from_the_receipt(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    peer.script(answer(201, b'{"id": 1}', [("Location", "/1"), ("Set-Cookie", "session=CANARY")]))
    receipt = put(outbox, peer / "x")
    assert receipt.result() is None
    async with kit.mounted(quick()) as client:
        assert await drain(client, outbox) == 1
        result = receipt.result()
        waited = await receipt.wait_async(1) if kit.is_async else receipt.wait(1)
    assert result == waited
    assert result is not None
    assert (result.state, result.status, result.content, result.complete) == ("done", 201, b'{"id": 1}', True)
    assert {name.lower(): value for name, value in result.headers} == {"location": "/1", "content-length": "9"}
    assert (result.attempts, result.error) == (1, None)


async def test__wait__ends_when_somebody_has_sent_it_or_the_time_is_over(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    receipt = put(outbox, peer / "x")

    async def wait(seconds: float) -> Any:
        return await receipt.wait_async(seconds) if kit.is_async else receipt.wait(seconds)

    async with kit.bare() as client:
        with pytest.raises(TimeoutError, match="not sent within"):
            await wait(0.05)
        ends = await kit.together(lambda: wait(5), lambda: drain(client, outbox))
    assert ends[0].status == 200
    receipt.id = "0" * 32
    with pytest.raises(LookupError):
        await wait(5)


@pytest.mark.parametrize("chunks", [0, 7])
async def test__long_answer__is_cut_and_not_read_to_its_end(kit: Kit, peer: Peer, folder: Any, chunks: int) -> None:
    outbox = Outbox(folder / "outbox.db", max_result=1000)
    peer.script(answer(200, b"x" * 5_000_000, chunks=chunks))
    receipt = put(outbox, peer / "x")
    async with kit.mounted(Resilience()) as client:
        assert await drain(client, outbox) == 1
    result = receipt.result()
    assert result is not None
    assert (result.content, result.complete) == (b"x" * 1000, False)


async def test__endless_answer__is_left_when_enough_is_read(kit: Kit, peer: Peer, folder: Any) -> None:
    outbox = Outbox(folder / "outbox.db", max_result=1000)
    gate = threading.Event()
    peer.script(steps.drip(b"x" * 5000, b"y" * 5000, gate=gate))
    put(outbox, peer / "x")
    try:
        async with kit.mounted(Resilience()) as client:
            assert await drain(client, outbox) == 1
            assert not gate.is_set()
    finally:
        gate.set()


async def test__packed_answer__is_kept_as_it_came(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    peer.script(steps.gzipped(b"hello" * 1000))
    receipt = put(outbox, peer / "x")
    async with kit.bare() as client:
        assert await drain(client, outbox) == 1
    result = receipt.result()
    assert result is not None
    assert gzip.decompress(result.content) == b"hello" * 1000


async def test__caller_s_mistakes__are_final(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    statuses = [400, 401, 403, 404, 409, 410, 413, 422, 501]
    peer.script(*(answer(status, b"no") for status in statuses))
    receipts = [put(outbox, peer / "x", key=f"{n}") for n in range(len(statuses))]
    async with kit.mounted(quick()) as client:
        assert await drain(client, outbox) == len(statuses)
    results = [receipt.result() for receipt in receipts]
    assert [(r.state, r.status, r.content, r.error) for r in results if r is not None] == [
        ("failed", status, b"no", f"status {status}") for status in statuses
    ]


# -- a sick host ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507, 529])
async def test__sick_host__is_asked_again_later(
    kit: Kit, peer: Peer, outbox: Outbox, clock: VirtualClock, status: int
) -> None:
    peer.script(answer(status), answer(200))
    receipt = put(outbox, peer / "x")
    async with kit.bare() as client:
        assert await drain(client, outbox) == 0
        assert receipt.state == "queued"
        assert await drain(client, outbox) == 0
        assert peer.count == 1
        clock.advance(outbox.sendable_in() or 0.0)
        assert await drain(client, outbox) == 1
    assert [request.header("idempotency-key") for request in peer.requests] == [KEY, KEY]
    assert peer.bodies == [b"body", b"body"]
    result = receipt.result()
    assert result is not None
    assert (result.state, result.attempts) == ("done", 2)


BROKEN: dict[str, Step] = {
    "hangs up": steps.close(),
    "resets": steps.reset(),
    "talks nonsense": steps.garbage(),
    "breaks off": steps.short_body(),
    "bad chunk": steps.bad_chunk(),
}


@pytest.mark.parametrize("way", BROKEN)
async def test__answer_that_breaks__is_none(
    kit: Kit, peer: Peer, outbox: Outbox, clock: VirtualClock, way: str
) -> None:
    peer.script(BROKEN[way], answer(200))
    receipt = put(outbox, peer / "x")
    async with kit.mounted(only()) as client:
        assert await drain(client, outbox) == 0
        assert receipt.state == "queued"
        clock.advance(60)
        assert await drain(client, outbox) == 1
    assert peer.count == 2


async def test__refused_connection__one_probe_and_later_all_are_sent(
    kit: Kit, peer: Peer, outbox: Outbox, clock: VirtualClock
) -> None:
    peer.refuse()
    receipts = [put(outbox, peer / "x", key=f"{n}") for n in range(5)]
    async with kit.mounted(only()) as client:
        for _ in range(3):
            assert await drain(client, outbox) == 0
        assert attempts(outbox) == [0, 0, 0, 0, 1]
        clock.advance(outbox.sendable_in() or 0.0)
        assert await drain(client, outbox) == 0
        peer.listen()
        sent = 0
        for _ in range(5):
            clock.advance(outbox.sendable_in() or 0.0)
            sent += await drain(client, outbox)
    assert sent == 5
    assert {receipt.state for receipt in receipts} == {"done"}


def attempts(outbox: Outbox) -> list[int]:
    with outbox._rows.reading() as rows:
        return [count for (count,) in rows.execute("SELECT attempts FROM outbox ORDER BY attempts")]


async def test__retry_after__is_waited_for(kit: Kit, peer: Peer, outbox: Outbox, clock: VirtualClock) -> None:
    peer.script(answer(503, headers=[("Retry-After", "20")]), answer(200))
    put(outbox, peer / "x")
    async with kit.bare() as client:
        await drain(client, outbox)
        assert outbox.sendable_in() == 20
        assert Outbox(outbox.path, clock=clock).sendable_in() == 20  # for every process
        clock.advance(19.9)
        assert await drain(client, outbox) == 0
        clock.advance(0.2)
        assert await drain(client, outbox) == 1


async def test__host_that_was_well_between__is_left_alone_shortly_again(
    kit: Kit, peer: Peer, outbox: Outbox, clock: VirtualClock
) -> None:
    peer.script(answer(503), answer(503), answer(200), answer(503))
    for n in range(2):
        put(outbox, peer / "x", key=f"{n}")
    left: list[float] = []
    async with kit.bare() as client:
        for _ in range(3):
            await drain(client, outbox)
            left.append(outbox.holds.left(peer.url))
            clock.advance(60)
    assert left == pytest.approx([0.25, 0.5, 0.25])  # half of 0.5, of 1, and of 0.5 again


@pytest.mark.parametrize("asked", ["9999999999", "-1", "1m0s", "Fri, 31 Dec 9999 23:59:59 GMT", "٣"])
async def test__retry_after__however_wrong__is_bounded(kit: Kit, peer: Peer, outbox: Outbox, asked: str) -> None:
    peer.script(answer(503, headers=[("Retry-After", asked.encode().decode("latin-1"))]))
    put(outbox, peer / "x")
    async with kit.bare() as client:
        await drain(client, outbox)
    assert 0 < (outbox.sendable_in() or 0) <= 3600


async def test__sick_host__holds_up_its_own_items_only(kit: Kit, peer: Peer, other: Peer, outbox: Outbox) -> None:
    peer.script(answer(503))
    for n in range(3):
        put(outbox, peer / "x", key=f"a{n}")
        put(outbox, other / "x", key=f"b{n}")
    async with kit.mounted(only()) as client:
        assert await drain(client, outbox) == 3
    assert (peer.count, other.count) == (1, 3)


async def test__open_circuit__sends_nothing_and_waits_as_long_as_it_says(
    kit: Kit, peer: Peer, outbox: Outbox, clock: VirtualClock
) -> None:
    peer.script(answer(503), answer(503), answer(200))
    put(outbox, peer / "x")
    async with kit.mounted(only(breaker=tripping())) as client:
        for _ in range(2):
            await client.get(peer / "x")
        assert await drain(client, outbox) == 0
        assert peer.count == 2
    assert 29 < (outbox.sendable_in() or 0) < 31


async def test__policies__hold_while_sending(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    peer.script(answer(503), answer(503), answer(200))
    receipt = put(outbox, peer / "x")
    async with kit.mounted(quick()) as client:
        assert await drain(client, outbox) == 1
    assert [request.header("idempotency-key") for request in peer.requests] == [KEY] * 3
    result = receipt.result()
    assert result is not None
    assert result.attempts == 1


async def test__automatic_key__does_not_replace_the_one_that_was_kept(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    put(outbox, peer / "x")
    async with kit.mounted(only(retry=Retry(idempotency_key="auto"))) as client:
        assert await drain(client, outbox) == 1
    assert peer.requests[0].header("idempotency-key") == KEY


async def test__refusal_that_is_answered__is_no_answer(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    receipt = put(outbox, peer / "x")
    resilience = only(rejections="respond")
    resilience.isolate(peer.url)
    async with kit.mounted(resilience) as client:
        assert await drain(client, outbox) == 0
    assert (peer.count, receipt.state) == (0, "queued")


async def test__closed_resilience__ends_the_drain(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    put(outbox, peer / "x")
    resilience = Resilience(Policy())
    async with kit.mounted(resilience) as client:
        resilience.close(0)
        with pytest.raises(seawall.BulkheadClosed):
            await drain(client, outbox)
    assert outbox.lease(1) is not None


async def test__error_in_the_file__is_a_word_without_the_url(
    kit: Kit, peer: Peer, outbox: Outbox, clock: VirtualClock
) -> None:
    peer.refuse()
    receipt = put(outbox, peer / "x?token=CANARY", queue_timeout=5.0)
    async with kit.mounted(only()) as client:
        await drain(client, outbox)
    clock.advance(6)
    result = receipt.result()
    assert result is not None
    assert result.state == "expired"
    assert result.error in ("ConnectError", "ConnectionError")


# -- time and others -----------------------------------------------------------------------------------------------


async def test__expired__is_not_sent(kit: Kit, peer: Peer, outbox: Outbox, clock: VirtualClock) -> None:
    receipt = put(outbox, peer / "x", queue_timeout=10.0)
    clock.advance(10)
    async with kit.bare() as client:
        assert await drain(client, outbox) == 0
    assert (peer.count, receipt.state, len(outbox)) == (0, "expired", 0)


async def test__stop__is_asked_before_each_item(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    for n in range(3):
        put(outbox, peer / "x", key=f"{n}")
    async with kit.bare() as client:
        assert await drain(client, outbox, stop=lambda: peer.count == 2) == 2
    assert len(outbox) == 1


async def test__slow_answer__keeps_its_lease(kit: Kit, peer: Peer, outbox: Outbox, clock: VirtualClock) -> None:
    gate = threading.Event()
    peer.script(steps.held(gate, answer(200, b"late")))
    receipt = put(outbox, peer / "x")

    async def time_passes() -> None:
        await kit.until(lambda: peer.count == 1)
        for _ in range(4):
            clock.advance(0.2)
            await kit.until(lambda: outbox.due() == {peer.url: pytest.approx(0.3)})
        assert outbox.lease(0.3) is None
        gate.set()

    async with kit.bare() as client:
        ends = await kit.together(lambda: drain(client, outbox, lease=0.3), time_passes)
    assert ends == [1, None]
    assert (receipt.state, peer.count) == ("done", 1)


async def test__lease_that_cannot_be_renewed_just_now__is_renewed_the_next_time(
    kit: Kit, peer: Peer, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, renewed, renew = threading.Event(), list[bool](), outbox.renew

    def busy_at_first(*given: Any) -> bool:
        renewed.append(len(renewed) > 0)
        if not renewed[-1]:
            raise OutboxError("database is locked")
        return renew(*given)

    monkeypatch.setattr(outbox, "renew", busy_at_first)
    peer.script(steps.held(gate, answer(200)))
    receipt = put(outbox, peer / "x")

    async def until_renewed() -> None:
        await kit.until(lambda: len(renewed) > 1)
        gate.set()

    async with kit.bare() as client:
        await kit.together(lambda: drain(client, outbox, lease=0.1), until_renewed)
    assert (receipt.state, renewed[:2]) == ("done", [False, True])


async def test__overtaken_worker__writes_nothing(kit: Kit, peer: Peer, outbox: Outbox, clock: VirtualClock) -> None:
    receipt = put(outbox, peer / "x")

    def overtake(exchange: Exchange) -> None:
        clock.advance(31)
        assert outbox.lease(1000) is not None
        answer(200, b"too late").play(exchange)

    peer.script(Step(overtake))
    async with kit.bare() as client:
        assert await drain(client, outbox) == 0
    assert (receipt.state, receipt.result()) == ("leased", None)


async def test__several_drains_at_once__send_each_item_once(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    receipts = [put(outbox, peer / "x", key=f"{n}") for n in range(20)]
    async with kit.mounted(quick()) as client:
        sent = await kit.together(*([lambda: drain(client, outbox)] * 4))
    assert sum(sent) == 20
    assert sorted(request.header("idempotency-key") or "" for request in peer.requests) == sorted(map(str, range(20)))
    assert {receipt.state for receipt in receipts} == {"done"}


async def test__url_the_library_cannot_use__fails_and_the_rest_is_sent(kit: Kit, peer: Peer, outbox: Outbox) -> None:
    bad = outbox.put("PUT", "http://[::bad/", (), None, host="bad", queue_timeout=60)
    put(outbox, peer / "x")
    async with kit.bare() as client:
        assert await drain(client, outbox) == 1
    assert bad.state == "failed"


async def test__wrong_drain_for_the_client__is_refused_with_the_cure(kit: Kit, outbox: Outbox) -> None:
    async with kit.bare() as client:
        if kit.is_async:
            with pytest.raises(TypeError, match="adrain"):
                outbox.drain(client.inner)
        else:
            with pytest.raises(TypeError, match=r"outbox\.drain"):
                await outbox.adrain(client.inner)


def test__no_client__is_refused(outbox: Outbox) -> None:
    with pytest.raises(TypeError, match="drain: object is no client"):
        outbox.drain(object())
