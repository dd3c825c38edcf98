"""`keep_alive`: an unused connection is not used again after it; only where the mount makes the transport."""

from __future__ import annotations

from seawall import Policy, Resilience, Timeouts
from tests.contract.clients import Client, Kit
from tests.contract.peer import Peer
from tests.deadlines.rows import is_requests

LIMIT = 0.15


def made_by_the_mount(kit: Kit, limit: float | None) -> Client:
    """A client whose transport, or adapter, the mount has to make itself."""
    resilience = Resilience({"all://": Policy(timeouts=Timeouts(keep_alive=limit))})
    client = kit.bare()
    client.slot = kit.wrap(None, resilience)
    return client


async def connections(client: Client, peer: Peer, *pauses: float) -> int:
    async with client:
        await client.get(peer / "x")
        for pause in pauses:
            await client.kit.sleep(pause)
            await client.get(peer / "x")
    return peer.connections


async def test__unused_for_longer__is_not_used_again(kit: Kit, peer: Peer) -> None:
    assert await connections(made_by_the_mount(kit, LIMIT), peer, LIMIT + 0.05) == 2


async def test__unused_for_less__is_kept_however_long_it_lives(kit: Kit, peer: Peer) -> None:
    assert await connections(made_by_the_mount(kit, 3 * LIMIT), peer, LIMIT, LIMIT, LIMIT, LIMIT) == 1


async def test__not_set__as_the_library_does(kit: Kit, peer: Peer) -> None:
    assert await connections(made_by_the_mount(kit, None), peer, LIMIT + 0.05) == 1


async def test__transport_of_the_users__keeps_its_own(kit: Kit, peer: Peer) -> None:
    resilience = Resilience({"all://": Policy(timeouts=Timeouts(keep_alive=LIMIT))})
    assert await connections(kit.mounted(resilience), peer, LIMIT + 0.05) == 1


async def test__time_in_use__does_not_count(kit: Kit, peer: Peer) -> None:
    if not is_requests(kit):
        return  # the others' own clock, which begins at the end of the body

    client = made_by_the_mount(kit, LIMIT)
    async with client:
        stream = await client.stream("GET", peer / "x")
        await kit.sleep(LIMIT + 0.05)
        await stream.read()
        await client.get(peer / "x")
    assert peer.connections == 1
