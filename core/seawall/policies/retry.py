"""Retry: whether another attempt may follow, and after how long.

Asked in the order of cost: attempts left, the kind of the outcome, the method and
the body, the server's own delay, the time. The budget is asked last, by the flow,
since its token is the scarce thing. Rejected: retrying by status alone (a POST
sent twice charges a card twice), and sleeping out a Retry-After longer than
anybody waits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

from seawall import _check, backoff
from seawall.backoff import Growth, Jitter
from seawall.outcome import Again, Attempt, Ending, ErrorKind, Outcome, reject_async

_HEADER: Final = re.compile(r"[A-Za-z0-9-]+\Z")
IDEMPOTENT_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"})
"""RFC 9110 §9.2.2 idempotent methods, and QUERY."""

Condition = Callable[[Attempt, Any], "bool | None"]
KeySource = Literal["auto"] | Callable[[Any], str] | None
RetryOn = frozenset[ErrorKind | int | type[BaseException]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often, after what and how soon a failed attempt is repeated."""

    max_retries: int = 3
    """Extra attempts; beyond one or two it is the budget that decides."""
    base_delay: float = 0.1
    """Seconds: the first step of the backoff."""
    max_delay: float = 2.0
    """Cap of a delay in seconds, before jitter."""
    multiplier: float = 2.0
    """Growth of the exponential backoff."""
    backoff: Growth = "exponential"
    """How delays grow: base · multiplierⁿ, base · (n + 1), base · 1, 1, 2, 3, 5 …, or not at all."""
    jitter: Jitter = "full"
    """`decorrelated` makes its own sequence: backoff and multiplier then do nothing."""
    retry_on: Collection[ErrorKind | int | type[BaseException]] | None = None
    """Kinds, statuses and exception classes that are retried, instead of the default table (docs/classification.md)."""
    methods: Collection[str] | None = None
    """Methods safe to repeat, instead of the idempotent ones of RFC 9110 and QUERY."""
    idempotency_header: str = "Idempotency-Key"
    """A request that carries it is safe to repeat, whatever its method."""
    idempotency_key: KeySource = None
    """"auto" or a function of the request: a key for each unsafe request without one, the same on all its attempts."""
    max_retry_after: float = 30.0
    """Longest delay (seconds) asked by the server that is waited for; over it the answer is returned at once."""
    share_retry_after: bool = True
    """A server's delay holds back all calls to the host, not only the one that was told."""
    max_elapsed: float | None = 60.0
    """No attempt starts later than this many seconds after the call began; None: no such limit."""
    on_exhausted: Literal["return", "raise"] = "return"
    """What a call that failed to the end gives: the last answer or exception, or an error of ours around it."""
    buffer_body: int = 0
    """Bytes of a body that is read while it is sent (generator, file) to remember; 0: none. Longer, it is sent once."""
    when: Condition | None = None
    """`when(attempt, request)`: True repeats (if body and budget allow), False stops, None leaves it to the rules."""

    def __post_init__(self) -> None:
        _check.count(self, "max_retries", 0)
        _check.duration(self, "base_delay")
        _check.duration(self, "max_delay")
        _check.ordered(self, "base_delay", "max_delay")
        _check.number(self, "multiplier", 1)
        _check.choice(self, "backoff", "exponential", "linear", "fibonacci", "constant")
        _check.choice(self, "jitter", "full", "equal", "decorrelated", "none")
        _check.duration(self, "max_retry_after")
        _check.flag(self, "share_retry_after")
        _check.duration(self, "max_elapsed", optional=True)
        _check.choice(self, "on_exhausted", "return", "raise")
        _check.count(self, "buffer_body", 0)
        reject_async(self.when, "Retry: when")
        if self.idempotency_key != "auto":
            if isinstance(self.idempotency_key, str):
                raise ValueError(
                    f"Retry: idempotency_key={self.idempotency_key!r}: one key for all calls would make them one; "
                    'give "auto" or a function of the request'
                )
            reject_async(self.idempotency_key, "Retry: idempotency_key")
        if not isinstance(self.idempotency_header, str) or not _HEADER.match(self.idempotency_header):
            raise ValueError(f"Retry: idempotency_header={self.idempotency_header!r}: give a header name")
        if self.methods is not None:
            object.__setattr__(self, "methods", _methods(self.methods))
        if self.retry_on is not None:
            object.__setattr__(self, "retry_on", _retry_on(self.retry_on))

    def delay(self, n: int, previous: float, u: float) -> float:
        """Seconds before retry `n` (from 0); `previous`: the last such delay, or `base_delay`."""
        if self.jitter == "decorrelated":
            return backoff.decorrelated(self.base_delay, self.max_delay, previous, u)
        return backoff.spread(
            self.jitter, backoff.grow(self.backoff, self.base_delay, self.multiplier, self.max_delay, n), u
        )

    def repeats(self, outcome: Outcome) -> Again:
        """Is this kind of outcome one to repeat, and how careful must one be?"""
        if self.retry_on is None:
            return outcome.again
        listed = (
            outcome.kind in self.retry_on
            or outcome.status in self.retry_on
            or (outcome.error is not None and any(isinstance(outcome.error, c) for c in _classes(self.retry_on)))
        )
        if not listed:
            return Again.NO
        return outcome.again if outcome.again is not Again.NO else Again.SAFE


def key_field(retry: Retry | None) -> str:
    """The name of the header field with the idempotency key."""
    return "Idempotency-Key" if retry is None else retry.idempotency_header


class Repeatable:
    """What the mount knows of a request that may have to be sent again."""

    __slots__ = ("body", "has_key", "method")

    def __init__(self, method: str, *, body: bool, has_key: bool) -> None:
        self.method = method
        self.body = body
        """Can the same bytes be sent again?"""
        self.has_key = has_key

    @classmethod
    def of(cls, request: Any, retry: Retry | None, *, body: bool) -> Repeatable:
        """Of a library's request, under this policy."""
        has_key = bool(request.headers.get(key_field(retry)))  # without retries too: a way to degrade may send it
        return cls((request.method or "GET").upper(), body=body, has_key=has_key)

    def is_safe(self, methods: Collection[str] | None) -> bool:
        """Does a second execution do no more than the first?"""
        return self.has_key or self.method in (IDEMPOTENT_METHODS if methods is None else methods)


def may_repeat(
    retry: Retry, outcome: Outcome, attempt: int, request: Repeatable, wanted: bool | None = None
) -> Ending | None:
    """Why no attempt may follow attempt number `attempt`, time and money aside; None: one may.

    `wanted` is the answer of `when=`. It can stop anything; it makes an outcome repeatable, and a method safe, but it
    cannot make a body replayable.
    """
    if attempt > retry.max_retries:
        return Ending.ATTEMPTS_EXHAUSTED
    if wanted is False:
        return Ending.VETOED
    if not wanted:
        again = retry.repeats(outcome)
        if again is Again.NO:
            return Ending.NOT_RETRYABLE
        if again is Again.SAFE and not request.is_safe(retry.methods):
            return Ending.NOT_REPEATABLE
    if not request.body:
        return Ending.BODY_NOT_REPLAYABLE
    return None


def _methods(given: object) -> frozenset[str]:
    if isinstance(given, str) or not isinstance(given, frozenset | set | list | tuple):
        raise TypeError(f'Retry: methods={given!r}: give a set of method names, such as {{"GET", "POST"}}')
    for method in given:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(method, str) or not (method.isascii() and method.isalpha()):
            raise ValueError(f'Retry: methods has {method!r}: give method names, such as "POST"')
    return frozenset(str(method).upper() for method in given)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _retry_on(given: object) -> RetryOn:
    if not isinstance(given, frozenset | set | list | tuple):
        raise TypeError(f"Retry: retry_on={given!r}: give a set of ErrorKind, status or exception class")
    members: set[ErrorKind | int | type[BaseException]] = set()
    for member in given:  # pyright: ignore[reportUnknownVariableType]
        if (
            isinstance(member, ErrorKind)
            or (isinstance(member, type) and issubclass(member, BaseException))
            or (isinstance(member, int) and not isinstance(member, bool) and 400 <= member <= 599)
        ):
            members.add(member)
        else:
            raise ValueError(
                f"Retry: retry_on has {member!r}: give an ErrorKind, a status from 400 to 599, or an exception class"
            )
    return frozenset(members)


def _classes(members: Collection[ErrorKind | int | type[BaseException]]) -> list[type[BaseException]]:
    return [member for member in members if isinstance(member, type)]
