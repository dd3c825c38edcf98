"""I17: user code that has another thread look at the client while it runs: whoever held a lock would be found out."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.testing.sim.client import Client
    from seawall.testing.sim.history import History

WITHIN: Final = 10.0
"""Real seconds the other thread may take. It needs microseconds, unless the machine has no time for it."""
_EVERY: Final = 41
"""One of so many visits of user code is looked at: on a busy machine, a look takes as long as ten calls."""
_FAILS: Final = 5


class _Helper:
    """The other thread. One for all, replaced if it is stuck."""

    def __init__(self) -> None:
        self.is_busy = False
        """Events that it causes itself are told in its thread."""
        self._asked: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        Thread(target=self._serve, daemon=True, name="onlooker").start()

    def _serve(self) -> None:
        while (look := self._asked.get()) is not None:
            try:
                look()
            except BaseException as error:
                self._done.put(error)
            else:
                self._done.put(None)

    def ask(self, look: Callable[[], object]) -> str:
        """Let the thread look; what is wrong, or nothing."""
        if self.is_busy:
            return ""
        self.is_busy = True
        self._asked.put(look)
        try:
            error = self._done.get(timeout=WITHIN)
        except Empty:
            self._asked.put(None)
            return "a lock is held"
        self.is_busy = False
        return "" if error is None else f"looking raises {error!r}"


_helpers: list[_Helper] = []


class Onlooker:
    """The user code of one client: it has somebody look, and now and then it raises, which must break nothing."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.client: Client | None = None
        self._visits = 0

    def when(self, _attempt: Any, _request: Any) -> None:
        """`Retry(when=)`: the default rules decide."""
        self._visit("when=")

    def classify(self, _outcome: Any, _request: Any) -> None:
        """`Policy(classify=)`: the default rules decide."""
        self._visit("classify=")

    def listen(self, event: Any) -> None:
        """`subscribe()`."""
        self._visit(f"a listener to {type(event).__name__}")

    def key(self, request: Any) -> str:
        """`StaleResponse(key=)`: who asks."""
        self._visit("key=", raises=False)
        return str(request.headers.get("authorization", "nobody"))

    def _visit(self, what: str, *, raises: bool = True) -> None:
        self._visits += 1
        if self._visits % _EVERY == 0:
            self.look(what)
        if raises and self._visits % _FAILS == 0:
            raise ArithmeticError("user code that fails")

    def look(self, what: str) -> None:
        """What another thread cannot do is wrong."""
        client = self.client
        if client is None:
            return
        if not _helpers:
            _helpers.append(_Helper())
        wrong = _helpers[0].ask(lambda: (client.resilience.snapshots(), client.resilience.policy_for("GET", "x://y")))
        if wrong:
            self.history.oddities.append(f"I17: {client}: while user code runs ({what}), {wrong}")
            self.client = None  # once is enough
            _helpers.clear()
