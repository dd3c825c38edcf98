"""Two threads of which one runs at a time, switched where CPython could switch them.

That is where it looks for signals, too: on entering a function, after a call, and on jumping back; and where a lock is
waited for. With `every=True` it is between any two instructions, which no CPython with a global lock does.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import pytest

from tests.core.interrupting import Places

SECONDS = 30.0
"""After so long a schedule hangs."""

Act = Callable[[], object]


class Deadlock(Exception):
    """Both wait for a lock that the other one holds."""


class Everywhere(Places):
    """A place before each instruction."""

    def _is_place(self, frame: FrameType) -> bool:
        return True


class Duel:
    """Runs the first of `acts` as far as its place `at[0]`, then the second as far as its place `at[1]` (-1: to its
    end), then each to its end.

    The first is run by the calling thread. Who has to wait for a lock lets the other one go on.
    """

    now: Duel | None = None

    def __init__(self, acts: tuple[Act, Act], at: tuple[int, int], rooms: tuple[str, ...], *, every: bool) -> None:
        self._acts = acts
        self._switch_at = at
        self._rooms = rooms
        self._places = Everywhere if every else Places
        self._turns = (threading.Lock(), threading.Lock())
        for turn in self._turns:
            turn.acquire()
        self._is_over = [False, False]
        self._waits_for: list[TurnLock | None] = [None, None]
        self._idents: list[int] = [threading.get_ident(), 0]
        self.results: list[object] = [None, None]
        self.switched = [False, False]
        """Did they come as far as where they were to be switched?"""

    def run(self) -> tuple[object, object]:
        thread = threading.Thread(target=self._second, daemon=True)
        Duel.now = self
        try:
            thread.start()
            self._run(0)
            self._is_over[0] = True
            self._hand_over(0)
            thread.join(SECONDS)
            assert not thread.is_alive(), "the second thread hangs"
        finally:
            Duel.now = None
        return self.results[0], self.results[1]

    def give_way(self, who: int | None = None) -> bool:
        """Let the other one run; False: it has ended."""
        who = self.me() if who is None else who
        if self._is_over[1 - who]:
            return False
        self._hand_over(who)
        return True

    def _switch(self, who: int) -> None:
        self.switched[who] = True
        self.give_way(who)

    def wait_for(self, lock: TurnLock) -> None:
        """Let its owner run."""
        me = self.me()
        other = self._waits_for[1 - me]
        self._waits_for[me] = lock
        if (other is not None and other.is_owned_by(self._idents[me])) or not self.give_way(me):
            raise Deadlock(self._acts)
        self._waits_for[me] = None

    def me(self) -> int:
        return self._idents.index(threading.get_ident())

    def _second(self) -> None:
        self._idents[1] = threading.get_ident()
        assert self._turns[1].acquire(timeout=SECONDS)
        self._run(1)
        self._is_over[1] = True
        self._turns[0].release()

    def _run(self, who: int) -> None:
        at = self._switch_at[who]
        try:
            if who == 1 and at < 0:
                self.results[who] = self._acts[who]()
                return
            with self._places(at, self._rooms, partial(self._switch, who)):
                self.results[who] = self._acts[who]()
        except Exception as error:
            self.results[who] = error

    def _hand_over(self, who: int) -> None:
        self._turns[1 - who].release()
        if not self._is_over[who] or not self._is_over[1 - who]:
            assert self._turns[who].acquire(timeout=SECONDS), "the other thread hangs"


class TurnLock:
    """An RLock for threads that run in turn."""

    def __init__(self) -> None:
        self._owner = self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = threading.get_ident()
        while self._owner not in (0, me):
            if not blocking:
                return False
            assert Duel.now is not None, "held for ever"
            Duel.now.wait_for(self)
        self._owner = me
        self._depth += 1
        return True

    def release(self) -> None:
        assert self._is_owned()
        self._depth -= 1
        if not self._depth:
            self._owner = 0

    def is_owned_by(self, ident: int) -> bool:
        return self._owner == ident

    def _is_owned(self) -> bool:
        return self._owner == threading.get_ident()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


LOCKED = ("forks", "host", "registry", "stores.memory")


@contextmanager
def in_turns() -> Iterator[None]:
    """Objects made meanwhile have locks that know whose turn it is."""
    with pytest.MonkeyPatch.context() as patch:
        for name in LOCKED:
            patch.setattr(sys.modules[f"seawall.{name}"], "RLock", TurnLock)
        yield
