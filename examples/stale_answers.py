"""An outage bridged by remembered answers: each caller gets their own, marked as what it is."""

import httpx
from _server import Answer, serve

import seawall
from httpx_resilience import mount
from seawall import Policy, StaleResponse


def main() -> None:
    policy = Policy(retry=None, degrade=[StaleResponse(max_age=60)])
    with serve(Answer(200, ["tea", "bread"]), then=Answer(503)) as peer, mount(httpx.Client(), policy) as client:
        alice, bob = {"Authorization": "Bearer alice"}, {"Authorization": "Bearer bob"}
        print(f"well: {client.get(peer.url, headers=alice).json()}")
        response = client.get(peer.url, headers=alice)
        report = seawall.report(response)
        assert report is not None
        print(f"ill: {response.json()}, {report.served_from}, {response.headers['cache-status']}")
        print(f"somebody else: {client.get(peer.url, headers=bob).status_code}")


if __name__ == "__main__":
    main()
