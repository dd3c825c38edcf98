"""Idempotency keys: one per call, the same on every attempt, whoever sends what how often."""

from __future__ import annotations

import copy
import pickle
from collections import defaultdict
from contextlib import suppress
from typing import Any

import pytest
import requests

from tests.contract import steps
from tests.contract.clients import Client, Kit, settle
from tests.contract.peer import Peer
from tests.contract.settings import only, quick, retrying
from tests.contract.steps import answer

NAME = "Idempotency-Key"


def prepared(client: Client, url: str, **options: Any) -> Any:
    """A request object of the library's."""
    if client.kit.library is requests:
        return client.inner.prepare_request(requests.Request("POST", url, data=b"pay", **options))
    return client.inner.build_request("POST", url, content=b"pay", **options)


def keys(peer: Peer) -> list[str | None]:
    return [request.header(NAME) for request in peer.requests]


async def test__request_object_sent_again__is_another_call_with_another_key(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503), answer(200), answer(503), answer(200))
    async with kit.mounted(quick(idempotency_key="auto")) as client:
        request = prepared(client, peer / "x")
        for _ in range(2):
            await settle(client.inner.send(request))
            assert request.headers[NAME] == keys(peer)[-1]  # the one that was sent can be seen
    first, again, second, third = keys(peer)
    assert (first, second) == (again, third)
    assert None not in (first, second)
    assert first != second


@pytest.mark.parametrize("sent_before", [False, True])
async def test__request_object_sent_by_many_at_once__each_call_keeps_its_own_key(
    kit: Kit, peer: Peer, sent_before: bool
) -> None:
    seen: dict[str | None, int] = defaultdict(int)

    def choose(request: steps.Received) -> steps.Step:
        seen[request.header(NAME)] += 1
        return answer(200 if seen[request.header(NAME)] > 2 else 503)

    async with kit.mounted(only(retry=retrying(max_retries=5, idempotency_key="auto"))) as client:
        request = prepared(client, peer / "x")
        if sent_before:
            await settle(client.inner.send(request))
        peer.forget()
        peer.script(steps.judged(choose))

        async def job() -> int:
            return int((await settle(client.inner.send(request))).status_code)

        assert await kit.together(*[job] * 6) == [200] * 6
    assert sorted(seen.values()) == [3] * 6
    assert None not in seen


async def test__redirect_that_keeps_the_method__keeps_the_key(kit: Kit, peer: Peer) -> None:
    peer.script(steps.redirect("/there", 307), path="/here")
    peer.script(answer(503), answer(200), path="/there")
    async with kit.mounted(quick(idempotency_key="auto")) as client:
        for _ in range(2):
            await client.request("POST", peer / "here", content=b"pay", follow=True)
            peer.script(answer(200), path="/there")
    first, second = keys(peer)[:3], keys(peer)[3:]
    assert (len(set(first)), len(set(second)), len(peer.requests)) == (1, 1, 5)
    assert first[0] not in (None, second[0])


@pytest.mark.parametrize(
    "broken",
    [lambda request: 1 / 0, lambda request: "", lambda request: None, lambda request: "a\nb"],
    ids=["raises", "empty", "None", "no header"],
)
async def test__key_function_that_gives_none__no_key_and_so_no_second_attempt(
    kit: Kit, peer: Peer, broken: Any
) -> None:
    peer.script(answer(503))
    async with kit.mounted(quick(idempotency_key=broken)) as client:
        got = await client.request("POST", peer / "x", content=b"pay")
    assert (got.status, keys(peer)) == (503, [None])


async def test__key_function_that_fails_on_the_second_call__does_not_leave_it_the_key_of_the_first(
    kit: Kit, peer: Peer
) -> None:
    given = iter(["order-1"])
    async with kit.mounted(quick(idempotency_key=lambda request: next(given))) as client:
        request = prepared(client, peer / "x")
        for _ in range(2):
            await settle(client.inner.send(request))
    assert keys(peer) == ["order-1", None]


async def test__empty_key_of_the_callers__is_none(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503))
    async with kit.mounted(quick()) as client:
        await client.request("POST", peer / "x", content=b"pay", headers={NAME: ""})
    assert peer.count == 1
    peer.forget()
    peer.script(answer(503), answer(200))
    async with kit.mounted(quick(idempotency_key="auto")) as client:
        await client.request("POST", peer / "x", content=b"pay", headers={NAME: ""})
    assert len(set(keys(peer))) == 1
    assert keys(peer)[0]


async def test__retried_because_when_says_so__under_the_same_key(kit: Kit, peer: Peer) -> None:
    peer.script(answer(404), answer(409), answer(200))
    async with kit.mounted(quick(idempotency_key="auto", when=lambda attempt, request: True)) as client:
        await client.request("POST", peer / "x", content=b"pay")
    assert (len(set(keys(peer))), peer.count) == (1, 3)


async def test__request_with_a_key_of_ours__can_be_copied_and_pickled(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(quick(idempotency_key="auto")) as client:
        request = prepared(client, peer / "x")
        await settle(client.inner.send(request))
        for other in (copy.copy(request), pickle.loads(pickle.dumps(request))):
            assert other.headers[NAME] == keys(peer)[0]
            if kit.library is not requests:
                other.stream = request.stream  # neither is copied
                other.extensions = {}
            await settle(client.inner.send(other))
    assert len(set(keys(peer))) == 3


async def test__call_that_was_cancelled_or_failed__does_not_hold_the_request(kit: Kit, peer: Peer) -> None:
    peer.script(steps.reset(), steps.reset(), steps.reset(), answer(200))
    async with kit.mounted(quick(idempotency_key="auto")) as client:
        request = prepared(client, peer / "x")
        with suppress(kit.errors.base):
            await settle(client.inner.send(request))
        await settle(client.inner.send(request))
    assert request.headers[NAME] == keys(peer)[-1]
    assert len(set(keys(peer))) == 2
