"""Validation of configuration: each message names the field, the value and the cure."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, Final, Self


class Unset:
    """The type of `UNSET`: left out, so inherited. Not None, which switches a part off."""

    _one: Unset | None = None

    def __new__(cls) -> Self:
        if cls._one is None:
            cls._one = super().__new__(cls)
        return cls._one  # type: ignore[return-value]

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> tuple[type[Unset], tuple[()]]:
        return Unset, ()


UNSET: Final = Unset()


def duration(owner: object, field: str, *, zero: bool = True, optional: bool = False) -> None:
    """Make the field float seconds; refuse what is not a finite length of time."""
    value = getattr(owner, field)
    if value is UNSET or (value is None and optional):
        return
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    seconds = _real(owner, field, seconds, value, "seconds as a float, or a timedelta")
    if seconds < 0 or (seconds == 0 and not zero):
        raise _wrong(owner, field, value, "0 or more seconds" if zero else "more than 0 seconds")
    object.__setattr__(owner, field, seconds)


def span(owner: object, field: str) -> None:
    """Make the field float seconds, a thousandth or more: shorter ones cannot be measured."""
    duration(owner, field, zero=False)
    if getattr(owner, field) < 0.001:
        raise _wrong(owner, field, getattr(owner, field), "0.001 or more seconds")


def number(owner: object, field: str, least: float, most: float = math.inf, *, open_below: bool = False) -> None:
    """Make the field a float between `least` and `most`."""
    value = getattr(owner, field)
    real = _real(owner, field, value, value, "a number")
    if real < least or real > most or (open_below and real == least):
        low = f"more than {least:g}" if open_below else f"at least {least:g}"
        raise _wrong(owner, field, value, low if most == math.inf else f"{low} and at most {most:g}")
    object.__setattr__(owner, field, real)


def count(owner: object, field: str, least: int, *, optional: bool = False) -> None:
    """Check that the field is a whole number, `least` or more."""
    value = getattr(owner, field)
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise _type(owner, field, value, "a whole number" + (" or None" if optional else ""))
    if value < least:
        raise _wrong(owner, field, value, f"{least} or more")


def flag(owner: object, field: str) -> None:
    value = getattr(owner, field)
    if not isinstance(value, bool):
        raise _type(owner, field, value, "True or False")


def choice(owner: object, field: str, *words: str) -> None:
    value = getattr(owner, field)
    if value not in words:
        raise _wrong(owner, field, value, "one of " + ", ".join(repr(word) for word in words))


def clock(owner: object, given: object) -> None:
    """Check that this can tell time and chance; None: the system's clock does."""
    if given is not None and not all(callable(getattr(given, name, None)) for name in ("monotonic", "wall", "random")):
        raise _type(owner, "clock", given, "an object with monotonic(), wall() and random(), or leave it out")


def ordered(owner: Any, low: str, high: str) -> None:
    """Check that two values, both in force, do not contradict each other.

    One left at its default follows the other; only values that both differ from theirs can contradict.
    """
    small, large = getattr(owner, low), getattr(owner, high)
    if not isinstance(small, float | int) or not isinstance(large, float | int) or small <= large:
        return
    defaults = {name: owner.__dataclass_fields__[name].default for name in (low, high)}
    if large == defaults[high]:
        object.__setattr__(owner, high, small)
    elif small == defaults[low]:
        object.__setattr__(owner, low, large)
    else:
        raise ValueError(
            f"{type(owner).__name__}: {low}={small:g} is more than {high}={large:g}: raise {high} or lower {low}"
        )


def _real(owner: object, field: str, value: Any, given: Any, cure: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _type(owner, field, given, cure)
    try:
        real = float(value)
    except OverflowError:
        real = math.inf
    if not math.isfinite(real):
        raise _wrong(owner, field, given, "a finite number")
    return real


def _wrong(owner: object, field: str, value: object, cure: str) -> ValueError:
    return ValueError(f"{type(owner).__name__}: {field}={value!r}: give {cure}")


def _type(owner: object, field: str, value: object, cure: str) -> TypeError:
    return TypeError(f"{type(owner).__name__}: {field}={value!r}: give {cure}")
