"""Initialise with custom configuration: every part of a policy, and the words for what comes of it."""

import httpx
from _server import Answer, serve

from httpx_resilience import mount
from seawall import AdaptiveBudget, Breaker, Bulkhead, Policy, Resilience, Retry, Timeouts

CUSTOM = Policy(
    timeouts=Timeouts(connect=2, attempt=5, total=20),
    retry=Retry(max_retries=5, base_delay=0.02, max_delay=5, backoff="fibonacci", jitter="equal"),
    budget=AdaptiveBudget(max_tokens=50, refill_rate=5),
    breaker=Breaker(failure_threshold=5, failure_rate_threshold=0.5, min_requests=10, max_open_duration=30),
    bulkhead=Bulkhead(max_concurrent=20, max_wait=1),
)


def main() -> None:
    resilience = Resilience({"all://": CUSTOM, "https://batch.example.com": Policy.gateway()})
    print(CUSTOM.describe())
    with serve(Answer(502), Answer(502), Answer(502), Answer(502)) as peer:
        with mount(httpx.Client(base_url=peer.url, timeout=30), resilience) as client:
            status = client.get("/").status_code
        print(f"\nafter {len(peer.seen)} attempts: {status}")
        snapshot = resilience.snapshot(peer.url)
        assert snapshot is not None
        print(f"breaker {snapshot.state}, bulkhead {snapshot.in_flight} of {snapshot.limit} in use")


if __name__ == "__main__":
    main()
