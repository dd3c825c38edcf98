"""The health page of a process that calls three hosts: served beside the app, read by a person and by a monitor."""

import threading
from contextlib import contextmanager
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
from _server import Answer, serve

import seawall
from httpx_resilience import mount
from seawall import Answer as Instead
from seawall import Breaker, Policy, Resilience, SimplifiedResponse

QUICK = Breaker(failure_threshold=3, min_failure_span=0, open_duration=60, max_open_duration=60)


class Quiet(WSGIRequestHandler):
    def log_message(self, format, *args):  # noqa: A002
        """Say nothing: what the page says is the point."""


def no_things(_request, _error):
    return Instead(200, json=[])


@contextmanager
def serving(app):
    """In a thread here; in your process, mount the app where your other internal pages are."""
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def main() -> None:
    with serve() as well, serve(then=Answer(503)) as ill, serve(then=Answer(503)) as bridged:
        resilience = Resilience(
            {
                "all://": Policy(retry=None, breaker=QUICK),
                bridged.url: Policy(degrade=[SimplifiedResponse(no_things)]),
            },
            name="shop",
        )
        with mount(httpx.Client(), resilience) as client:
            for _ in range(4):
                client.get(well.url)
                client.get(bridged.url)
            for _ in range(3):
                client.get(ill.url)

        health = resilience.health()
        print(f"{health.status}: {health.open_circuit_count} circuits open, {health.degraded_provider_count} degraded")
        for advice in health.recommendations:
            print(f"{advice.severity}: {advice.message}; see {advice.setting}")

        with serving(seawall.health.wsgi_app(resilience)) as url, httpx.Client(base_url=url) as monitor:
            print("the page:", monitor.get("/").text.partition("<h2>")[2].partition("</h2>")[0])
            data = monitor.get("/health.json")
            print("the data:", data.status_code, [part["status"] for part in data.json()["breakers"]])


if __name__ == "__main__":
    main()
