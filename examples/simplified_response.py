"""An empty list instead of an error, and for everything else an error that says what else there is."""

import httpx
from _server import Answer, serve

import seawall
from httpx_resilience import mount
from seawall import ErrorWithAlternatives, Policy, SimplifiedResponse


def empty_list(request: httpx.Request, _error: BaseException) -> seawall.Answer | None:
    return seawall.Answer(200, json=[]) if request.url.path == "/recommendations" else None


def main() -> None:
    policy = Policy(
        retry=None, degrade=[SimplifiedResponse(empty_list), ErrorWithAlternatives(["the page of yesterday"])]
    )
    with serve(then=Answer(503)) as peer, mount(httpx.Client(), policy) as client:
        response = client.get(f"{peer.url}/recommendations")
        report = seawall.report(response)
        assert report is not None
        print(f"recommendations: {response.json()}, {report.served_from}, instead of {type(report.error).__name__}")
        try:
            client.get(f"{peer.url}/orders")
        except seawall.ServiceDegraded as error:
            print(f"orders: none; there is {error.alternatives[0]}")


if __name__ == "__main__":
    main()
