"""What type checkers make of the public surface. Never run: `make check` has mypy and pyright read it.

An `ignore` here is an error that has to be found: one that is not needed fails the check too.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, assert_type

import httpx
import httpx2
import requests

import httpx_resilience
import requests_resilience
import seawall
from seawall import (
    Answer,
    Breaker,
    Bulkhead,
    ErrorWithAlternatives,
    FallbackProvider,
    Outbox,
    Policy,
    QueueForRetry,
    Report,
    Resilience,
    Retry,
    SimplifiedResponse,
    StaleResponse,
    Timeouts,
    install,
    installed,
    report,
    uninstall,
)
from seawall.events import AttemptEnded, CallInfo, Event

resilience = Resilience()


def ask(question: str, times: int = 1) -> float:
    raise NotImplementedError


async def aask(question: str, times: int = 1) -> float:
    raise NotImplementedError


class Model:
    def ask(self, question: str) -> bytes:
        raise NotImplementedError


# execute: the operation's own result, its arguments checked.
assert_type(resilience.execute("primary", ask, "why?"), float)
assert_type(resilience.execute("primary", ask, "why?", 3), float)
assert_type(resilience.execute("primary", partial(ask, times=3), "why?"), float)
assert_type(resilience.execute("primary", Model().ask, "why?"), bytes)
assert_type(resilience.execute("primary", lambda: 42), int)
assert_type(
    resilience.execute_with_fallback("primary", lambda: ask("why?"), "secondary", lambda: "because"), float | str
)
resilience.execute("primary", ask)  # type: ignore[arg-type]
resilience.execute("primary", ask, 3)  # type: ignore[arg-type]

# install: gives the Resilience, whatever it was made from.
assert_type(install(), Resilience)
assert_type(install({"all://": Policy()}), Resilience)
with installed(Policy()) as inside:
    assert_type(inside, Resilience)
install("all://")  # type: ignore[arg-type]
uninstall()


async def asynchronously() -> None:
    assert_type(await resilience.aexecute("primary", aask, "why?"), float)
    await resilience.aexecute("primary", aask, 3)  # type: ignore[arg-type]
    await resilience.aexecute("primary", ask, "why?")  # type: ignore[arg-type]

    async def because() -> str:
        return "because"

    async def first() -> float:
        return await aask("why?")

    assert_type(await resilience.aexecute_with_fallback("primary", first, "secondary", because), float | str)


# policy_for: nothing is left out, so no marker for that is in the way.
policy = resilience.policy_for("GET", "https://api.example.com/")
assert_type(policy.timeouts, Timeouts | None)
assert_type(policy.retry, Retry | None)
assert_type(policy.breaker, Breaker | None)
assert_type(policy.bulkhead, Bulkhead | None)
assert_type(policy.mode, Literal["enforce", "off"])
if policy.retry is not None and policy.breaker is not None:
    assert_type(policy.retry.max_retries, int)
    assert_type(policy.breaker.failure_threshold, int)
resilience.configure("https://api.example.com", policy)

# degrade: a list of any of them, in any order.
Policy(
    degrade=[
        StaleResponse(),
        FallbackProvider("https://b.example.com"),
        SimplifiedResponse(lambda request, error: Answer(text="later")),
        QueueForRetry(Outbox("outbox.db"), queue_timeout=60),
        ErrorWithAlternatives(["https://status.example.com"]),
    ]
)
Policy(degrade=(FallbackProvider("https://b.example.com"),))
Policy(degrade=["https://b.example.com"])  # type: ignore[list-item]

# mount: the client that was given, not some client.
assert_type(httpx_resilience.mount(httpx.Client(), resilience), httpx.Client)
assert_type(httpx_resilience.mount(httpx2.AsyncClient(), resilience), httpx2.AsyncClient)
assert_type(requests_resilience.mount(requests.Session(), resilience), requests.Session)
assert_type(report(ValueError()), Report | None)

# telemetry: each gives what ends it; an event's call may be read where there is one.
assert_type(seawall.telemetry.logging.instrument(resilience, interval=10), Callable[[], None])
assert_type(seawall.telemetry.otel.instrument(resilience), Callable[[], None])
assert_type(seawall.telemetry.prometheus.instrument(resilience, each_host=True), Callable[[], None])


def listener(event: Event) -> None:
    if isinstance(event, AttemptEnded):
        assert_type(event.call, CallInfo)
        assert_type(event.call.address, str | None)


assert_type(resilience.subscribe(listener, [AttemptEnded]), Callable[[], None])
