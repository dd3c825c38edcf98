"""httpx, sync: mount into a client you have, or hand a new one our transport."""

import httpx
from _server import Answer, serve

from httpx_resilience import ResilientTransport, mount, unmount


def main() -> None:
    with serve(Answer(503), Answer(503)) as peer, httpx.Client(base_url=peer.url) as client:
        mount(client)
        print(f"mounted: {client.get('/').status_code} after {len(peer.seen)} attempts")
        unmount(client)

    with serve(Answer(503)) as peer, httpx.Client(transport=ResilientTransport()) as client:
        print(f"own transport: {client.get(peer.url).status_code} after {len(peer.seen)} attempts")

    with serve(then=Answer(503)) as peer, httpx.Client(base_url=peer.url) as client:
        mount(client)
        response = client.get("/")
        print(f"a host that stays ill: its own {response.status_code}, after {len(peer.seen)} attempts")


if __name__ == "__main__":
    main()
