"""Every call can tell its story: the report of an answer that took three attempts, and of a refusal."""

import httpx
from _server import Answer, serve

import seawall
from httpx_resilience import mount
from seawall import Breaker, Policy, Resilience


def main() -> None:
    resilience = Resilience({"all://": Policy(breaker=Breaker(failure_threshold=4, min_failure_span=0))})
    with (
        serve(Answer(503), Answer(502), Answer(200), then=Answer(500)) as peer,
        mount(httpx.Client(base_url=peer.url), resilience) as client,
    ):
        story = seawall.report(client.get("/"))
        assert story is not None
        for attempt in story.attempts:
            print(f"attempt {attempt.number}: {attempt.status}, {attempt.kind}, after waiting {attempt.wait:.2f} s")
        print(story, end="\n\n")

        try:
            while True:
                client.get("/")  # answered 500 again and again, until the breaker opens
        except httpx.TransportError as error:
            story = seawall.report(error)
            assert story is not None
            print(f"refused without an attempt ({len(story.attempts)}): {story.ending}")
            print(story)


if __name__ == "__main__":
    main()
