"""Another `seawall.default()` for the length of a block."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from seawall import resilience as home
from seawall.resilience import Resilience

if TYPE_CHECKING:
    from collections.abc import Generator

    from seawall.runtime import Clock


@contextmanager
def default_is(resilience: Resilience | None = None, *, clock: Clock | None = None) -> Generator[Resilience]:
    """Inside, `seawall.default()` is `resilience`, or a new one (on `clock`).

    Clients that are mounted on the default, made at import say, follow it, and go back after the block.
    """
    outer = home.default()
    inner = Resilience(clock=clock, name="default") if resilience is None else resilience
    home.replace_default(inner)
    _move(outer, inner)
    try:
        yield inner
    finally:
        home.replace_default(outer)
        _move(inner, outer)


def _move(before: Resilience, after: Resilience) -> None:
    """Every transport and adapter of the one serves under the other: looked for, so that no product keeps a list."""
    everything: list[Any] = gc.get_objects()
    for wrapper in everything:
        kind: type[Any] = type(wrapper)  # pyright: ignore[reportUnknownVariableType]
        if hasattr(kind, "follow") and kind.__module__.endswith(("_transport", "_adapter")):
            if wrapper.resilience is before:
                wrapper.follow(after)
