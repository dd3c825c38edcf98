"""Signals that strike wherever CPython looks for them.

That is on entering a function, after a call, and on jumping back. A trace function raises a KeyboardInterrupt at every
such place in turn.
"""

from __future__ import annotations

import dis
import gc
import sys
from collections.abc import Callable, Iterator
from functools import cache
from types import CodeType, FrameType
from typing import Any, Self, TypeVar

import pytest

T = TypeVar("T")

LOOKS = {"RESUME", "CALL", "CALL_KW", "CALL_FUNCTION_EX", "JUMP_BACKWARD"}
"""After these CPython looks for signals."""
ROOMS = ("/core/seawall/",)
"""Where the code that is traced lives."""


@pytest.fixture
def quick_collections() -> Iterator[None]:
    """Hundreds of collections need not look at what was there before."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Places:
    """Does `strike` at the n-th place of the code traced where a signal may strike; n = -1 only counts them."""

    def __init__(
        self, n: int = -1, rooms: tuple[str, ...] = ROOMS, strike: Callable[[], object] = lambda: None
    ) -> None:
        self.n = n
        self.rooms = rooms
        self.strike = strike
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
        file = frame.f_code.co_filename
        if not any(room in file for room in self.rooms) or "/testing/" in file:
            return None
        frame.f_trace_opcodes = True
        return self._opcode

    def _opcode(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            if self._is_place(frame):
                self.places += 1
                if self.places == self.n + 1:
                    self.struck = True
                    sys.settrace(None)  # nothing more to look for
                    self.strike()
            self._last[frame] = frame.f_lasti
        elif event == "return":
            self._last.pop(frame, None)
        return self._opcode

    def _is_place(self, frame: FrameType) -> bool:
        return may_strike(frame.f_code, self._last.get(frame, -1), frame.f_lasti)


class Interrupt(Places):
    """Raises KeyboardInterrupt at the n-th place."""

    def __init__(self, n: int = -1, rooms: tuple[str, ...] = ROOMS) -> None:
        super().__init__(n, rooms, _interrupt)


def _interrupt() -> None:
    raise KeyboardInterrupt


@cache
def may_strike(code: CodeType, before: int, now: int) -> bool:
    """Does CPython look for signals after the instruction at `before`? Told at `now`, so both need the same handler."""
    if before < 0 or dis.opname[code.co_code[before]] not in LOOKS:
        return False
    return handler(code, before) == handler(code, now)


def handler(code: CodeType, offset: int) -> int | None:
    entries = dis.Bytecode(code).exception_entries
    return next((entry.target for entry in entries if entry.start <= offset < entry.end), None)


def strikes(
    prepare: Callable[[], tuple[T, Callable[[], object]]], rooms: tuple[str, ...] = ROOMS, *, finalisers: bool = False
) -> Iterator[tuple[str, T]]:
    """The stage after each interruption in turn. `prepare` gives one, and what is done on it under fire.

    `finalisers`: some of it runs in one, where CPython swallows what is raised.
    """

    def count() -> int:
        _, act = prepare()
        with Interrupt(rooms=rooms) as counting:
            act()
        return counting.places

    counts = [count() for _ in range(4)]  # first uses import, and CPython has yet to instrument what it traces
    while counts[-1] != counts[-2]:  # over a socket, what has arrived makes a piece more or less
        counts.append(count())
        assert len(counts) < 50
    assert counts[-1] > 3
    for place in range(counts[-1]):
        while sys.version_info >= (3, 12) and count() != counts[-1]:
            pass  # since 3.12 it does not see everything at once after an error in the tracer
        where, came_out = f"place {place} of {counts[-1]}", False
        for _ in range(20):
            stage, act = prepare()
            with Interrupt(place, rooms) as interrupt:
                try:
                    act()
                except KeyboardInterrupt:
                    came_out = True
            if interrupt.struck:
                break
        assert interrupt.struck, where
        assert came_out or finalisers, f"{where}: the KeyboardInterrupt was swallowed"
        del act
        yield where, stage
