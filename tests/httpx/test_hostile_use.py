"""What users and servers do that nobody means to: found by attacking the mounts."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from httpx_resilience import Policy, Resilience, ResilientTransport, Retry, mount


def answering(status: int, seen: list[httpx.Request]) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status)

    return httpx.MockTransport(answer)


@pytest.mark.parametrize("nonsense", ["no", 1, [False]])
def test__when__gives_no_bool__a_post_is_not_repeated_for_it(nonsense: Any) -> None:
    seen: list[httpx.Request] = []
    policy = Policy(retry=Retry(base_delay=0.001, when=lambda attempt, request: nonsense))
    with mount(httpx.Client(transport=answering(500, seen)), Resilience(policy)) as client:
        client.post("http://a.test/", content=b"charge")
    assert len(seen) == 1


def test__same_request_object_sent_twice__is_two_calls_with_two_keys() -> None:
    seen: list[httpx.Request] = []
    keys: list[str] = []
    policy = Policy(retry=Retry(max_retries=0, idempotency_key="auto"))
    with mount(httpx.Client(transport=answering(200, seen)), Resilience(policy)) as client:
        request = client.build_request("POST", "http://a.test/", content=b"x")
        for _ in range(2):
            client.send(request)
            keys.append(request.headers["Idempotency-Key"])
    assert len(set(keys)) == 2


def test__strange_host__does_not_break_configure() -> None:
    resilience = Resilience()
    with mount(httpx.Client(transport=answering(200, [])), resilience) as client:
        client.get("http://a*b.test/")
    resilience.configure("http://a.test", Policy(breaker=None))
    assert resilience.policy_for("GET", "http://a.test/").breaker is None


def test__mounted_over_a_mounted_transport__is_one_layer() -> None:
    inner = answering(200, [])
    assert ResilientTransport(ResilientTransport(inner)).inner is inner
