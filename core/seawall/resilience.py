"""Resilience: what users hold. Policies by pattern, the registry of hosts, subscribers; it delegates, decides nothing.

One object serves any number of clients of all libraries, threads and event loops.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from seawall import _check, forks, scope
from seawall._story import Call
from seawall.drivers.clock import SYSTEM_CLOCK, process_now
from seawall.hub import Hub
from seawall.outcome import reject_async
from seawall.policy import STATE_PARTS, Override, Policy
from seawall.routing import Route, Routing
from seawall.scope import current

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from seawall.effective import Effective
    from seawall.events import Event
    from seawall.health.model import Health
    from seawall.host import HostState
    from seawall.policy import EffectivePolicy
    from seawall.runtime import Clock
    from seawall.snapshot import HostSnapshot

A = TypeVarTuple("A")
T = TypeVar("T")
U = TypeVar("U")

Policies = Mapping[str, Policy] | Policy | None


class Resilience:
    """Policies and state, shared by all clients mounted on it. Safe from any thread and task."""

    def __init__(
        self,
        policies: Policies = None,
        *,
        clock: Clock | None = None,
        max_hosts: int = 1024,
        key: Callable[[str, str], str] | None = None,
        hard_deadlines: bool = True,
        name: str | None = None,
    ) -> None:
        """
        policies: pattern → Policy, or one Policy for every host; left out: the defaults.
        clock: time and chance; left out: the system's.
        max_hosts: hosts with a state of their own (default 1,024); when full, only idle ones are forgotten.
        key: `key(method, url)` names the state a request belongs to, instead of its origin.
        hard_deadlines: False leaves every private attribute of the client libraries alone.
        name: shown in `repr`.

        Raises ValueError or TypeError for what cannot be meant, naming field, value and cure.
        """
        if isinstance(policies, Policy):
            policies = {"all://": policies}
        if policies is not None and not isinstance(policies, Mapping):
            raise TypeError(f"Resilience: policies={policies!r}: give a mapping from pattern to Policy, or one Policy")
        self.name = name
        self.max_hosts = max_hosts
        self.hard_deadlines = hard_deadlines
        _check.count(self, "max_hosts", 1)
        _check.flag(self, "hard_deadlines")
        reject_async(key, "Resilience: key")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"Resilience: name={name!r}: give a string")
        _check.clock(self, clock)
        self.key = key
        self.clock: Clock = SYSTEM_CLOCK if clock is None else clock
        self._now = self.clock.monotonic
        self._own_time = clock is not None
        self.hub = Hub()
        self._routing = Routing(policies or {}, key, max_hosts, self.clock, self.hub)
        self._registry = self._routing.registry
        forks.follow(self._registry)
        self.routes = self._routing.routes
        """Origin, as a mount spells it → route. For mounts."""
        self.route = self._routing.route
        """The route of an origin met for the first time in this spelling. For mounts."""

    @property
    def policies(self) -> Mapping[str, Policy]:
        """Pattern or provider name → policy, as configured."""
        return MappingProxyType(self._routing.book.policies)

    # -- the way of a request ------------------------------------------------------------------------------------------

    def call(self, route: Route, request: Any, override: Any = None) -> Call | None:
        """A new call, as the surroundings want it; None: send it as if nothing were mounted. For mounts."""
        state, policy = route.state, route.policy
        if route.specific or state is None:
            state, policy = self._routing.choose(route, request)
        if policy.is_plain and override is None and current() is None:
            return Call(state, policy, request, self._now(), None)
        return self.begin(state, policy, request, override)

    def begin(self, state: HostState, policy: Effective, request: Any, override: Any = None) -> Call | None:
        """A new call of that host, under what the surroundings want."""
        now, around = self.clock.monotonic(), scope.current()
        carrier: scope.Carrier | None = None
        if isinstance(override, scope.Carrier):
            carrier, override = override.onward(request), override.override
        changes: Policy | None = None if around is None else around.override
        if isinstance(override, Override):
            changes = override.policy if changes is None else override.policy.over(changes)
        elif override is not None:
            raise TypeError(f'extensions["resilience"]={override!r}: give seawall.override(...)')
        if changes is not None:
            policy = policy.under(changes)
        if policy.is_off or (around is not None and around.off):
            return None
        outer = None if carrier is None else carrier.outer
        if around is not None and around.deadline is not None:
            there = around.deadline if not self._own_time else now + (around.deadline - process_now())
            outer = scope.earliest(outer, there)
        total = policy.timeouts.total
        deadline = scope.earliest(outer, now + total if isinstance(total, float) else None)
        if carrier is not None:
            deadline = scope.earliest(deadline, carrier.deadline)
        call = Call(state, policy, request, now, deadline)
        if outer is not None:
            call.outer = outer
        if changes is not None:
            call.exempt = frozenset(part for part in STATE_PARTS if getattr(changes, part) is None)
        if around is not None and around.inside is self:
            call.nested = True
        return call

    # -- without HTTP --------------------------------------------------------------------------------------------------

    def execute(self, provider: str, operation: Callable[[*A], T], *args: *A) -> T:
        """Run `operation(*args)` as a call of `provider`: breaker, bulkhead, retries and deadline as for a request.

        Every operation counts as repeatable and any `Exception` is a failure, unless `classify` says otherwise (own
        refusals and 4xx of clients used inside are recognised). Clients mounted on this Resilience and used inside do
        not retry again. A sync operation cannot be interrupted: the deadline is lowered for what it calls.

        Raises CircuitOpen, BulkheadFull, RateLimited, DeadlineExceeded if we refuse; NonRetryable, MaxRetriesExceeded,
        RetryBudgetExhausted if it failed, with `last_error` and `__cause__`. Thread-safe.
        """
        from seawall.execution import execute

        return execute(self, provider, operation, args)

    async def aexecute(self, provider: str, operation: Callable[[*A], Awaitable[T]], *args: *A) -> T:
        """`execute` for an async operation, under asyncio or trio."""
        from seawall.execution import aexecute

        return await aexecute(self, provider, operation, args)

    def execute_with_fallback(
        self, primary: str, operation: Callable[[], T], secondary: str, fallback: Callable[[], U]
    ) -> T | U:
        """`execute`, and if the primary's host failed or we refused, the fallback as a call of `secondary`.

        An error that is the caller's (a 400, say) is raised at once. The primary leaves the fallback up to half of the
        time an outer deadline allows. Raises AllProvidersFailed (`primary`, `fallback`, `errors`) if both fail.
        """
        from seawall.execution import execute_with_fallback

        return execute_with_fallback(self, primary, operation, secondary, fallback)

    async def aexecute_with_fallback(
        self,
        primary: str,
        operation: Callable[[], Awaitable[T]],
        secondary: str,
        fallback: Callable[[], Awaitable[U]],
    ) -> T | U:
        """`execute_with_fallback` for async operations."""
        from seawall.execution import aexecute_with_fallback

        return await aexecute_with_fallback(self, primary, operation, secondary, fallback)

    def provider(self, name: str) -> tuple[HostState, Effective]:
        """State and policy of a provider name. For `execute`."""
        return self._routing.provider(name)

    # -- configuration -------------------------------------------------------------------------------------------------

    def configure(self, pattern: str, policy: Policy, *, keep_state: bool = True) -> None:
        """Set the policy of a pattern while running.

        Attempts in flight keep theirs; phases take new figures at their next settle; a lowered limit drains. With
        `keep_state=False` the hosts concerned start afresh.
        """
        self._routing.configure(pattern, policy, keep_state=keep_state)

    def policy_for(self, method: str, url: str) -> EffectivePolicy:
        """The policy in force for such a request, nothing left out: each part is there, or None if it is off.

        It is a `Policy` whose fields are typed without the marker of what is left out.
        """
        return self._routing.policy_for(method, url).policy

    def subscribe(
        self, listener: Callable[[Event], object], kinds: Iterable[type[Event]] | None = None
    ) -> Callable[[], None]:
        """Call `listener(event)` for each event (of these kinds); returns what ends the subscription.

        Listeners run outside locks, in the thread or task that caused the event, and must be quick plain functions; one
        that raises breaks nothing. Without AttemptStarted, AttemptEnded and CallEnded among its kinds, a listener makes
        calls that go well no dearer. Kinds are in `seawall.events`.

        Raises TypeError for what is no function, or no kind of event.
        """
        if not callable(listener):
            raise TypeError(f"subscribe: listener={listener!r}: give a plain function of one event")
        reject_async(listener, "subscribe: listener")
        return self.hub.subscribe(listener, kinds)

    # -- state ---------------------------------------------------------------------------------------------------------

    def snapshot(self, host: str) -> HostSnapshot | None:
        """The state of a host (scheme://host:port, any spelling), group or provider; None if it is not known."""
        found = self._routing.find(host)
        return None if found is None else found[1].snapshot()

    def snapshots(self) -> list[HostSnapshot]:
        """The state of every host, group and provider known."""
        return [state.snapshot() for state in self._registry.everybody()]

    def health(self) -> Health:
        """How all hosts are at this instant: status, figures, and what to look at. `seawall.health` serves it."""
        from seawall.health.rules import assess
        from seawall.health.subject import Subject

        subjects = [Subject(s.snapshot(), s.effective.policy, not s.opens) for s in self._registry.everybody()]
        return assess(subjects, timestamp=self.clock.wall(), name=self.name)

    def reset(self, host: str) -> bool:
        """Forget what is held against a host: phase, window, streaks, budget, gate; not totals. False: not known."""
        found = self._routing.find(host)
        if found is not None:
            found[1].reset()
        return found is not None

    def reset_all(self) -> None:
        """`reset` for every host."""
        for state in self._registry.everybody():
            state.reset()

    def remove(self, host: str) -> bool:
        """Drop a host's state altogether; attempts in flight end in the old one. False: not known."""
        return self._routing.remove(host)

    def isolate(self, host: str) -> None:
        """Hold a host's circuit open until `restore(host)`."""
        self._routing.known(host).isolate()

    def restore(self, host: str) -> None:
        """End an isolation: the circuit closes, with an empty window."""
        self._routing.known(host).restore()

    def __len__(self) -> int:
        """Hosts, groups and providers with a state of their own."""
        return len(self._registry)

    def __bool__(self) -> bool:
        return True

    # -- the end -------------------------------------------------------------------------------------------------------

    def close(self, timeout: float | None = 30.0) -> bool:
        """Refuse new calls (BulkheadClosed), wake waiters, wait up to `timeout` seconds for calls in flight.

        True if all ended. Bodies not read to their end count as in flight.
        """
        from seawall.drivers.threads import wait_until

        self._shut()
        return wait_until(self._is_idle, timeout)

    async def aclose(self, timeout: float | None = 30.0) -> bool:
        """`close` for asyncio and trio."""
        from seawall.drivers.aio import wait_until

        self._shut()
        return await wait_until(self._is_idle, timeout)

    def __repr__(self) -> str:
        return f"<Resilience{' ' + self.name if self.name else ''}: {len(self.policies)} patterns, {len(self)} hosts>"

    def __reduce__(self) -> tuple[Any, ...]:
        options = {
            "max_hosts": self.max_hosts,
            "key": self.key,
            "hard_deadlines": self.hard_deadlines,
            "name": self.name,
            "clock": self.clock if self._own_time else None,
        }
        return _rebuild, (dict(self._routing.book.policies), options)

    # -- privately -----------------------------------------------------------------------------------------------------

    def _shut(self) -> None:
        with self._registry.lock:
            self._registry.is_closed = True
        for state in self._registry.everybody():
            state.shut()

    def _is_idle(self) -> bool:
        return all(state.in_flight == 0 for state in self._registry.everybody())


def _rebuild(policies: dict[str, Policy], options: dict[str, Any]) -> Resilience:
    return Resilience(policies, **options)


def resolve(resilience: Resilience | Mapping[str, Policy] | Policy | None) -> Resilience:
    """What users may give as `resilience`, as a Resilience."""
    if resilience is None:
        return default()
    if isinstance(resilience, Resilience):
        return resilience
    if isinstance(resilience, Policy | Mapping):
        return Resilience(resilience)
    raise TypeError(
        f"resilience={resilience!r}: give a Resilience, a mapping from pattern to Policy, one Policy, or leave it out"
    )


_process: dict[str, Resilience] = {}


def default() -> Resilience:
    """The Resilience of this process: what clients mounted without one share: short-lived ones learn together."""
    known = _process.get("default")
    return _process.setdefault("default", Resilience(name="default")) if known is None else known  # one, also in a race


def replace_default(resilience: Resilience) -> None:
    """Make that the Resilience of this process. For tests."""
    _process["default"] = resilience
