"""Which failed calls are sent again, how often, and what the caller gets when that does not help."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial

import pytest

import seawall
from seawall import Policy, Resilience, RetryBudget
from tests.contract import steps
from tests.contract.clients import Kit
from tests.contract.peer import Peer
from tests.contract.settings import only, quick, retrying
from tests.contract.steps import answer

WORTH_REPEATING = [408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529]
FINAL = [400, 401, 403, 404, 405, 409, 410, 422, 451, 501, 505, 507, 511, 599]
UNSAFE = ["POST", "PATCH"]
SAFE = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]


async def test__503_then_200__is_answered_by_the_second_attempt(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, b"busy"), answer(200, b"fine"))
    async with kit.mounted(quick()) as client:
        got = await client.get(peer / "x")
    assert (got.status, got.body, got.history) == (200, b"fine", [])
    assert peer.count == 2


async def test__defaults__503_then_200__is_answered(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503), answer(200))
    async with kit.mounted(Resilience()) as client:
        assert (await client.get(peer / "x")).status == 200


async def test__503_to_the_end__is_returned_with_its_body(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, b"first"), answer(503, b"second"), answer(503, b"third", [("X-Which", "3")]))
    async with kit.mounted(quick()) as client:
        got = await client.get(peer / "x")
    assert (got.status, got.body, got.header("x-which")) == (503, b"third", "3")
    assert peer.count == 3


async def test__statuses_of_a_sick_host__are_repeated_for_safe_methods(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(quick()) as client:
        for status in WORTH_REPEATING:
            peer.forget()
            peer.script(answer(status), answer(200))
            assert (await client.get(peer / "x")).status == 200, status
            assert peer.count == 2, status


async def test__statuses_that_will_not_change__are_returned_at_once(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(quick()) as client:
        for status in FINAL:
            peer.forget()
            peer.script(answer(status, b"as it is"), answer(200))
            got = await client.get(peer / "x")
            assert (got.status, got.body, peer.count) == (status, b"as it is", 1)


async def test__safe_methods__are_repeated(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(quick()) as client:
        for method in SAFE:
            peer.forget()
            peer.script(answer(503), answer(200))
            assert (await client.request(method, peer / "x")).status == 200, method
            assert [request.method for request in peer.requests] == [method, method]


async def test__unsafe_methods__are_not_repeated_on_an_answer(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(quick()) as client:
        for method in UNSAFE:
            for status in (408, 425, 500, 502, 503, 504):
                peer.forget()
                peer.script(answer(status, b"no"), answer(200))
                got = await client.request(method, peer / "x", content=b"pay")
                assert (got.status, got.body, peer.count) == (status, b"no", 1), method


async def test__unsafe_method__is_not_repeated_when_it_may_have_been_executed(kit: Kit, peer: Peer) -> None:
    for step, error in ((steps.close(), kit.errors.closed), (steps.reset(), kit.errors.reset)):
        peer.forget()
        peer.script(step, answer(200))
        async with kit.mounted(quick()) as client:
            with pytest.raises(error):
                await client.request("POST", peer / "x", content=b"pay")
        assert peer.count == 1


async def test__refused_post__was_surely_not_sent_and_is_repeated(kit: Kit, stack: ExitStack) -> None:
    peer = stack.enter_context(Peer(refusing=True))

    async def open_later() -> None:
        await kit.sleep(0.05)
        peer.listen()

    resilience = quick(max_retries=100, base_delay=0.02, jitter="none", backoff="constant")
    async with kit.mounted(resilience) as client:
        got, _ = await kit.together(partial(client.request, "POST", peer / "x", content=b"pay"), open_later)
    assert (got.status, peer.bodies) == (200, [b"pay"])


async def test__429_post__was_turned_away_and_is_repeated(kit: Kit, peer: Peer) -> None:
    peer.script(answer(429), answer(200))
    async with kit.mounted(quick()) as client:
        got = await client.request("POST", peer / "x", content=b"pay")
    assert (got.status, peer.bodies) == (200, [b"pay", b"pay"])


async def test__connect_error_to_the_end__is_that_error_with_one_note(kit: Kit, stack: ExitStack) -> None:
    peer = stack.enter_context(Peer(refusing=True))
    async with kit.mounted(quick()) as client:
        with pytest.raises(kit.errors.refused) as caught:
            await client.get(peer / "x?token=secret")
    assert type(caught.value) is kit.errors.refused
    (note,) = caught.value.__notes__
    assert "3 attempts" in note
    assert "secret" not in note
    report = seawall.report(caught.value)
    assert report is not None
    assert len(report.attempts) == 3
    assert report.ending is seawall.Ending.ATTEMPTS_EXHAUSTED


async def test__on_exhausted_raise__status__max_retries_exceeded(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503))
    async with kit.mounted(quick(on_exhausted="raise")) as client:
        with pytest.raises(seawall.MaxRetriesExceeded) as caught:
            await client.get(peer / "x")
    assert isinstance(caught.value, kit.errors.base)
    assert (caught.value.attempts, caught.value.host, peer.count) == (3, peer.url, 3)
    assert caught.value.report is not None
    assert [attempt.status for attempt in caught.value.report.attempts] == [503] * 3


async def test__on_exhausted_raise__exception__is_the_cause(kit: Kit, stack: ExitStack) -> None:
    peer = stack.enter_context(Peer(refusing=True))
    async with kit.mounted(quick(on_exhausted="raise")) as client:
        with pytest.raises(seawall.MaxRetriesExceeded) as caught:
            await client.get(peer / "x")
    assert type(caught.value.last_error) is kit.errors.refused
    assert caught.value.__cause__ is caught.value.last_error


async def test__on_exhausted_raise__post__non_retryable(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503))
    async with kit.mounted(quick(on_exhausted="raise")) as client:
        with pytest.raises(seawall.NonRetryable) as caught:
            await client.request("POST", peer / "x")
    assert (caught.value.attempts, peer.count) == (1, 1)
    assert isinstance(caught.value, kit.errors.base)


async def test__on_exhausted_raise__pool_of_one__gets_its_connection_back(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503, b"x" * 1000))
    async with kit.mounted(quick(max_retries=0, on_exhausted="raise"), pool=1) as client:
        for _ in range(3):
            with pytest.raises(seawall.ResilienceError):
                await client.get(peer / "x")
        peer.script(answer(200))
        assert (await client.get(peer / "x")).status == 200


async def test__budget__bounds_the_extra_attempts_of_all_calls(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503))
    resilience = only(retry=retrying(), budget=RetryBudget(start=3, refill_per_minute=0))
    async with kit.mounted(resilience) as client:
        got = [await client.get(peer / "x") for _ in range(5)]
    assert [one.status for one in got] == [503] * 5
    assert peer.count == 5 + 3
    report = seawall.report(got[-1].raw)
    assert report is not None
    assert report.ending is seawall.Ending.BUDGET_EXHAUSTED


async def test__budget__successes_earn_new_attempts(kit: Kit, peer: Peer) -> None:
    budget = RetryBudget(ratio=0.5, start=0, refill_per_minute=0)
    async with kit.mounted(only(retry=retrying(), budget=budget)) as client:
        for _ in range(4):
            await client.get(peer / "x")
        peer.forget()
        peer.script(answer(503))
        for _ in range(3):
            await client.get(peer / "x")
    assert peer.count == 3 + 2


async def test__budget_exhausted__raised_if_asked_for(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503))
    resilience = only(retry=retrying(on_exhausted="raise"), budget=RetryBudget(start=0, refill_per_minute=0))
    async with kit.mounted(resilience) as client:
        with pytest.raises(seawall.RetryBudgetExhausted) as caught:
            await client.get(peer / "x")
    assert (caught.value.attempts, peer.count) == (1, 1)


async def test__when__decides_in_both_directions(kit: Kit, peer: Peer) -> None:
    resilience = quick(when=lambda attempt, _: {409: True, 503: False}.get(attempt.status or 0))
    async with kit.mounted(resilience) as client:
        peer.script(answer(409), answer(200))
        assert (await client.get(peer / "x")).status == 200
        peer.script(answer(503), answer(200))
        assert (await client.get(peer / "x")).status == 503
        peer.script(answer(500), answer(200))
        assert (await client.get(peer / "x")).status == 200


async def test__retry_on__replaces_the_table(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(quick(retry_on={404, kit.errors.reset})) as client:
        for step, attempts in ((answer(404), 2), (answer(503), 1)):
            peer.forget()
            peer.script(step, answer(200))
            await client.get(peer / "x")
            assert peer.count == attempts
        peer.script(steps.reset(), answer(200))
        assert (await client.get(peer / "x")).status == 200


async def test__methods__replace_the_defaults(kit: Kit, peer: Peer) -> None:
    async with kit.mounted(quick(methods={"POST"})) as client:
        for method, attempts in (("POST", 2), ("GET", 1)):
            peer.forget()
            peer.script(answer(503), answer(200))
            await client.request(method, peer / "x")
            assert peer.count == attempts, method


async def test__idempotency_key_header__makes_a_post_safe(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503), steps.reset(), answer(200))
    async with kit.mounted(quick()) as client:
        got = await client.request("POST", peer / "x", content=b"pay", headers={"Idempotency-Key": "k1"})
    assert got.status == 200
    assert [(r.header("idempotency-key"), r.body) for r in peer.requests] == [("k1", b"pay")] * 3


async def test__automatic_key__one_per_call_the_same_on_each_attempt(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503), answer(200))
    async with kit.mounted(quick(idempotency_key="auto")) as client:
        await client.request("POST", peer / "x", content=b"pay")
        await client.request("POST", peer / "x", content=b"pay")
        await client.get(peer / "x")
    first, again, second, get = [request.header("idempotency-key") for request in peer.requests]
    assert first
    assert first == again
    assert second not in (None, first)
    assert get is None


async def test__x_should_retry__overrules_the_status(kit: Kit, peer: Peer) -> None:
    no, yes = [("x-should-retry", "false")], [("x-should-retry", "true")]
    async with kit.mounted(quick()) as client:
        for method, step, attempts in (
            ("GET", answer(503, headers=no), 1),
            ("POST", answer(429, headers=no), 1),
            ("GET", answer(409, headers=yes), 2),
            ("POST", answer(409, headers=yes), 2),
        ):
            peer.forget()
            peer.script(step, answer(200))
            await client.request(method, peer / "x")
            assert peer.count == attempts, (method, step)


async def test__max_elapsed__no_attempt_starts_later(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503))
    resilience = quick(max_retries=50, base_delay=0.05, max_delay=0.05, jitter="none", max_elapsed=0.12)
    started = time.monotonic()
    async with kit.mounted(resilience) as client:
        assert (await client.get(peer / "x")).status == 503
    assert 2 <= peer.count <= 3
    assert time.monotonic() - started < 1


async def test__connection_closed_before_reading__get_is_repeated(kit: Kit, peer: Peer) -> None:
    peer.script(steps.close_unread(), answer(200))
    async with kit.mounted(quick()) as client:
        assert (await client.get(peer / "x")).status == 200


async def test__redirect_hop__is_retried_at_its_own_host(kit: Kit, peer: Peer, other: Peer) -> None:
    peer.script(steps.redirect(other / "b"))
    other.script(answer(503), answer(200, b"arrived"))
    async with kit.mounted(quick()) as client:
        got = await client.get(peer / "a", follow=True)
    assert (got.status, got.body, [old.status for old in got.history]) == (200, b"arrived", [302])
    assert (peer.count, other.count) == (1, 2)


async def test__report__tells_each_attempt(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503), steps.reset(), answer(200))
    async with kit.mounted(quick()) as client:
        got = await client.get(peer / "x")
    report = seawall.report(got.raw)
    assert report is not None
    assert [(a.number, a.status, a.host) for a in report.attempts] == [
        (1, 503, peer.url),
        (2, None, peer.url),
        (3, 200, peer.url),
    ]
    assert [a.kind and a.kind.name for a in report.attempts] == ["SERVICE_UNAVAILABLE", "CONNECTION_RESET", None]
    assert report.attempts[0].wait < report.attempts[1].wait
    assert (report.ending, report.served_from) == (seawall.Ending.ANSWERED, "origin")
    assert "503" in str(report)


async def test__policies_by_pattern__method_and_path_have_their_own_retries(kit: Kit, peer: Peer) -> None:
    resilience = Resilience(
        {
            "all://": Policy(retry=retrying(max_retries=1), budget=None, breaker=None),
            f"{peer.url}/often": Policy(retry=retrying(max_retries=3)),
            f"POST {peer.url}": Policy(retry=retrying(max_retries=2, methods={"POST"})),
        }
    )
    peer.script(answer(503))
    async with kit.mounted(resilience) as client:
        for method, path, attempts in (("GET", "x", 2), ("GET", "often/x", 4), ("POST", "x", 3)):
            peer.forget()
            await client.request(method, peer / path)
            assert peer.count == attempts, (method, path)


async def test__post_reset__while_another_hosts_refusal_is_handled__goes_out_once(
    kit: Kit, peer: Peer, stack: ExitStack
) -> None:
    refusing = stack.enter_context(Peer(refusing=True))
    peer.script(steps.reset(), answer(200))
    async with kit.mounted(quick(max_retries=1)) as client:
        try:
            await client.get(refusing / "x")
        except kit.errors.refused:
            with pytest.raises(kit.errors.reset) as caught:
                await client.request("POST", peer / "x", content=b"pay")
    assert peer.bodies == [b"pay"]
    report = seawall.report(caught.value)
    assert report is not None
    assert [(a.host, a.kind) for a in report.attempts] == [(peer.url, seawall.ErrorKind.CONNECTION_RESET)]


async def test__on_exhausted_raise__status_the_host_is_well_with_but_that_was_repeated__raises(
    kit: Kit, peer: Peer
) -> None:
    for status, changes in ((404, {"retry_on": {404}}), (425, {})):
        peer.forget()
        peer.script(answer(status))
        async with kit.mounted(quick(on_exhausted="raise", **changes)) as client:
            with pytest.raises(seawall.MaxRetriesExceeded) as caught:
                await client.get(peer / "x")
        assert (caught.value.attempts, peer.count) == (3, 3), status


async def test__on_exhausted_raise__status_that_is_not_repeated__is_returned(kit: Kit, peer: Peer) -> None:
    peer.script(answer(404, b"not here"))
    async with kit.mounted(quick(on_exhausted="raise")) as client:
        got = await client.get(peer / "x")
    assert (got.status, got.body, peer.count) == (404, b"not here", 1)


async def test__on_exhausted_raise__error_that_is_no_librarys__passes_as_it_is(kit: Kit) -> None:
    for foreign in (AssertionError("not mocked"), KeyError("k")):
        fake = kit.fake(lambda _, error=foreign: error)  # type: ignore[misc]
        async with kit.mounted(quick(on_exhausted="raise"), fake=fake) as client:
            with pytest.raises(type(foreign)) as caught:
                await client.get("http://a.test/x")
        assert caught.value is foreign
        assert len(fake.asked) == 1
