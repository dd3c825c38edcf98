"""requests: mount the whole session, or one adapter for one prefix, which is requests' own way."""

import requests
from _server import Answer, serve

from requests_resilience import ResilientAdapter, mount
from seawall import Policy, Retry


def main() -> None:
    with serve(Answer(503), Answer(429, headers={"Retry-After": "1"})) as peer, mount(requests.Session()) as session:
        response = session.get(peer.url, timeout=2)
        print(f"whole session: {response.status_code} after {len(peer.seen)} attempts and {response.elapsed}")

    with serve(Answer(503), Answer(503)) as peer, requests.Session() as session:
        once_more = {"all://": Policy(retry=Retry(max_retries=1))}
        session.mount(peer.url, ResilientAdapter(resilience=once_more))
        print(f"one prefix: {session.get(peer.url, timeout=2).status_code} after {len(peer.seen)} attempts")


if __name__ == "__main__":
    main()
