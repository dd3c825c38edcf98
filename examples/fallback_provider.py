"""An LLM request that goes to a provider with another API when the first one fails; the caller sees one shape.

What crosses is an allow-list: the first provider's key stays with the first provider.
"""

import json

import httpx
from _server import Answer, serve

import seawall
from httpx_resilience import mount
from seawall import FallbackProvider, Policy

QUESTION = {"model": "ours-large", "messages": [{"role": "user", "content": "Who are you?"}]}


def for_the_second(body: bytes) -> bytes:
    """Another model name, and a limit that API insists on."""
    asked = json.loads(body)
    return json.dumps({"model": "theirs-large", "max_tokens": 512, "messages": asked["messages"]}).encode()


def as_the_first(answer: seawall.Answer) -> seawall.Answer:
    """The second API's answer in the shape of the first."""
    told = json.loads(answer.content)
    message = {"role": "assistant", "content": told["content"][0]["text"]}
    return seawall.Answer(answer.status, json={"model": told["model"], "choices": [{"index": 0, "message": message}]})


def main() -> None:
    theirs = {"type": "message", "model": "theirs-large", "content": [{"type": "text", "text": "The second provider."}]}
    with serve(then=Answer(503)) as first, serve(then=Answer(200, theirs)) as second:
        step = FallbackProvider(
            second.url, path="/v1/messages", headers={"x-api-key": "theirs"}, body=for_the_second, response=as_the_first
        )
        with mount(
            httpx.Client(),
            {first.url: Policy.llm(retry=seawall.Retry(max_retries=1, methods={"POST"}), degrade=[step])},
        ) as client:
            headers = {"Authorization": "Bearer ours"}
            response = client.post(f"{first.url}/v1/chat/completions", json=QUESTION, headers=headers)
        print(f"answer: {response.json()['choices'][0]['message']['content']}")
        report = seawall.report(response)
        assert report is not None
        print(f"served from: {report.served_from}, after {len(first.seen)} attempts at the first provider")
        crossed = {name.lower() for name in second.seen[0]}
        print(f"our key went along: {'authorization' in crossed}; their own did: {'x-api-key' in crossed}")


if __name__ == "__main__":
    main()
