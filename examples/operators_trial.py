"""A service that only installed seawall; an outage; the health page read, its advice followed, the recovery."""

import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen
from wsgiref.simple_server import WSGIRequestHandler, make_server

import requests
from _server import Answer, serve

import seawall
from seawall import Breaker, Policy, Resilience, SimplifiedResponse
from seawall.testing import Down, FaultProxy


class Shop:
    """The service: its visitors come twenty times a second, and each wants the price of tea."""

    def __init__(self, prices: str) -> None:
        self.prices = prices
        self.told = self.sorry = 0

    def serve_visitors(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                requests.get(f"{self.prices}/tea", timeout=2).json()
                self.told += 1
            except requests.RequestException:
                self.sorry += 1
            time.sleep(0.05)

    def report(self, when: str) -> None:
        print(f"{when}: {self.told} visitors were told a price, {self.sorry} were not")
        self.told = self.sorry = 0


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """The example's own words are what its reader came for."""


@contextmanager
def health_page(resilience: Resilience) -> Generator[str]:
    """The page on a port of its own, where the operators' monitor looks."""
    with make_server("127.0.0.1", 0, seawall.health.wsgi_app(resilience), handler_class=Quiet) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/health.json"
        finally:
            server.shutdown()


def read(page: str) -> Any:
    try:
        with urlopen(page, timeout=5) as answer:
            return json.load(answer)
    except HTTPError as critical:  # 503, so that a monitor needs to read nothing
        with critical:
            return json.load(critical)


def tell(health: Any, when: str) -> None:
    print(f"{when}: {health['status']}")
    for advice in health["recommendations"]:
        if advice["severity"] != "info":
            print(f"  {advice['message']}\n  → {advice['action']} ({advice['setting']})")


def last_known_price(_request: object, _error: BaseException) -> seawall.Answer:
    return seawall.Answer(200, json="4.20 since yesterday")


def main() -> None:
    with serve(then=Answer(body="4.20")) as upstream, FaultProxy(upstream.url) as prices:
        # The window is ten seconds if nothing is said; shorter here, so that the trial is.
        policy = Policy(breaker=Breaker(sampling_window=2))
        with seawall.installed(policy) as resilience, health_page(resilience) as page:
            shop = Shop(prices.url)
            shop.serve_visitors(0.5)
            shop.report("a quiet morning")
            tell(read(page), "the page")

            with prices.under(Down()):
                shop.serve_visitors(2)
                shop.report("the prices are down")
                while (health := read(page))["status"] != "critical":  # half-open for a moment
                    shop.serve_visitors(0.1)
                tell(health, "the page")

                advice = next(each for each in health["recommendations"] if each["severity"] == "critical")
                assert advice["setting"] == "Policy.degrade", advice
                resilience.configure(prices.url, Policy(degrade=[SimplifiedResponse(last_known_price)]))
                shop.serve_visitors(1.5)
                shop.report("still down, the advice followed")
                tell(read(page), "the page")

            while read(page)["status"] != "healthy":
                shop.serve_visitors(0.5)
            shop.report("the prices are back")
            tell(read(page), "the page")
            snapshot = resilience.snapshot(prices.url)
            assert snapshot is not None
            print(f"the circuit is {snapshot.state}: {snapshot.transitions[-1].reason}")


if __name__ == "__main__":
    main()
