"""What a way to degrade is, and what it is told.

Steps are asked in the configured order. Each gives an answer, ends the call with an
exception of ours (a `Rejection`), or passes on (None). All share the call's deadline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from seawall._story import Call, Source
    from seawall.outcome import Rejection
    from seawall.runtime import Runtime


class Trouble:
    """A call that the host failed, or that we refused, as a step sees it."""

    __slots__ = ("_error", "call", "rejection", "response", "runtime")

    def __init__(
        self,
        call: Call,
        runtime: Runtime,
        *,
        error: BaseException | None = None,
        rejection: Rejection | None = None,
        response: Any = None,
    ) -> None:
        self.call = call
        self.runtime = runtime
        self.rejection = rejection
        """Why we refused; for an answer that was an error, a rejection that would say so."""
        self.response = response
        """The answer the caller would get, an error status."""
        self._error = error

    @property
    def error(self) -> BaseException:
        """The exception the caller would get, or one of ours around the answer."""
        if self._error is None:
            assert self.rejection is not None
            self._error = self.runtime.exception(self.call, self.rejection)
        return self._error


class Step(Protocol):
    """One way to degrade: its configuration, which answers for it."""

    @property
    def source(self) -> Source:
        """Whose answer it is, for the report."""
        ...

    @property
    def reserve(self) -> float | None:
        """Seconds of the deadline the primary leaves for it; None: half of them."""
        ...

    def begin(self, call: Call, runtime: Runtime) -> None:
        """Before the first attempt."""
        ...

    def could_answer(self, call: Call) -> bool:
        """Is it worth not waiting for the primary?"""
        ...

    async def answer(self, trouble: Trouble) -> Any:
        """A response of the mount's library, an `Answer`, a `Rejection` to end with; None: the next step is asked."""
        ...
