"""Resilience, as configured: patterns, groups, providers, keys, new figures while running, mistakes and their cures."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest

from seawall import (
    Breaker,
    Bulkhead,
    NonRetryable,
    Policy,
    Resilience,
    Retry,
    RetryBudget,
    Timeouts,
    TokenBudget,
    override,
)
from seawall.effective import Effective
from seawall.testing import VirtualClock
from tests.core.stage import HOST, Request, Stage, answer, brittle, call_to, fault, only, visit, word


def retries(number: int, **parts: Any) -> Policy:
    """A policy known by its number."""
    return Policy(retry=Retry(max_retries=number), **parts)


def number(policy: Policy | Effective) -> int:
    assert isinstance(policy.retry, Retry)
    return policy.retry.max_retries


# -- patterns --------------------------------------------------------------------------------------

PATTERNS = {
    "all://": retries(0),
    "https://": retries(1),
    "all://*.example.com": retries(2),
    "https://api.example.com": retries(3),
    "https://api.example.com:8443": retries(4),
    "https://api.example.com/v1": retries(5),
    "https://api.example.com/v1/batches": retries(6),
    "POST https://api.example.com/v1": retries(7),
    "DELETE all://": retries(8),
}


@pytest.mark.parametrize(
    ("method", "url", "expected"),
    [
        ("GET", "http://other.test/", 0),
        ("GET", "https://other.test/", 1),
        ("GET", "http://www.example.com/", 2),
        ("GET", "https://www.example.com/", 2),
        ("GET", "https://api.example.com/", 3),
        ("GET", "https://API.Example.COM./v2?x=1", 3),
        ("GET", "https://api.example.com:443/", 3),
        ("GET", "http://api.example.com/v1", 2),
        ("GET", "https://api.example.com:8443/", 4),
        ("GET", "https://api.example.com/v1", 5),
        ("GET", "https://api.example.com/v1/models?v1/batches", 5),
        ("GET", "https://api.example.com/v10", 3),
        ("GET", "https://api.example.com/v1/batches/7", 6),
        ("POST", "https://api.example.com/v1/chat", 7),
        ("POST", "https://api.example.com/v1/batches", 6),
        ("DELETE", "http://other.test/", 8),
    ],
)
def test__pattern__most_specific_wins_for_the_call_and_for_policy_for(method: str, url: str, expected: int) -> None:
    for patterns in (PATTERNS, dict(reversed(PATTERNS.items()))):
        resilience = Resilience(patterns)
        assert number(resilience.policy_for(method, url)) == expected
        assert number(call_to(resilience, url, method).policy) == expected


def test__field_left_out__is_inherited_from_the_next_less_specific() -> None:
    resilience = Resilience(
        {
            "all://": retries(9, breaker=None),
            "https://": Policy(bulkhead=Bulkhead(max_concurrent=7)),
            "https://api.test": Policy(timeouts=Timeouts(total=5)),
            "POST https://api.test/v1": Policy(timeouts=Timeouts(connect=2)),
        }
    )
    policy = resilience.policy_for("POST", "https://api.test/v1/x")
    assert (number(policy), policy.breaker, policy.bulkhead) == (9, None, Bulkhead(max_concurrent=7))
    assert isinstance(policy.timeouts, Timeouts)
    assert (policy.timeouts.connect, policy.timeouts.total) == (2, 5)
    assert policy.budget == RetryBudget()


def test__part_given__replaces_the_inherited_one_whole() -> None:
    resilience = Resilience({"all://": retries(9), "https://api.test": Policy(retry=Retry(base_delay=1))})
    policy = resilience.policy_for("GET", "https://api.test/")
    assert policy.retry == Retry(base_delay=1)


def test__none__switches_a_part_off_below() -> None:
    resilience = Resilience({"all://": Policy(), "https://api.test": Policy(retry=None, breaker=None)})
    policy = resilience.policy_for("GET", "https://api.test/")
    assert (policy.retry, policy.breaker, policy.budget) == (None, None, RetryBudget())


def test__one_policy__is_for_every_host() -> None:
    assert number(Resilience(retries(5)).policy_for("GET", "http://a.test")) == 5


def test__off__sends_as_if_nothing_were_mounted() -> None:
    resilience = Resilience({"https://api.test": Policy(mode="off")})
    route = resilience.route("x", "https", "api.test", None)
    assert resilience.call(route, Request()) is None


# -- whose state -----------------------------------------------------------------------------------


def test__state__is_per_origin() -> None:
    resilience = Resilience()
    urls = [
        "https://a.test/1",
        "https://a.test:443/2",
        "https://A.test./",
        "http://a.test",
        "https://a.test:8443",
        "https://b.test",
    ]
    names = [call_to(resilience, url).state.name for url in urls]
    assert names == ["https://a.test"] * 3 + ["http://a.test", "https://a.test:8443", "https://b.test"]
    assert len(resilience) == 4


def test__group__shares_one_state() -> None:
    resilience = Resilience(
        {"all://*.internal": Policy(group="internal"), "https://alone.internal": Policy(group=None)}
    )
    one, two = call_to(resilience, "https://a.internal"), call_to(resilience, "http://b.internal:81")
    assert one.state is two.state
    assert (one.state.name, call_to(resilience, "https://alone.internal").state.name) == (
        "internal",
        "https://alone.internal",
    )


def test__path_with_a_group_of_its_own__has_its_own_breaker() -> None:
    resilience = Resilience(
        {"all://": Policy(), "POST https://a.test/v1": Policy(group="jobs", breaker=Breaker(min_requests=5))}
    )
    job, other = call_to(resilience, "https://a.test/v1/x", "POST"), call_to(resilience, "https://a.test/v1/x")
    assert (job.state.name, other.state.name) == ("jobs", "https://a.test")
    assert job.policy.breaker == Breaker(min_requests=5)


def test__path_without_a_group__shares_the_hosts_state() -> None:
    resilience = Resilience({"POST https://a.test/v1": Policy(timeouts=Timeouts(total=600))})
    job, other = call_to(resilience, "https://a.test/v1", "POST"), call_to(resilience, "https://a.test/")
    assert job.state is other.state
    assert (job.deadline is None, other.deadline is None) == (False, True)


def test__long_calls_by_path__are_not_overdue_by_the_limit_of_the_others() -> None:
    slow = Policy(timeouts=Timeouts(attempt=600))
    stage = Stage({"all://": only(timeouts=Timeouts(attempt=2), breaker=brittle()), f"{HOST}/batches": slow})
    for _ in range(3):
        stage.hold(request=Request(path="/batches"))
    stage.clock.advance(30)
    assert (stage.host.state, stage.host.failures) == ("closed", 0)


def test__provider__inherits_from_all_hosts_and_has_its_own_state() -> None:
    resilience = Resilience({"all://": retries(7), "primary": Policy(breaker=None), "https://primary": retries(1)})
    state, policy = resilience.provider("primary")
    assert (state.name, number(policy), policy.breaker) == ("primary", 7, None)
    assert call_to(resilience, "https://primary/").state is not state
    assert resilience.provider("primary")[0] is state
    assert number(resilience.provider("unheard of")[1]) == 7


def test__provider_in_a_group__shares_its_state_with_the_hosts_of_the_group() -> None:
    resilience = Resilience({"https://a.test": Policy(group="both"), "primary": Policy(group="both")})
    assert resilience.provider("primary")[0] is call_to(resilience, "https://a.test").state


def test__key__names_the_state_instead_of_the_origin() -> None:
    resilience = Resilience(key=lambda method, url: f"tenant {urlsplit(url).path.split('/')[1]}")
    one, two = call_to(resilience, "https://a.test/red/1"), call_to(resilience, "https://a.test/blue/1")
    assert (one.state.name, two.state.name) == ("tenant red", "tenant blue")
    assert call_to(resilience, "https://b.test/red/2").state is one.state


@pytest.mark.parametrize("broken", [lambda method, url: 1 / 0, lambda method, url: None], ids=["raises", "no string"])
def test__key_that_fails__the_origin_is_used_and_it_is_said_once(broken: Any, caplog: pytest.LogCaptureFixture) -> None:
    resilience = Resilience(key=broken)
    for _ in range(3):
        assert call_to(resilience, "https://a.test/").state.name == "https://a.test"
    assert len(caplog.records) == 1


# -- new figures while running ---------------------------------------------------------------------


def test__configure__reaches_calls_to_hosts_already_known() -> None:
    resilience = Resilience()
    state = call_to(resilience, "https://a.test").state
    resilience.configure("https://a.test", retries(8))
    assert number(call_to(resilience, "https://a.test").policy) == 8
    assert call_to(resilience, "https://a.test").state is state
    assert resilience.policies["https://a.test"] == retries(8)


def test__configure__a_call_under_way_keeps_its_policy() -> None:
    resilience = Resilience()
    before = call_to(resilience, "https://a.test")
    resilience.configure("https://a.test", retries(8))
    assert number(before.policy) == 3


def test__configure__provider() -> None:
    resilience = Resilience()
    state = resilience.provider("primary")[0]
    resilience.configure("primary", retries(8))
    again, policy = resilience.provider("primary")
    assert (again is state, number(policy)) == (True, 8)


def test__configure__provider_in_a_group__reaches_the_state_of_the_group() -> None:
    resilience = Resilience({"primary": Policy(group="llm")})
    resilience.execute("primary", str)
    resilience.configure("primary", Policy(group="llm", bulkhead=Bulkhead(max_concurrent=7)))
    picture = resilience.snapshot("llm")
    assert picture is not None
    assert picture.limit == 7


def test__configure__group_that_no_entry_names_any_more__keeps_its_figures() -> None:
    resilience = Resilience({"primary": Policy(group="llm", bulkhead=Bulkhead(max_concurrent=7))})
    resilience.execute("primary", str)
    resilience.configure("primary", Policy(bulkhead=Bulkhead(max_concurrent=2)))
    picture = resilience.snapshot("llm")
    assert picture is not None
    assert picture.limit == 7


def test__configure__under_key_reaches_the_states_it_named() -> None:
    clock = VirtualClock()
    resilience = Resilience(Policy(bulkhead=None), clock=clock, key=lambda method, url: "one")
    call_to(resilience, "https://a.test")
    resilience.configure("all://", Policy(bulkhead=Bulkhead(max_concurrent=7)))
    call_to(resilience, "https://a.test")
    picture = resilience.snapshot("one")
    assert picture is not None
    assert picture.limit == 7


def failed_once() -> Resilience:
    """A failure is held against a host, a group and two providers."""
    resilience = Resilience({"all://": only(), "https://g.test": Policy(group="group")}, clock=VirtualClock())
    for host in ("a.test", "g.test"):
        visit(resilience, f"https://{host}", fault())
    for provider in ("primary", "secondary"):
        with pytest.raises(NonRetryable):
            resilience.execute(provider, lambda: 1 / 0)
    return resilience


def failures(resilience: Resilience) -> dict[str, int]:
    return {picture.host: picture.failures for picture in resilience.snapshots() if picture.failures}


EVERYBODY = {"https://a.test": 1, "group": 1, "primary": 1, "secondary": 1}


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("https://a.test", ["group", "primary", "secondary"]),
        ("https://g.test", ["https://a.test", "primary", "secondary"]),
        ("primary", ["https://a.test", "group", "secondary"]),
        ("all://", []),
        ("https://nobody.test", ["https://a.test", "group", "primary", "secondary"]),
    ],
)
def test__configure__keep_state_false__only_those_concerned_start_afresh(pattern: str, kept: list[str]) -> None:
    resilience = failed_once()
    assert failures(resilience) == EVERYBODY
    policy = Policy(group="group") if pattern == "https://g.test" else only()
    resilience.configure(pattern, policy, keep_state=False)
    assert sorted(failures(resilience)) == sorted(kept)


def test__configure__keep_state_is_the_default() -> None:
    resilience = failed_once()
    resilience.configure("all://", only(timeouts=Timeouts(total=9)))
    assert failures(resilience) == EVERYBODY


def test__configure__a_mistake_changes_nothing() -> None:
    resilience = Resilience(
        {"all://": retries(5), "https://a.test": Policy(group="g"), "https://b.test": Policy(group="g")}
    )
    for pattern, policy in (
        ("ftp://a.test", Policy()),
        ("https://a.test/path", Policy(breaker=None)),
        ("https://b.test", Policy(group="g", breaker=None)),
    ):
        with pytest.raises(ValueError):
            resilience.configure(pattern, policy)
    assert (list(resilience.policies), number(resilience.policy_for("GET", "https://a.test"))) == (
        ["all://", "https://a.test", "https://b.test"],
        5,
    )


# -- mistakes and their cures ----------------------------------------------------------------------


async def later(*_: object) -> str:
    return "x"


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Resilience([Policy()]), TypeError, ["policies=", "mapping"]),
        (lambda: Resilience({1: Policy()}), TypeError, ["pattern 1", "string"]),
        (lambda: Resilience({"all://": 5}), TypeError, ["all://", "5", "Policy"]),
        (lambda: Resilience({"all://": Policy}), TypeError, ["all://", "Policy"]),
        (lambda: Resilience({"ftp://a.test": Policy()}), ValueError, ["ftp://a.test", "https://"]),
        (lambda: Resilience({"https://a*.test": Policy()}), ValueError, ["a*.test", "wildcard"]),
        (lambda: Resilience({"https://u:p@a.test": Policy()}), ValueError, ["METHOD"]),
        (lambda: Resilience({"https://a.test:99999": Policy()}), ValueError, ["99999"]),
        (lambda: Resilience(max_hosts=0), ValueError, ["max_hosts=0", "1 or more"]),
        (lambda: Resilience(max_hosts=True), TypeError, ["max_hosts=True", "whole number"]),
        (lambda: Resilience(max_hosts=1.5), TypeError, ["max_hosts=1.5"]),
        (lambda: Resilience(hard_deadlines=1), TypeError, ["hard_deadlines=1", "True or False"]),
        (lambda: Resilience(key="x"), TypeError, ["key='x'", "not callable"]),
        (lambda: Resilience(key=later), TypeError, ["key", "async"]),
        (lambda: Resilience({"api.a.test": Policy()}), ValueError, ["'api.a.test'", "scheme", "https://"]),
        (lambda: Resilience(name=3), TypeError, ["name=3", "string"]),
        (lambda: Resilience({"https://a.test/v1/*": Policy()}), ValueError, ["/v1/*", "without a wildcard"]),
        (lambda: Resilience().isolate("api.test"), ValueError, ["'api.test'", "https://api.test"]),
        (lambda: Resilience().isolate("https://[::1"), ValueError, ["no URL", "scheme://host:port"]),
        (lambda: Resilience({"https://a.test/x": Policy(breaker=None)}), ValueError, ["breaker", "group"]),
        (lambda: Resilience({"POST https://a.test": Policy(budget=None)}), ValueError, ["budget", "group"]),
        (lambda: Resilience({"PUT all://": Policy(bulkhead=Bulkhead())}), ValueError, ["bulkhead", "group"]),
        (
            lambda: Resilience(
                {"https://a.test": Policy(group="g"), "https://b.test": Policy(group="g", breaker=None)}
            ),
            ValueError,
            ["'g'", "https://a.test", "https://b.test", "breaker", "same"],
        ),
        (
            lambda: Resilience({"a": Policy(group="g"), "b": Policy(group="g", budget=None)}),
            ValueError,
            ["'g'", "budget", "same"],
        ),
        (lambda: Resilience().provider("https://a.test"), ValueError, ["https://a.test", "mounting"]),
        (lambda: Resilience().execute("https://a.test", print), ValueError, ["https://a.test", "mounting"]),
        (lambda: Resilience().execute("x", 5), TypeError, ["operation=5", "function"]),
        (lambda: Resilience().subscribe("x"), TypeError, ["listener='x'", "function"]),  # type: ignore[arg-type]
        (lambda: Resilience().subscribe(later), TypeError, ["listener", "async"]),  # type: ignore[arg-type]
        (lambda: Resilience().configure("all://", Retry()), TypeError, ["all://", "Policy"]),  # type: ignore[arg-type]
        (lambda: Resilience().policy_for("GET", "nowhere"), ValueError, ["nowhere"]),
        (lambda: override(breaker=Breaker()), ValueError, ["breaker", "None"]),
        (lambda: override(budget=TokenBudget()), ValueError, ["budget", "None"]),
        (lambda: override(group="g"), ValueError, ["group"]),
    ],
)
def test__mistake__names_field_value_and_cure(make: Any, error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        make()
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text


def test__key__a_partial_of_an_async_function_is_refused_too() -> None:
    with pytest.raises(TypeError, match="async"):
        Resilience(key=partial(later))  # type: ignore[arg-type]


def test__override__in_the_wrong_place_says_where_it_belongs() -> None:
    stage = Stage(None)
    with pytest.raises(TypeError, match=r"seawall\.override"):
        stage.call(None, Policy())


def test__timedelta__is_as_good_as_seconds() -> None:
    stage = Stage(only(timeouts=Timeouts(total=timedelta(seconds=2))), answer(200))
    assert stage.call().deadline == stage.clock.now + 2
    assert word(stage.get()) == 200
