"""An error that says what else there is: another provider, a status page, a cached view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seawall.outcome import Reason, Rejection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seawall._story import Call, Source
    from seawall.degrade.step import Trouble
    from seawall.runtime import Runtime


class ErrorWithAlternatives:
    """End the call with `ServiceDegraded`, whose `.alternatives` are these and whose cause is the original error.

    What the alternatives are is up to the caller who catches it: names, URLs, objects.
    """

    __slots__ = ("alternatives",)

    reserve: float = 0.0
    source: Source = "origin"  # it gives no answer

    def __init__(self, alternatives: Iterable[Any]) -> None:
        if isinstance(alternatives, str | bytes):
            raise TypeError(f"ErrorWithAlternatives: alternatives={alternatives!r}: give a list of them")
        self.alternatives = tuple(alternatives)
        if not self.alternatives:
            raise ValueError("ErrorWithAlternatives: alternatives is empty: give at least one")

    def begin(self, call: Call, runtime: Runtime) -> None:
        pass

    def could_answer(self, call: Call) -> bool:
        return True

    async def answer(self, trouble: Trouble) -> Any:
        error, rejection = trouble.error, trouble.rejection
        after = rejection.wait(trouble.call.state.clock.monotonic()) if rejection is not None else None
        return Rejection(
            Reason.DEGRADED,
            trouble.call.state.name,
            after,
            cause=error,
            response=trouble.response,
            facts={"alternatives": self.alternatives},
        )

    def __repr__(self) -> str:
        return f"ErrorWithAlternatives({list(self.alternatives)!r})"
