"""A service made of other people's clients: one call protects them all, and one gives everything back."""

import httpx
import requests
from _server import Answer, completion, serve
from openai import OpenAI

import seawall
from seawall import Policy


class Parcels:
    """Somebody's library. It makes its own session, and has never heard of seawall."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.mount(url, requests.adapters.HTTPAdapter(pool_maxsize=2))

    def where(self, number: int) -> str:
        return str(self.session.get(f"{self.url}/{number}").json())


def main() -> None:
    busy = Answer(503)
    with (
        serve(busy, then=Answer(body="9 °C")) as weather,
        serve(busy, busy, then=Answer(body="on its way")) as parcels,
        serve(busy, then=completion("Take a coat.")) as llm,
    ):
        resilience = seawall.install({"all://": Policy(), llm.url: Policy.llm()})

        print("httpx.get:", httpx.get(weather.url).json())
        print("a library's session:", Parcels(parcels.url).where(7))
        with OpenAI(base_url=f"{llm.url}/v1", api_key="not needed", max_retries=0) as sdk:
            chat = sdk.chat.completions.create(model="local", messages=[{"role": "user", "content": "What to wear?"}])
            print("an SDK:", chat.choices[0].message.content)
        for peer in (weather, parcels, llm):
            snapshot = resilience.snapshot(peer.url)
            assert snapshot is not None
            print(f"{len(peer.seen)} attempts, {snapshot.total_failures} of them failed")

        seawall.uninstall()
        print("uninstalled:", type(httpx.Client()._transport).__name__)


if __name__ == "__main__":
    main()
