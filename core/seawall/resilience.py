"""Resilience: what users hold. Policies by pattern, the registry of hosts, subscribers; it delegates and decides nothing.

One object serves any number of clients of all libraries, threads and event loops.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from seawall import _check, scope
from seawall._story import Call
from seawall.drivers.clock import SYSTEM_CLOCK, process_now
from seawall.events import Event, Hub
from seawall.outcome import reject_async
from seawall.pattern import Pattern, host_key, is_provider, normal_host
from seawall.policy import STATE_PARTS, Effective, Override, Policy
from seawall.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable

    from seawall.host import HostState
    from seawall.registry import Key
    from seawall.runtime import Clock
    from seawall.snapshot import HostSnapshot

Policies = Mapping[str, Policy] | Policy | None


class Route:
    """Where the calls to one origin go: found once per spelling of the origin, then a dictionary look-up."""

    __slots__ = ("origin", "policy", "specific", "state")

    def __init__(self, origin: tuple[str, str, int | None], state: HostState, policy: Effective) -> None:
        self.origin = origin
        self.state = state
        self.policy = policy
        self.specific: list[tuple[Pattern, HostState, Effective]] = []
        """Patterns with a method or path, most specific first."""


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
        self.key = key
        self.clock: Clock = SYSTEM_CLOCK if clock is None else clock
        self._own_time = clock is not None
        self.hub = Hub()
        self._registry = Registry(max_hosts, self.clock, self.hub)
        self.routes: dict[Hashable, Route] = {}
        """Origin, as a mount spells it → route. For mounts."""
        self.policies: dict[str, Policy] = {}
        self._patterns: list[Pattern] = []
        for pattern, policy in (policies or {}).items():
            self._add(pattern, policy)
        self._check_groups()

    # -- the way of a request ------------------------------------------------------------------------------------------

    def route(self, spelling: Hashable, scheme: str, host: str, port: int | None) -> Route:
        """The route of an origin not seen before in this spelling. For mounts."""
        origin = (scheme, normal_host(host), port)
        with self._registry.lock:
            effective = Effective(self._merged(origin, None))
            state = self._state_for(("host", host_key(*origin)), origin, effective)
            route = Route(origin, state, effective)
            for pattern in self._patterns:
                if not pattern.host_only and pattern.covers(*origin):
                    own = Effective(self._merged(origin, pattern))
                    where = self._state_for(("host", host_key(*origin)), origin, own)
                    route.specific.append((pattern, where, own))
            if not self._registry.is_overflow(state):  # a stranger today may have a place of its own tomorrow
                if len(self.routes) >= 4 * self.max_hosts:
                    self.routes.clear()
                self.routes[spelling] = route
                state.route_keys.append(spelling)
            return route

    def call(self, route: Route, request: Any, override: Any = None) -> Call | None:
        """A new call, as the surroundings want it; None: send it as if nothing were mounted. For mounts."""
        state, policy = route.state, route.policy
        if route.specific or self.key is not None:
            state, policy = self._choose(route, request)
        return self.begin(state, policy, request, override)

    def begin(self, state: HostState, policy: Effective, request: Any, override: Any = None) -> Call | None:
        """A new call of that host, under what the surroundings want."""
        now = self.clock.monotonic()
        around = scope.current()
        if around is None and override is None:
            if policy.is_off:
                return None
            total = policy.timeouts.total
            return Call(state, policy, request, now, now + total if total.__class__ is float else None)  # type: ignore[operator]
        return self._surrounded(state, policy, request, now, around, override)

    def _surrounded(
        self, state: HostState, policy: Effective, request: Any, now: float, around: scope.Scope | None, override: Any
    ) -> Call | None:
        changes: Policy | None = None if around is None else around.override
        if isinstance(override, Override):
            changes = override.policy if changes is None else override.policy.over(changes)
        elif override is not None:
            raise TypeError(f'extensions["resilience"]={override!r}: give seawall.override(...)')
        if changes is not None:
            policy = Effective(changes.over(policy.policy))
        if policy.is_off or (around is not None and around.off):
            return None
        total = policy.timeouts.total
        deadline = now + total if isinstance(total, float) else None
        if around is not None and around.deadline is not None:
            there = around.deadline if not self._own_time else now + (around.deadline - process_now())
            deadline = scope.earliest(deadline, there)
        call = Call(state, policy, request, now, deadline)
        if changes is not None:
            call.exempt = frozenset(part for part in STATE_PARTS if getattr(changes, part) is None)
        if around is not None and around.inside is self:
            call.nested = True
        return call

    def _choose(self, route: Route, request: Any) -> tuple[HostState, Effective]:
        url = str(request.url)
        state, policy = route.state, route.policy
        if self.key is not None:
            try:
                name = self.key(request.method, url)
                if not isinstance(name, str):
                    raise TypeError
                state = self._state_for(("key", name), route.origin, policy)
            except Exception as error:
                self.hub.complain(self.key, error)
        from urllib.parse import urlsplit

        path = urlsplit(url).path
        for pattern, where, own in route.specific:
            if pattern.matches(request.method, path):
                return (where if own.group is not None or self.key is None else state), own
        return state, policy

    # -- without HTTP --------------------------------------------------------------------------------------------------

    def execute(self, provider: str, operation: Callable[..., Any], *args: Any) -> Any:
        """Run `operation(*args)` as a call of `provider`: breaker, bulkhead, retries and deadline as for a request.

        Every operation counts as repeatable and any `Exception` is a failure, unless `classify` says otherwise (own
        refusals and 4xx of clients used inside are recognised). Clients mounted on this Resilience and used inside do
        not retry again. A sync operation cannot be interrupted: the deadline is lowered for what it calls.

        Raises CircuitOpen, BulkheadFull, RateLimited, DeadlineExceeded if we refuse; NonRetryable, MaxRetriesExceeded,
        RetryBudgetExhausted if it failed, with `last_error` and `__cause__`. Thread-safe.
        """
        from seawall.execution import execute

        return execute(self, provider, operation, args)

    async def aexecute(self, provider: str, operation: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """`execute` for an async operation, under asyncio or trio."""
        from seawall.execution import aexecute

        return await aexecute(self, provider, operation, args)

    def execute_with_fallback(
        self, primary: str, operation: Callable[[], Any], secondary: str, fallback: Callable[[], Any]
    ) -> Any:
        """`execute`, and if the primary's host failed or we refused, the fallback as a call of `secondary`.

        An error that is the caller's (a 400, say) is raised at once. The primary leaves the fallback up to half of the
        time an outer deadline allows. Raises AllProvidersFailed (`primary`, `fallback`, `errors`) if both fail.
        """
        from seawall.execution import execute_with_fallback

        return execute_with_fallback(self, primary, operation, secondary, fallback)

    async def aexecute_with_fallback(
        self, primary: str, operation: Callable[[], Awaitable[Any]], secondary: str, fallback: Callable[[], Awaitable[Any]]
    ) -> Any:
        """`execute_with_fallback` for async operations."""
        from seawall.execution import aexecute_with_fallback

        return await aexecute_with_fallback(self, primary, operation, secondary, fallback)

    def provider(self, name: str) -> tuple[HostState, Effective]:
        """State and policy of a provider name. For `execute`."""
        if not isinstance(name, str) or not is_provider(name):
            raise ValueError(f"provider {name!r}: give a name without '://'; hosts are named by mounting a client")
        with self._registry.lock:
            effective = Effective(self._provider_policy(name))
            group = effective.group
            key = ("provider", name) if group is None else ("group", group)
            return self._registry.get_or_create(key, lambda: effective, self._forget), effective

    # -- configuration -------------------------------------------------------------------------------------------------

    def configure(self, pattern: str, policy: Policy, *, keep_state: bool = True) -> None:
        """Set the policy of a pattern while running.

        Attempts in flight keep theirs; phases take new figures at their next settle; a lowered limit drains. With
        `keep_state=False` the hosts concerned start afresh.
        """
        with self._registry.lock:
            before, patterns = dict(self.policies), list(self._patterns)
            try:
                self._add(pattern, policy)
                self._check_groups()
            except (TypeError, ValueError):
                self.policies, self._patterns = before, patterns
                raise
            self.routes.clear()
            for key, state in self._registry.items():
                state.route_keys.clear()
                effective = self._policy_of(key)
                if effective is not None:
                    state.configure(effective)
                    if not keep_state and self._concerns(pattern, key):
                        state.reset()

    def policy_for(self, method: str, url: str) -> Policy:
        """The policy in force for such a request, nothing left out."""
        parts = Pattern(url.partition("?")[0].partition("#")[0])
        found: Pattern | None = None
        origin = (parts.scheme, parts.host, parts.port)
        for pattern in self._patterns:
            if not pattern.host_only and pattern.covers(*origin) and pattern.matches(method.upper(), parts.path):
                found = pattern
                break
        return Effective(self._merged(origin, found)).policy

    def subscribe(self, listener: Callable[[Event], object], kinds: Iterable[type[Event]] | None = None) -> Callable[[], None]:
        """Call `listener(event)` for each event (of these kinds); returns what ends the subscription.

        Listeners run outside locks, in the thread or task that caused the event, and must be quick plain functions.
        """
        reject_async(listener, "subscribe: listener")
        return self.hub.subscribe(listener, kinds)

    # -- state ---------------------------------------------------------------------------------------------------------

    def snapshot(self, host: str) -> HostSnapshot | None:
        """The state of a host (scheme://host:port, any spelling), group or provider; None if it is not known."""
        state = self._find(host)
        return None if state is None else state.snapshot()

    def snapshots(self) -> list[HostSnapshot]:
        """The state of every host, group and provider known."""
        return [state.snapshot() for state in self._registry.everybody()]

    def reset(self, host: str) -> bool:
        """Forget what is held against a host: phase, window, streaks, budget, gate; not totals. False: not known."""
        return self._each(host, "reset")

    def reset_all(self) -> None:
        """`reset` for every host."""
        for state in self._registry.everybody():
            state.reset()

    def remove(self, host: str) -> bool:
        """Drop a host's state altogether; attempts in flight end in the old one. False: not known."""
        with self._registry.lock:
            for key in _keys(host):
                state = self._registry.pop(key)
                if state is not None:
                    self._forget(state)
                    return True
        return False

    def isolate(self, host: str) -> None:
        """Hold a host's circuit open until `restore(host)`."""
        self._known(host).isolate()

    def restore(self, host: str) -> None:
        """End an isolation: the circuit closes, with an empty window."""
        self._known(host).restore()

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
            "max_hosts": self.max_hosts, "key": self.key, "hard_deadlines": self.hard_deadlines, "name": self.name,
            "clock": self.clock if self._own_time else None,
        }
        return _rebuild, (dict(self.policies), options)

    # -- privately -----------------------------------------------------------------------------------------------------

    def _add(self, text: str, policy: Policy) -> None:
        if not isinstance(text, str):
            raise TypeError(f"pattern {text!r}: give a string such as 'https://api.example.com'")
        if not isinstance(policy, Policy):
            raise TypeError(f"pattern {text!r}: policy {policy!r}: give a Policy(…)")
        if not is_provider(text):
            pattern = Pattern(text)
            if not pattern.host_only and not policy.group:
                for part in STATE_PARTS:
                    if getattr(policy, part) is not _check.UNSET:
                        raise ValueError(
                            f"pattern {text!r}: {part} belongs to the state of the whole host: set it on a pattern without "
                            "method and path, or give this one a group of its own"
                        )
            self._patterns = [known for known in self._patterns if known.text != text]
            self._patterns.append(pattern)
            self._patterns.sort(key=lambda known: known.rank, reverse=True)
        self.policies[text] = policy

    def _merged(self, origin: tuple[str, str, int | None], specific: Pattern | None) -> Policy:
        """What the patterns of an origin add up to; `specific`: a pattern with method or path that matches too."""
        policy = Policy()
        for pattern in self._patterns:
            if pattern.covers(*origin) and (pattern.host_only or pattern is specific or _wider(pattern, specific)):
                policy = policy.over(self.policies[pattern.text])
        return policy

    def _provider_policy(self, name: str) -> Policy:
        policy = self.policies.get(name, Policy())
        return policy.over(self.policies["all://"]) if "all://" in self.policies else policy

    def _policy_of(self, key: Key) -> Effective | None:
        kind, name = key
        if kind == "provider":
            return Effective(self._provider_policy(name))
        if kind == "host":
            parts = Pattern(name)
            return Effective(self._merged((parts.scheme, parts.host, parts.port), None))
        if kind == "group":
            for pattern in self._patterns:
                if self.policies[pattern.text].group == name:
                    return Effective(self._of_pattern(pattern))
            for provider, policy in self.policies.items():
                if policy.group == name:
                    return Effective(self._provider_policy(provider))
        return None

    def _of_pattern(self, pattern: Pattern) -> Policy:
        """What the hosts of a pattern get: itself over every wider pattern."""
        policy = Policy()
        for other in self._patterns:
            if other is pattern or other.contains(pattern):
                policy = policy.over(self.policies[other.text])
        return policy

    def _check_groups(self) -> None:
        groups: dict[str, tuple[str, Effective]] = {}
        for pattern in self._patterns:
            group = self.policies[pattern.text].group
            if not group:
                continue
            effective = Effective(self._of_pattern(pattern))
            first, known = groups.setdefault(group, (pattern.text, effective))
            for part in STATE_PARTS:
                if getattr(known, part) != getattr(effective, part):
                    raise ValueError(
                        f"group {group!r}: {first!r} and {pattern.text!r} have different {part}: a group has one state, "
                        "give both the same"
                    )

    def _state_for(self, key: Key, origin: tuple[str, str, int | None], effective: Effective) -> HostState:
        if effective.group is not None and key[0] == "host":
            key = ("group", effective.group)
        return self._registry.get_or_create(key, lambda: effective, self._forget)

    def _forget(self, state: HostState) -> None:
        for spelling in state.route_keys:
            route = self.routes.get(spelling)
            if route is not None and route.state is state:
                del self.routes[spelling]
        state.route_keys.clear()

    def _concerns(self, text: str, key: Key) -> bool:
        if is_provider(text):
            return key == ("provider", text)
        if key[0] != "host":
            return True
        parts = Pattern(key[1])
        return Pattern(text).covers(parts.scheme, parts.host, parts.port)

    def _find(self, host: str) -> HostState | None:
        for key in _keys(host):
            state = self._registry.get(key)
            if state is not None:
                return state
        return None

    def _known(self, host: str) -> HostState:
        """The state of a host, made if need be: one may isolate a host before its first call."""
        state = self._find(host)
        if state is not None:
            return state
        if is_provider(host):
            return self.provider(host)[0]
        parts = Pattern(host)
        return self.route((parts.scheme, parts.host, parts.port, "by name"), parts.scheme, parts.host, parts.port).state

    def _each(self, host: str, method: str) -> bool:
        state = self._find(host)
        if state is None:
            return False
        getattr(state, method)()
        return True

    def _shut(self) -> None:
        with self._registry.lock:
            self._registry.is_closed = True
        for state in self._registry.everybody():
            state.shut()

    def _is_idle(self) -> bool:
        return all(state.in_flight == 0 for state in self._registry.everybody())


def _wider(pattern: Pattern, specific: Pattern | None) -> bool:
    """A less specific pattern with method or path that holds wherever `specific` does."""
    return specific is not None and pattern.rank < specific.rank and pattern.contains(specific)


def _keys(host: str) -> list[Key]:
    if is_provider(host):
        return [("provider", host), ("group", host), ("key", host)]
    parts = Pattern(host)
    return [("host", host_key(parts.scheme, parts.host, parts.port)), ("key", host)]


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


_default: Resilience | None = None


def default() -> Resilience:
    """The Resilience of this process: what clients mounted without one share, so that short-lived ones learn together."""
    global _default
    if _default is None:
        _default = Resilience(name="default")
    return _default
