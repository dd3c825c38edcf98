"""Another `seawall.default()` for the length of a block."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from seawall import resilience as home
from seawall.resilience import Resilience

if TYPE_CHECKING:
    from collections.abc import Generator

    from seawall.runtime import Clock


@contextmanager
def default_is(resilience: Resilience | None = None, *, clock: Clock | None = None) -> Generator[Resilience]:
    """Inside, `seawall.default()` is `resilience`, or a new one (on `clock`). Clients mounted before keep theirs."""
    replaced = home.replace_default(Resilience(clock=clock, name="default") if resilience is None else resilience)
    try:
        yield home.default()
    finally:
        home.replace_default(replaced)
