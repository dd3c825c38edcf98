"""Resilience, as asked: snapshots by any spelling, reset, remove, isolate, close, copies, the default one."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import Any

import pytest

import seawall
from seawall import BulkheadClosed, Policy, Resilience, Retry
from seawall.outcome import Reason
from seawall.testing import VirtualClock, assert_no_leaks
from tests.core.stage import HOST, Stage, answer, brittle, fault, one_at_a_time, only, steady, visit, word


def town(policies: Any = None, **options: Any) -> Resilience:
    return Resilience(policies, clock=VirtualClock(), **options)


# -- by any spelling -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("visited", "asked"),
    [
        ("https://api.test", ["https://api.test", "https://API.test", "https://api.test:443", "https://api.test./x"]),
        ("http://api.test:80", ["http://api.test", "http://api.test:80/"]),
        ("https://api.test:8443", ["https://api.test:8443", "https://Api.Test.:8443/path"]),
        ("https://bücher.test", ["https://bücher.test", "https://xn--bcher-kva.test", "https://BÜCHER.test"]),
        ("http://[::1]:8080", ["http://[::1]:8080", "http://[::1]:8080/x"]),
        ("https://[::1]", ["https://[::1]", "https://[::1]:443"]),
        ("http://127.0.0.1:5000", ["http://127.0.0.1:5000"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test__snapshot__is_found_by_any_spelling(visited: str, asked: list[str]) -> None:
    resilience = town()
    visit(resilience, visited)
    assert len(resilience) == 1
    for spelling in asked:
        picture = resilience.snapshot(spelling)
        assert picture is not None, spelling
        assert picture.successes == 1


def test__snapshot__of_groups_providers_and_keys() -> None:
    resilience = town({"all://*.internal": Policy(group="internal")})
    visit(resilience, "https://a.internal")
    resilience.execute("primary", lambda: 1)
    for name in ("internal", "primary"):
        picture = resilience.snapshot(name)
        assert picture is not None
        assert (picture.host, picture.successes) == (name, 1)
    keyed = town(key=lambda method, url: "tenant")
    visit(keyed, "https://a.test")
    assert keyed.snapshot("tenant").successes == 1  # type: ignore[union-attr]


def test__snapshot__of_nobody_is_none_and_makes_nobody() -> None:
    resilience = town()
    assert (resilience.snapshot("https://a.test"), resilience.snapshot("primary"), len(resilience)) == (None, None, 0)


def test__host_in_a_group__is_asked_by_its_own_name_too() -> None:
    resilience = town({"all://*.internal": Policy(group="internal")})
    visit(resilience, "https://a.internal")
    resilience.isolate("https://a.internal")
    assert resilience.snapshot("internal").state == "isolated"  # type: ignore[union-attr]
    picture = resilience.snapshot("https://a.internal")
    assert picture is not None
    assert picture.state == "isolated"
    assert resilience.reset("https://a.internal") is True
    assert resilience.snapshot("internal").state == "closed"  # type: ignore[union-attr]


def test__snapshots__of_everybody() -> None:
    resilience = town()
    visit(resilience, "https://a.test")
    visit(resilience, "https://b.test")
    resilience.execute("primary", lambda: 1)
    assert sorted(picture.host for picture in resilience.snapshots()) == ["https://a.test", "https://b.test", "primary"]
    assert (len(resilience), bool(Resilience())) == (3, True)


# -- reset, remove, isolate ------------------------------------------------------------------------


def test__reset__says_whether_the_host_is_known() -> None:
    resilience = town()
    visit(resilience, "https://a.test")
    assert (resilience.reset("https://a.test:443/"), resilience.reset("https://b.test"), len(resilience)) == (
        True,
        False,
        1,
    )


def test__reset_all__reaches_everybody() -> None:
    resilience = town({"all://": only(breaker=brittle())})
    for name in ("https://a.test", "primary"):
        resilience.isolate(name)
    resilience.reset_all()
    assert [picture.state for picture in resilience.snapshots()] == ["closed", "closed"]


def test__remove__says_whether_it_was_known_and_the_host_begins_anew() -> None:
    resilience = town()
    visit(resilience, "https://a.test")
    assert (resilience.remove("https://A.test"), resilience.remove("https://a.test"), len(resilience)) == (
        True,
        False,
        0,
    )
    visit(resilience, "https://a.test")
    assert resilience.snapshot("https://a.test").total_requests == 1  # type: ignore[union-attr]


def test__remove__provider() -> None:
    resilience = town()
    resilience.execute("primary", lambda: 1)
    assert (resilience.remove("primary"), resilience.snapshot("primary")) == (True, None)


def test__remove__group_of_a_path__the_next_call_is_seen_again() -> None:
    resilience = town({"POST https://a.test/v1": Policy(group="jobs")})
    visit(resilience, "https://a.test/v1", method="POST")
    assert resilience.remove("jobs")
    visit(resilience, "https://a.test/v1", method="POST")
    picture = resilience.snapshot("jobs")
    assert picture is not None
    assert picture.total_requests == 1


def test__isolate__before_the_first_call() -> None:
    resilience = town()
    resilience.isolate("https://a.test")
    resilience.isolate("primary")
    assert visit(resilience, "https://a.test") is Reason.ISOLATED
    with pytest.raises(seawall.CircuitOpen):
        resilience.execute("primary", lambda: 1)
    resilience.restore("https://A.test:443")
    assert visit(resilience, "https://a.test") == 200


# -- the end ---------------------------------------------------------------------------------------


def test__close__refuses_new_calls_to_hosts_old_and_new() -> None:
    resilience = town()
    visit(resilience, "https://a.test")
    assert resilience.close(0) is True
    assert (visit(resilience, "https://a.test"), visit(resilience, "https://new.test")) == (
        Reason.CLOSED,
        Reason.CLOSED,
    )
    with pytest.raises(BulkheadClosed):
        resilience.execute("primary", lambda: 1)


def test__close__says_whether_all_calls_ended() -> None:
    stage = Stage(only(), answer(200, stream=True))
    response = stage.get()
    assert stage.resilience.close(0) is False
    stage.end(response.admission)
    assert stage.resilience.close(0) is True
    assert_no_leaks(stage.resilience)


@pytest.mark.parametrize("at", ["gate", "line", "backoff"])
def test__close__wakes_whoever_waits(at: str) -> None:
    stage = Stage(
        only(retry=steady(), bulkhead=one_at_a_time(max_wait=60)), fault() if at == "backoff" else answer(200)
    )
    if at == "gate":
        stage.close_gate(20)
    if at == "line":
        stage.hold()
    result, _ = stage.together(stage.start(), stage.at(0.25, lambda: stage.resilience.close(0)))
    assert stage.now == 0.25
    assert word(result) is (seawall.ErrorKind.CONNECTION_RESET if at == "backoff" else Reason.CLOSED)


def test__close__just_before_a_call_begins_to_wait__wakes_it_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(only(retry=steady()))
    stage.close_gate(20)
    call = stage.start()
    looks = iter(range(100))

    def looked() -> float:
        if next(looks) == 0:  # the call was told to wait, and reads the time to know how long
            stage.resilience.close(0)
        return stage.clock.now

    monkeypatch.setattr(stage.clock, "monotonic", looked)
    assert word(stage.together(call)[0]) is Reason.CLOSED
    assert stage.now == 0


def test__aclose__does_the_same() -> None:
    stage = Stage(only(), answer(200, stream=True))
    response = stage.get()
    assert asyncio.run(stage.resilience.aclose(0)) is False
    stage.end(response.admission)
    assert asyncio.run(stage.resilience.aclose(0)) is True
    assert word(stage.get()) is Reason.CLOSED


def test__close__twice_does_no_harm() -> None:
    resilience = town()
    assert (resilience.close(0), resilience.close(0)) == (True, True)


def test__leaks__are_named() -> None:
    stage = Stage(only())
    stage.hold()
    with pytest.raises(AssertionError, match=r"api\.test: 1 in flight"):
        assert_no_leaks(stage.resilience)


# -- copies ----------------------------------------------------------------------------------------


def key_of(method: str, url: str) -> str:
    return "one"


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, copy.copy, lambda r: pickle.loads(pickle.dumps(r))], ids=["deepcopy", "copy", "pickle"]
)
def test__copy__has_the_policies_and_none_of_the_state(copied: Any) -> None:
    policies = {
        "all://": Policy(retry=Retry(max_retries=5), breaker=None),
        "primary": Policy.gateway(),
        "https://a.test": Policy.llm(),
    }
    original = Resilience(policies, max_hosts=7, key=key_of, hard_deadlines=False, name="mine")
    original.isolate("https://a.test")
    twin = copied(original)
    assert dict(twin.policies) == policies
    assert (twin.max_hosts, twin.key, twin.hard_deadlines, twin.name, len(twin)) == (7, key_of, False, "mine", 0)
    assert (
        twin.policy_for("GET", "https://a.test").describe() == original.policy_for("GET", "https://a.test").describe()
    )
    twin.isolate("https://b.test")
    assert original.snapshot("https://b.test") is None


def test__copy__of_a_closed_one_is_open() -> None:
    original = Resilience()
    original.close(0)
    assert copy.deepcopy(original).execute("primary", lambda: 1) == 1


def test__copy__configured_since_has_the_new_figures() -> None:
    original = Resilience()
    original.configure("https://a.test", Policy(retry=None))
    assert copy.deepcopy(original).policy_for("GET", "https://a.test").retry is None


# -- the default one -------------------------------------------------------------------------------


def test__default__is_one_per_process() -> None:
    assert seawall.default() is seawall.default()
    assert "default" in repr(seawall.default())


def test__repr__says_what_it_is() -> None:
    stage = Stage(only(), name="mine")
    stage.get()
    assert repr(stage.resilience) == "<Resilience mine: 1 patterns, 1 hosts>"
    assert HOST not in repr(stage.resilience)
