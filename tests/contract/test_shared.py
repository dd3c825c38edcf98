"""One Resilience, many clients and hosts: what is shared, what is kept apart, and what stays bounded."""

from __future__ import annotations

import pickle
import threading

import pytest
import requests

import requests_resilience
import seawall
from seawall import Breaker, Policy, Resilience, Verdict
from tests.contract import steps
from tests.contract.clients import Kit
from tests.contract.peer import Peer
from tests.contract.settings import one_at_a_time, only, quick, retrying, tripping
from tests.contract.steps import answer
from tests.drivers.processes import script


async def test__another_librarys_client__shares_what_was_learned(kit: Kit, peer: Peer) -> None:
    resilience = only(breaker=tripping())
    peer.script(answer(503))
    with requests_resilience.mount(requests.Session(), resilience) as session:
        for _ in range(2):
            session.get(peer / "x")
    async with kit.mounted(resilience) as client:
        with pytest.raises(seawall.CircuitOpen) as caught:
            await client.get(peer / "x")
    assert isinstance(caught.value, kit.errors.base)
    assert peer.count == 2


async def test__group__shares_one_circuit(kit: Kit, peer: Peer, other: Peer) -> None:
    member = Policy(group="twins", retry=None, breaker=tripping())
    resilience = Resilience({peer.url: member, other.url: member})
    peer.script(answer(503))
    async with kit.mounted(resilience) as client:
        for _ in range(2):
            await client.get(peer / "x")
        with pytest.raises(seawall.CircuitOpen) as caught:
            await client.get(other / "x")
    assert (caught.value.host, other.count) == ("twins", 0)


async def test__policies_per_host__are_kept_apart(kit: Kit, peer: Peer, other: Peer) -> None:
    resilience = Resilience({peer.url: Policy(retry=retrying(max_retries=1)), other.url: Policy(retry=None)})
    async with kit.mounted(resilience) as client:
        for each, attempts in ((peer, 2), (other, 1)):
            each.script(answer(503))
            await client.get(each / "x")
            assert each.count == attempts


async def test__many_hosts__the_registry_stays_bounded_and_a_tripped_one_stays_open(kit: Kit, peer: Peer) -> None:
    policy = Policy(retry=None, breaker=tripping(failure_threshold=1))
    resilience = Resilience({"all://": policy}, max_hosts=5)
    peer.script(answer(503))
    fake = kit.fake()
    async with kit.mounted(resilience) as client:
        await client.get(peer / "x")
    async with kit.mounted(resilience, fake=fake) as client:
        for number in range(50):
            assert (await client.get(f"http://h{number}.test/x")).status == 200
        assert len(resilience) <= 6  # the overflow entry is one more
        with pytest.raises(seawall.CircuitOpen):
            await client.get(peer / "x")
    assert len(fake.asked) == 50


async def test__classify__has_the_last_word_on_the_verdict(kit: Kit, peer: Peer) -> None:
    resilience = only(
        breaker=tripping(), classify=lambda outcome, _: Verdict.FAILURE if outcome.status == 404 else None
    )
    peer.script(answer(404))
    async with kit.mounted(resilience) as client:
        for _ in range(2):
            assert (await client.get(peer / "x")).status == 404
        with pytest.raises(seawall.CircuitOpen):
            await client.get(peer / "x")


async def test__idempotency_key_function__names_the_key(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503), answer(200))
    async with kit.mounted(quick(idempotency_key=lambda request: "order-7", idempotency_header="X-Once")) as client:
        assert (await client.request("POST", peer / "x", content=b"pay")).status == 200
    assert [request.header("x-once") for request in peer.requests] == ["order-7"] * 2


async def test__own_key_of_the_caller__is_not_replaced(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503), answer(200))
    async with kit.mounted(quick(idempotency_key="auto")) as client:
        await client.request("POST", peer / "x", content=b"pay", headers={"Idempotency-Key": "mine"})
    assert [request.header("idempotency-key") for request in peer.requests] == ["mine"] * 2


async def test__respond__every_refusal_before_the_headers_is_an_answer(kit: Kit, peer: Peer) -> None:
    gate = threading.Event()
    resilience = only(bulkhead=one_at_a_time(), rejections="respond")
    async with kit.mounted(resilience) as client:
        peer.script(steps.drip(b"first", b"rest", gate=gate))
        async with await client.stream("GET", peer / "x"):
            full = await client.get(peer / "y")
        gate.set()
        peer.script(steps.hang())
        with seawall.deadline(0.1):
            late = await client.get(peer / "z")
        resilience.close()
        closed = await client.get(peer / "z")
    for got, said in ((full, b"bulkhead"), (late, b"timeout"), (closed, b"closed")):
        assert (got.status, got.header("x-should-retry")) == (503, "false")
        assert said in got.body
        assert got.elapsed >= 0


async def test__respond__what_the_server_said_is_left_alone(kit: Kit, peer: Peer) -> None:
    peer.script(answer(500, b"the servers own"))
    async with kit.mounted(only(rejections="respond")) as client:
        got = await client.get(peer / "x")
    assert (got.status, got.body) == (500, b"the servers own")


async def test__connection_closed_while_idle__the_next_call_is_answered(kit: Kit, peer: Peer) -> None:
    silent_close = steps.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    peer.script(silent_close)
    async with kit.mounted(quick(), pool=1) as client:
        for _ in range(5):
            assert (await client.get(peer / "x")).body == b"ok"


async def test__report__survives_pickling(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503), answer(200))
    async with kit.mounted(quick()) as client:
        got = await client.get(peer / "x")
    report = seawall.report(got.raw)
    again = pickle.loads(pickle.dumps(report))
    assert report is not None
    assert (str(again), again.ending, again.host) == (str(report), report.ending, report.host)
    assert again.attempts == report.attempts


async def test__report__of_something_else_is_none(kit: Kit, peer: Peer) -> None:
    async with kit.bare() as client:
        got = await client.get(peer / "x")
    assert seawall.report(got.raw) is None
    assert seawall.report(ValueError()) is None


async def test__breaker_that_needs_a_span__opens_only_after_it(kit: Kit, peer: Peer) -> None:
    peer.script(answer(500))
    breaker = Breaker(failure_threshold=3, min_failure_span=1)
    async with kit.mounted(only(breaker=breaker)) as client:
        for _ in range(5):
            assert (await client.get(peer / "x")).status == 500
        await kit.sleep(1.05)
        assert (await client.get(peer / "x")).status == 500
        with pytest.raises(seawall.CircuitOpen):
            await client.get(peer / "x")


async def test__close__waits_for_calls_in_flight(kit: Kit, peer: Peer) -> None:
    peer.script(steps.slow(0.15, answer(200, b"in flight")))
    resilience = only()
    async with kit.mounted(resilience) as client:

        async def close() -> str:
            await kit.until(lambda: peer.count == 1)
            if kit.is_async:
                await resilience.aclose()
            else:
                resilience.close()
            return str(resilience.snapshots()[0].in_flight)

        got, left = await kit.together(lambda: client.get(peer / "x"), close)
    assert (got.body, left) == (b"in flight", "0")


async def test__close__wakes_who_waits(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503))
    resilience = quick(base_delay=8, max_delay=8, jitter="none")
    async with kit.mounted(resilience) as client:

        async def close() -> None:
            await kit.until(lambda: peer.count == 1)
            await kit.sleep(0.05)
            resilience.close()

        got, _ = await kit.together(lambda: client.get(peer / "x"), close)
    assert isinstance(got, seawall.BulkheadClosed) or got.status == 503
    assert peer.count == 1


async def test__credentials_in_the_url__are_in_no_key_and_make_no_state_of_their_own(kit: Kit) -> None:
    fake = kit.fake()
    resilience = only()
    async with kit.mounted(resilience, fake=fake) as client:
        for number in range(5):
            await client.get(f"http://user{number}:secret{number}@a.test/x")
        await client.get("http://a.test/x")
    assert len(fake.asked) == 6
    (host,) = resilience.snapshots()
    assert (host.host, host.total_successes) == ("http://a.test", 6)
    assert len(resilience.routes) == 1
    assert "secret" not in repr(list(resilience.routes))


def test__transports_whose_certificates_cannot_be_seen__are_different_callers_in_all_libraries() -> None:
    done = script(
        """
import httpx, requests
from requests.adapters import HTTPAdapter
import httpx_resilience, requests_resilience
from seawall import Policy, Resilience, StaleResponse

class Down(HTTPAdapter):
    def send(self, *args, **options):
        raise requests.ConnectionError

resilience = Resilience(Policy(retry=None, degrade=[StaleResponse()]))
said = httpx.MockTransport(lambda request: httpx.Response(200, content=b"for httpx alone"))
headers = {"host": "api.test", "accept": "*/*", "accept-encoding": "gzip", "user-agent": "me"}
url = "https://api.test/x"
assert httpx_resilience.mount(httpx.Client(transport=said), resilience).get(url, headers=headers).content
session = requests.Session()
session.mount("https://", requests_resilience.ResilientAdapter(Down(), resilience))
try:
    print(session.get(url, headers=headers).text)
except requests.ConnectionError:
    print("nothing")
"""
    )
    assert (done.stdout, done.returncode) == ("nothing\n", 0), done.stderr
