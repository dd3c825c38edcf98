"""Per call: `override` changes the policy, `deadline` bounds everything inside, `disabled` takes seawall out."""

import time

import httpx
from _server import Answer, serve

import seawall
from httpx_resilience import mount
from seawall import Timeouts


def main() -> None:
    with serve(then=Answer(503)) as peer, mount(httpx.Client(base_url=peer.url), seawall.Resilience()) as client:
        with seawall.override(retry=None, timeouts=Timeouts(total=2)):
            client.get("/")
        print(f"override(retry=None): {len(peer.seen)} attempt")

        peer.seen.clear()
        client.get("/", extensions={"resilience": seawall.override(retry=seawall.Retry(max_retries=1))})
        print(f"the same for one call of httpx: {len(peer.seen)} attempts")

        peer.seen.clear()
        with seawall.disabled():
            client.get("/")
        print(f"disabled: {len(peer.seen)} attempt")

    with serve(then=Answer(200, delay=0.3)) as peer, mount(httpx.Client(), seawall.Resilience()) as client:
        started = time.monotonic()
        try:
            with seawall.deadline(0.5):
                for number in range(1, 4):
                    client.get(peer.url)
                    print(f"page {number} within the deadline")
        except httpx.TimeoutException as error:  # ours is one of theirs
            print(f"after {time.monotonic() - started:.1f} s {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
