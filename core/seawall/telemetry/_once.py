"""Instrumenting twice must not count twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seawall.resilience import Resilience

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


def once(resilience: Resilience, key: Hashable, begin: Callable[[], Callable[[], None]]) -> Callable[[], None]:
    """Begin what is called `key` for this Resilience, unless it is on; returns what ends it, which does so once."""
    if not isinstance(resilience, Resilience):
        raise TypeError(f"instrument: resilience={resilience!r}: give a Resilience, such as seawall.default()")
    on = resilience.hub.living
    if key in on:
        end: Callable[[], None] = on[key]
        return end
    really = begin()

    def stop() -> None:
        if on.get(key) is stop:
            del on[key]
            really()

    first: Callable[[], None] = on.setdefault(key, stop)
    if first is not stop:  # another thread was quicker
        really()
    return first
