"""httpx2: the same mount as for httpx, and one `Resilience` that serves a sync and an async client together."""

import asyncio

import httpx2
from _server import Answer, serve

from httpx_resilience import mount
from seawall import Resilience


async def fetch(url: str, resilience: Resilience) -> int:
    async with mount(httpx2.AsyncClient(), resilience) as client:
        return (await client.get(url)).status_code


def main() -> None:
    resilience = Resilience()
    with serve(Answer(502), Answer(200), Answer(502)) as peer:
        with mount(httpx2.Client(), resilience) as client:
            print("sync:", client.get(peer.url).status_code)
        print("async:", asyncio.run(fetch(peer.url, resilience)))
        snapshot = resilience.snapshot(peer.url)
        assert snapshot is not None
        print(f"one state for both: {snapshot.requests} attempts, {snapshot.failures} failed")


if __name__ == "__main__":
    main()
