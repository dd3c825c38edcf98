"""The OpenAI SDK: `seawall.mount` finds the client inside and switches the SDK's own retries off: none multiply."""

from _server import Answer, completion, serve
from openai import OpenAI

import seawall


def main() -> None:
    with serve(Answer(503), then=completion("Hello from the local model.")) as provider:
        with OpenAI(base_url=f"{provider.url}/v1", api_key="not needed") as sdk:
            print(f"the SDK alone: up to {sdk.max_retries} retries of its own")
            seawall.mount(sdk, seawall.Resilience({"all://": seawall.Policy.llm()}))
            print(f"mounted: {sdk.max_retries}")
            chat = sdk.chat.completions.create(model="local", messages=[{"role": "user", "content": "Hello?"}])
            print("answer:", chat.choices[0].message.content)
            seawall.unmount(sdk)
        print(f"the provider saw {len(provider.seen)} attempts")


if __name__ == "__main__":
    main()
