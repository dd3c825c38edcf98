"""Chaos by seed: the same seed, the same faults; whatever they are, calls of mounted clients end and nothing leaks."""

from __future__ import annotations

import httpx
import pytest

import seawall
from seawall import Policy, Resilience, Retry, Timeouts
from seawall.testing import Down, FaultProxy, ScriptedServer, assert_no_leaks, chaos


def test__same_seed__same_faults() -> None:
    told = [[repr(toxic) for toxic in chaos(seed)] for seed in range(50)]
    assert told == [[repr(toxic) for toxic in chaos(seed)] for seed in range(50)]
    assert len({str(faults) for faults in told}) == 50


def test__many_seeds__bring_every_fault_but_the_one_for_all_connections() -> None:
    drawn = [toxic for seed in range(200) for toxic in chaos(seed)]
    assert len({type(toxic) for toxic in drawn}) == 7
    assert not any(isinstance(toxic, Down) for toxic in drawn)
    assert all(0.05 <= toxic.toxicity <= 0.3 for toxic in drawn)
    assert {len(chaos(seed)) for seed in range(200)} == {1, 2, 3}


@pytest.mark.parametrize("seed", range(8))
def test__any_seed__every_call_ends_and_nothing_leaks(seed: int) -> None:
    policy = Policy(timeouts=Timeouts(total=3), retry=Retry(base_delay=0.01, max_delay=0.02))
    resilience = Resilience(policy)
    limits = httpx.Limits(max_keepalive_connections=0)  # each request on a connection of its own: its own chance
    good = 0
    with ScriptedServer() as server, FaultProxy(server.url, seed=seed) as proxy:
        proxy.add(*chaos(seed))
        with seawall.mount(httpx.Client(limits=limits), resilience) as client:
            for _ in range(15):
                try:
                    good += client.get(proxy.url).status_code == 200
                except httpx.TransportError:
                    pass
    assert good >= 8
    assert_no_leaks(resilience)
