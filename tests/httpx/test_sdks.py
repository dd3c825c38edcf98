"""SDKs that bring an httpx2 client of their own: one call mounts, one layer retries, refusals are understood."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

import seawall
from seawall import Policy, Resilience
from tests.contract import steps
from tests.contract.peer import Peer
from tests.contract.settings import only, quick, retrying, tripping
from tests.contract.steps import Step, answer

JSON = [("Content-Type", "application/json")]
SSE = [("Content-Type", "text/event-stream")]
CHAT = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
}
MESSAGE = {
    "id": "m1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
CHUNK = {
    "id": "c1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "hello"}}],
}
ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
LLM = {"retry": retrying(methods={"GET", "POST"})}


def said(body: dict[str, Any]) -> Step:
    return answer(200, json.dumps(body).encode(), JSON)


def make_openai(peer: Peer) -> Any:
    return openai.OpenAI(api_key="key", base_url=peer.url)


def make_anthropic(peer: Peer) -> Any:
    return anthropic.Anthropic(api_key="key", base_url=peer.url)


def ask(sdk: Any) -> str:
    if isinstance(sdk, openai.OpenAI):
        return sdk.chat.completions.create(**ASK).choices[0].message.content or ""
    return str(sdk.messages.create(max_tokens=5, **ASK).content[0].text)


both = pytest.mark.parametrize(
    ("make", "good"), [(make_openai, said(CHAT)), (make_anthropic, said(MESSAGE))], ids=["openai", "anthropic"]
)


@both
def test__mount__retries_once_in_one_layer(make: Callable[[Peer], Any], good: Step, peer: Peer) -> None:
    peer.script(answer(503), answer(503), good)
    with seawall.mount(make(peer), only(**LLM)) as sdk:
        assert ask(sdk) == "hello"
    assert peer.count == 3
    assert {request.header("x-stainless-retry-count") for request in peer.requests} == {"0"}


@both
def test__mount__attempts_do_not_multiply(make: Callable[[Peer], Any], good: Step, peer: Peer) -> None:
    peer.script(answer(503, b"{}", JSON))
    with seawall.mount(make(peer), only(**LLM)) as sdk:
        assert sdk.max_retries == 0
        with pytest.raises((openai.InternalServerError, anthropic.InternalServerError)) as caught:
            ask(sdk)
    assert peer.count == 3
    report = seawall.report(caught.value)
    assert report is not None
    assert len(report.attempts) == 3


@both
def test__unmount__restores_client_and_retries(make: Callable[[Peer], Any], good: Step, peer: Peer) -> None:
    with make(peer) as sdk:
        retries, transport = sdk.max_retries, sdk._client._transport
        assert seawall.mount(sdk, quick()) is sdk
        assert sdk._client._transport is not transport
        assert seawall.unmount(sdk) is sdk
        assert (sdk.max_retries, sdk._client._transport) == (retries, transport)


@both
def test__rejections_respond__one_quick_error_with_our_message(
    make: Callable[[Peer], Any], good: Step, peer: Peer
) -> None:
    peer.script(answer(503, b"{}", JSON))
    resilience = only(breaker=tripping(), rejections="respond")
    with seawall.mount(make(peer), resilience) as sdk:
        for _ in range(2):
            with pytest.raises((openai.InternalServerError, anthropic.InternalServerError)):
                ask(sdk)
        started = time.monotonic()
        with pytest.raises((openai.InternalServerError, anthropic.InternalServerError)) as caught:
            ask(sdk)
    assert time.monotonic() - started < 0.5
    assert peer.count == 2
    assert "circuit open" in str(caught.value)
    report = seawall.report(caught.value)
    assert report is not None
    assert report.ending is seawall.Ending.REFUSED


@both
def test__rejection_raised__is_found_behind_the_sdks_error(make: Callable[[Peer], Any], good: Step, peer: Peer) -> None:
    peer.script(answer(503, b"{}", JSON))
    with seawall.mount(make(peer), only(breaker=tripping())) as sdk:
        for _ in range(2):
            with pytest.raises((openai.InternalServerError, anthropic.InternalServerError)):
                ask(sdk)
        with pytest.raises((openai.APIConnectionError, anthropic.APIConnectionError)) as caught:
            ask(sdk)
    assert isinstance(caught.value.__cause__, seawall.CircuitOpen)
    report = seawall.report(caught.value)
    assert report is not None
    assert report.ending is seawall.Ending.REFUSED


@both
def test__llm_preset__post_is_repeated_under_one_key(make: Callable[[Peer], Any], good: Step, peer: Peer) -> None:
    peer.script(answer(503, b"{}", [*JSON, ("retry-after-ms", "20")]), good)
    with seawall.mount(make(peer), Resilience({"all://": Policy.llm()})) as sdk:
        assert ask(sdk) == "hello"
    keys = [request.header("idempotency-key") for request in peer.requests]
    assert len(keys) == 2
    assert keys[0]
    assert keys[0] == keys[1]


def test__openai_stream__closed_after_done__is_a_success(peer: Peer) -> None:
    events = f"data: {json.dumps(CHUNK)}\n\ndata: [DONE]\n\n".encode()
    peer.script(answer(200, events, SSE, chunks=1))
    resilience = only(breaker=tripping(failure_threshold=1))
    with seawall.mount(make_openai(peer), resilience) as sdk:
        with sdk.chat.completions.create(stream=True, **ASK) as stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    (snapshot,) = resilience.snapshots()
    assert (text, snapshot.successes, snapshot.failures, snapshot.in_flight) == ("hello", 1, 0, 0)


def test__openai_async__is_mounted_the_same_way(peer: Peer) -> None:
    peer.script(answer(503), said(CHAT))

    async def scenario() -> str:
        async with seawall.mount(openai.AsyncOpenAI(api_key="key", base_url=peer.url), only(**LLM)) as sdk:
            assert sdk.max_retries == 0
            return (await sdk.chat.completions.create(**ASK)).choices[0].message.content or ""

    assert asyncio.run(scenario()) == "hello"
    assert peer.count == 2


def test__sdk_that_retries_above__one_warning(peer: Peer) -> None:
    peer.script(answer(503, b"{}", [*JSON, ("retry-after-ms", "1")]))
    with make_openai(peer) as sdk:
        seawall.mount(sdk._client, only(**LLM))
        with pytest.warns(RuntimeWarning, match="max_retries") as caught, pytest.raises(openai.InternalServerError):
            ask(sdk)
    assert len(caught) == 1
    assert peer.count > 3


def test__sdks_own_timeout__is_not_lengthened(peer: Peer) -> None:
    peer.script(steps.hang())
    with seawall.mount(openai.OpenAI(api_key="key", base_url=peer.url, timeout=0.2), only()) as sdk:
        started = time.monotonic()
        with pytest.raises(openai.APITimeoutError):
            ask(sdk)
    assert time.monotonic() - started < 1.5
