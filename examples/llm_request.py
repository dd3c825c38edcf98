"""Handle an LLM request: the provider is overloaded for a moment, and the caller gets the answer all the same.

A POST is not repeated by default, because it may have been executed. `Policy.llm()` says that it may be, and sends the
same idempotency key with each attempt, so that a provider that knows such keys does the work once. A model may think
for minutes, so the client gets a longer timeout than the five seconds httpx gives it.
"""

import httpx
from _server import Answer, completion, serve

from httpx_resilience import mount
from seawall import Policy

QUESTION = {"model": "local", "messages": [{"role": "user", "content": "How is the sea today?"}]}


def main() -> None:
    with serve(Answer(529), Answer(503), then=completion("The sea is calm.")) as provider:
        with mount(httpx.Client(base_url=provider.url, timeout=httpx.Timeout(600, connect=5)), Policy.llm()) as client:
            response = client.post("/v1/chat/completions", json=QUESTION)
            response.raise_for_status()
        print("answer:", response.json()["choices"][0]["message"]["content"])
        keys = {headers.get("Idempotency-Key") for headers in provider.seen}
        print(f"the provider saw {len(provider.seen)} attempts with {len(keys)} idempotency key")


if __name__ == "__main__":
    main()
