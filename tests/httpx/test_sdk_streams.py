"""The SDKs of OpenAI and Anthropic over our mount, sync and async: faults of real LLM servers, streaming and not.

The SDK's own objects and exceptions reach its user, one layer retries, and what cannot work ends at once.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

import anthropic
import openai
import pytest

import seawall
from seawall import Policy, Resilience, Timeouts
from tests.contract.peer import Peer
from tests.contract.settings import retrying, tripping
from tests.contract.steps import Step, answer, close, hang
from tests.httpx.test_sdks import ASK, CHAT, CHUNK, JSON, MESSAGE
from tests.streams.scripts import DONE, EOF, HANG, RESET, Piece, data, stream

SHORT = 0.3
OPENAI = [data({**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}), data(CHUNK), DONE]
TEXT = {"type": "text", "text": ""}
DELTA = {"type": "text_delta", "text": "hello"}


def event(name: str, **more: Any) -> bytes:
    """An event as Anthropic's servers write it."""
    return data({"type": name, **more}, name)


ANTHROPIC = [
    event("message_start", message={**MESSAGE, "content": []})
    + event("content_block_start", index=0, content_block=TEXT)
    + event("ping"),
    event("content_block_delta", index=0, delta=DELTA),
    event("content_block_stop", index=0) + event("message_stop"),
]
ERRORS = (openai.APIError, anthropic.APIError)


class Kit:
    """One SDK, sync or async: how to make its client, and what its user calls."""

    def __init__(self, make: Callable[..., Any], good: Any, events: list[bytes], error: bytes) -> None:
        self.make = make
        self.is_async = make.__name__.startswith("Async")
        self.is_openai = make in (openai.OpenAI, openai.AsyncOpenAI)
        self.good = answer(200, json.dumps(good).encode(), JSON)
        self.announcement, self.content, self.end = events
        self.error = error
        """What its server sends inside a stream when it is overloaded."""

    def __repr__(self) -> str:
        return str(self.make.__name__)

    def stream(self, *pieces: Piece) -> Step:
        """An announcement, then these."""
        return stream(self.announcement, *pieces)

    @property
    def whole(self) -> Step:
        """A stream with nothing wrong."""
        return self.stream(self.content, self.content, self.end)

    def sdk(self, peer: Peer, policy: Policy | Resilience | None, **options: Any) -> Any:
        """Its client, mounted; bare, its retries off, without a policy."""
        if policy is None:
            return self.make(api_key="key", base_url=peer.url, max_retries=0, **options)
        return seawall.mount(self.make(api_key="key", base_url=peer.url, **options), as_resilience(policy))

    def _asked(self, sdk: Any, **more: Any) -> Any:
        if self.is_openai:
            return sdk.chat.completions.create(**ASK, **more)
        return sdk.messages.create(max_tokens=5, **ASK, **more)

    def _text(self, thing: Any) -> str:
        if self.is_openai:
            (choice,) = thing.choices
            return (choice.delta.content if hasattr(choice, "delta") else choice.message.content) or ""
        if isinstance(thing, anthropic.types.Message):
            return thing.content[0].text  # type: ignore[union-attr]
        return getattr(getattr(thing, "delta", None), "text", "")

    def ask(self, sdk: Any) -> str:
        """The text of one answer."""

        async def scenario() -> str:
            async with sdk:
                return self._text(await self._asked(sdk))

        if self.is_async:
            return run(scenario())
        with sdk:
            return self._text(self._asked(sdk))

    def read(self, sdk: Any) -> tuple[str, Exception | None]:
        """The text of a stream as far as it came, and what ended it."""
        text = ""

        async def scenario() -> None:
            nonlocal text
            async with sdk:
                async for event in await self._asked(sdk, stream=True):
                    text += self._text(event)

        try:
            if self.is_async:
                run(scenario())
            else:
                with sdk:
                    for event in self._asked(sdk, stream=True):
                        text += self._text(event)
        except Exception as error:
            return text, error
        return text, None


def run(scenario: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(scenario)


OPENAI_ERROR = data({"error": {"message": "The server is overloaded", "type": "server_error", "code": "overloaded"}})
ANTHROPIC_ERROR = data({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error")
KITS = [
    Kit(openai.OpenAI, CHAT, OPENAI, OPENAI_ERROR),
    Kit(openai.AsyncOpenAI, CHAT, OPENAI, OPENAI_ERROR),
    Kit(anthropic.Anthropic, MESSAGE, ANTHROPIC, ANTHROPIC_ERROR),
    Kit(anthropic.AsyncAnthropic, MESSAGE, ANTHROPIC, ANTHROPIC_ERROR),
]


@pytest.fixture(params=KITS, ids=repr)
def kit(request: pytest.FixtureRequest) -> Kit:
    """Each SDK in turn."""
    chosen: Kit = request.param
    return chosen


def llm(**parts: Any) -> Policy:
    """The preset, its times shortened, without a budget and a breaker in the way."""
    defaults: dict[str, Any] = {
        "timeouts": Timeouts(first_content=SHORT, idle=SHORT),
        "retry": retrying(methods={"GET", "POST"}, idempotency_key="auto"),
        "budget": None,
        "breaker": None,
    }
    return Policy.llm(**(defaults | parts))


def as_resilience(policy: Policy | Resilience) -> Resilience:
    return policy if isinstance(policy, Resilience) else Resilience(policy)


def attempts(error: Exception | None) -> int:
    """How often it was tried, by the report of what the SDK raised."""
    report = seawall.report(error)
    assert report is not None
    return len(report.attempts)


def once(peer: Peer) -> bool:
    """The SDK itself tried but once, whatever we did; and all under one key."""
    tries = {request.header("x-stainless-retry-count") for request in peer.requests}
    return tries == {"0"} and len({request.header("idempotency-key") for request in peer.requests}) == 1


def test__429_with_retry_after__is_waited_for_in_one_layer(kit: Kit, peer: Peer) -> None:
    busy = answer(429, b'{"error": {"message": "slow down"}}', [*JSON, ("retry-after-ms", "150")])
    started = time.monotonic()
    peer.script(busy, kit.good)
    assert kit.ask(kit.sdk(peer, llm())) == "hello"
    assert (peer.count, once(peer)) == (2, True)
    peer.forget()
    peer.script(busy, kit.whole)
    assert kit.read(kit.sdk(peer, llm())) == ("hellohello", None)
    assert (peer.count, once(peer)) == (2, True)
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize("fault", ["error event", "stall", "reset", "end", "no headers"])
def test__stream_that_fails_before_its_first_token__is_repeated(kit: Kit, peer: Peer, fault: str) -> None:
    bad = {
        "error event": kit.stream(kit.error),
        "stall": kit.stream(HANG),
        "reset": kit.stream(RESET),
        "end": kit.stream(EOF),
        "no headers": close(),
    }[fault]
    peer.script(bad, kit.whole)
    assert kit.read(kit.sdk(peer, llm())) == ("hellohello", None)
    assert (peer.count, once(peer)) == (2, True)


def test__error_event_after_the_first_token__is_the_sdks_own_exception(kit: Kit, peer: Peer) -> None:
    peer.script(kit.stream(kit.content, 0.05, kit.error))
    _, bare = kit.read(kit.sdk(peer, None))
    peer.forget()
    resilience = as_resilience(llm())
    text, error = kit.read(kit.sdk(peer, resilience))
    assert isinstance(error, ERRORS)
    assert (text, type(error), str(error)) == ("hello", type(bare), str(bare))
    assert (peer.count, attempts(error)) == (1, 1)
    (host,) = resilience.snapshots()
    assert (host.failures, host.successes, host.in_flight) == (1, 0, 0)


@pytest.mark.parametrize("fault", ["stall", "reset", "end"])
def test__stream_that_dies_after_the_first_token__is_as_the_bare_sdk_says(kit: Kit, peer: Peer, fault: str) -> None:
    cut: Piece = {"stall": HANG, "reset": RESET, "end": EOF}[fault]
    peer.script(kit.stream(kit.content, 0.05, cut))
    _, bare = kit.read(kit.sdk(peer, None, timeout=SHORT))
    peer.forget()
    resilience = as_resilience(llm())
    started = time.monotonic()
    text, error = kit.read(kit.sdk(peer, resilience))
    assert time.monotonic() - started < SHORT + 1.5
    assert text == "hello"
    if fault == "stall" and not kit.is_openai:  # that SDK lets the library's timeout through, ours is one
        assert isinstance(error, seawall.DeadlineExceeded)
        assert isinstance(error, type(bare).__mro__[1])
    else:
        assert type(error) is type(bare)
    assert (peer.count, attempts(error)) == (1, 1)
    (host,) = resilience.snapshots()
    assert (host.failures, host.in_flight) == (1, 0)


def test__every_attempt_stalls_before_the_first_token__one_error_with_the_story(kit: Kit, peer: Peer) -> None:
    peer.script(kit.stream(HANG))
    started = time.monotonic()
    text, error = kit.read(kit.sdk(peer, llm()))
    assert time.monotonic() - started < 3 * SHORT + 1.5
    assert text == ""
    assert isinstance(error, (openai.APITimeoutError, seawall.DeadlineExceeded))
    assert (peer.count, attempts(error), once(peer)) == (3, 3, True)


def test__every_attempt_says_overloaded__the_sdks_own_exception_after_all_of_them(kit: Kit, peer: Peer) -> None:
    peer.script(kit.stream(kit.error))
    _, bare = kit.read(kit.sdk(peer, None))
    peer.forget()
    _, error = kit.read(kit.sdk(peer, llm()))
    assert isinstance(error, ERRORS)
    assert (type(error), str(error)) == (type(bare), str(bare))
    assert (peer.count, attempts(error), once(peer)) == (3, 3, True)


@pytest.mark.parametrize("fault", ["503", "disconnect"])
def test__not_streaming__attempts_do_not_multiply(kit: Kit, peer: Peer, fault: str) -> None:
    bad = answer(503, b"{}", JSON) if fault == "503" else close()
    peer.script(bad, kit.good)
    assert kit.ask(kit.sdk(peer, llm())) == "hello"
    peer.forget()
    peer.script(bad)
    with pytest.raises(ERRORS) as caught:
        kit.ask(kit.sdk(peer, llm()))
    assert (peer.count, attempts(caught.value), once(peer)) == (3, 3, True)


def sdk_of(kit: Kit, peer: Peer, way: str, **parts: Any) -> tuple[Any, Resilience]:
    """Mounted with the preset, refusals answered, the SDK's own retries left on; or by `seawall.mount(sdk)`."""
    if way == "mount":
        resilience = as_resilience(Policy(retry=None, **parts))
        return kit.sdk(peer, resilience), resilience
    resilience = as_resilience(llm(**({"retry": None} | parts)))
    sdk = kit.make(api_key="key", base_url=peer.url)
    seawall.mount(sdk._client, resilience)
    assert sdk.max_retries == 2
    return sdk, resilience


@pytest.mark.parametrize("way", ["preset", "mount"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test__open_circuit__costs_one_call_and_no_sleep(kit: Kit, peer: Peer, way: str, streamed: bool) -> None:
    sdk, resilience = sdk_of(kit, peer, way, breaker=tripping())
    resilience.isolate(peer.url)
    started = time.monotonic()
    if streamed:
        error = kit.read(sdk)[1]
    else:
        with pytest.raises(ERRORS) as caught:
            kit.ask(sdk)
        error = caught.value
    assert time.monotonic() - started < 0.4
    assert isinstance(error, ERRORS)
    assert peer.count == 0
    report = seawall.report(error)
    assert report is not None
    assert (report.ending, report.reason) == (seawall.Ending.REFUSED, "isolated")


@pytest.mark.parametrize("way", ["preset", "mount"])
def test__deadline__costs_one_call_and_no_sleep(kit: Kit, peer: Peer, way: str) -> None:
    peer.script(hang())
    sdk, _ = sdk_of(kit, peer, way)
    started = time.monotonic()
    with seawall.deadline(0.2), pytest.raises(ERRORS) as caught:
        kit.ask(sdk)
    assert 0.15 < time.monotonic() - started < 0.7
    assert peer.count <= 1
    report = seawall.report(caught.value)
    assert report is not None
    assert report.ending is seawall.Ending.DEADLINE


@pytest.mark.parametrize("way", ["preset", "mount"])
def test__deadline_before_the_first_token__costs_one_call_and_no_sleep(kit: Kit, peer: Peer, way: str) -> None:
    peer.script(kit.stream(HANG))
    sdk, _ = sdk_of(kit, peer, way, inspect_streams=True)
    started = time.monotonic()
    with seawall.deadline(0.2):
        text, error = kit.read(sdk)
    assert 0.15 < time.monotonic() - started < 0.7
    assert text == ""
    assert isinstance(error, (openai.APITimeoutError, seawall.DeadlineExceeded))
    assert (peer.count, attempts(error)) == (1, 1)
