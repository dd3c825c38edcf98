"""Mounting in place: what it keeps of the client, what it refuses, how it is undone."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import seawall
from seawall import Policy, Resilience
from tests.contract.clients import Client, Kit
from tests.contract.fakes import Asked, Reply, always_busy
from tests.contract.peer import Peer
from tests.contract.settings import only, quick, retrying, tripping
from tests.contract.steps import answer


@contextmanager
def recorded() -> Iterator[list[warnings.WarningMessage]]:
    """The warnings given inside."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


class Foreign:
    """Somebody else's wrapper around a transport, as tracing tools put it there."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


async def attempts(client: Client, peer: Peer) -> int:
    """How often the server sees one GET that it answers 503."""
    peer.forget()
    peer.script(answer(503))
    assert (await client.get(peer / "x")).status == 503
    return peer.count


async def test__mounted_twice__does_not_nest(kit: Kit, peer: Peer) -> None:
    resilience = quick()
    client = kit.mounted(resilience)
    kit.mount_module.mount(client.inner, resilience)
    async with client:
        assert await attempts(client, peer) == 3


async def test__mounted_again_with_another__the_last_one_holds(kit: Kit, peer: Peer) -> None:
    client = kit.mounted(quick(max_retries=4))
    kit.mount_module.mount(client.inner, quick(max_retries=1))
    async with client:
        assert await attempts(client, peer) == 2


async def test__unmount__puts_back_what_was_there(kit: Kit, peer: Peer) -> None:
    client = kit.bare()
    before = client.slot
    kit.mount_module.mount(client.inner, quick())
    assert client.slot is not before
    assert kit.mount_module.unmount(client.inner) is client.inner
    assert client.slot is before
    async with client:
        assert await attempts(client, peer) == 1


async def test__unmount__of_a_bare_client_changes_nothing(kit: Kit) -> None:
    client = kit.bare()
    before = client.slot
    kit.mount_module.unmount(client.inner)
    async with client:
        assert client.slot is before


async def test__mapping_and_policy__are_taken_for_a_resilience(kit: Kit, peer: Peer) -> None:
    policy = Policy(retry=retrying(max_retries=1), budget=None, breaker=None)
    for given in (policy, {"all://": policy}):
        async with kit.mounted(given) as client:
            assert await attempts(client, peer) == 2


async def test__nothing_given__clients_share_the_default(kit: Kit, peer: Peer) -> None:
    client = kit.bare()
    kit.mount_module.mount(client.inner)
    async with client:
        assert (await client.get(peer / "x")).status == 200
    snapshot = seawall.default().snapshot(peer.url)
    assert snapshot is not None
    assert snapshot.successes == 1
    assert seawall.default().remove(peer.url)


async def test__seawall_mount__finds_the_mount_of_any_client(kit: Kit, peer: Peer) -> None:
    client = kit.bare()
    before = client.slot
    assert seawall.mount(client.inner, quick()) is client.inner
    async with client:
        assert await attempts(client, peer) == 3
        assert seawall.unmount(client.inner) is client.inner
        assert client.slot is before


async def test__seawall_mount__refuses_what_is_no_client(kit: Kit) -> None:
    with pytest.raises(TypeError, match="httpx"):
        seawall.mount(object(), quick())
    with pytest.raises(TypeError):
        kit.mount_module.mount(object(), quick())


async def test__explicit_transport__around_one_of_the_clients(kit: Kit, peer: Peer) -> None:
    donor = kit.bare()
    async with kit.bare(fake=kit.wrap(donor.slot, quick())) as client:
        assert await attempts(client, peer) == 3


async def test__explicit_transport__without_one_makes_the_librarys_own(kit: Kit, peer: Peer) -> None:
    async with kit.bare(fake=kit.wrap(None, quick())) as client:
        assert await attempts(client, peer) == 3


async def test__policy_where_a_transport_belongs__is_refused_with_the_cure(kit: Kit) -> None:
    with pytest.raises(TypeError, match="Policy"):
        kit.wrap(Policy(), None)
    with pytest.raises(TypeError, match="Resilience"):
        kit.wrap(Resilience(), None)


async def test__proxy__is_kept_and_its_calls_are_resilient(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503), answer(200, b"by proxy"))
    async with kit.mounted(quick(), proxy=peer.url) as client:
        got = await client.get("http://far.test/x")
    assert (got.status, got.body) == (200, b"by proxy")
    assert [request.target for request in peer.requests] == ["http://far.test/x"] * 2


async def test__environment_proxy__with_an_exception_for_one_host__both_ways_are_resilient(
    kit: Kit, peer: Peer, other: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, other.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    peer.script(answer(503), answer(200, b"direct"))
    other.script(answer(503), answer(200, b"by proxy"))
    async with kit.mounted(quick(), trust_env=True) as client:
        direct = await client.get(peer / "x")
        proxied = await client.get("http://far.test/x")
    assert (direct.body, proxied.body) == (b"direct", b"by proxy")
    assert [request.target for request in peer.requests] == ["/x"] * 2
    assert [request.target for request in other.requests] == ["http://far.test/x"] * 2


async def test__retrier_underneath__one_warning_that_multiplies(kit: Kit, peer: Peer) -> None:
    client = kit.bare(retries=2)
    with recorded() as caught:
        kit.mount_module.mount(client.inner, quick())
        async with client:
            for _ in range(3):
                await client.get(peer / "x")
    (warning,) = caught
    assert "9" in str(warning.message)  # 3 attempts of ours, each of them 3 of the retrier's


async def test__no_retrier_underneath__no_warning(kit: Kit, peer: Peer) -> None:
    with recorded() as caught:
        async with kit.mounted(quick()) as client:
            await client.get(peer / "x", headers={"x-stainless-retry-count": "0"})
    assert [str(warning.message) for warning in caught] == []


async def test__retrier_above__one_warning(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503))
    async with kit.mounted(quick()) as client:
        with recorded() as caught:
            for count in range(3):  # as an SDK numbers its attempts
                await client.get(peer / "x", headers={"x-stainless-retry-count": str(count)})
    (warning,) = caught
    assert "max_retries" in str(warning.message)


async def test__retrier_above__of_what_is_sent_once_here__no_warning(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503))
    async with kit.mounted(quick()) as client:
        with recorded() as caught:
            for count in range(3):
                await client.request("POST", peer / "x", headers={"x-stainless-retry-count": str(count)})
    assert caught == []
    assert peer.count == 3


async def test__clock_longer_than_the_clients__one_warning_at_most(kit: Kit, peer: Peer) -> None:
    policy = seawall.Timeouts(attempt=50, total=60)
    with recorded() as caught:
        async with kit.mounted(only(timeouts=policy), timeout=1) as client:
            for _ in range(3):
                await client.get(peer / "x")
    assert len(caught) <= 1


async def test__adapter_or_transport__pickles_with_its_policies(kit: Kit) -> None:
    outer = kit.wrap(kit.fake(always_busy), only(breaker=tripping()))
    again = pickle.loads(pickle.dumps(outer))
    async with kit.bare(fake=again) as client:
        for _ in range(2):
            assert (await client.get("http://a.test/x")).status == 503
        with pytest.raises(seawall.CircuitOpen):
            await client.get("http://a.test/x")


async def test__close__reaches_the_transport_underneath(kit: Kit) -> None:
    fake = kit.fake()
    async with kit.mounted(quick(), fake=fake) as client:
        await client.get("http://a.test/x")
    if kit.name == "requests":
        assert fake.closed >= 1
    else:
        assert (fake.entered, fake.left) == (1, 1)


async def test__wrapper_of_somebody_else__is_what_unmount_puts_back(kit: Kit) -> None:
    client = kit.bare(fake=kit.fake())
    foreign = Foreign(client.slot)
    client.slot = foreign
    kit.mount_module.mount(client.inner, quick())
    assert client.slot is not foreign
    kit.mount_module.unmount(client.inner)
    assert client.slot is foreign


async def test__wrapper_of_somebody_else_on_top__sees_calls_not_attempts(kit: Kit) -> None:
    replies = [Reply(503), Reply(200)]

    def handler(_: Asked) -> Reply:
        return replies.pop(0)

    calls: list[str] = []

    class Counting(Foreign):
        def handle_request(self, request: Any) -> Any:
            calls.append("sync")
            return self.inner.handle_request(request)

        async def handle_async_request(self, request: Any) -> Any:
            calls.append("async")
            return await self.inner.handle_async_request(request)

        def send(self, request: Any, **kwargs: Any) -> Any:
            calls.append("requests")
            return self.inner.send(request, **kwargs)

    client = kit.mounted(quick(), fake=kit.fake(handler))
    client.slot = Counting(client.slot)
    assert (await client.get("http://a.test/x")).status == 200
    assert len(calls) == 1
