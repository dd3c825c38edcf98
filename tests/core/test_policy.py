"""How policies are put together: inheritance, presets, overrides."""

from __future__ import annotations

import copy
import pickle
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall import (
    AdaptiveBudget,
    Breaker,
    Bulkhead,
    ErrorWithAlternatives,
    Policy,
    Resilience,
    Retry,
    RetryBudget,
    SimplifiedResponse,
    StaleResponse,
    Timeouts,
    TokenBudget,
    override,
)
from seawall._check import UNSET


def verdict(outcome: object, request: object) -> None:
    """A classify= that leaves everything to the table."""


PARTS: dict[str, tuple[Any, Any]] = {
    "timeouts": (Timeouts(total=9), Timeouts(total=7)),
    "retry": (Retry(max_retries=9), Retry(max_retries=7)),
    "budget": (TokenBudget(max_tokens=9), RetryBudget(cap=7)),
    "breaker": (Breaker(failure_threshold=9), Breaker(failure_threshold=7)),
    "bulkhead": (Bulkhead(max_concurrent=9), Bulkhead(max_concurrent=7)),
    "stream": (True, False),
    "degrade": ((SimplifiedResponse(print),), (ErrorWithAlternatives(["x"]),)),
    "degrade_after": (9.0, 7.0),
    "inspect_streams": (True, False),
    "rejections": ("respond", "raise"),
    "mode": ("off", "enforce"),
    "classify": (verdict, lambda outcome, request: None),
    "group": ("nine", "seven"),
}
NULLABLE = ["timeouts", "retry", "budget", "breaker", "bulkhead", "classify", "group"]


def test__every_field__is_known_to_these_tests_and_unset_by_default() -> None:
    names = {f.name for f in fields(Policy) if f.init}
    assert names == set(PARTS)
    assert {getattr(Policy(), name) for name in names} == {UNSET}


@pytest.mark.parametrize("name", PARTS)
def test__field_left_out__is_inherited_and_no_other_is_touched(name: str) -> None:
    inherited = PARTS[name][0]
    base = Policy(**{name: inherited})
    assert getattr(Policy().over(base), name) == inherited
    others = {other: values[1] for other, values in PARTS.items() if other != name}
    merged = Policy(**others).over(base)
    assert getattr(merged, name) == inherited
    assert {other: getattr(merged, other) for other in others} == others


@pytest.mark.parametrize("name", PARTS)
def test__field_given__replaces_the_inherited(name: str) -> None:
    inherited, own = PARTS[name]
    assert getattr(Policy(**{name: own}).over(Policy(**{name: inherited})), name) == own


@pytest.mark.parametrize("name", NULLABLE)
def test__none__switches_an_inherited_part_off_and_is_inherited_itself(name: str) -> None:
    off = Policy(**{name: None})
    assert getattr(off.over(Policy(**{name: PARTS[name][0]})), name) is None
    assert getattr(Policy().over(off), name) is None
    assert getattr(Policy(**{name: PARTS[name][1]}).over(off), name) == PARTS[name][1]


def test__part__is_replaced_whole_its_left_out_fields_take_the_parts_own_defaults() -> None:
    merged = Policy(retry=Retry(max_retries=1)).over(Policy(retry=Retry(max_retries=9, base_delay=1, jitter="none")))
    assert merged.retry == Retry(max_retries=1)


@pytest.mark.parametrize("clock", ["connect", "attempt", "total", "idle"])
def test__timeouts__are_inherited_clock_by_clock(clock: str) -> None:
    base = Timeouts(connect=1, attempt=2, total=3, idle=4)
    merged = Policy(timeouts=Timeouts(**{clock: 1.5})).over(Policy(timeouts=base)).timeouts
    assert isinstance(merged, Timeouts)
    assert getattr(merged, clock) == 1.5
    assert merged.idle == (1.5 if clock == "idle" else 4)
    assert merged.total == (1.5 if clock == "total" else 3)


def test__timeouts__a_clock_switched_off__stays_off_below() -> None:
    merged = Policy(timeouts=Timeouts(total=3)).over(Policy(timeouts=Timeouts(attempt=None))).timeouts
    assert isinstance(merged, Timeouts)
    assert (merged.attempt, merged.total) == (None, 3)


def test__inheritance__runs_through_every_pattern_that_matches_to_the_defaults() -> None:
    resilience = Resilience({
        "all://": Policy(timeouts=Timeouts(idle=7), bulkhead=Bulkhead(max_concurrent=5)),
        "all://*.a.com": Policy(timeouts=Timeouts(total=60), retry=Retry(max_retries=1)),
        "https://api.a.com": Policy(timeouts=Timeouts(attempt=10), retry=None),
        "POST https://api.a.com/v1": Policy(timeouts=Timeouts(connect=2), rejections="respond"),
        "https://other.org": Policy(bulkhead=None),
    })  # fmt: skip
    policy = resilience.policy_for("POST", "https://api.a.com/v1/x")
    assert policy.timeouts == Timeouts(connect=2, attempt=10, total=60, idle=7)
    assert (policy.retry, policy.bulkhead, policy.rejections) == (None, Bulkhead(max_concurrent=5), "respond")
    assert (policy.breaker, policy.budget, policy.mode) == (Breaker(), RetryBudget(), "enforce")
    assert resilience.policy_for("GET", "https://api.a.com/v1/x").rejections == "raise"


def test__policy_for__leaves_nothing_unset() -> None:
    policy = Resilience().policy_for("GET", "https://a.com/")
    assert UNSET not in [getattr(policy, name) for name in PARTS]


def test__policy_for__is_a_policy_that_pickles_and_may_be_configured_again() -> None:
    resilience = Resilience()
    policy = resilience.policy_for("GET", "https://a.com/")
    assert pickle.loads(pickle.dumps(policy)) == policy
    resilience.configure("https://b.com", policy)
    assert resilience.policy_for("GET", "https://b.com/") == policy


def test__defaults__are_the_measured_ones() -> None:
    policy = Resilience().policy_for("GET", "https://a.com/")
    assert policy.timeouts == Timeouts()
    assert policy.retry == Retry(
        max_retries=3,
        base_delay=0.1,
        max_delay=2,
        multiplier=2,
        backoff="exponential",
        jitter="full",
        retry_on=None,
        methods=None,
        idempotency_header="Idempotency-Key",
        idempotency_key=None,
        max_retry_after=30,
        share_retry_after=True,
        max_elapsed=60,
        on_exhausted="return",
        when=None,
    )
    assert policy.budget == RetryBudget(ratio=0.2, cap=10, start=3, refill_per_minute=1)
    assert policy.breaker == Breaker(
        failure_threshold=10,
        min_failure_span=0.5,
        failure_rate_threshold=0.8,
        min_requests=20,
        sampling_window=10,
        open_duration=1,
        open_multiplier=1.5,
        max_open_duration=3,
        open_jitter=0.5,
        success_threshold=3,
        half_open_max_requests=3,
        half_open_timeout=30,
        slow_call_duration=None,
        slow_call_rate_threshold=1.0,
        count_timeouts_as_failures=True,
        count_5xx_as_failures=True,
        count_429_as_failures=False,
    )
    assert policy.bulkhead == Bulkhead(max_concurrent=None, max_wait=5, max_queue=1000)
    assert (policy.rejections, policy.mode, policy.classify, policy.group) == ("raise", "enforce", None, None)


def test__token_and_adaptive_budget__defaults_are_the_specified_ones() -> None:
    assert AdaptiveBudget() == AdaptiveBudget(
        max_tokens=100, refill_rate=10, min_refill_rate=1, max_refill_rate=50, interval=60
    )
    assert TokenBudget() == TokenBudget(max_tokens=100, refill_rate=10)


def gateway() -> Policy:
    return Resilience(Policy.gateway()).policy_for("GET", "https://a.com/")


def test__gateway__breaker__has_the_specified_figures() -> None:
    assert gateway().breaker == Breaker(
        failure_threshold=5,
        min_failure_span=0,
        failure_rate_threshold=0.5,
        min_requests=10,
        sampling_window=10,
        open_duration=60,
        open_multiplier=1,
        max_open_duration=60,
        open_jitter=0,
        success_threshold=3,
        half_open_max_requests=3,
        half_open_timeout=30,
        slow_call_duration=None,
        count_timeouts_as_failures=True,
        count_5xx_as_failures=True,
        count_429_as_failures=False,
    )


def test__gateway__retry__has_the_specified_figures() -> None:
    retry = gateway().retry
    assert isinstance(retry, Retry)
    figures = (retry.max_retries, retry.base_delay, retry.max_delay, retry.multiplier, retry.jitter, retry.backoff)
    assert figures == (3, 0.1, 30, 2, "decorrelated", "exponential")
    assert retry.max_elapsed is None


def test__gateway__budget_and_bulkhead__have_the_specified_figures() -> None:
    assert gateway().budget == AdaptiveBudget()
    assert gateway().bulkhead == Bulkhead(max_concurrent=100, max_wait=5)


def test__gateway__timeouts__have_the_specified_figures() -> None:
    # connect 5, request 30, so attempt 25 and total 60; stream 60; idle 90, between pieces and of a connection.
    assert gateway().timeouts == Timeouts(connect=5, attempt=25, total=60, stream=60, idle=90, keep_alive=90)


def test__gateway__remembers_answers_for_300_seconds() -> None:
    assert gateway().degrade == (StaleResponse(max_age=300, max_entries=1000),)


def test__gateway__keywords__replace_parts_and_inherit_the_rest() -> None:
    policy = Policy.gateway(retry=None, timeouts=Timeouts(total=10), group="llm")
    assert (policy.retry, policy.group, policy.budget) == (None, "llm", AdaptiveBudget())
    assert isinstance(policy.timeouts, Timeouts)
    assert (policy.timeouts.total, policy.timeouts.attempt, policy.timeouts.connect) == (10, 10, 5)
    assert policy.rejections is UNSET


def test__llm__declares_post_repeatable_under_an_automatic_key_and_answers_refusals() -> None:
    policy = Policy.llm()
    assert isinstance(policy.retry, Retry)
    assert policy.retry.methods is not None
    assert policy.retry.methods >= {"POST", "GET", "PUT", "DELETE"}
    assert "PATCH" not in policy.retry.methods
    assert (policy.retry.idempotency_key, policy.rejections) == ("auto", "respond")


def test__llm__is_patient_for_the_first_byte() -> None:
    assert Policy.llm().timeouts == Timeouts(attempt=None, first_byte=600, first_content=60, idle=60)


def test__llm__leaves_the_state_of_the_host_to_the_wider_patterns() -> None:
    policy = Policy.llm(bulkhead=Bulkhead(max_concurrent=50))
    assert (policy.breaker, policy.budget, policy.bulkhead) == (UNSET, UNSET, Bulkhead(max_concurrent=50))


@pytest.mark.parametrize("name", ["budget", "breaker", "bulkhead"])
def test__override__of_a_part_of_the_hosts_state__may_only_switch_it_off(name: str) -> None:
    assert getattr(override(**{name: None}).policy, name) is None
    with pytest.raises(ValueError, match=name):
        override(**{name: PARTS[name][0]})


def test__override__of_the_group__is_refused() -> None:
    with pytest.raises(ValueError, match="group"):
        override(group="other")


@pytest.mark.parametrize("name", ["timeouts", "retry", "rejections", "mode", "classify"])
def test__override__of_a_part_of_the_call__takes_policys_keywords(name: str) -> None:
    assert getattr(override(**{name: PARTS[name][0]}).policy, name) == PARTS[name][0]


def test__override__wrong_keyword_or_value__raises_at_once() -> None:
    with pytest.raises(TypeError):
        override(timeout=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="retry=3"):
        override(retry=3)  # type: ignore[arg-type]


def test__override__shows_only_what_it_changes() -> None:
    assert repr(override(retry=None, mode="off")) == "override(retry=None, mode='off')"


@pytest.mark.parametrize(
    "policy", [Policy(), Policy(retry=None), Policy.gateway(), Policy.llm()], ids=["new", "off", "gateway", "llm"]
)
def test__policy__pickled_or_copied__is_equal_and_unset_stays_unset(policy: Policy) -> None:
    for again in (pickle.loads(pickle.dumps(policy)), copy.deepcopy(policy)):
        assert again == policy
        assert [name for name in PARTS if getattr(again, name) is UNSET] == [
            n for n in PARTS if getattr(policy, n) is UNSET
        ]


policies = st.builds(
    lambda chosen: Policy(**{name: (*PARTS[name], None)[n] for name, n in chosen.items()}),
    st.fixed_dictionaries({}, optional={name: st.integers(0, 2 if name in NULLABLE else 1) for name in PARTS}),
)


@given(policies, policies, policies)
def test__inheritance__does_not_depend_on_where_one_begins(a: Policy, b: Policy, c: Policy) -> None:
    assert a.over(b).over(c) == a.over(b.over(c))
