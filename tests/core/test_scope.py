"""What surrounds a call: override, deadline, disabled; nested, and shared by many tasks at once."""

from __future__ import annotations

import gc
from contextvars import Context, copy_context
from datetime import timedelta
from typing import Any

import pytest

from seawall import Bulkhead, Policy, Resilience, Retry, Timeouts, deadline, disabled, override
from seawall._story import Call
from seawall.effective import Effective
from seawall.policies.timeouts import Limits
from seawall.testing import VirtualClock
from tests.core.stage import Request, Stage, answer, brittle, only, purse, steady, word


def begun(resilience: Resilience, extension: Any = None) -> Call | None:
    """What a mount gets for a request here and now; None: nothing of ours."""
    route = resilience.routes.get("here") or resilience.route("here", "https", "api.test", None)
    return resilience.call(route, Request(), extension)


def call(resilience: Resilience, extension: Any = None) -> Call:
    found = begun(resilience, extension)
    assert found is not None
    return found


def retries(found: Call) -> int | None:
    return None if found.policy.retry is None else found.policy.retry.max_retries


# -- override --------------------------------------------------------------------------------------


def test__override__holds_inside_and_not_after() -> None:
    resilience = Resilience()
    with override(retry=None):
        assert retries(call(resilience)) is None
    assert retries(call(resilience)) == 3


def test__override__merges_part_by_part_and_clock_by_clock() -> None:
    resilience = Resilience(Policy(timeouts=Timeouts(connect=1, total=9), retry=Retry(max_retries=7)))
    with override(timeouts=Timeouts(total=5)):
        found = call(resilience)
    assert (found.policy.timeouts.connect, found.policy.timeouts.total, retries(found)) == (1, 5, 7)


def test__override__nested__the_innermost_wins_and_the_rest_is_merged() -> None:
    resilience = Resilience()
    with override(retry=Retry(max_retries=1), rejections="respond"):
        with override(retry=Retry(max_retries=2)):
            found = call(resilience)
            assert (retries(found), found.policy.rejections) == (2, "respond")
        assert retries(call(resilience)) == 1


def test__override__of_the_request_wins_over_those_around() -> None:
    resilience = Resilience()
    with override(retry=Retry(max_retries=1), rejections="respond"):
        found = call(resilience, override(retry=Retry(max_retries=2)))
    assert (retries(found), found.policy.rejections) == (2, "respond")


def test__override__nested_in_itself() -> None:
    resilience = Resilience()
    once = override(retry=None)
    with once:
        with once:
            assert retries(call(resilience)) is None
        assert retries(call(resilience)) is None
    assert retries(call(resilience)) == 3


def test__override__ends_when_its_block_raises() -> None:
    resilience = Resilience()
    with pytest.raises(ZeroDivisionError), override(retry=None):
        raise ZeroDivisionError
    assert retries(call(resilience)) == 3


def test__override__can_switch_off_what_belongs_to_the_host_for_this_call_only() -> None:
    stage = Stage(
        only(breaker=brittle(), bulkhead=Bulkhead(max_concurrent=1, max_wait=0), budget=purse(1), retry=steady())
    )
    stage.hold()
    stage.resilience.isolate("https://api.test")
    stage.script(answer(503), answer(503), answer(200))
    with override(breaker=None, bulkhead=None, budget=None):
        assert word(stage.get()) == 200
    assert stage.sent == [1, 2, 3]
    assert stage.host.state == "isolated"


def test__override__does_not_change_the_policies_themselves() -> None:
    resilience = Resilience({"all://": Policy()})
    with override(retry=None, breaker=None):
        call(resilience)
        assert resilience.policy_for("GET", "https://api.test").retry == Retry()


# -- disabled --------------------------------------------------------------------------------------


def test__disabled__nothing_of_ours_inside() -> None:
    resilience = Resilience()
    with disabled():
        assert begun(resilience) is None
        with override(retry=None), deadline(1):
            assert begun(resilience) is None
    assert begun(resilience) is not None


def test__mode_off__for_one_call_and_back_on_inside() -> None:
    resilience = Resilience()
    with override(mode="off"):
        assert begun(resilience) is None
        with override(mode="enforce"):
            assert begun(resilience) is not None


# -- deadline --------------------------------------------------------------------------------------


def test__deadline__counts_from_entering_the_block() -> None:
    clock = VirtualClock(now=0)
    resilience = Resilience(clock=clock)
    block = deadline(5)
    with clock.as_process_clock():
        clock.advance(3)
        with block:
            clock.advance(1)
            assert call(resilience).deadline == 8
        with block:
            assert call(resilience).deadline == 9


@pytest.mark.parametrize(("outer", "inner", "expected"), [(5, 9, 5), (9, 5, 5), (None, 5, 5), (5, None, None)])
def test__deadline__nested__the_earliest_unless_detached(
    outer: float | None, inner: float | None, expected: float | None
) -> None:
    clock = VirtualClock(now=0)
    resilience = Resilience(clock=clock)
    with clock.as_process_clock(), deadline(outer):
        with deadline(inner):
            assert call(resilience).deadline == expected
        assert call(resilience).deadline == outer


def test__deadline__set_again_inside_a_detached_block() -> None:
    clock = VirtualClock(now=0)
    resilience = Resilience(clock=clock)
    with clock.as_process_clock(), deadline(1), deadline(None), deadline(7):
        assert call(resilience).deadline == 7


@pytest.mark.parametrize(("total", "around", "expected"), [(4, 9, 4), (9, 4, 4)])
def test__deadline__and_the_policys_total__the_earlier(total: float, around: float, expected: float) -> None:
    clock = VirtualClock(now=0)
    resilience = Resilience(Policy(timeouts=Timeouts(total=total)), clock=clock)
    with clock.as_process_clock(), deadline(around):
        assert call(resilience).deadline == expected


def test__deadline__a_resilience_with_a_clock_of_its_own_takes_the_time_left() -> None:
    process, own = VirtualClock(now=0), VirtualClock(now=500_000)
    resilience = Resilience(clock=own)
    with process.as_process_clock(), deadline(10):
        process.advance(4)
        assert call(resilience).deadline == 500_006
        process.advance(7)
        assert call(resilience).deadline == 499_999


def test__deadline__over__refuses_before_anything_is_sent() -> None:
    stage = Stage(only())
    with stage.clock.as_process_clock(), deadline(2):
        stage.clock.advance(2)
        assert stage.get().scope == "total"
    assert stage.sent == []


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), -0.001, timedelta(seconds=-1)])
def test__deadline__that_is_no_time__raises_with_the_cure(seconds: Any) -> None:
    with pytest.raises(ValueError, match="give 0 or more seconds"):
        deadline(seconds)


@pytest.mark.parametrize("seconds", [True, "5", [5]])
def test__deadline__that_is_no_number__raises_with_the_cure(seconds: Any) -> None:
    with pytest.raises(TypeError, match="give seconds"):
        deadline(seconds)


def test__deadline__takes_a_timedelta() -> None:
    clock = VirtualClock(now=0)
    with clock.as_process_clock(), deadline(timedelta(milliseconds=1500)):
        assert call(Resilience(clock=clock)).deadline == 1.5


# -- many tasks at once ----------------------------------------------------------------------------


class Task:
    """A context of its own, whose blocks can be entered and left step by step, between those of others."""

    def __init__(self, resilience: Resilience) -> None:
        self.context: Context = copy_context()
        self.resilience = resilience

    def enter(self, block: Any) -> None:
        self.context.run(block.__enter__)

    def leave(self, block: Any) -> None:
        self.context.run(block.__exit__, None, None, None)

    def call(self) -> Call | None:
        return self.context.run(begun, self.resilience)


@pytest.mark.parametrize(
    "block", [override(retry=None), deadline(5), disabled()], ids=["override", "deadline", "disabled"]
)
def test__one_block__used_by_many_tasks_at_once__holds_in_each_until_it_leaves(block: Any) -> None:
    clock = VirtualClock(now=0)
    resilience = Resilience(clock=clock)

    def inside(task: Task) -> bool:
        found = task.call()
        return found is None or found.deadline is not None or found.policy.retry is None

    with clock.as_process_clock():
        tasks = [Task(resilience) for _ in range(50)]
        for entered, task in enumerate(tasks):
            task.enter(block)
            assert [inside(one) for one in tasks] == [True] * (entered + 1) + [False] * (49 - entered)
        for left, task in enumerate(tasks):
            task.leave(block)
            assert [inside(one) for one in tasks] == [False] * (left + 1) + [True] * (49 - left)


def test__task_started_inside__keeps_what_held_when_it_started() -> None:
    resilience = Resilience()
    with override(retry=None):
        task = Task(resilience)
    assert retries(call(resilience)) == 3
    found = task.call()
    assert found is not None
    assert retries(found) is None


def test__value__keeps_no_state_of_its_own() -> None:
    for block in (override(retry=None), deadline(5), disabled()):
        before = {
            name: getattr(block, name, None) for kind in type(block).__mro__ for name in getattr(kind, "__slots__", ())
        }
        with block, block:
            pass
        after = {
            name: getattr(block, name, None) for kind in type(block).__mro__ for name in getattr(kind, "__slots__", ())
        }
        assert before == after
        assert not hasattr(block, "__dict__")


def test__block_left_where_it_was_not_entered__changes_nothing_there() -> None:
    block = override(retry=None)
    copy_context().run(block.__enter__)  # as a fixture's set-up may run in a context of its own
    block.__exit__(None, None, None)
    assert retries(call(Resilience())) == 3


# -- policies made anew for each call --------------------------------------------------------------


def alive(kind: type) -> int:
    gc.collect()
    return sum(type(one) is kind for one in gc.get_objects())


def test__overrides_made_anew__are_each_obeyed_and_not_all_kept() -> None:
    resilience, before = Resilience(), alive(Effective)
    for number in range(200):
        assert retries(call(resilience, override(retry=Retry(max_retries=number)))) == number
    assert alive(Effective) - before < 100


def test__client_that_computes_its_timeouts__has_the_clocks_of_each_and_not_all_are_kept() -> None:
    policy, before = call(Resilience()).policy, alive(Limits)
    for read in [*range(1, 200), 1, 2, 1]:
        assert policy.limits(1.0, read).idle == read
    assert alive(Limits) - before < 100
