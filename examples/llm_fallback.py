"""Handle an LLM request with a fallback: when the first provider fails, a second one answers.

Both are asked through the same `Resilience`, each with a breaker and a retry policy of its own. Once the first
provider's breaker is open it is not asked any more, and the second one answers at once.
"""

from functools import partial

import httpx
from _server import Answer, completion, serve

from httpx_resilience import mount
from seawall import Breaker, Policy, Resilience, Retry

QUESTION = {"model": "local", "messages": [{"role": "user", "content": "Who are you?"}]}


def ask(client: httpx.Client, url: str) -> str:
    response = client.post(f"{url}/v1/chat/completions", json=QUESTION)
    response.raise_for_status()
    answer: str = response.json()["choices"][0]["message"]["content"]
    return answer


def main() -> None:
    impatient = Policy(
        retry=Retry(max_retries=1, base_delay=0.05), breaker=Breaker(failure_threshold=4, min_failure_span=0)
    )
    resilience = Resilience({"primary": impatient, "secondary": Policy()})
    with (
        serve(then=Answer(503)) as primary,
        serve(then=completion("I am the second provider.")) as secondary,
        mount(httpx.Client(), resilience) as client,
    ):
        for number in range(1, 6):
            answer = resilience.execute_with_fallback(
                "primary", partial(ask, client, primary.url), "secondary", partial(ask, client, secondary.url)
            )
            print(f"{number}: {answer} (so far {len(primary.seen)} attempts at the first provider)")
    snapshot = resilience.snapshot("primary")
    assert snapshot is not None
    print(f"the first provider's breaker is {snapshot.state}")


if __name__ == "__main__":
    main()
