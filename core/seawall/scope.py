"""What the surroundings of a call say: overrides, a deadline, "leave me alone", "I am inside an execute".

One context variable holds one immutable record linked to the one around it, so a
call without any of these pays for one look. No token is kept on the objects users
hold: `reset(token)` on an object shared by two tasks breaks, a link does not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import ref

if TYPE_CHECKING:
    from types import TracebackType


class Scope:
    """What holds inside the innermost `with` block."""

    __slots__ = ("deadline", "inside", "off", "outer", "override")

    def __init__(self, outer: Scope | None) -> None:
        self.outer = outer
        self.override: Any = None
        """The policy merged over the host's: what the blocks around say, the innermost first."""
        self.deadline: float | None = None
        """An instant of the process's clock."""
        self.off = False
        self.inside: object = None
        """The Resilience whose `execute` this is in."""
        if outer is not None:
            self.override, self.deadline, self.off, self.inside = (
                outer.override,
                outer.deadline,
                outer.off,
                outer.inside,
            )


_current: ContextVar[Scope | None] = ContextVar("seawall_scope", default=None)
current = _current.get


class ScopeBlock(ABC):
    """A `with` block. Immutable: any number of tasks may use one at once, nested in itself too."""

    __slots__ = ()

    @abstractmethod
    def _scope(self, outer: Scope | None) -> Scope:
        """What holds inside."""

    def __enter__(self) -> None:
        _current.set(self._scope(_current.get()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        scope = _current.get()
        if scope is not None:
            _current.set(scope.outer)


class disabled(ScopeBlock):  # noqa: N801 - reads as the statement it is
    """`with seawall.disabled():` calls inside go straight to the client, as if nothing were mounted."""

    __slots__ = ()

    def _scope(self, outer: Scope | None) -> Scope:
        scope = Scope(outer)
        scope.off = True
        return scope


class inside(ScopeBlock):  # noqa: N801
    """Marks what an `execute` of `resilience` calls, and lowers the deadline for it."""

    __slots__ = ("_deadline", "_resilience")

    def __init__(self, resilience: object, deadline: float | None) -> None:
        self._resilience = resilience
        self._deadline = deadline

    def _scope(self, outer: Scope | None) -> Scope:
        scope = Scope(outer)
        scope.inside = self._resilience
        scope.deadline = earliest(scope.deadline, self._deadline)
        return scope


class Carrier:
    """The deadline of a call, left on a request whose answer is a redirect, for the one with which the client follows.

    Two requests start afresh all the same: the owner itself, sent again; and the one that the answer names as its
    `following`. The libraries name it where they do not follow but hand the answer over: it is the user who sends it.
    """

    __slots__ = ("_answer", "_following", "_owner", "deadline", "outer", "override")

    def __init__(
        self,
        owner: object,
        answer: object,
        following: str,
        deadline: float,
        outer: float | None = None,
        override: Any = None,
    ) -> None:
        self._owner = ref(owner)
        self._answer = ref(answer)
        self._following = following
        self.deadline = deadline
        self.outer = outer
        """The deadline without the first hop's own `total`."""
        self.override = override

    def onward(self, request: object) -> Carrier | None:
        """Itself, for the request with which the client follows; None for one that starts afresh."""
        answer = self._answer()  # gone: a client that follows keeps it for the history
        if answer is None or getattr(answer, self._following, None) is request or self._owner() is request:
            return None
        return self


def earliest(a: float | None, b: float | None) -> float | None:
    """The earlier of two instants; None is never."""
    if a is None:
        return b
    return a if b is None or a <= b else b
