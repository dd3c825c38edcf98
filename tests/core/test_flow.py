"""The journey of a call: what is asked in which order, what is held when, what the next attempt costs."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType

import pytest

import seawall.degrading
import seawall.flow
from seawall import Ending, ErrorKind, Policy, RetryBudget, deadline, override
from seawall.degrade import alternatives, fallback, simplified
from seawall.outcome import Reason, Rejection
from seawall.runtime import Runtime
from tests.core.stage import (
    Answer,
    Request,
    Stage,
    answer,
    brittle,
    fault,
    one_at_a_time,
    only,
    purse,
    statuses,
    steady,
    word,
)

# -- before an attempt: cheap vetoes first ---------------------------------------------------------


def test__all_well__one_attempt_and_its_answer() -> None:
    stage = Stage(Policy(), answer(200))
    call = stage.call()
    (response,) = stage.together(seawall.flow.run(call, stage.peer))
    assert isinstance(response, Answer)
    assert (stage.sent, call.ending, stage.host.successes) == ([1], Ending.ANSWERED, 1)


def test__no_time_left__is_said_before_anything_else_is_asked() -> None:
    stage = Stage(only(breaker=brittle(), bulkhead=one_at_a_time()))
    stage.resilience.isolate(stage.call().state.name)
    with stage.clock.as_process_clock(), deadline(0):
        rejection = stage.get()
    assert rejection.reason is Reason.DEADLINE
    assert stage.sent == []


def test__open_circuit__refuses_at_once_though_the_bulkhead_is_full() -> None:
    stage = Stage(only(breaker=brittle(), bulkhead=one_at_a_time()))
    stage.hold()
    stage.resilience.isolate("https://api.test")
    assert word(stage.get()) is Reason.ISOLATED
    assert (stage.now, stage.sent) == (0, [])


def test__open_circuit__refuses_at_once_though_the_gate_is_closed() -> None:
    stage = Stage(only(breaker=brittle(), retry=steady()))
    stage.close_gate(5)
    stage.resilience.isolate("https://api.test")
    assert word(stage.get()) is Reason.ISOLATED
    assert (stage.now, stage.sent) == (0, [])


def test__closed_gate__keeps_no_place_in_the_bulkhead_meanwhile() -> None:
    stage = Stage(only(bulkhead=one_at_a_time(max_wait=0), retry=steady()))
    stage.close_gate(5)

    def look() -> tuple[int, int]:
        return stage.host.in_flight, stage.host.queue_depth

    response, held = stage.together(stage.start(), stage.at(2, look))
    assert (word(response), held) == (200, (0, 0))
    assert stage.times == [5]


def test__probe_slot__is_taken_when_sending_not_while_waiting_for_the_bulkhead() -> None:
    stage = Stage(only(breaker=brittle(), bulkhead=one_at_a_time()), fault())
    holder = stage.hold()
    with override(bulkhead=None):
        stage.together(stage.start())
        stage.together(stage.start())
    assert stage.host.state == "open"
    stage.clock.advance(10)
    stage.script(answer(200, after=0.5))

    async def probe_past_the_queue() -> object:
        with override(bulkhead=None):
            call = stage.call()
        return await seawall.flow.run(call, stage.peer)

    waiter = stage.start()
    results = stage.together(waiter, stage.at(10.25, probe_past_the_queue), stage.at(13, holder.abandon))
    assert statuses(results[:2]) == [200, 200]
    assert stage.times[2:] == [10.25, 13]


# -- between attempts: the scarce token last -------------------------------------------------------


def refused_by(policy: Policy, request: Request | None = None, *, isolated: bool = False) -> Stage:
    stage = Stage(policy, answer(503, after=0.5))
    if isolated:
        stage.together(stage.start(request), stage.at(0.25, lambda: stage.resilience.isolate("https://api.test")))
    else:
        stage.get(request)
    return stage


@pytest.mark.parametrize(
    ("policy", "request_", "isolated"),
    [
        pytest.param(only(retry=steady(max_retries=0), budget=purse()), None, False, id="attempts"),
        pytest.param(only(retry=steady(retry_on={500}), budget=purse()), None, False, id="kind"),
        pytest.param(only(retry=steady(), budget=purse()), Request("POST"), False, id="method"),
        pytest.param(only(retry=steady(), budget=purse()), Request(replayable=False), False, id="body"),
        pytest.param(only(retry=steady(max_elapsed=1.25), budget=purse()), None, False, id="time"),
        pytest.param(only(retry=steady(), budget=purse(), breaker=brittle()), None, True, id="breaker"),
        pytest.param(only(retry=steady(when=lambda attempt, request: False), budget=purse()), None, False, id="when"),
    ],
)
def test__retry_vetoed__costs_no_token(policy: Policy, request_: Request | None, isolated: bool) -> None:
    stage = refused_by(policy, request_, isolated=isolated)
    assert stage.sent == [1]
    assert (stage.host.budget, stage.host.budget_denials) == (10, 0)


def test__retry_vetoed_by_the_circuit__does_not_count_as_denied_by_an_empty_budget() -> None:
    stage = Stage(only(retry=steady(), budget=purse(1), breaker=brittle(failure_threshold=99)), fault(), answer(200))
    stage.get()
    assert stage.host.budget == 0
    stage.script(answer(503, after=0.5))
    stage.together(stage.start(), stage.at(stage.now + 0.25, lambda: stage.resilience.isolate("https://api.test")))
    assert stage.host.budget_denials == 0


def test__each_retry__costs_one_token() -> None:
    stage = Stage(only(retry=steady(), budget=purse()), answer(503))
    assert word(stage.get()) == 503
    assert (stage.sent, stage.host.budget) == ([1, 2, 3], 8)


def test__empty_budget__hands_over_the_answer_and_counts_the_denial() -> None:
    stage = Stage(only(retry=steady(), budget=purse(1)), answer(503))
    assert word(stage.get()) == 503
    assert (stage.sent, stage.host.budget, stage.host.budget_denials) == ([1, 2], 0, 1)


def test__success__deposits_for_the_retries_of_others() -> None:
    budget = RetryBudget(ratio=0.5, cap=2, start=0, refill_per_minute=0)
    stage = Stage(only(retry=steady(max_retries=1), budget=budget), answer(200))
    stage.together(*[stage.start() for _ in range(2)])
    assert stage.host.budget == 1
    stage.script(answer(503), answer(200))
    assert word(stage.get()) == 200
    assert stage.host.budget == 0.5  # the token paid, and the success of the retry deposited again


def test__budget_override_off__pays_nothing() -> None:
    stage = Stage(only(retry=steady(), budget=purse(1)), answer(503))
    with override(budget=None):
        stage.get()
    assert (stage.sent, stage.host.budget, stage.host.budget_denials) == ([1, 2, 3], 1, 0)


# -- asleep: nothing is held -----------------------------------------------------------------------


def test__backoff__holds_no_permit() -> None:
    stage = Stage(only(retry=steady(), bulkhead=one_at_a_time(max_wait=0)), answer(503), answer(200))
    retried, other = stage.together(stage.start(), stage.at(0.5, stage.start))
    assert statuses([retried, other]) == [200, 200]
    assert stage.times == [0, 0.5, 1]


def test__backoff__leaves_the_verdict_already_counted() -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(200))
    _, seen = stage.together(stage.start(), stage.at(0.5, lambda: stage.host))
    assert (seen.failures, seen.in_flight) == (1, 0)


def test__answer_to_be_retried__is_read_to_its_end_before_sleeping() -> None:
    stage = Stage(only(retry=steady()), answer(503, b"busy"), answer(200))
    _, read = stage.together(stage.start(), stage.at(0.5, lambda: list(stage.peer.read)))
    assert [one.status_code for one in read] == [503]
    assert stage.peer.closed == []


def test__large_answer_to_be_retried__is_closed_before_sleeping() -> None:
    stage = Stage(only(retry=steady()), answer(503, None), answer(200))
    _, closed = stage.together(stage.start(), stage.at(0.5, lambda: list(stage.peer.closed)))
    assert [one.status_code for one in closed] == [503]


def test__every_answer_opened__is_handed_out_read_or_closed() -> None:
    for last in (answer(200), answer(503), answer(503, None), fault()):
        stage = Stage(only(retry=steady()), answer(503), answer(503, None), last)
        result = stage.get()
        accounted = [*stage.peer.read, *stage.peer.closed, result]
        assert all(one in accounted for one in stage.peer.opened)


# -- refused after sleeping ------------------------------------------------------------------------


def test__refused_after_sleeping__previous_answer_and_token_back() -> None:
    stage = Stage(only(retry=steady(), budget=purse(), breaker=brittle(failure_threshold=9)), answer(503, b"busy"))
    response, _ = stage.together(stage.start(), stage.at(0.5, lambda: stage.resilience.isolate("https://api.test")))
    assert (word(response), response.body) == (503, b"busy")
    assert (stage.sent, stage.host.budget) == ([1], 10)


def test__refused_after_sleeping__previous_exception() -> None:
    stage = Stage(only(retry=steady(), budget=purse(), breaker=brittle(failure_threshold=9)), fault())
    failed, _ = stage.together(stage.start(), stage.at(0.5, lambda: stage.resilience.isolate("https://api.test")))
    assert word(failed) is ErrorKind.CONNECTION_RESET
    assert (stage.sent, stage.host.budget) == ([1], 10)


def test__refused_after_sleeping__a_closed_large_answer_gives_the_refusal() -> None:
    stage = Stage(only(retry=steady(), budget=purse(), breaker=brittle(failure_threshold=9)), answer(503, None))
    rejection, _ = stage.together(stage.start(), stage.at(0.5, lambda: stage.resilience.isolate("https://api.test")))
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, stage.host.budget) == (Reason.ISOLATED, 10)


def test__own_failure_opens_the_circuit__refused_without_sleeping() -> None:
    stage = Stage(only(retry=steady(), budget=purse(), breaker=brittle()), answer(503))
    assert word(stage.get()) == 503  # the second attempt opened it
    assert (stage.now, stage.sent, stage.host.state, stage.host.budget) == (1, [1, 2], "open", 9)


def test__retry_waits_in_vain_for_the_bulkhead__previous_answer_and_token_back() -> None:
    stage = Stage(only(retry=steady(), budget=purse(), bulkhead=one_at_a_time(max_wait=2)), answer(503))
    response, _ = stage.together(stage.start(), stage.at(0.5, stage.hold))
    assert (word(response), stage.now, stage.sent, stage.host.budget) == (503, 3, [1], 10)


# -- how long, how often ---------------------------------------------------------------------------


def test__backoff__grows_from_its_first_step() -> None:
    retry = steady(max_retries=3, backoff="exponential", max_delay=10)
    stage = Stage(only(retry=retry), answer(503))
    stage.get()
    assert stage.times == [0, 1, 3, 7]


def test__after_a_delay_of_the_servers__own_backoff_starts_over() -> None:
    retry = steady(max_retries=4, backoff="exponential", max_delay=10)
    stage = Stage(only(retry=retry), answer(503), answer(503), answer(503, retry_after="20"), answer(503))
    stage.get()
    assert stage.times == [0, 1, 3, 23, 24]


def test__decorrelated__remembers_its_last_delay_within_the_call_only() -> None:
    retry = steady(max_retries=3, jitter="decorrelated", max_delay=100)
    stage = Stage(only(retry=retry), answer(503), u=0.5)
    stage.get()
    assert stage.times == [0, 2, 5.5, 11.25]
    stage.get()
    assert [after - stage.times[4] for after in stage.times[4:]] == [0, 2, 5.5, 11.25]


@pytest.mark.parametrize(("u", "left_at"), [(0, 4), (0.5, 5)])
def test__servers_delay__is_never_undercut_and_spreads(u: float, left_at: float) -> None:
    stage = Stage(only(retry=steady(max_retries=1, max_delay=10)), answer(503, retry_after="4"), answer(200), u=u)
    stage.get()
    assert stage.times == [0, left_at]


def test__nested_in_an_execute__is_not_retried() -> None:
    stage = Stage(Policy(retry=steady()), answer(503))
    result = stage.resilience.execute("outer", lambda: stage.get())
    assert (word(result), stage.sent) == (503, [1])


def test__nested_in_an_execute_of_another__is_retried() -> None:
    stage = Stage(Policy(retry=steady()), answer(503))
    Stage(None).resilience.execute("outer", lambda: stage.get())
    assert stage.sent == [1, 2, 3]


# -- the form of the flow --------------------------------------------------------------------------


def foreign_awaits(source: str) -> list[str]:
    """What is awaited besides the runtime's methods and the functions of the same source."""
    tree = ast.parse(source)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)}
    of_runtime = {name for name, value in vars(Runtime).items() if inspect.iscoroutinefunction(value)} | {"send"}
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFor | ast.AsyncWith) or (isinstance(node, ast.comprehension) and node.is_async):
            found.append(type(node).__name__)
        if not isinstance(node, ast.Await):
            continue
        match node.value:
            case ast.Call(func=ast.Attribute(value=ast.Name("runtime"), attr=name)) if name in of_runtime:
                pass
            case ast.Call(func=ast.Name(name)) if name in own:
                pass
            case _:
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize(
    "module",
    [seawall.flow, seawall.waiting, seawall.coalescing, seawall.degrading, alternatives, fallback, simplified],
)
def test__flow_and_steps__await_nothing_but_the_runtime(module: ModuleType) -> None:
    source = inspect.getsource(module).replace("trouble.runtime.", "runtime.")
    allowed = {
        "await run(call, runtime)",
        "await run(call, runtime, now)",
        "await run(other, runtime)",
        "await run_together(call, runtime)",
        "await way(call, runtime)",
        "await step.answer(trouble)",
        "await enter(call, admission, refused, runtime)",  # of waiting.py
        "await sleep(call, delay, runtime)",
    }
    assert set(foreign_awaits(source)) <= allowed


@pytest.mark.parametrize(
    "line",
    [
        "await asyncio.sleep(1)",
        "await runtime.error(1)",
        "await other()",
        "await x",
        "async with x: pass",
        "async for a in b: pass",
    ],
)
def test__foreign_await__is_found(line: str) -> None:
    assert foreign_awaits(f"async def run(runtime):\n    await runtime.wait(1)\n    await run(1)\n    {line}\n")
