"""A user's function that is interrupted (Ctrl-C falls anywhere): the call ends, and the client loses nothing by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from seawall import Answer, Ending, Policy, Resilience, SimplifiedResponse
from seawall.events import CallEnded
from tests.contract.clients import Kit
from tests.contract.peer import Peer
from tests.contract.settings import retrying
from tests.contract.steps import answer, close

LONG = b"x" * 300_000  # more than a connection can be given back without
Make = Callable[[Callable[..., Any]], Resilience]


def classifying(hook: Callable[..., Any]) -> Resilience:
    return Resilience(Policy(retry=None, breaker=None, classify=hook))


def asking_when(hook: Callable[..., Any]) -> Resilience:
    return Resilience(Policy(retry=retrying(when=hook), breaker=None))


def naming(hook: Callable[..., Any]) -> Resilience:
    return Resilience(Policy(retry=None, breaker=None), key=hook)


def making_keys(hook: Callable[..., Any]) -> Resilience:
    return Resilience(Policy(retry=retrying(idempotency_key=hook), breaker=None))


@pytest.mark.parametrize(("make", "status"), [(classifying, 200), (classifying, 503), (asking_when, 503)])
async def test__hook_interrupted_with_an_answer_in_hand__its_connection_goes_back(
    kit: Kit, peer: Peer, make: Make, status: int
) -> None:
    strikes = [True]

    def hook(*_: Any) -> None:
        if strikes and strikes.pop():
            raise KeyboardInterrupt

    peer.script(answer(status, LONG), answer(200, b"fine"))
    resilience = make(hook)
    async with kit.mounted(resilience, pool=1, timeout=2) as client:
        with pytest.raises(KeyboardInterrupt):
            await client.get(peer / "x")
        assert resilience.snapshots()[0].in_flight == 0
        assert (await client.get(peer / "x")).body == b"fine"
    (host,) = resilience.snapshots()
    assert (host.requests, host.successes, host.in_flight) == (1, 1, 0)


async def test__hook_interrupted_after_an_error__permit_goes_back_and_the_call_is_over(kit: Kit, peer: Peer) -> None:
    strikes, ended = [True], list[CallEnded]()

    def hook(*_: Any) -> None:
        if strikes and strikes.pop():
            raise KeyboardInterrupt

    peer.script(close(), answer(200, b"fine"))
    resilience = classifying(hook)
    resilience.subscribe(ended.append, [CallEnded])  # type: ignore[arg-type]
    async with kit.mounted(resilience, timeout=2) as client:
        with pytest.raises(KeyboardInterrupt) as caught:  # whose frames hold the attempt
            await client.get(peer / "x")
        assert resilience.snapshots()[0].in_flight == 0
        assert (await client.get(peer / "x")).body == b"fine"
    del caught
    assert [event.ending for event in ended] == [Ending.CANCELLED, Ending.ANSWERED]


async def test__step_interrupted_with_an_answer_in_hand__permit_and_connection_go_back(kit: Kit, peer: Peer) -> None:
    strikes = [True]

    def build(request: Any, error: BaseException) -> Answer | None:
        if strikes.pop():
            raise KeyboardInterrupt
        return None

    peer.script(answer(503, LONG), answer(200, b"fine"))
    resilience = Resilience(Policy(retry=None, breaker=None, degrade=[SimplifiedResponse(build)]))
    async with kit.mounted(resilience, pool=1, timeout=2) as client:
        with pytest.raises(KeyboardInterrupt) as caught:  # whose frames hold the answer
            await client.get(peer / "x")
        assert resilience.snapshots()[0].in_flight == 0
        assert (await client.get(peer / "x")).body == b"fine"
    del caught
    (host,) = resilience.snapshots()
    assert (host.failures, host.successes, host.in_flight) == (1, 1, 0)


@pytest.mark.parametrize("make", [naming, making_keys])
async def test__hook_interrupted_before_anything_is_sent__nothing_is(kit: Kit, peer: Peer, make: Make) -> None:
    def hook(*_: Any) -> None:
        raise KeyboardInterrupt

    resilience = make(hook)
    async with kit.mounted(resilience, pool=1, timeout=2) as client:
        with pytest.raises(KeyboardInterrupt):
            await client.request("POST", peer / "x", content=b"pay")
    assert peer.count == 0
    assert all(host.in_flight == 0 for host in resilience.snapshots())
