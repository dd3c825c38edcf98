"""What goes wrong is in the log: a retry, an outage with its refusals counted, and the recovery."""

import logging
import sys
import time

import httpx
from _server import Answer, serve

from httpx_resilience import mount
from seawall import Breaker, CircuitOpen, Policy, Resilience, Retry
from seawall.telemetry import logging as seawall_logging


def main() -> None:
    logging.basicConfig(stream=sys.stdout, format="%(levelname)-7s %(message)s")
    logging.getLogger("seawall").setLevel(logging.INFO)
    breaker = Breaker(failure_threshold=3, min_failure_span=0, open_duration=0.2, open_jitter=0, success_threshold=1)
    resilience = Resilience(Policy(breaker=breaker, retry=Retry(max_retries=1, base_delay=0.01)))
    end = seawall_logging.instrument(resilience)
    with serve(Answer(503), Answer(), *[Answer(503)] * 3) as peer, mount(httpx.Client(), resilience) as client:
        client.get(f"{peer.url}/orders?token=secret")  # nothing after the host is in the log
        for _ in range(100):
            try:
                client.get(peer.url)
            except CircuitOpen:
                pass
        time.sleep(0.3)
        client.get(peer.url)
    end()


if __name__ == "__main__":
    main()
