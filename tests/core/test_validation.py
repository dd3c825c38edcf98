"""Wrong configuration raises where it is written, and says which field, which value, and what to give instead."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from seawall import (
    AdaptiveBudget,
    Breaker,
    Bulkhead,
    Policy,
    Resilience,
    Retry,
    RetryBudget,
    SimplifiedResponse,
    Timeouts,
    TokenBudget,
)
from seawall.outcome import ErrorKind

NOT_A_NUMBER = [math.nan, math.inf, -math.inf, -1, True, "5", None, Decimal(5), [5], 10**400]
NOT_A_COUNT = [math.nan, math.inf, -1, True, False, "5", None, 5.0, 2.5]
NOT_A_FLAG = [1, 0, "yes", None]
NOT_A_WORD = ["", "Full", "sometimes", None, 1, ["full"]]
TOO_LONG_AGO = timedelta(seconds=-1)

DURATION = [*NOT_A_NUMBER, TOO_LONG_AGO]
POSITIVE_DURATION = [*DURATION, 0, 0.0, timedelta(0)]


def optional(values: list[Any]) -> list[Any]:
    return [value for value in values if value is not None]


BAD: dict[type, dict[str, list[Any]]] = {
    Timeouts: dict.fromkeys([f.name for f in fields(Timeouts)], optional(POSITIVE_DURATION)),
    Retry: {
        "max_retries": NOT_A_COUNT,
        "base_delay": DURATION,
        "max_delay": DURATION,
        "multiplier": [*NOT_A_NUMBER, 0, 0.5],
        "backoff": NOT_A_WORD,
        "jitter": NOT_A_WORD,
        "retry_on": [503, "503", {"503"}, {99}, {600}, {True}, {5.03}, {None}, {int}, [ErrorKind.TIMEOUT, "TIMEOUT"]],
        "methods": ["GET", 3, {"GE T"}, {""}, {b"GET"}, {1}, {"GET\r\nX"}, {"GÉT"}],
        "idempotency_header": ["", " ", "Key:", "a b", "Key\r\n", None, 3, "Schlüssel"],
        "idempotency_key": ["abc", "AUTO", 3, True],
        "max_retry_after": DURATION,
        "share_retry_after": NOT_A_FLAG,
        "max_elapsed": optional(DURATION),
        "on_exhausted": NOT_A_WORD,
        "buffer_body": NOT_A_COUNT,
        "when": [True, "always", 3],
    },
    RetryBudget: {
        "ratio": [*NOT_A_NUMBER, 1.01],
        "cap": NOT_A_NUMBER,
        "start": NOT_A_NUMBER,
        "refill_per_minute": NOT_A_NUMBER,
    },
    TokenBudget: {"max_tokens": [*NOT_A_NUMBER, 0, 0.5], "refill_rate": NOT_A_NUMBER},
    AdaptiveBudget: {
        "max_tokens": [*NOT_A_NUMBER, 0, 0.5],
        "refill_rate": NOT_A_NUMBER,
        "min_refill_rate": NOT_A_NUMBER,
        "max_refill_rate": NOT_A_NUMBER,
        "interval": POSITIVE_DURATION,
    },
    Breaker: {
        "failure_threshold": [*NOT_A_COUNT, 0],
        "min_failure_span": DURATION,
        "failure_rate_threshold": [*NOT_A_NUMBER, 0, 1.01, 80],
        "min_requests": [*NOT_A_COUNT, 0],
        "sampling_window": [*POSITIVE_DURATION, 0.0009],
        "slow_call_duration": optional(POSITIVE_DURATION),
        "slow_call_rate_threshold": [*NOT_A_NUMBER, 0, 1.01],
        "open_duration": POSITIVE_DURATION,
        "open_multiplier": [*NOT_A_NUMBER, 0, 0.99],
        "max_open_duration": POSITIVE_DURATION,
        "open_jitter": [*NOT_A_NUMBER, 1.01],
        "success_threshold": [*NOT_A_COUNT, 0],
        "half_open_max_requests": [*NOT_A_COUNT, 0],
        "half_open_timeout": [*POSITIVE_DURATION, 0.0009],
        "count_timeouts_as_failures": NOT_A_FLAG,
        "count_5xx_as_failures": NOT_A_FLAG,
        "count_429_as_failures": NOT_A_FLAG,
    },
    Bulkhead: {"max_concurrent": [*optional(NOT_A_COUNT), 0], "max_wait": DURATION, "max_queue": NOT_A_COUNT},
    Policy: {
        "timeouts": [30, "fast", timedelta(seconds=3), Retry(), Timeouts],
        "retry": [3, True, False, Breaker()],
        "budget": [0.2, True, Retry(), RetryBudget],
        "breaker": [5, True, False, Bulkhead()],
        "bulkhead": [100, True, Breaker()],
        "stream": [1, None, "yes"],
        "degrade": [5, "stale", SimplifiedResponse],
        "degrade_after": optional(DURATION),
        "inspect_streams": [1, 0, None, "yes"],
        "rejections": NOT_A_WORD,
        "mode": [*NOT_A_WORD, False],
        "classify": [True, "yes", 3],
        "group": ["", 3, b"llm"],
    },
}

CASES = [(part, field, value) for part, table in BAD.items() for field, values in table.items() for value in values]


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 40 else text[:40] + "…"


@pytest.mark.parametrize("part", BAD, ids=lambda part: part.__name__)
def test__every_field__is_in_the_table_of_wrong_values(part: type) -> None:
    assert set(BAD[part]) == {f.name for f in fields(part) if f.init}


@pytest.mark.parametrize(
    ("part", "field", "value"), CASES, ids=[f"{p.__name__}-{f}-{n}-{shown(v)}" for n, (p, f, v) in enumerate(CASES)]
)
def test__wrong_value__raises_and_names_part_field_value_and_cure(part: type, field: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError), match=r"\bgive\b") as caught:
        part(**{field: value})
    message = str(caught.value)
    assert re.match(rf"{part.__name__}: {field}\b", message)
    one = next(iter(value)) if isinstance(value, set) and len(value) == 1 else value
    assert repr(value) in message or repr(one) in message or repr("TIMEOUT") in message


@pytest.mark.parametrize("part", BAD, ids=lambda part: part.__name__)
def test__part__takes_keywords_only_and_cannot_be_changed(part: type) -> None:
    with pytest.raises(TypeError):
        part(1)
    with pytest.raises(AttributeError):
        setattr(part(), fields(part)[0].name, None)
    with pytest.raises(TypeError):
        part(no_such_field=1)


MOST: dict[type, dict[str, float]] = {
    RetryBudget: {"ratio": 1, "cap": 1e9, "refill_per_minute": 1e9},
    TokenBudget: {"max_tokens": 1e9, "refill_rate": 1e9},
    AdaptiveBudget: dict.fromkeys(["max_tokens", "refill_rate", "min_refill_rate", "max_refill_rate"], 1e9),
    Breaker: {"failure_rate_threshold": 1, "slow_call_rate_threshold": 1, "open_jitter": 1},
}
LEAST: dict[type, dict[str, float]] = {
    Retry: {"max_retries": 0, "base_delay": 0, "max_delay": 0, "multiplier": 1, "max_retry_after": 0, "max_elapsed": 0,
            "buffer_body": 0},
    RetryBudget: dict.fromkeys(["ratio", "cap", "start", "refill_per_minute"], 0),
    TokenBudget: {"max_tokens": 1, "refill_rate": 0},
    AdaptiveBudget: {"max_tokens": 1, "refill_rate": 0, "min_refill_rate": 0, "max_refill_rate": 0},
    Breaker: {"failure_threshold": 1, "min_failure_span": 0, "min_requests": 1, "sampling_window": 0.001,
              "open_duration": 0.001, "open_multiplier": 1, "max_open_duration": 0.001, "open_jitter": 0,
              "success_threshold": 1, "half_open_max_requests": 1, "half_open_timeout": 0.001},
    Bulkhead: {"max_concurrent": 1, "max_wait": 0, "max_queue": 0},
}  # fmt: skip
EDGES = [(part, field, edge) for table in (MOST, LEAST) for part, row in table.items() for field, edge in row.items()]


@pytest.mark.parametrize(("part", "field", "edge"), EDGES)
def test__last_value_allowed__is_taken(part: type, field: str, edge: float) -> None:
    assert getattr(part(**{field: edge}), field) == edge


@pytest.mark.parametrize(
    ("part", "field", "most"), [(p, f, most) for p, row in MOST.items() for f, most in row.items()]
)
def test__value_a_little_over_the_most__is_refused_with_the_most_as_cure(part: type, field: str, most: float) -> None:
    with pytest.raises(ValueError, match=f"at most {re.escape(f'{most:g}')}$"):
        part(**{field: most + 0.5})


CONTRADICTIONS: list[tuple[type, dict[str, float]]] = [
    (Timeouts, {"connect": 3, "attempt": 2}),
    (Timeouts, {"attempt": 3, "total": 2}),
    (Timeouts, {"connect": 3, "total": 2}),
    (Retry, {"base_delay": 3, "max_delay": 1}),
    (RetryBudget, {"start": 11, "cap": 9}),
    (AdaptiveBudget, {"min_refill_rate": 5, "refill_rate": 4}),
    (AdaptiveBudget, {"refill_rate": 9, "max_refill_rate": 8}),
    (AdaptiveBudget, {"min_refill_rate": 9, "max_refill_rate": 8}),
    (Breaker, {"open_duration": 9, "max_open_duration": 8}),
]


@pytest.mark.parametrize(("part", "values"), CONTRADICTIONS)
def test__values_both_set_that_contradict__raise_and_name_both(part: type, values: dict[str, float]) -> None:
    with pytest.raises(ValueError) as caught:
        part(**values)
    message = str(caught.value)
    assert part.__name__ in message
    assert [name for name, value in values.items() if f"{name}={value:g}" not in message] == []


@pytest.mark.parametrize(
    ("part", "given", "follows"),
    [
        (Retry, {"base_delay": 5.0}, {"max_delay": 5.0}),
        (Retry, {"max_delay": 0.05}, {"base_delay": 0.05}),
        (RetryBudget, {"cap": 2.0}, {"start": 2.0}),
        (RetryBudget, {"start": 20.0}, {"cap": 20.0}),
        (AdaptiveBudget, {"max_refill_rate": 5.0}, {"refill_rate": 5.0}),
        (AdaptiveBudget, {"min_refill_rate": 20.0}, {"refill_rate": 20.0}),
        (AdaptiveBudget, {"min_refill_rate": 60.0}, {"refill_rate": 60.0, "max_refill_rate": 60.0}),
        (AdaptiveBudget, {"max_refill_rate": 0.5}, {"refill_rate": 0.5, "min_refill_rate": 0.5}),
        (Breaker, {"open_duration": 60.0}, {"max_open_duration": 60.0}),
        (Breaker, {"max_open_duration": 0.5}, {"open_duration": 0.5}),
    ],
)
def test__one_value_set__is_kept_and_a_default_beside_it_gives_way(
    part: type, given: dict[str, float], follows: dict[str, float]
) -> None:
    # Only values both set can contradict.
    made = part(**given)
    assert {name: getattr(made, name) for name in given | follows} == given | follows


SECONDS = [(p, f) for p, t in BAD.items() for f, values in t.items() if TOO_LONG_AGO in values]


@pytest.mark.parametrize(("part", "field"), SECONDS, ids=[f"{p.__name__}-{f}" for p, f in SECONDS])
def test__duration__may_be_a_timedelta_or_whole_seconds_and_is_kept_as_float(part: type, field: str) -> None:
    default = getattr(part(), field)
    seconds = default if isinstance(default, float) else 3.0
    kept = getattr(part(**{field: timedelta(seconds=seconds)}), field)
    assert (kept, type(kept)) == (seconds, float)
    assert repr(getattr(part(**{field: 1}), field)) == "1.0"


def test__sets__may_be_given_as_lists_and_are_kept_frozen() -> None:
    retry = Retry(methods=["get", "POST"], retry_on=[503, ErrorKind.TIMEOUT, OSError])  # type: ignore[arg-type]
    assert retry.methods == frozenset({"GET", "POST"})
    assert retry.retry_on == frozenset({503, ErrorKind.TIMEOUT, OSError})
    assert type(retry.methods) is type(retry.retry_on) is frozenset
    assert hash(retry) == hash(Retry(methods={"GET", "POST"}, retry_on={503, ErrorKind.TIMEOUT, OSError}))


async def coroutine_function(*args: object) -> bool:
    return True


class Object:
    async def method(self, *args: object) -> bool:
        return True

    async def __call__(self, *args: object) -> bool:
        return True


async def async_generator(*args: object) -> Any:
    yield True


ASYNC = {
    "a coroutine function": coroutine_function,
    "a method": Object().method,
    "an object": Object(),
    "a partial": functools.partial(coroutine_function),
    "a partial of a partial": functools.partial(functools.partial(coroutine_function, 1), 2),
    "an async generator": async_generator,
}
TAKERS: dict[str, Callable[[Any], object]] = {
    "when": lambda function: Retry(when=function),
    "idempotency_key": lambda function: Retry(idempotency_key=function),
    "classify": lambda function: Policy(classify=function),
    "key": lambda function: Resilience(key=function),
    "listener": lambda function: Resilience().subscribe(function),
}


@pytest.mark.parametrize("field", TAKERS)
def test__async_callable__where_the_answer_is_needed_at_once__is_refused(field: str) -> None:
    owner = {"classify": "Policy", "key": "Resilience", "listener": "subscribe"}.get(field, "Retry")
    with pytest.raises(TypeError, match=f"^{owner}: {field} is an async function"):
        TAKERS[field](coroutine_function)


@pytest.mark.parametrize("function", ASYNC.values(), ids=ASYNC)
def test__async_callable__of_any_shape__is_refused(function: object) -> None:
    with pytest.raises(TypeError, match=r"async function.* needed at once: give a plain function$"):
        Retry(when=function)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", TAKERS)
def test__plain_callable__of_any_shape__is_taken(field: str) -> None:
    class Plain:
        def __call__(self, *args: object) -> None:
            return None

    for function in (lambda *args: None, functools.partial(print), Plain(), Plain().__call__, len, str):
        taken = TAKERS[field](function)
        if field == "listener":
            assert callable(taken), "it gives what ends the subscription"
        else:
            assert getattr(taken, field) is function


@pytest.mark.parametrize(
    "request_timeout", [5, 4.9, 0, -1, 1e9, math.nan, math.inf, True, "30", None, timedelta(seconds=5)]
)
def test__timeouts_from_request__needs_more_than_the_five_seconds_it_gives_away(request_timeout: Any) -> None:
    with pytest.raises(ValueError) as caught:
        Timeouts.from_request(request_timeout)
    assert repr(request_timeout) in str(caught.value)
    assert "give" in str(caught.value)


@pytest.mark.parametrize("status", [100, 200, 202, 304, 399])
def test__retry_on__status_of_an_answer_that_is_no_error__is_refused(status: int) -> None:
    with pytest.raises(ValueError, match=f"retry_on.*{status}.*400 to 599"):
        Retry(retry_on={503, status})
    assert Retry(retry_on={400, 599}).retry_on == {400, 599}
