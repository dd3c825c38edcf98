"""Every fault of the measured table, mounted: the library's own error, after the right number of attempts."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

import seawall
from tests.contract import steps
from tests.contract.clients import Client, Kit
from tests.contract.faults import FAULTS, Fault
from tests.contract.peer import Peer
from tests.contract.settings import only, retrying

# (successes, failures, permits out) of the faults that are not the host's: what it sent was sent well, or nothing was.
GOOD: dict[str, list[tuple[int, int, int]]] = {
    "bad_gzip": [(1, 0, 0)],
    "redirect_loop": [(4, 0, 0)],
    "bad_scheme": [],
    "no_host": [],
}


async def provoke(client: Client, fault: Fault, url: str, method: str) -> Exception:
    with pytest.raises(fault.error(client.kit)) as caught:
        await client.request(method, url, **fault.options)
    return caught.value


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("fault", FAULTS, ids=repr)
async def test__safe_method__library_error_after_the_right_attempts(kit: Kit, stack: ExitStack, fault: Fault) -> None:
    url, peer = fault.arrange(stack)
    resilience = only(retry=retrying(max_retries=1))
    async with kit.mounted(resilience, **fault.client) as client:
        error = await provoke(client, fault, url, fault.method())
    assert type(error) is fault.error(kit)
    report = seawall.report(error)
    if fault.retried:
        assert report is not None
        assert len(report.attempts) == 2
    elif fault.name == "bad_certificate":
        assert report is not None
        assert len(report.attempts) == 1
    if peer is not None and fault.name != "redirect_loop":
        assert peer.count == (2 if fault.retried else 1)


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("fault", [f for f in FAULTS if f.retried], ids=repr)
async def test__unsafe_method__repeated_only_if_surely_not_sent(kit: Kit, stack: ExitStack, fault: Fault) -> None:
    url, _ = fault.arrange(stack)
    async with kit.mounted(only(retry=retrying(max_retries=1)), **fault.client) as client:
        error = await provoke(client, fault, url, "POST")
    report = seawall.report(error)
    assert report is not None
    assert len(report.attempts) == (2 if fault.sent == "no" else 1)


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("fault", FAULTS, ids=repr)
async def test__verdict__is_the_hosts_only_if_the_host_failed(kit: Kit, stack: ExitStack, fault: Fault) -> None:
    url, _ = fault.arrange(stack)
    resilience = only()
    async with kit.mounted(resilience, **fault.client) as client:
        await provoke(client, fault, url, fault.method())
    counted = [(s.successes, s.failures, s.in_flight) for s in resilience.snapshots() if s.requests or s.in_flight]
    if (kit.name, fault.name) == ("requests", "bad_gzip"):
        assert counted == []  # it decodes below us and says so: no verdict at all
    else:
        assert counted == GOOD.get(fault.name, [(0, 1, 0)])


async def test__half_headers__are_whatever_the_library_makes_of_them(kit: Kit, peer: Peer) -> None:
    peer.script(steps.half_headers())
    async with kit.mounted(only(retry=retrying(max_retries=1))) as client:
        if kit.name == "requests":
            assert (await client.get(peer / "x")).status == 200
        else:
            with pytest.raises(kit.errors.closed):
                await client.get(peer / "x")
    assert peer.count == (1 if kit.name == "requests" else 2)


async def test__pool_exhausted__is_ours_and_not_the_hosts(kit: Kit, peer: Peer) -> None:
    peer.script(steps.slow(0.15, steps.answer(200)))
    resilience = only()
    async with kit.mounted(resilience, pool=1, timeout=2) as client:

        async def wait() -> object:
            await kit.until(lambda: peer.count == 1)
            return await client.get(peer / "second", timeout=0.06 if kit.name != "requests" else 2)

        first, second = await kit.together(lambda: client.get(peer / "first"), wait)
    assert first.status == 200
    if kit.name == "requests":
        assert second.status == 200  # its pool waits for ever: nothing of ours may time that out either
    else:
        assert type(second) is kit.library.PoolTimeout
    (snapshot,) = resilience.snapshots()
    assert (snapshot.failures, snapshot.in_flight) == (0, 0)
