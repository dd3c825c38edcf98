"""A host that is away, hangs or fails at times: what it is sent, what callers get, how soon all is well again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

import seawall
from seawall import Bulkhead, Policy, Resilience, RetryBudget, Timeouts
from seawall.testing import Down, FaultProxy, LimitData, ResetPeer, Timeout, Toxic
from tests.contract.clients import Kit
from tests.contract.peer import Peer
from tests.contract.steps import answer, judged
from tests.smoke.traffic import gateway, hurried, recovers, rests, state, traffic

LATE = 2.0
"""Seconds a busy machine may be late; without our clocks all this would last five at least."""


@pytest.mark.parametrize(
    ("toxic", "policy", "threshold"),
    [(Down(), hurried, 10), (ResetPeer(), gateway, 5)],
    ids=["refused-default", "reset-gateway"],
)
async def test__outage__load_is_bounded_and_the_host_comes_back(
    kit: Kit, proxy: FaultProxy, toxic: Toxic, policy: Callable[[], Policy], threshold: int
) -> None:
    resilience = Resilience(policy())
    callers = 4
    async with kit.mounted(resilience) as client:
        assert (await traffic(client, proxy.url, each=2)).good == 8
        with proxy.under(toxic):
            proxy.cut()
            away = await traffic(client, proxy.url, callers=callers)
        assert away.good == 0
        assert away.degraded in (0, away.calls)  # the gateway's callers get what they got before
        assert state(resilience) != "closed"
        assert threshold <= away.attempts <= 2 * threshold + callers + away.probes()
        assert away.refused > away.calls / 2
        await recovers(client, proxy.url, resilience)


async def test__open_circuit__nothing_reaches_the_host_and_calls_end_at_once(
    kit: Kit, proxy: FaultProxy, peer: Peer
) -> None:
    resilience = Resilience(hurried())
    async with kit.mounted(resilience) as client:
        await client.get(proxy.url)
        resilience.isolate(proxy.url)
        with proxy.under(Timeout()):
            proxy.cut()
            accepted, received = proxy.accepted, peer.count
            seen = await traffic(client, proxy.url)
        assert seen.refused == seen.calls
        assert all(isinstance(error, seawall.CircuitOpen) for error in seen.errors)
        assert (proxy.accepted, peer.count) == (accepted, received)
        assert seen.longest < LATE
        resilience.restore(proxy.url)
        await recovers(client, proxy.url, resilience)


async def test__hang__every_call_ends_in_time_and_few_are_sent(kit: Kit, proxy: FaultProxy, peer: Peer) -> None:
    resilience = Resilience(hurried(timeouts=Timeouts(attempt=0.06, total=0.2)))
    async with kit.mounted(resilience) as client:
        assert (await client.get(proxy.url)).status == 200
        before = peer.count
        with proxy.under(Timeout()):
            hung = await traffic(client, proxy.url)
        assert hung.good == 0
        assert hung.longest < 0.2 + LATE
        assert hung.attempts <= 2 * 10 + 4 + hung.probes()
        assert peer.count - before <= hung.attempts
        assert hung.refused > hung.calls / 2
        await recovers(client, proxy.url, resilience)


async def test__hang__deadline_holds_without_any_other_clock(kit: Kit, proxy: FaultProxy) -> None:
    resilience = Resilience(Policy(timeouts=None))
    async with kit.mounted(resilience, timeout=20.0) as client:
        with proxy.under(Timeout()), seawall.deadline(0.15):
            began = time.monotonic()
            with pytest.raises(seawall.DeadlineExceeded):
                await client.get(proxy.url)
            assert time.monotonic() - began < 0.15 + LATE
        rests(resilience)


async def test__hang__bulkhead_holds_who_is_sent_and_turns_away_the_others(
    kit: Kit, proxy: FaultProxy, peer: Peer
) -> None:
    resilience = Resilience(
        Policy(timeouts=Timeouts(total=0.3), bulkhead=Bulkhead(max_concurrent=2, max_wait=0.01), breaker=None)
    )
    async with kit.mounted(resilience) as client:
        with proxy.under(Timeout()):
            seen = await traffic(client, proxy.url, callers=8, each=1)
        assert len([error for error in seen.errors if isinstance(error, seawall.BulkheadFull)]) == 6
        assert peer.count <= 2
        rests(resilience)


@pytest.mark.parametrize("toxic", [None, LimitData(size=0, toxicity=0.2)], ids=["503", "closed"])
async def test__a_fifth_fails__nearly_all_are_good_for_what_the_budget_allows(
    kit: Kit, proxy: FaultProxy, peer: Peer, toxic: Toxic | None
) -> None:
    chance = random.Random(7)
    well = answer(200, b"fine", keep=False)  # each request on a connection of its own: its own chance
    sick = answer(503, keep=False)
    peer.script(judged(lambda request: sick if toxic is None and chance.random() < 0.2 else well))
    budget = RetryBudget()
    resilience = Resilience(hurried(budget=budget))
    async with kit.mounted(resilience) as client:
        with proxy.under(*([toxic] if toxic else [])):
            seen = await traffic(client, proxy.url, each=15)
        extra = seen.attempts - seen.calls
        assert 5 <= extra <= budget.start + budget.ratio * seen.good + 1
        assert seen.good >= 0.9 * seen.calls
        assert state(resilience) == "closed"
        rests(resilience)
