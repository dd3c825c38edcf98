"""SDKs that make a client of their own are protected; their own retries are left to them, and warned of."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic
import httpx2
import openai
import pytest

import seawall
from httpx_resilience import ResilientTransport
from tests.contract.peer import Peer
from tests.contract.settings import only, quick, retrying
from tests.contract.steps import answer
from tests.contract.test_mounting import recorded
from tests.httpx.test_sdks import ASK, CHAT, CHUNK, JSON, LLM, MESSAGE, SSE, ask, both, said

BUSY = answer(503, b"{}", [*JSON, ("retry-after-ms", "1")])
FAILED = (openai.InternalServerError, anthropic.InternalServerError)


@both
def test__default_client__is_resilient_until_uninstall(make: Any, good: Any, peer: Peer) -> None:
    peer.script(answer(503), answer(503), good)
    with seawall.installed(only(**LLM)):
        with make(peer) as sdk:
            assert ask(sdk) == "hello"
            assert type(sdk._client._transport) is ResilientTransport
    assert peer.count == 3
    assert {request.header("x-stainless-retry-count") for request in peer.requests} == {"0"}
    assert type(sdk._client._transport) is httpx2.HTTPTransport


@pytest.mark.parametrize(
    ("kind", "good"), [(openai.AsyncOpenAI, said(CHAT)), (anthropic.AsyncAnthropic, said(MESSAGE))]
)
def test__default_async_client__is_resilient(kind: Any, good: Any, peer: Peer) -> None:
    peer.script(answer(503), answer(503), good)

    async def scenario() -> str:
        async with kind(api_key="key", base_url=peer.url) as sdk:
            if kind is openai.AsyncOpenAI:
                return str((await sdk.chat.completions.create(**ASK)).choices[0].message.content)
            return str((await sdk.messages.create(max_tokens=5, **ASK)).content[0].text)

    with seawall.installed(only(**LLM)):
        assert asyncio.run(scenario()) == "hello"
    assert peer.count == 3


def test__stream_of_a_default_client__is_a_success_of_the_host(peer: Peer) -> None:
    events = f"data: {json.dumps(CHUNK)}\n\ndata: [DONE]\n\n".encode()
    peer.script(answer(503), answer(200, events, SSE, chunks=1))
    with seawall.installed(only(**LLM)) as resilience, openai.OpenAI(api_key="key", base_url=peer.url) as sdk:
        with sdk.chat.completions.create(stream=True, **ASK) as stream:
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "hello"
    (snapshot,) = resilience.snapshots()
    assert (peer.count, snapshot.successes, snapshot.failures, snapshot.in_flight) == (2, 1, 1, 0)


@both
def test__own_retries__are_left_to_the_sdk_and_warned_of_once(make: Any, good: Any, peer: Peer) -> None:
    peer.script(BUSY)
    with seawall.installed(only(retry=retrying(max_retries=1, methods={"POST"}))):
        with make(peer) as sdk:
            assert sdk.max_retries == 2
            with recorded() as caught:
                for _ in range(2):
                    with pytest.raises(FAILED):
                        ask(sdk)
    assert ["max_retries=0" in str(warning.message) for warning in caught] == [True]
    assert peer.count == 2 * (1 + 2) * 2  # calls × the SDK's tries × attempts of each


@both
def test__default_policy__a_post_is_repeated_by_the_sdk_alone(make: Any, good: Any, peer: Peer) -> None:
    peer.script(BUSY, BUSY, good)
    with seawall.installed(quick()), make(peer) as sdk, recorded() as caught:
        assert ask(sdk) == "hello"
    assert caught == []  # nothing multiplies
    assert [request.header("x-stainless-retry-count") for request in peer.requests] == ["0", "1", "2"]


@both
def test__mounted_by_hand_too__one_layer_retries(make: Any, good: Any, peer: Peer) -> None:
    peer.script(answer(503, b"{}", JSON))
    with seawall.installed(only(**LLM)) as resilience:
        with seawall.mount(make(peer), resilience) as sdk:
            assert sdk.max_retries == 0
            with pytest.raises(FAILED):
                ask(sdk)
    assert peer.count == 3
    assert type(sdk._client._transport) is ResilientTransport


def test__copies_of_an_sdk_client__share_its_mounted_client(peer: Peer) -> None:
    peer.script(answer(503), said(CHAT))
    with seawall.installed(only(**LLM)), openai.OpenAI(api_key="key", base_url=peer.url) as sdk:
        assert ask(sdk.with_options(timeout=5)) == "hello"
    assert peer.count == 2
