"""What broke when such wrappers were put under the test suites of other libraries: one case for each finding."""

from __future__ import annotations

import logging
import pickle
import sys
import uuid
from functools import partial
from typing import Any

import httpx2
import pytest

import seawall
from seawall import Policy, Resilience
from tests.contract import steps
from tests.contract.clients import Kit
from tests.contract.fakes import Asked, Fake, Reply
from tests.contract.peer import Peer
from tests.contract.settings import only, quick, tripping
from tests.contract.steps import answer


def _give(error: Exception, _: Asked) -> Exception:
    return error


NO_HOST = ["/just/a/path", "http://", "http:///x", "nonsense", "gopher://a.test/x"]


async def test__url_without_scheme_or_host__gets_the_librarys_own_error(kit: Kit) -> None:
    resilience = Resilience()
    for url in NO_HOST:
        ends = []
        for client in (kit.bare(), kit.mounted(resilience)):
            async with client:
                with pytest.raises(Exception) as caught:
                    await client.get(url)
            ends.append((type(caught.value), str(caught.value)))
        assert ends[0] == ends[1], url


async def test__pickled_and_entered__a_used_transport_serves_on(kit: Kit) -> None:
    outer = kit.wrap(kit.fake(), quick())
    async with kit.bare(fake=outer) as client:
        assert (await client.get("http://a.test/x")).status == 200
        again = pickle.loads(pickle.dumps(outer))
    async with kit.bare(fake=again) as client:
        assert (await client.get("http://a.test/x")).status == 200


async def test__extensions_and_arguments__are_handed_down_as_they_were(kit: Kit) -> None:
    seen = []
    for mount in (False, True):
        fake = kit.fake()
        client = kit.bare(fake=fake)
        if mount:
            kit.mount_module.mount(client.inner, Resilience())
        async with client:
            got = await client.get("http://a.test/x")
        (asked,) = fake.asked
        extras = dict(asked.extras)
        if kit.name != "requests":
            assert dict(got.raw.request.extensions).keys() == extras.keys()
            extras["timeout"] = dict(extras["timeout"])
        seen.append((asked.method, asked.url, asked.headers, asked.body, extras))
    assert seen[0] == seen[1]


async def test__error_that_is_no_librarys__passes_through_unretried(kit: Kit) -> None:
    for foreign in (AssertionError("not mocked"), KeyError("k"), ValueError("v"), RuntimeError("r"), OSError(5, "io")):
        fake = kit.fake(partial(_give, foreign))
        resilience = quick()
        async with kit.mounted(resilience, fake=fake) as client:
            with pytest.raises(type(foreign)) as caught:
                await client.get("http://a.test/x")
        assert caught.value is foreign
        assert len(fake.asked) == 1
        assert [(s.failures, s.in_flight) for s in resilience.snapshots()] == [(0, 0)]


async def test__interrupt__passes_through_and_gives_the_permit_back(kit: Kit) -> None:
    class Interrupt(BaseException):
        pass

    def handler(_: Asked) -> Reply:
        raise Interrupt

    fake = kit.fake(handler)
    resilience = quick()
    async with kit.mounted(resilience, fake=fake) as client:
        with pytest.raises(Interrupt):
            await client.get("http://a.test/x")
    assert len(fake.asked) == 1
    assert [(s.failures, s.in_flight) for s in resilience.snapshots()] == [(0, 0)]


async def test__error_of_the_librarys__is_not_asked_for_more_often_than_the_policy_says(kit: Kit) -> None:
    fake = kit.fake(lambda _: kit.errors.read_timeout("mocked"))
    async with kit.mounted(quick(max_retries=3), fake=fake) as client:
        with pytest.raises(kit.errors.read_timeout, match="mocked"):
            await client.get("http://a.test/x")
    assert len(fake.asked) == 4


@pytest.mark.filterwarnings("ignore:seawall.* dropped:ResourceWarning")  # requests leaves the answer open
async def test__response_hook_that_raises__is_the_callers_own_error(kit: Kit, peer: Peer) -> None:
    def hook(_: Any) -> None:
        raise ZeroDivisionError

    resilience = quick()
    async with kit.mounted(resilience, on_response=hook) as client:
        with pytest.raises(ZeroDivisionError):
            await client.get(peer / "x")
    (snapshot,) = resilience.snapshots()
    assert (peer.count, snapshot.failures, snapshot.in_flight) == (1, 0, 0)


async def test__unknown_attributes__are_the_wrapped_ones(kit: Kit) -> None:
    fake = kit.fake()
    async with kit.mounted(quick(), fake=fake) as client:
        assert client.slot is not fake
        assert client.slot.controller == Fake.controller
        with pytest.raises(AttributeError):
            _ = client.slot.nothing_of_the_kind


async def test__digest_auth__its_second_leg_is_resilient_too(kit: Kit, peer: Peer) -> None:
    demand = answer(401, b"who?", [("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth", algorithm="MD5"')])
    peer.script(demand, answer(503), answer(200, b"you"))
    async with kit.mounted(quick()) as client:
        got = await client.get(peer / "x", auth=("digest", "user", "word"))
    assert (got.status, got.body) == (200, b"you")
    assert [request.header("authorization") is not None for request in peer.requests] == [False, True, True]


async def test__burst_of_deliberate_failures__does_not_open_the_default_breaker(kit: Kit, peer: Peer) -> None:
    peer.script(answer(500))
    resilience = Resilience({"all://": Policy(retry=None)})
    async with kit.mounted(resilience) as client:
        for _ in range(15):
            assert (await client.get(peer / "x")).status == 500
    assert peer.count == 15


async def test__library_under_another_name__the_class_decides(
    kit: Kit, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", httpx2)
    peer.script(answer(503))
    async with kit.mounted(only(breaker=tripping())) as client:
        for _ in range(2):
            await client.get(peer / "x")
        with pytest.raises(seawall.CircuitOpen) as caught:
            await client.get(peer / "x")
    assert isinstance(caught.value, kit.errors.base)


async def test__listener_that_raises__is_reported_once_and_breaks_nothing(
    kit: Kit, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    def listener(_: object) -> None:
        raise RuntimeError("secret in the listener")

    listener.__qualname__ = f"listener_{uuid.uuid4().hex}"
    resilience = quick()
    resilience.subscribe(listener)
    peer.script(answer(503), answer(200))
    with caplog.at_level(logging.DEBUG):
        async with kit.mounted(resilience) as client:
            for _ in range(3):
                assert (await client.get(peer / "x")).status == 200
    complaints = [record.getMessage() for record in caplog.records if listener.__qualname__ in record.getMessage()]
    assert len(complaints) == 1
    assert "secret" not in complaints[0]


async def test__predicate_that_raises__is_reported_once_and_the_rules_hold(
    kit: Kit, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    def when(*_: object) -> bool:
        raise RuntimeError("secret in the predicate")

    when.__qualname__ = f"when_{uuid.uuid4().hex}"
    peer.script(answer(503), answer(503), answer(200))
    with caplog.at_level(logging.DEBUG):
        async with kit.mounted(quick(when=when)) as client:
            assert (await client.get(peer / "x")).status == 200
    complaints = [record.getMessage() for record in caplog.records if when.__qualname__ in record.getMessage()]
    assert (peer.count, len(complaints)) == (3, 1)


async def test__classifier_that_raises__is_reported_once_and_the_table_holds(
    kit: Kit, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    def classify(*_: object) -> None:
        raise RuntimeError("secret in the classifier")

    classify.__qualname__ = f"classify_{uuid.uuid4().hex}"
    resilience = only(classify=classify)
    peer.script(answer(503), answer(503), answer(200))
    with caplog.at_level(logging.DEBUG):
        async with kit.mounted(resilience) as client:
            got = [(await client.get(peer / "x")).status for _ in range(3)]
    complaints = [record.getMessage() for record in caplog.records if classify.__qualname__ in record.getMessage()]
    (snapshot,) = resilience.snapshots()
    assert (got, snapshot.failures, snapshot.successes, len(complaints)) == ([503, 503, 200], 2, 1, 1)


async def test__key_function_that_raises__is_reported_once_and_the_host_is_the_key(
    kit: Kit, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    def key(*_: object) -> str:
        raise RuntimeError("secret in the key function")

    key.__qualname__ = f"key_{uuid.uuid4().hex}"
    resilience = Resilience(key=key)
    with caplog.at_level(logging.DEBUG):
        async with kit.mounted(resilience) as client:
            for _ in range(2):
                assert (await client.get(peer / "x")).status == 200
    complaints = [record.getMessage() for record in caplog.records if key.__qualname__ in record.getMessage()]
    assert ([s.host for s in resilience.snapshots()], len(complaints)) == ([peer.url], 1)


async def test__key_function__names_the_state(kit: Kit, peer: Peer, other: Peer) -> None:
    resilience = Resilience(key=lambda method, url: f"http://{method.lower()}.all")
    async with kit.mounted(resilience) as client:
        await client.get(peer / "x")
        await client.get(other / "x")
    (snapshot,) = resilience.snapshots()
    assert snapshot.successes == 2


async def test__listener_that_calls_with_the_same_client__does_not_block(kit: Kit, peer: Peer) -> None:
    resilience = quick()
    heard: list[object] = []

    def listener(event: object) -> None:
        heard.append(event)
        resilience.snapshots()
        resilience.reset_all()

    resilience.subscribe(listener)
    peer.script(answer(503), answer(200))
    async with kit.mounted(resilience) as client:
        assert (await client.get(peer / "x")).status == 200
    assert heard


async def test__default_policy__redirects_and_bodiless_answers_are_successes(kit: Kit, peer: Peer) -> None:
    resilience = Resilience()
    peer.script(steps.redirect("/b"), answer(204), answer(304))
    async with kit.mounted(resilience) as client:
        for _ in range(3):
            await client.get(peer / "x")
    (snapshot,) = resilience.snapshots()
    assert (snapshot.successes, snapshot.failures, snapshot.in_flight) == (3, 0, 0)
