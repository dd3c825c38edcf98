"""A simpler answer, made here: an empty list, a canned completion, a default.

The plainest way to degrade (Nygard, "Release It!": a feature that is off beats a page
that is down). What is built is the user's; what it must not do is fail the call a
second time: if it raises, the next step is asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from seawall.degrade.answer import Answer

if TYPE_CHECKING:
    from seawall._story import Call, Source
    from seawall.degrade.step import Trouble
    from seawall.runtime import Runtime

Build = Callable[[Any, BaseException], "Answer | Awaitable[Answer | None] | None"]


class SimplifiedResponse:
    """Answer with what `build(request, error)` makes: a `seawall.Answer`, or None to pass on.

    `build` may be async under an async client. `error` is what the caller would have got. For `execute`, any value but
    None is the result. If it raises, that is reported once and the next step is asked.
    """

    __slots__ = ("build",)

    reserve: float = 0.0
    source: Source = "simplified"

    def __init__(self, build: Build) -> None:
        if not callable(build):
            raise TypeError(f"SimplifiedResponse: build={build!r}: give a function of the request and the error")
        self.build = build

    def begin(self, call: Call, runtime: Runtime) -> None:
        pass

    def could_answer(self, call: Call) -> bool:
        return True

    async def answer(self, trouble: Trouble) -> Any:
        return await trouble.runtime.call(self.build, trouble.call.request, trouble.error)

    def __repr__(self) -> str:
        return f"SimplifiedResponse({getattr(self.build, '__qualname__', self.build)})"
