"""Prometheus: what a scrape says after an outage. The label is what was configured, not the host."""

import httpx
from _server import Answer, serve
from prometheus_client import CollectorRegistry, generate_latest

from httpx_resilience import mount
from seawall import Breaker, CircuitOpen, Policy, Resilience
from seawall.telemetry import prometheus

SHOWN = ("seawall_client_requests_total", "seawall_client_rejections_total", "seawall_breaker_state")


def main() -> None:
    registry = CollectorRegistry()  # left out below: prometheus_client's own, which its servers show
    breaker = Breaker(failure_threshold=3, min_failure_span=0)
    policies = {"all://127.0.0.1": Policy(group="orders", breaker=breaker, retry=None)}
    resilience = Resilience(policies)
    prometheus.instrument(resilience, registry=registry)
    with serve(Answer(), then=Answer(503)) as peer, mount(httpx.Client(), resilience) as client:
        for _ in range(10):
            try:
                client.get(peer.url)
            except CircuitOpen:
                pass
    for line in generate_latest(registry).decode().splitlines():
        if line.startswith(SHOWN):
            print(line)


if __name__ == "__main__":
    main()
