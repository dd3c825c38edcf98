"""A signal between any two bytecodes: what it interrupts may be lost, but no permit, no waiter and no lock with it.

Where CPython looks for signals (on entering a function, after a call, on jumping back) a KeyboardInterrupt is raised by
a trace function, at every such place in turn.
"""

from __future__ import annotations

import dis
import gc
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import cache
from types import CodeType, FrameType
from typing import Any, Self

import pytest

from seawall import HostSnapshot
from tests.core.stage import Stage, answer, brittle, fault, one_at_a_time, only, purse, statuses, steady

pytestmark = [
    # A call interrupted between making a coroutine and awaiting it.
    pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("quick_collections"),
]

LOOKS = {"RESUME", "CALL", "CALL_KW", "CALL_FUNCTION_EX", "JUMP_BACKWARD"}
"""After these CPython looks for signals."""


@pytest.fixture
def quick_collections() -> Iterator[None]:
    """Hundreds of collections need not look at what was there before."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Interrupt:
    """Raises KeyboardInterrupt at the n-th place of the code traced where a signal may strike; n = -1 only counts."""

    def __init__(self, n: int = -1) -> None:
        self.n = n
        self.places = 0
        self.struck = False
        self._last: dict[FrameType, int] = {}
        """Frame → offset of the instruction before."""

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)
        self._last.clear()

    def _call(self, frame: FrameType, event: str, _: Any) -> Any:
        if "/seawall/" not in frame.f_code.co_filename or "/testing/" in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        return self._opcode

    def _opcode(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            if may_strike(frame.f_code, self._last.get(frame, -1), frame.f_lasti):
                if self.places == self.n:
                    self.struck = True
                    raise KeyboardInterrupt
                self.places += 1
            self._last[frame] = frame.f_lasti
        elif event == "return":
            self._last.pop(frame, None)
        return self._opcode


@cache
def may_strike(code: CodeType, before: int, now: int) -> bool:
    """Does CPython look for signals after the instruction at `before`? Told at `now`, so both need the same handler."""
    if before < 0 or dis.opname[code.co_code[before]] not in LOOKS:
        return False
    return handler(code, before) == handler(code, now)


def handler(code: CodeType, offset: int) -> int | None:
    entries = dis.Bytecode(code).exception_entries
    return next((entry.target for entry in entries if entry.start <= offset < entry.end), None)


def look(stage: Stage) -> HostSnapshot:
    """The host's picture, unless its lock is held for ever."""
    seen: list[HostSnapshot] = []
    thread = threading.Thread(target=lambda: seen.append(stage.host), daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive(), "the lock was never released"
    return seen[0]


def forget(stage: Stage) -> None:
    """Nobody has the answers that were not handed out."""
    for kept in (stage.held, stage.waiting, stage.peer.opened, stage.peer.read, stage.peer.closed):
        kept.clear()
    gc.collect()


Scene = Callable[[], tuple[Stage, list[Coroutine[Any, Any, Any]]]]
"""A stage, and the calls to run on it together."""


def calm() -> tuple[Stage, list[Coroutine[Any, Any, Any]]]:
    stage = Stage(only())
    return stage, [stage.start()]


def retried() -> tuple[Stage, list[Coroutine[Any, Any, Any]]]:
    stage = Stage(only(retry=steady(), budget=purse(), breaker=brittle(failure_threshold=9)), answer(503), answer(200))
    return stage, [stage.start()]


def limited() -> tuple[Stage, list[Coroutine[Any, Any, Any]]]:
    stage = Stage(only(bulkhead=one_at_a_time()))
    return stage, [stage.start()]


def probe() -> tuple[Stage, list[Coroutine[Any, Any, Any]]]:
    stage = Stage(only(breaker=brittle(success_threshold=2)), fault())
    stage.together(stage.start(), stage.start())
    stage.clock.advance(10)
    stage.script(answer(200))
    return stage, [stage.start()]


def waiting() -> tuple[Stage, list[Coroutine[Any, Any, Any]]]:
    stage = Stage(only(bulkhead=one_at_a_time()))
    return stage, [stage.start(), stage.at(2, stage.hold().abandon)]


Prepared = tuple[Stage, Callable[[], object]]
"""A stage, and what is done on it under fire."""


def strikes(prepare: Callable[[], Prepared]) -> Iterator[tuple[str, Stage]]:
    """The stage after each interruption in turn."""

    def count() -> int:
        _, act = prepare()
        with Interrupt() as counting:
            act()
        return counting.places

    counts = [count() for _ in range(4)]  # first uses import, and CPython has yet to instrument what it traces
    assert counts[-1] == counts[-2] > 3
    for place in range(counts[-1]):
        while count() != counts[-1]:  # nor does it see everything at once after an error in the tracer
            pass
        stage, act = prepare()
        where, came_out = f"place {place} of {counts[-1]}", False
        with Interrupt(place) as interrupt:
            try:
                act()
            except KeyboardInterrupt:
                came_out = True
        assert interrupt.struck
        assert came_out, f"{where}: the KeyboardInterrupt was swallowed"
        del act
        yield where, stage


@pytest.mark.parametrize("scene", [calm, retried, limited, probe, waiting])
def test__interrupted_anywhere__no_permit_is_lost(scene: Scene) -> None:
    def prepare() -> Prepared:
        stage, calls = scene()
        stage.waiting = calls
        return stage, lambda: stage.together(*calls)

    for where, stage in strikes(prepare):
        while stage.waiting:
            stage.waiting.pop().close()
        forget(stage)
        host = look(stage)
        assert host.in_flight == 0, where
        assert host.state != "half_open" or host.retry_after == 0, f"{where}: a probe slot is taken"
        stage.clock.advance(20)
        stage.script(answer(200))
        assert statuses([stage.get()]) == [200], where


def test__holder_interrupted_while_giving_back__the_waiter_is_served_all_the_same() -> None:
    def prepare() -> Prepared:
        stage = Stage(only(bulkhead=one_at_a_time(max_wait=60)))
        stage.hold()
        stage.line_up()
        return stage, lambda: stage.held.pop().abandon()

    for where, stage in strikes(prepare):
        stage.held.clear()
        gc.collect()
        assert statuses(stage.together(*stage.waiting)) == [200], where
        host = look(stage)
        assert (host.in_flight, host.queue_depth) == (0, 0), where
        assert stage.now <= 5, f"{where}: it waited {stage.now:g} s for a free permit"


def resume(call: Coroutine[Any, Any, Any]) -> None:
    try:
        call.send(None)
    except StopIteration:
        pass


def test__waiter_interrupted__the_next_in_line_is_served() -> None:
    def prepare() -> Prepared:
        stage = Stage(only(bulkhead=one_at_a_time(max_wait=60)))
        holder = stage.hold()
        stage.line_up()
        stage.line_up()
        stage.clock.advance(0.5)
        holder.abandon()
        return stage, lambda: resume(stage.waiting[0])

    for where, stage in strikes(prepare):
        second = stage.waiting.pop()
        stage.waiting.clear()
        gc.collect()
        assert statuses(stage.together(second)) == [200], where
        assert look(stage).in_flight == 0, where
