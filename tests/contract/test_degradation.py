"""Degradation, the same for every client: what comes back, how it is marked, and what crosses to another origin."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import pytest

import seawall
from seawall import Answer, ErrorWithAlternatives, FallbackProvider, Policy, SimplifiedResponse, Timeouts
from tests.contract import steps
from tests.contract.clients import Kit
from tests.contract.peer import Peer
from tests.contract.settings import only, retrying, tripping
from tests.contract.steps import answer

SECRETS = {
    "Authorization": "Bearer canary",
    "Cookie": "session=canary",
    "Proxy-Authorization": "Basic canary",
    "X-API-Key": "canary",
    "Api-Key": "canary",
    "X-Goog-Api-Key": "canary",
    "X-Custom-Token": "canary",
    "X-Whatever": "canary",
}


def listed(request: Any, error: BaseException) -> Answer:
    return Answer(200, json=[], headers={"x-made": "here"})


async def test__simplified__is_a_response_of_the_library_and_says_so(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, b"sick"))
    resilience = only(degrade=[SimplifiedResponse(listed)])
    async with kit.mounted(resilience) as client:
        got = await client.get(peer / "x")
    assert (got.status, got.body, got.header("x-made")) == (200, b"[]", "here")
    report = seawall.report(got.raw)
    assert report is not None
    assert (report.served_from, report.ending, report.error is not None) == (
        "simplified",
        seawall.Ending.DEGRADED,
        True,
    )
    (host,) = resilience.snapshots()
    assert (host.successes, host.failures, host.total_degraded, host.in_flight) == (0, 1, 1, 0)


async def test__simplified__pool_of_one_survives_a_hundred(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, b"sick" * 1000))
    async with kit.mounted(only(degrade=[SimplifiedResponse(listed)]), pool=1) as client:
        for _ in range(100):
            assert (await client.get(peer / "x")).status == 200


async def test__simplified__large_failed_answer__is_closed(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, b"x" * 300_000))
    async with kit.mounted(only(degrade=[SimplifiedResponse(listed)]), pool=1) as client:
        for _ in range(3):
            assert (await client.get(peer / "x")).status == 200


async def test__simplified__after_an_exception__carries_the_librarys_own(kit: Kit, peer: Peer) -> None:
    peer.script(steps.reset())
    async with kit.mounted(only(degrade=[SimplifiedResponse(listed)])) as client:
        report = seawall.report((await client.get(peer / "x")).raw)
    assert report is not None
    assert isinstance(report.error, kit.errors.base)


async def test__refused__degrades_without_a_send(kit: Kit, peer: Peer) -> None:
    resilience = only(degrade=[SimplifiedResponse(listed)], breaker=tripping())
    resilience.isolate(peer.url)
    async with kit.mounted(resilience) as client:
        assert (await client.get(peer / "x")).status == 200
    assert peer.count == 0


async def test__async_function_in_a_sync_client__is_passed_over(kit: Kit, peer: Peer) -> None:
    async def build(request: Any, error: BaseException) -> Answer:
        return Answer(200)

    peer.script(answer(503))
    async with kit.mounted(only(degrade=[SimplifiedResponse(build)])) as client:
        assert (await client.get(peer / "x")).status == (200 if kit.is_async else 503)


async def test__not_an_answer__is_passed_over(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503))
    async with kit.mounted(only(degrade=[SimplifiedResponse(lambda request, error: [])])) as client:  # type: ignore[arg-type, return-value]
        assert (await client.get(peer / "x")).status == 503


async def test__alternatives__raise_an_error_of_both_trees(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, headers=[("retry-after", "3")]))
    async with kit.mounted(only(degrade=[ErrorWithAlternatives(["the other one"])])) as client:
        with pytest.raises(seawall.ServiceDegraded) as caught:
            await client.get(peer / "x")
    assert isinstance(caught.value, kit.errors.base)
    assert (caught.value.alternatives, caught.value.retry_after) == (("the other one",), 3)
    assert caught.value.__cause__ is not None


async def test__alternatives__responded__are_a_503(kit: Kit, peer: Peer) -> None:
    peer.script(answer(500))
    async with kit.mounted(only(degrade=[ErrorWithAlternatives(["x"])], rejections="respond")) as client:
        got = await client.get(peer / "x")
    assert (got.status, got.header("x-should-retry")) == (503, "false")


# -- another provider --------------------------------------------------------------------------------------------------


async def test__fallback__answers_as_a_call_of_its_own_host(kit: Kit, peer: Peer, other: Peer) -> None:
    peer.script(answer(503))
    other.script(answer(200, b"from the other"))
    resilience = only(degrade=[FallbackProvider(other.url)])
    async with kit.mounted(resilience) as client:
        got = await client.get(peer / "things?page=2")
    assert (got.status, got.body) == (200, b"from the other")
    assert other.requests[0].target == "/things?page=2"
    report = seawall.report(got.raw)
    assert report is not None
    assert report.served_from == "fallback"
    first, second, third = str(report).splitlines()
    assert first.endswith("served from: fallback")
    assert second.startswith("  attempt 1: 503")
    assert third.startswith(f"  attempt 1 at {other.url}: 200")
    assert [(a.host, a.status) for a in report.attempts] == [(peer.url, 503), (other.url, 200)]
    counted = {host.host: (host.successes, host.failures) for host in resilience.snapshots()}
    assert counted == {peer.url: (0, 1), other.url: (1, 0)}


async def test__fallback__no_secret_crosses(kit: Kit, peer: Peer, other: Peer) -> None:
    peer.script(answer(503))
    async with kit.mounted(only(degrade=[FallbackProvider(other.url, headers={"X-Theirs": "configured"})])) as client:
        await client.get(peer / "x", headers={**SECRETS, "Accept": "text/plain", "User-Agent": "me/1"})
    assert "canary" in str(peer.requests[0].headers)
    assert "canary" not in str(other.requests[0].headers)
    fields = {name.lower(): value for name, value in other.requests[0].headers}
    assert (fields["x-theirs"], fields["accept"], fields["user-agent"]) == ("configured", "text/plain", "me/1")
    assert fields["host"] == other.url.removeprefix("http://")


async def test__fallback__over_http_for_a_request_over_https__is_not_sent(
    kit: Kit, stack: ExitStack, other: Peer
) -> None:
    away = stack.enter_context(Peer(refusing=True))
    async with kit.mounted(only(degrade=[FallbackProvider(other.url)])) as client:
        assert (await client.get(away / "x")).status == 200
        with pytest.raises(kit.errors.refused):
            await client.get(f"https://127.0.0.1:{away.port}/x")
    assert other.count == 1


async def test__fallback_on_the_same_origin__gets_the_credentials_but_no_field_of_the_connection(
    kit: Kit, peer: Peer
) -> None:
    peer.script(answer(503), answer(200))
    headers = {"Authorization": "Bearer mine", "TE": "trailers", "Keep-Alive": "timeout=5"}
    async with kit.mounted(only(degrade=[FallbackProvider(peer.url, path="/older")])) as client:
        assert (await client.get(peer / "x", headers=headers)).status == 200
    sent = [{name.lower(): value for name, value in request.headers} for request in peer.requests]
    assert [("te" in fields, "keep-alive" in fields) for fields in sent] == [(True, True), (False, False)]
    assert [fields["authorization"] for fields in sent] == ["Bearer mine"] * 2


async def test__fallback__rewrites_path_body_and_answer(kit: Kit, peer: Peer, other: Peer) -> None:
    def body(content: bytes) -> bytes:
        return json.dumps({**json.loads(content), "model": "theirs"}).encode()

    def response(answer: Answer) -> Answer:
        return Answer(answer.status, json={"wrapped": json.loads(answer.content)})

    step = FallbackProvider(other.url, path="/v2/chat", body=body, response=response)
    peer.script(answer(503))
    other.script(answer(200, b'{"a": 1}', headers=[("content-type", "application/json")]))
    async with kit.mounted(only(degrade=[step], retry=retrying(max_retries=0, methods={"POST"}))) as client:
        got = await client.request("POST", peer / "v1/chat", content=b'{"model": "ours", "n": 1}')
    assert json.loads(got.body) == {"wrapped": {"a": 1}}
    assert other.requests[0].target == "/v2/chat"
    assert json.loads(other.requests[0].body) == {"model": "theirs", "n": 1}


async def test__fallback__unsafe_request_the_primary_may_have_executed__is_not_sent(
    kit: Kit, peer: Peer, other: Peer
) -> None:
    peer.script(steps.reset())
    async with kit.mounted(only(degrade=[FallbackProvider(other.url)])) as client:
        with pytest.raises(kit.errors.base):
            await client.request("POST", peer / "x", content=b"once")
    assert other.count == 0


@pytest.mark.parametrize("how", ["refused by us", "not sent", "429", "a key", "methods="])
async def test__fallback__unsafe_request__is_sent_where_that_is_safe(
    kit: Kit, stack: ExitStack, peer: Peer, other: Peer, how: str
) -> None:
    other.script(answer(201))
    step = FallbackProvider(other.url, methods={"post"} if how == "methods=" else None)
    resilience = only(degrade=[step], breaker=tripping())
    url = peer / "x"
    if how == "refused by us":
        resilience.isolate(peer.url)
    elif how == "not sent":
        url = stack.enter_context(Peer(refusing=True)) / "x"
    elif how == "429":
        peer.script(answer(429))
    else:
        peer.script(answer(503))
    async with kit.mounted(resilience) as client:
        headers = {"Idempotency-Key": "k1"} if how == "a key" else {}
        assert (await client.request("POST", url, content=b"once", headers=headers)).status == 201
    assert other.requests[0].body == b"once"
    fields = {name.lower(): value for name, value in other.requests[0].headers}
    assert fields.get("idempotency-key") == headers.get("Idempotency-Key")  # sent for its sake, so sent with it


async def test__fallback__next_origin__if_the_first_fails(kit: Kit, stack: ExitStack, peer: Peer, other: Peer) -> None:
    peer.script(answer(503))
    nobody = stack.enter_context(Peer(refusing=True))
    async with kit.mounted(only(degrade=[FallbackProvider(nobody.url, other.url)])) as client:
        assert (await client.get(peer / "x")).status == 200


@pytest.mark.parametrize("status", [500, 503, 429, 401, 403])
async def test__fallback__fails_too__the_primarys_own_ending(kit: Kit, peer: Peer, other: Peer, status: int) -> None:
    peer.script(answer(502, b"primary"))
    other.script(answer(status))
    async with kit.mounted(only(degrade=[FallbackProvider(other.url)]), pool=1) as client:
        for _ in range(2):
            got = await client.get(peer / "x")
            assert (got.status, got.body) == (502, b"primary")


async def test__fallback__fails_too__all_errors_if_asked_to_raise(kit: Kit, peer: Peer, other: Peer) -> None:
    peer.script(steps.reset())
    other.script(answer(503))
    retry = retrying(max_retries=0, on_exhausted="raise")
    async with kit.mounted(only(degrade=[FallbackProvider(other.url)], retry=retry)) as client:
        with pytest.raises(seawall.AllProvidersFailed) as caught:
            await client.get(peer / "x")
    error = caught.value
    assert isinstance(error, kit.errors.base)
    assert len(error.errors) == 2
    assert error.primary is error.errors[0]
    assert error.fallback is error.errors[-1]


async def test__fallback__fails_too__a_later_step_still_answers(kit: Kit, peer: Peer, other: Peer) -> None:
    peer.script(answer(503))
    other.script(answer(503))
    ways = [FallbackProvider(other.url), SimplifiedResponse(listed)]
    retry = retrying(max_retries=0, on_exhausted="raise")
    async with kit.mounted(only(degrade=ways, retry=retry), pool=1) as client:
        assert (await client.get(peer / "x")).body == b"[]"


async def test__fallback__breaks_off_while_it_is_rewritten__the_next_origin_answers(
    kit: Kit, peer: Peer, other: Peer, stack: ExitStack
) -> None:
    broken = stack.enter_context(Peer())
    peer.script(answer(503))
    broken.script(steps.short_body())
    other.script(answer(200, b"whole"))
    resilience = only(degrade=[FallbackProvider(broken.url, other.url, response=lambda whole: whole)])
    async with kit.mounted(resilience) as client:
        assert (await client.get(peer / "x")).body == b"whole"
    picture = resilience.snapshot(broken.url)
    assert picture is not None
    assert (picture.failures, picture.in_flight) == (1, 0)


async def test__fallback__switched_off__the_next_origin_answers(
    kit: Kit, peer: Peer, other: Peer, stack: ExitStack
) -> None:
    off = stack.enter_context(Peer())
    peer.script(answer(503))
    resilience = only(degrade=[FallbackProvider(off.url, other.url)])
    resilience.configure(off.url, Policy(mode="off"))
    async with kit.mounted(resilience) as client:
        assert (await client.get(peer / "x")).status == 200
    assert (off.count, other.count) == (0, 1)


async def test__fallback__shares_the_deadline(kit: Kit, peer: Peer, other: Peer) -> None:
    peer.script(steps.hang())
    other.script(steps.hang())
    resilience = only(degrade=[FallbackProvider(other.url)], timeouts=Timeouts(total=0.4))
    async with kit.mounted(resilience) as client:
        with pytest.raises(seawall.DeadlineExceeded) as caught:
            await client.get(peer / "x")
    assert caught.value.elapsed < 0.6
    assert other.count == 1


async def test__fallback__streams(kit: Kit, peer: Peer, other: Peer) -> None:
    peer.script(answer(503))
    other.script(answer(200, b"x" * 200_000))
    resilience = only(degrade=[FallbackProvider(other.url)])
    async with kit.mounted(resilience) as client:
        stream = await client.stream("GET", peer / "x")
        picture = resilience.snapshot(other.url)
        assert picture is not None
        assert picture.in_flight == 1
        assert len(await stream.read()) == 200_000
        await stream.close()
    assert [host.in_flight for host in resilience.snapshots()] == [0, 0]


async def test__fallback__keeps_the_hosts_own_policy(kit: Kit, peer: Peer, other: Peer) -> None:
    peer.script(answer(503))
    other.script(answer(503), answer(200))
    policies = {
        peer.url: Policy(retry=None, degrade=[FallbackProvider(other.url)]),
        other.url: Policy(retry=retrying()),
    }
    async with kit.mounted(seawall.Resilience(policies)) as client:
        assert (await client.get(peer / "x")).status == 200
    assert (peer.count, other.count) == (1, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "api.example.com"},
        {"origin": "https://api.example.com/v1"},
        {"origin": "https://user:pw@api.example.com"},
        {"origin": "ftp://x"},
        {"origin": 5},
        {"origin": "https://x", "path": "v1"},
        {"origin": "https://x", "headers": ["x"]},
        {"origin": "https://x", "body": b"x"},
        {"origin": "https://x", "response": 5},
        {"origin": "https://x", "methods": "POST"},
        {"origin": "https://x", "methods": b"POST"},
        {"origin": "https://x", "methods": [1]},
        {"origin": "https://x", "methods": []},
        {"origin": "https://x", "methods": 5},
        {"origin": "https://x", "reserve": -1},
    ],
    ids=repr,
)
def test__fallback__wrong__raises_with_the_cure(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match="give"):
        FallbackProvider(**wrong)


def test__fallback__async_function__raises() -> None:
    async def body(content: bytes) -> bytes:
        return content

    with pytest.raises(TypeError, match="plain function"):
        FallbackProvider("https://x", body=body)  # type: ignore[arg-type]


@pytest.mark.parametrize("ways", [1, 2])
async def test__no_step_answers__the_error_still_has_its_cause(kit: Kit, peer: Peer, ways: int) -> None:
    def looks_and_passes(request: Any, error: BaseException) -> Answer:
        raise LookupError(type(error.__cause__).__name__)

    peer.script(steps.reset())
    passing = [SimplifiedResponse(looks_and_passes) for _ in range(ways)]
    async with kit.mounted(only(retry=retrying(on_exhausted="raise"), degrade=passing)) as client:
        with pytest.raises(seawall.MaxRetriesExceeded) as caught:
            await client.get(peer / "x")
    assert isinstance(caught.value.__cause__, kit.errors.reset)
    assert caught.value.last_error is caught.value.__cause__
