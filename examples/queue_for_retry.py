"""Keep orders while the shop is down, and send them when it is back.

Each failed call raises `Queued` with a receipt. The outbox is a file: the process may end in between, and another one
may send (`seawall outbox run outbox.db --client module:name`). Credentials are not in it; `attach` brings fresh ones.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import httpx
from _server import Answer, serve

from httpx_resilience import mount
from seawall import Outbox, Policy, Queued, QueueForRetry, Receipt, Retry

DOWN = Answer(503)


def order(client: httpx.Client, url: str, number: int) -> Receipt:
    receipt: Receipt | None = None
    try:
        client.post(f"{url}/orders", json={"order": number}, headers={"Authorization": "Bearer old"})
    except Queued as queued:
        receipt = queued.receipt
    assert receipt is not None
    return receipt


def attach(request: httpx.Request) -> None:
    request.headers["Authorization"] = "Bearer fresh"


def keys(seen: list[Mapping[str, str]]) -> set[str | None]:
    return {headers.get("Idempotency-Key") for headers in seen}


def main(folder: Path) -> None:
    outbox = Outbox(folder / "outbox.db")
    policy = Policy(
        retry=Retry(idempotency_key="auto", max_retries=1, base_delay=0.01),
        degrade=[QueueForRetry(outbox, queue_timeout=600)],
    )
    with serve(*[DOWN] * 6) as shop, mount(httpx.Client(), policy) as client:
        receipts = [order(client, shop.url, number) for number in (1, 2, 3)]
        print(f"{receipts[0].state}: the shop is down")

        sent = outbox.drain(client, attach=attach)  # the six bad answers are used up: it is well again
        print(f"sent {sent}, {len(outbox)} waiting")
        result = receipts[0].result()
        assert result is not None
        print(f"order 1: {result.status} after {result.attempts} attempt of the worker")

        assert {headers["Authorization"] for headers in shop.seen[6:]} == {"Bearer fresh"}
        print(f"the shop saw {len(keys(shop.seen))} idempotency keys, and no stored credential")
    outbox.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
