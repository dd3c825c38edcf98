"""Policies per host, in code: the most specific pattern wins, and what it leaves out comes from the next one.

Each host has a state of its own: one that fails opens its own breaker and no other.
"""

import httpx
from _server import Answer, serve

from httpx_resilience import mount
from seawall import Breaker, CircuitOpen, Policy, Resilience, Retry, Timeouts


def main() -> None:
    with serve(then=Answer(500)) as broken, serve() as healthy:
        resilience = Resilience(
            {
                "all://": Policy(timeouts=Timeouts(total=10)),
                broken.url: Policy(retry=None, breaker=Breaker(failure_threshold=3, min_failure_span=0)),
                f"GET {healthy.url}/reports": Policy(retry=Retry(max_retries=1)),
            }
        )
        for method, path in (("GET", "/"), ("GET", "/reports/7"), ("POST", "/reports/7")):
            retry = resilience.policy_for(method, f"{healthy.url}{path}").retry
            print(f"{method} {path}: at most {retry.max_retries if isinstance(retry, Retry) else 0} retries")

        with mount(httpx.Client(), resilience) as client:
            for _ in range(3):
                print("broken host:", client.get(broken.url).status_code)
            try:
                client.get(broken.url)
            except CircuitOpen as error:
                print("broken host:", error)
            print("healthy host:", client.get(healthy.url).status_code)
        print(f"the broken host saw {len(broken.seen)} requests")

        # While the service runs, without losing what was learnt about the host:
        resilience.configure(broken.url, Policy(breaker=None))
        print("breaker now:", resilience.policy_for("GET", broken.url).breaker)


if __name__ == "__main__":
    main()
