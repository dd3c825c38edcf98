"""httpx, async: twenty tasks share one host's breaker and budget, and a limit of five at a time."""

import asyncio

import httpx
from _server import Answer, serve

from httpx_resilience import mount
from seawall import Bulkhead, Policy, Resilience


async def main() -> None:
    resilience = Resilience({"all://": Policy(bulkhead=Bulkhead(max_concurrent=5))})
    with serve(Answer(503), then=Answer(200, delay=0.02)) as peer:
        async with mount(httpx.AsyncClient(base_url=peer.url), resilience) as client:
            responses = await asyncio.gather(*(client.get("/") for _ in range(20)))
        print(f"{sum(response.status_code == 200 for response in responses)} of 20 answered")
        snapshot = resilience.snapshot(peer.url)
        assert snapshot is not None
        print(f"{len(peer.seen)} attempts, never more than {snapshot.peak_utilization:.0%} of {snapshot.limit} at once")
    await resilience.aclose()


if __name__ == "__main__":
    asyncio.run(main())
