"""What we raise when no server said anything.

ResilienceError
├── CircuitOpen               the breaker holds calls back (`opened_at`)
│   └── HalfOpenLimit         it is trying a few probes, and all are out (`max_requests`)
├── BulkheadFull              no free permit within `max_wait`
├── BulkheadClosed            `Resilience.close()` was called
├── RateLimited               the server asked everybody to wait longer than this call may
├── DeadlineExceeded          a clock of ours ran out (`scope`, `duration`)
├── RetryBudgetExhausted      } the call failed and these say why nothing more was tried
├── MaxRetriesExceeded        } (`last_error`, `response`): raised by `execute`, or with
├── NonRetryable              } `Retry(on_exhausted="raise")`
├── AllProvidersFailed        primary and fallback failed (`primary`, `fallback`, `errors`)
├── ServiceDegraded           the call failed, and this is what else there is (`alternatives`)
└── Queued                    the request is kept and will be sent later (`receipt`)

Under a mount each is also a class of the client's own tree (httpx: TransportError,
TimeoutException; requests: RequestException, Timeout), so both `except` clauses
work. `__cause__` is the last real error. Messages are made when read and never
hold a query, header or body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from seawall.outcome import Reason

if TYPE_CHECKING:
    from seawall._story import Call, Report
    from seawall.outcome import Rejection
    from seawall.stores.items import Receipt


T = TypeVar("T")


class _Fact:
    """An attribute worked out when somebody looks: in an outage thousands of refusals are raised, few are read."""

    def __init__(self, default: Any) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, error: ResilienceError | None, owner: type | None = None) -> Any:
        return self._default if error is None else error.tell().get(self._name, self._default)


def _fact(default: T) -> T:
    return _Fact(default)  # type: ignore[return-value]


class ResilienceError(Exception):
    """Something of ours refused or gave up. Attributes first, text second; pickles without request and response."""

    host: str = _fact("")
    """Whose policy it was: scheme://host:port, a group, or a provider name."""
    policy: str = _fact("")
    """Which part: "breaker", "bulkhead", "gate", "timeouts", "retry", "budget", "degrade"."""
    reason: str = _fact("")
    retry_after: float | None = _fact(None)
    """Seconds until it is worth trying again; None: unknown."""
    attempts: int = _fact(0)
    """Attempts that were sent before."""
    elapsed: float = _fact(0.0)
    """Seconds since the call began."""
    request: Any = _fact(None)
    """The library's request, if there is one."""
    response: Any = _fact(None)
    """The last answer, if the call ended on one we did not return."""
    report: Report | None = _fact(None)
    untold: tuple[Call, Rejection, float] | None = None
    """What its facts are worked out from, until somebody looks. Private."""

    def __init__(self, *args: object, **facts: Any) -> None:
        Exception.__init__(self, *args)
        self.__dict__.update(facts)

    def tell(self) -> dict[str, Any]:
        """All its facts. Private."""
        facts = self.__dict__
        untold = facts.get("untold")
        if untold is not None:
            for name, value in _facts(*untold).items():
                facts.setdefault(name, value)  # a client may have set its own request
            facts.pop("untold", None)
        return facts

    def __str__(self) -> str:
        parts = [f"{self.host}: {self.reason} ({self.policy})"]
        if self.attempts:
            parts.append(f"after {self.attempts} attempt{'s' * (self.attempts > 1)} in {self.elapsed:.3g} s")
        if self.retry_after is not None:
            parts.append(f"try again in {self.retry_after:.3g} s")
        return ", ".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {k: _portable(v) for k, v in self.tell().items() if k not in _LEFT_BEHIND and not k.startswith("_")}
        return _restore, (type(self), facts)


class CircuitOpen(ResilienceError):
    """The host's circuit is open: it kept failing, and nothing is sent until it is tried again."""

    opened_at: float | None = _fact(None)
    """When it opened: seconds since the epoch."""


class HalfOpenLimit(CircuitOpen):
    """The circuit is half-open and all its probes are out."""

    max_requests: int = _fact(0)


class BulkheadFull(ResilienceError):
    """As many attempts run at this host as may, and none ended in time."""

    max_wait: float = _fact(0.0)
    """Seconds that were allowed for waiting."""


class BulkheadClosed(ResilienceError):
    """The Resilience was closed."""


class RateLimited(ResilienceError):
    """The server asked for a pause that outlasts this call."""


class DeadlineExceeded(ResilienceError):
    """A clock of ours ran out."""

    scope: str = _fact("total")
    """Which, by its name in `Timeouts`; "total" for a deadline from around, too."""
    duration: float | None = _fact(None)
    """Its length in seconds; None if it was inherited as an instant."""


class RetryBudgetExhausted(ResilienceError):
    """The call failed, and the host's budget had no token for another attempt."""

    last_error: BaseException | None = _fact(None)


class MaxRetriesExceeded(ResilienceError):
    """The call failed as often as it may, or no time was left for another attempt."""

    last_error: BaseException | None = _fact(None)


class NonRetryable(ResilienceError):
    """The call failed in a way that is not repeated."""

    last_error: BaseException | None = _fact(None)


class AllProvidersFailed(ResilienceError):
    """The primary failed, and so did every fallback."""

    primary: BaseException | None = _fact(None)
    fallback: BaseException | None = _fact(None)
    """The last one's error."""
    errors: tuple[BaseException, ...] = _fact(())

    def __str__(self) -> str:
        """What became of each, in order; an exception that is none of ours by its class: its text may be private."""
        ends = (str(e) if isinstance(e, ResilienceError) else type(e).__qualname__ for e in self.errors)
        return f"{super().__str__()}: {'; '.join(ends)}"


class ServiceDegraded(ResilienceError):
    """The call failed, and the policy names alternatives."""

    alternatives: tuple[Any, ...] = _fact(())


class Queued(ResilienceError):
    """The call failed; the request is kept and will be sent when the host is well again."""

    receipt: Receipt | None = _fact(None)
    """Tells what became of it: `receipt.state`, `receipt.result()`, `receipt.wait(timeout)`."""


_LEFT_BEHIND = frozenset({"request", "response"})

BY_REASON: dict[Reason, tuple[type[ResilienceError], str]] = {
    Reason.CIRCUIT_OPEN: (CircuitOpen, "breaker"),
    Reason.ISOLATED: (CircuitOpen, "breaker"),
    Reason.HALF_OPEN_LIMIT: (HalfOpenLimit, "breaker"),
    Reason.BULKHEAD_FULL: (BulkheadFull, "bulkhead"),
    Reason.BULKHEAD_TIMEOUT: (BulkheadFull, "bulkhead"),
    Reason.CLOSED: (BulkheadClosed, "bulkhead"),
    Reason.GATE: (RateLimited, "gate"),
    Reason.DEADLINE: (DeadlineExceeded, "timeouts"),
    Reason.ATTEMPTS: (MaxRetriesExceeded, "retry"),
    Reason.BUDGET: (RetryBudgetExhausted, "budget"),
    Reason.NOT_RETRYABLE: (NonRetryable, "retry"),
    Reason.DEGRADED: (ServiceDegraded, "degrade"),
    Reason.QUEUED: (Queued, "degrade"),
    Reason.ALL_FAILED: (AllProvidersFailed, "degrade"),
}


def dress(
    call: Call, rejection: Rejection, leaves: dict[type[ResilienceError], type[ResilienceError]] | None = None
) -> ResilienceError:
    """The exception of a rejected call, with story and cause; in the library's own tree if its `leaves` are given."""
    kind = BY_REASON[rejection.reason][0]
    if leaves is not None:
        kind = leaves[kind]
    error = kind.__new__(kind)  # `__init__` has nothing to add
    error.untold = call, rejection, call.state.now()
    if rejection.cause is not None:
        error.__cause__ = rejection.cause
    return error


def _facts(call: Call, rejection: Rejection, now: float) -> dict[str, Any]:
    """What the error of a rejected call says."""
    kind, policy = BY_REASON[rejection.reason]
    facts: dict[str, Any] = {}
    facts["host"] = rejection.host
    facts["policy"] = policy
    facts["reason"] = rejection.reason.value
    facts["retry_after"] = rejection.wait(now)
    facts["attempts"] = len(call.attempts)
    facts["elapsed"] = now - call.started
    facts["request"] = call.request
    facts["report"] = call
    if policy == "breaker":
        facts["opened_at"] = rejection.since
        if kind is HalfOpenLimit:
            facts["max_requests"] = rejection.limit
    elif kind is BulkheadFull:
        facts["max_wait"] = rejection.limit
    elif kind is DeadlineExceeded:
        facts["scope"] = rejection.scope
        facts["duration"] = rejection.limit
        length = "" if rejection.limit is None else f" of {rejection.limit:.3g} s"
        is_around = rejection.scope == "total" and rejection.limit is None
        facts["reason"] = "the deadline around the call" if is_around else f"{rejection.scope} timeout{length}"
    elif policy in ("retry", "budget"):
        facts["last_error"] = rejection.cause
        facts["response"] = rejection.response
    if rejection.facts is not None:
        facts.update(rejection.facts)
    return facts


def to_raise(
    call: Call, rejection: Rejection, leaves: dict[type[ResilienceError], type[ResilienceError]] | None = None
) -> ResilienceError:
    """`dress`, at the end of the call: to be raised as it is, and by no name.

    A frame that holds what passes through it makes a circle, which waits for the collector with all that the frames of
    the client hold. So the rejection, which such frames hold, lets go of the cause.
    """
    error = dress(call, rejection, leaves)
    if rejection.cause is not None:
        error.tell()
        rejection.cause = None
    return error


def _restore(kind: type[ResilienceError], facts: dict[str, Any]) -> ResilienceError:
    return kind(**facts)


def _portable(value: object) -> object:
    """An exception that survives pickling: itself, or a plain one with its name (httpx's status errors do not)."""
    if isinstance(value, tuple):
        return tuple(_portable(member) for member in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if not isinstance(value, BaseException):
        return value
    import pickle

    try:
        copy = pickle.loads(pickle.dumps(value))
        for name in _LEFT_BEHIND:  # they hold credentials, and the library's text the query
            if getattr(copy, f"_{name}", None) is not None:
                setattr(copy, f"_{name}", None)
            elif getattr(copy, name, None) is not None:
                setattr(copy, name, None)
    except Exception:
        return RuntimeError(type(value).__qualname__)
    return copy
