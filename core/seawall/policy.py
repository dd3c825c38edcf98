"""Policy: the parts put together, inherited from pattern to pattern, explained in words.

A field left out is inherited; None switches a part off. A part is replaced whole,
except `Timeouts`, which are inherited clock by clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from seawall import _check
from seawall._check import UNSET
from seawall.outcome import reject_async
from seawall.policies.breaker import Breaker
from seawall.policies.budget import AdaptiveBudget, RetryBudget, TokenBudget
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.retry import IDEMPOTENT_METHODS, Retry
from seawall.policies.timeouts import Timeouts
from seawall.scope import Scope, ScopeBlock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta
    from typing import Unpack

    from seawall._check import Unset
    from seawall.degrade.step import Step
    from seawall.outcome import ErrorKind, Outcome, Verdict
    from seawall.policies.budget import Budget

    Inspect = Callable[[str, Any], ErrorKind | bool | None]

P = TypeVar("P", bound="Policy")

STATE_PARTS: Final = ("budget", "breaker", "bulkhead")
"""Parts that belong to the state of a host or group, not to one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How calls to some hosts are kept working. Every field may be left out: it is then inherited."""

    timeouts: Timeouts | Unset | None = UNSET
    """Nested clocks. None: no clock of ours."""
    retry: Retry | Unset | None = UNSET
    """When a failed attempt is repeated. None: never."""
    budget: Budget | Unset | None = UNSET
    """What extra attempts cost. None: unlimited."""
    breaker: Breaker | Unset | None = UNSET
    """When the host is left alone. None: never; it is measured all the same."""
    bulkhead: Bulkhead | Unset | None = UNSET
    """How many attempts run at a time. None: measured only."""
    degrade: Sequence[Step] | Unset | None = UNSET
    """Ways to answer when the host failed or we refused, asked in this order. None or empty: none."""
    degrade_after: float | timedelta | Unset | None = UNSET
    """Seconds: no longer wait (backoff, gate, bulkhead) while a way to degrade could answer. None: wait."""
    stream: bool | Unset = UNSET
    """Every answer counts as one that streams: its clocks are `first_content`, `idle` and `stream`. Left out: those
    of `text/event-stream` and NDJSON, and in requests those asked for with `stream=True`."""
    inspect_streams: bool | Inspect | Unset = UNSET
    """Look for errors inside answers of `text/event-stream` and NDJSON, and hold such an answer until its first
    content, so that it may still be repeated. A function `(event, data)` says first what an event is: an `ErrorKind`,
    content (True), nothing yet (False), or None: as the built-in shapes say."""
    rejections: Literal["raise", "respond"] | Unset = UNSET
    """"respond": what we refuse is answered with a synthetic 503, `Retry-After` and `x-should-retry: false`, for SDKs
    that retry any exception but obey answers."""
    mode: Literal["enforce", "off"] | Unset = UNSET
    """"off": calls go straight to the client."""
    classify: Callable[[Outcome, Any], Verdict | None] | Unset | None = UNSET
    """`classify(outcome, request)`: what an outcome means for the host; None leaves it to the table."""
    group: str | Unset | None = UNSET
    """Hosts of one group share their state."""
    is_preset: bool = field(default=False, init=False, repr=False, compare=False)
    """Its clocks are a preset's, not the user's."""

    def __post_init__(self) -> None:
        for name, kinds in _PARTS.items():
            value = getattr(self, name)
            if value is not UNSET and value is not None and not isinstance(value, kinds):
                words = " or ".join(f"{kind.__name__}(…)" for kind in kinds)
                raise TypeError(f"Policy: {name}={value!r}: give {words}, or None to switch it off")
        if self.degrade is not UNSET:
            object.__setattr__(self, "degrade", _steps(self.degrade))
        _check.duration(self, "degrade_after", optional=True)
        if self.stream is not UNSET:
            _check.flag(self, "stream")
        if self.inspect_streams is not UNSET and not isinstance(self.inspect_streams, bool):
            if not callable(self.inspect_streams):
                raise TypeError(f"Policy: inspect_streams={self.inspect_streams!r}: give True, False or a function")
            reject_async(self.inspect_streams, "Policy: inspect_streams")
        if self.rejections is not UNSET:
            _check.choice(self, "rejections", "raise", "respond")
        if self.mode is not UNSET:
            _check.choice(self, "mode", "enforce", "off")
        if self.classify is not UNSET:
            reject_async(self.classify, "Policy: classify")  # type: ignore[arg-type]
        if self.group is not UNSET and self.group is not None and (not isinstance(self.group, str) or not self.group):
            raise TypeError(f"Policy: group={self.group!r}: give a name")

    @classmethod
    def gateway(cls, **parts: Unpack[_Parts]) -> Policy:
        """The figures of the specification this library was written to: an LLM gateway's, to compare with.

        Measured, they do harm (docs/defaults.md): the fixed 60 s opening keeps a host away half a minute after it is
        well, five failures at once trip on a burst, a 25 s attempt lets callers hang. The keywords are `Policy`'s.
        """
        from seawall.degrade.stale import StaleResponse

        policy = cls(
            timeouts=Timeouts(connect=5, attempt=25, total=60, stream=60, idle=90, keep_alive=90),
            retry=Retry(max_retries=3, base_delay=0.1, max_delay=30, jitter="decorrelated", max_elapsed=None),
            budget=AdaptiveBudget(),
            breaker=Breaker(
                failure_threshold=5,
                min_failure_span=0,
                failure_rate_threshold=0.5,
                min_requests=10,
                open_duration=60,
                open_multiplier=1,
                max_open_duration=60,
                open_jitter=0,
            ),
            bulkhead=Bulkhead(max_concurrent=100, max_wait=5),
            degrade=[StaleResponse(max_age=300)],
        )
        return _preset(policy, parts)

    @classmethod
    def llm(cls, **parts: Unpack[_Parts]) -> Policy:
        """For paid LLM APIs: POST is repeatable, under one automatic Idempotency-Key per call; answers may take long.

        A stream is held until its first content: one that fails before, with an error event or silence, is repeated.
        Refusals are answered (503, `x-should-retry: false`), since the vendors' SDKs retry every exception. The
        keywords are `Policy`'s.
        """
        policy = cls(
            timeouts=Timeouts(attempt=None, first_byte=600, first_content=60, idle=60),
            retry=Retry(methods=IDEMPOTENT_METHODS | {"POST"}, idempotency_key="auto"),
            inspect_streams=True,
            rejections="respond",
        )
        return _preset(policy, parts)

    def over(self, base: Policy) -> Policy:
        """This policy, with `base`'s parts where one is left out."""
        return _merge(self, base, Policy)

    def describe(self) -> str:
        """Every effective value in words, the worst cases, and where parts contradict each other."""
        from seawall._describe import describe

        return describe(self)


class EffectivePolicy(Policy):
    """What `policy_for` gives: a policy with nothing left out, its fields typed without the marker for that.

    Read `policy.retry.max_retries` after `if policy.retry is not None`. Only the clocks of `timeouts` may still be
    unset: each client fills those in for itself.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        timeouts: Timeouts | None
        retry: Retry | None
        budget: Budget | None
        breaker: Breaker | None
        bulkhead: Bulkhead | None
        degrade: tuple[Step, ...]
        degrade_after: float | None
        stream: bool
        inspect_streams: bool | Inspect
        rejections: Literal["raise", "respond"]
        mode: Literal["enforce", "off"]
        classify: Callable[[Outcome, Any], Verdict | None] | None
        group: str | None


def _steps(given: Any) -> tuple[Step, ...]:
    if given is None:
        return ()
    if not isinstance(given, list | tuple):
        raise TypeError(f"Policy: degrade={given!r}: give a list of steps, such as [StaleResponse(), …]")
    steps: list[Any] = list(given)  # pyright: ignore[reportUnknownArgumentType]
    for step in steps:
        if isinstance(step, type) or not (hasattr(step, "answer") and hasattr(step, "could_answer")):
            raise TypeError(f"Policy: degrade has {step!r}: give steps, such as StaleResponse(…)")
    return tuple(steps)


_PARTS: Final[dict[str, tuple[type, ...]]] = {
    "timeouts": (Timeouts,),
    "retry": (Retry,),
    "budget": (RetryBudget, TokenBudget, AdaptiveBudget),
    "breaker": (Breaker,),
    "bulkhead": (Bulkhead,),
}

DEFAULTS: Final = Policy(
    timeouts=Timeouts(),
    retry=Retry(),
    budget=RetryBudget(),
    breaker=Breaker(),
    bulkhead=Bulkhead(),
    degrade=(),
    degrade_after=None,
    stream=False,
    inspect_streams=False,
    rejections="raise",
    mode="enforce",
    classify=None,
    group=None,
)
"""What holds where nobody says otherwise; measured (docs/defaults.md)."""


class Override(ScopeBlock):
    """Made by `override()`: a `with` block, or the value of httpx's `extensions={"resilience": …}`."""

    __slots__ = ("policy",)

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def _scope(self, outer: Scope | None) -> Scope:
        scope = Scope(outer)
        scope.override = self.policy if scope.override is None else self.policy.over(scope.override)
        return scope

    def __repr__(self) -> str:
        given = [
            f"{f.name}={v!r}"
            for f in fields(self.policy)
            if f.init and (v := getattr(self.policy, f.name)) is not UNSET
        ]
        return f"override({', '.join(given)})"


def override(**parts: Unpack[_Parts]) -> Override:
    """Change the policy for the calls inside: `with seawall.override(retry=None): …`.

    Takes `Policy`'s keywords and merges by the same rule. Budget, breaker and bulkhead belong to the host and can only
    be switched off (None). Immutable and free of state: any number of threads and tasks may share one.
    """
    policy = Policy(**parts)
    for name in STATE_PARTS:
        if getattr(policy, name):
            raise ValueError(
                f"override: {name} belongs to the host, shared by all its calls: configure it on the Resilience; here "
                f"it can only be switched off with {name}=None"
            )
    if policy.group:
        raise ValueError("override: group chooses the state of a host: configure it on the Resilience")
    return Override(policy)


def complete(policy: Policy) -> EffectivePolicy:
    """`policy`, with the defaults where something is left out."""
    return _merge(policy, DEFAULTS, EffectivePolicy)


def _merge(policy: Policy, base: Policy, kind: type[P]) -> P:
    parts: dict[str, Any] = {}
    for f in fields(policy):
        if f.init:
            value = getattr(policy, f.name)
            inherited = getattr(base, f.name)
            if f.name == "timeouts" and isinstance(value, Timeouts) and isinstance(inherited, Timeouts):
                value = value.over(inherited)
            parts[f.name] = inherited if value is UNSET else value
    merged = kind(**parts)
    object.__setattr__(merged, "is_preset", policy.is_preset or base.is_preset)
    return merged


def _preset(policy: Policy, parts: _Parts) -> Policy:
    object.__setattr__(policy, "is_preset", True)
    return Policy(**parts).over(policy)


if TYPE_CHECKING:
    from typing import TypedDict

    class _Parts(TypedDict, total=False):
        timeouts: Timeouts | None
        retry: Retry | None
        budget: Budget | None
        breaker: Breaker | None
        bulkhead: Bulkhead | None
        degrade: Sequence[Step] | None
        degrade_after: float | timedelta | None
        stream: bool
        inspect_streams: bool | Inspect
        rejections: Literal["raise", "respond"]
        mode: Literal["enforce", "off"]
        classify: Callable[[Outcome, Any], Verdict | None] | None
        group: str | None
