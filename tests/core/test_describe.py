"""A policy in words: every effective value, the worst cases, what contradicts, what is not there yet."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from seawall import (
    AdaptiveBudget,
    Breaker,
    Bulkhead,
    ErrorWithAlternatives,
    FallbackProvider,
    Outbox,
    Policy,
    QueueForRetry,
    Retry,
    RetryBudget,
    StaleResponse,
    Timeouts,
    TokenBudget,
)


def line(policy: Policy, start: str) -> str:
    """The one line that begins so."""
    found = [text.strip() for text in policy.describe().splitlines() if text.strip().startswith(start)]
    assert len(found) == 1, found
    return found[0].removeprefix(start).strip()


def lines(policy: Policy, start: str) -> list[str]:
    return [text for text in policy.describe().splitlines() if text.startswith(start)]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("retry", Retry()),
        ("budget", RetryBudget()),
        ("breaker", Breaker()),
        ("bulkhead", Bulkhead()),
        ("timeouts", Timeouts()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test__every_part__is_described_with_every_field(name: str, part: object) -> None:
    words = line(Policy(), f"{name}:")
    assert [f.name for f in fields(part) if f"{f.name}=" not in words] == []  # type: ignore[arg-type]


def test__values__are_the_effective_ones() -> None:
    policy = Policy(retry=Retry(max_retries=1, base_delay=0.25), timeouts=Timeouts(total=7), group="llm", mode="off")
    assert "max_retries=1" in line(policy, "retry:")
    assert "base_delay=0.25" in line(policy, "retry:")
    assert "total=7" in line(policy, "timeouts:")
    assert line(policy, "group:") == "llm"
    assert line(policy, "mode:") == "off"
    assert line(Policy(rejections="respond"), "rejections:") == "respond"


def test__part_switched_off__says_off() -> None:
    policy = Policy(retry=None, budget=None, breaker=None, bulkhead=None)
    assert [line(policy, f"{name}:") for name in ("retry", "budget", "breaker", "bulkhead")] == ["off"] * 4


def test__clock_not_set__is_left_to_the_client_and_switched_off__is_none() -> None:
    words = line(Policy(timeouts=Timeouts(attempt=None)), "timeouts:")
    assert "attempt=None" in words
    assert "connect=left to the client" in words


@pytest.mark.parametrize(
    ("policy", "attempts"),
    [
        pytest.param(Policy(), "4", id="default"),
        pytest.param(Policy(retry=None), "1", id="no retry"),
        pytest.param(Policy(retry=Retry(max_retries=0)), "1", id="no retries"),
        pytest.param(Policy(retry=Retry(max_retries=7)), "8", id="seven retries"),
        pytest.param(Policy.gateway(), "4", id="gateway"),
        pytest.param(Policy(mode="off"), "1", id="nothing of ours acts"),
    ],
)
def test__worst_case__attempts_per_call(policy: Policy, attempts: str) -> None:
    assert line(policy, "attempts per call:") == attempts


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        pytest.param(Policy(timeouts=Timeouts(total=9)), "9 s", id="total bounds everything"),
        pytest.param(Policy.gateway(), "60 s", id="gateway"),
        pytest.param(Policy(timeouts=Timeouts(attempt=10), retry=None), "10 s", id="one attempt"),
        pytest.param(
            Policy(timeouts=Timeouts(attempt=10), retry=None, bulkhead=Bulkhead(max_concurrent=1, max_wait=5)), "15 s",
            id="the bulkhead's wait comes first",
        ),
    ],
)  # fmt: skip
def test__worst_case__time_per_call(policy: Policy, seconds: str) -> None:
    assert line(policy, "time per call:") == seconds


def longest(**retry: float | None) -> float:
    policy = Policy(
        timeouts=Timeouts(attempt=10), retry=Retry(**retry), bulkhead=Bulkhead(max_concurrent=1, max_wait=5)
    )  # type: ignore[arg-type]
    return float(line(policy, "time per call:").removesuffix(" s"))


def test__worst_case__time__covers_every_attempt_its_wait_and_its_pause() -> None:
    # Three times: wait 5, attempt 10; between them a pause of 2 or the 4 + 2 a server may ask for.
    assert longest(max_retries=2, max_delay=2, max_retry_after=0, max_elapsed=None) >= 3 * 15 + 2 * 2
    assert longest(max_retries=2, max_delay=2, max_retry_after=4, max_elapsed=None) >= 3 * 15 + 2 * 6
    assert longest(max_retries=2, max_delay=2, max_retry_after=4, max_elapsed=None) <= 3 * (15 + 6) + 2 * 6


def test__worst_case__time__no_attempt_starts_after_max_elapsed() -> None:
    assert longest(max_retries=50, max_delay=2, max_retry_after=0, max_elapsed=20) <= 20 + 5 + 10 + 2


def test__worst_case__time__without_a_clock_of_ours_says_whose_it_is() -> None:
    assert "the client's own timeouts" in line(Policy(), "time per call:")


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        pytest.param(Policy(retry=None), ["one attempt per call"], id="no retry"),
        pytest.param(Policy(budget=None), ["4 attempts per call", "no budget"], id="no budget"),
        pytest.param(
            Policy(budget=RetryBudget(cap=7, start=2, refill_per_minute=5)),
            ["2 to 7 extra", "5 more a minute"],
            id="default",
        ),
        pytest.param(
            Policy(budget=TokenBudget(max_tokens=40, refill_rate=4)), ["40 extra", "4 a second"], id="token bucket"
        ),
        pytest.param(
            Policy(budget=AdaptiveBudget(max_tokens=40)), ["40 extra", "50 a second"], id="adaptive: its highest rate"
        ),
        pytest.param(Policy(), ["3 probes", "3 s"], id="breaker"),
    ],
)
def test__worst_case__load_in_an_outage(policy: Policy, words: list[str]) -> None:
    told = line(policy, "load in a total outage:")
    assert [word for word in words if word not in told] == []


def test__worst_case__load__without_a_breaker_promises_no_opening() -> None:
    assert "circuit" not in line(Policy(breaker=None), "load in a total outage:")


def test__queue_for_retry__says_what_it_keeps(tmp_path: Path) -> None:
    told = lines(Policy(degrade=[QueueForRetry(Outbox(tmp_path / "outbox.db"))]), "note:")
    assert any("QueueForRetry keeps what is safe to send twice" in note for note in told), told


CONTRADICTIONS = [
    (
        "the wait for the bulkhead eats the call",
        Policy(timeouts=Timeouts(total=3), bulkhead=Bulkhead(max_concurrent=1, max_wait=5)),
        ["max_wait=5", "total=3"],
    ),
    (
        "no time for a retry",
        Policy(timeouts=Timeouts(total=0.5), retry=Retry(base_delay=1)),
        ["base_delay=1", "total=0.5"],
    ),
    ("one attempt eats the call", Policy(timeouts=Timeouts(attempt=3, total=3)), ["attempt=3", "total=3"]),
    (
        "never slow",
        Policy(timeouts=Timeouts(attempt=3), breaker=Breaker(slow_call_duration=5)),
        ["slow_call_duration=5", "attempt=3"],
    ),
    (
        "a span beyond the window",
        Policy(breaker=Breaker(min_failure_span=20, sampling_window=10)),
        ["min_failure_span"],
    ),
    ("never a whole token", Policy(budget=RetryBudget(cap=0.5, start=0)), ["budget"]),
    ("never any token", Policy(budget=RetryBudget(ratio=0, start=0, refill_per_minute=0)), ["budget"]),
]


@pytest.mark.parametrize(
    ("policy", "words"), [row[1:] for row in CONTRADICTIONS], ids=[row[0] for row in CONTRADICTIONS]
)
def test__parts_that_defeat_each_other__are_warned_of_by_name_and_value(policy: Policy, words: list[str]) -> None:
    warnings = lines(policy, "warning:")
    assert len(warnings) == 1
    assert [word for word in words if word not in warnings[0]] == []


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(Policy(), id="default"),
        pytest.param(Policy.gateway(), id="gateway"),
        pytest.param(Policy.llm(), id="llm"),
        pytest.param(
            Policy(timeouts=Timeouts(total=3), bulkhead=Bulkhead(max_wait=5)), id="a bulkhead that never makes wait"
        ),
        pytest.param(Policy(timeouts=Timeouts(attempt=3, total=3), retry=None), id="no retry to have time for"),
        pytest.param(Policy(timeouts=Timeouts(attempt=60), breaker=None), id="no probes"),
        pytest.param(
            Policy(timeouts=Timeouts(attempt=3, total=10), breaker=Breaker(slow_call_duration=2)), id="in order"
        ),
    ],
)
def test__parts_that_agree__are_not_warned_of(policy: Policy) -> None:
    assert lines(policy, "warning:") == []


def test__note__decorrelated_jitter_leaves_backoff_and_multiplier_idle() -> None:
    assert any("decorrelated" in note for note in lines(Policy.gateway(), "note:"))
    assert not any("decorrelated" in note for note in lines(Policy(), "note:"))


def test__note__bulkhead_without_a_limit_only_measures() -> None:
    assert any("bulkhead" in note for note in lines(Policy(), "note:"))
    assert not any("bulkhead" in note for note in lines(Policy(bulkhead=Bulkhead(max_concurrent=3)), "note:"))


def test__note__budget_without_retries_pays_for_nothing() -> None:
    assert any("budget" in note for note in lines(Policy(retry=None), "note:"))


def test__note__ways_to_degrade_that_pass_on_with_execute() -> None:
    said = "for requests only, an operation of execute() is passed on"
    steps: list[Any] = [StaleResponse(), FallbackProvider("https://b.test"), ErrorWithAlternatives(["x"])]
    assert (
        f"note: {said}: StaleResponse without key=, FallbackProvider" in Policy(degrade=steps).describe().splitlines()
    )
    assert said not in Policy(degrade=[StaleResponse(key=lambda operation: "x")]).describe()


def test__ways_to_degrade__are_shown_in_their_order() -> None:
    assert line(Policy(), "degrade:") == "nothing"
    assert line(Policy.gateway(), "degrade:") == "StaleResponse()"
    steps = [StaleResponse(max_age=5), ErrorWithAlternatives(["x"])]
    assert line(Policy(degrade=steps), "degrade:") == "StaleResponse(max_age=5), ErrorWithAlternatives(['x'])"
    assert line(Policy(degrade=steps, degrade_after=0.5), "degrade_after:") == "0.5"


def test__inspection_of_streams__is_shown() -> None:
    assert line(Policy(), "inspect_streams:") == "False"
    assert line(Policy.llm(), "inspect_streams:") == "True"


def test__functions__are_shown_by_name() -> None:
    def only_idempotent(attempt: object, request: object) -> bool:
        return False

    assert "only_idempotent" in line(Policy(retry=Retry(when=only_idempotent)), "retry:")
