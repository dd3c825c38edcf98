"""Which state and which policy a request meets: found once per origin, then a dictionary look-up.

It holds the book of policies and the registry of states, and keeps the two agreeing
when either changes.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from seawall.book import Origin, PolicyBook
from seawall.outcome import WrongValue
from seawall.pattern import Pattern, check_provider, host_key, is_provider, normal_host
from seawall.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from seawall.effective import Effective
    from seawall.host import HostState
    from seawall.hub import Hub
    from seawall.policy import Policy
    from seawall.registry import Key
    from seawall.runtime import Clock


_ALIKE: Final = 0.8
"""Likeness (0–1) from which one name may be another one misspelt."""


class Route:
    """Where the calls to one origin go."""

    __slots__ = ("origin", "policy", "specific", "state")

    def __init__(self, origin: Origin, state: HostState | None, policy: Effective) -> None:
        self.origin = origin
        self.state = state
        """None: `key=` names it, request by request."""
        self.policy = policy
        self.specific: tuple[tuple[Pattern, HostState | None, Effective], ...] = ()
        """Patterns with a method or path, most specific first."""


class Routing:
    """Safe from any thread."""

    __slots__ = ("_hub", "_key", "_max", "book", "registry", "routes")

    def __init__(
        self,
        policies: Mapping[str, Policy],
        key: Callable[[str, str], str] | None,
        max_hosts: int,
        clock: Clock,
        hub: Hub,
    ) -> None:
        self.book = PolicyBook(policies)
        self.registry = Registry(max_hosts, clock, hub)
        self.routes: dict[Hashable, Route] = {}
        """Origin, as a mount spells it → route."""
        self._key = key
        self._max = 4 * max_hosts
        self._hub = hub

    # -- the way of a request ------------------------------------------------------------------------------------------

    def route(self, spelling: Hashable, scheme: str, host: str, port: int | None) -> Route:
        """The route of an origin not seen before in this spelling."""
        origin = (scheme, normal_host(host), port)
        with self.registry.lock:
            effective = self.book.for_origin(origin)
            state = self._host(origin, effective) if self._key is None else None
            same: Any = spelling
            if origin == same:
                origin = same  # one tuple less to keep
            route = Route(origin, state, effective)
            for pattern in self.book.specific(origin):
                own = self.book.for_origin(origin, pattern)
                where = self._host(origin, own) if self._key is None or own.group is not None else None
                route.specific += ((pattern, where, own),)
            if state is None or not self.registry.is_overflow(state):  # a stranger today may have a place tomorrow
                if len(self.routes) >= self._max:
                    self._forget_routes()
                self.routes[spelling] = route
                for there, own in ((state, effective), *((where, own) for _, where, own in route.specific)):
                    if there is not None:
                        there.route_keys += (spelling,)
                        if self.registry.get(_key_of(origin, own)) is not there:  # a finaliser's call took its place
                            self.routes.pop(spelling, None)
            return route

    def choose(self, route: Route, request: Any) -> tuple[HostState, Effective]:
        """State and policy where the origin alone does not tell."""
        url = str(request.url)
        state, policy = route.state, route.policy
        path = urlsplit(url).path
        for pattern, where, own in route.specific:
            if pattern.matches(request.method, path):
                state, policy = where, own
                break
        if self._key is not None and policy.group is None:
            state = self._named(self._key, request.method, url, route.origin)
        if state is None:
            state = self.registry.get(_key_of(route.origin, policy))
        return self._host(route.origin) if state is None else state, policy

    def provider(self, name: str) -> tuple[HostState, Effective]:
        """State and policy of a provider name."""
        if not isinstance(name, str) or not is_provider(name):
            raise ValueError(f"provider {name!r}: give a name without '://'; hosts are named by mounting a client")
        check_provider(name)
        key, effective = self._provider(name)
        state = self.registry.get(key)
        if state is None:
            self._doubt(name)
            with self.registry.lock:  # as in `_host`
                key, effective = self._provider(name)
                state = self.registry.get_or_create(key, effective, self._forget)
        return state, effective

    # -- what operators do ---------------------------------------------------------------------------------------------

    def configure(self, pattern: str, policy: Policy, *, keep_state: bool) -> None:
        """Set one entry of the book, and tell the states it concerns."""
        with self.registry.lock:
            self.book = self.book.with_policy(pattern, policy)
            self._forget_routes()
            states = self.registry.items()
        for key, state in states:  # listeners may hear of it: not under the lock
            effective = self._policy_of(key, state.origin)
            if effective is not None:
                state.configure(effective)
            if not keep_state and self.book.concerns(pattern, key, state.origin):
                state.reset()

    def policy_for(self, method: str, url: str) -> Effective:
        """What holds for such a request."""
        origin = origin_of(url)
        path = urlsplit(url).path
        matching = (p for p in self.book.specific(origin) if p.matches(method.upper(), path))
        return self.book.for_origin(origin, next(matching, None))

    def find(self, host: str) -> tuple[Key, HostState] | None:
        """The state a user's word for a host means; None if it is not known."""
        exact = self.registry.get(("host", host))
        if exact is not None:
            return ("host", host), exact
        for key in self._keys(host):
            state = self.registry.get(key)
            if state is not None:
                return key, state
        return None

    def known(self, host: str) -> HostState:
        """The state of a host, made if need be: one may isolate a host before its first call."""
        found = self.find(host)
        if found is not None:
            return found[1]
        if is_provider(host):
            if "." in host:
                raise ValueError(f"{host!r} is no provider in use: a host is written with its scheme, https://{host}")
            return self.provider(host)[0]
        return self._host(origin_of(host), by_hand=True)

    def remove(self, host: str) -> bool:
        """Drop a host's state; False: not known."""
        with self.registry.lock:
            found = self.find(host)
            if found is None:
                return False
            self.registry.remove(found[0])
            self._forget_routes()
        found[1].reset()  # listeners hear that it is not open any more: not under the lock
        return True

    # -- privately -----------------------------------------------------------------------------------------------------

    def _provider(self, name: str) -> tuple[Key, Effective]:
        effective = self.book.for_provider(name)
        return ("provider", name) if effective.group is None else ("group", effective.group), effective

    def _doubt(self, name: str) -> None:
        """Warn, once per name, of one without a policy that looks like one with a policy: it may be misspelt."""
        policies = self.book.policies
        if name in policies or "all://" in policies:
            return
        from difflib import get_close_matches

        close = get_close_matches(name, filter(is_provider, policies), n=1, cutoff=_ALIKE)
        if close and self._hub.is_first(f"name {name}"):
            warnings.warn(
                f"seawall: provider {name!r} has no policy, so the defaults hold: did you mean {close[0]!r}? If not, "
                f"give {name!r} a policy, or all:// one for every name without",
                RuntimeWarning,
                stacklevel=7,  # the line that called execute
            )

    def _host(
        self, origin: Origin, policy: Effective | None = None, *, key: Key | None = None, by_hand: bool = False
    ) -> HostState:
        """The state of `key`, or where `policy` puts the origin; what holds for all of the origin if none is given.

        `configure` tells those that are there, by their origin: so none may be made by an older book, or lack it.
        """
        with self.registry.lock:
            effective = self.book.for_origin(origin) if policy is None else policy
            state = self.registry.get_or_create(
                key or _key_of(origin, effective), effective, self._forget, by_hand=by_hand
            )
            state.origin = state.origin or origin
        return state

    def _named(self, key: Callable[[str, str], str], method: str, url: str, origin: Origin) -> HostState | None:
        """The state the user's function names; None, and a complaint, if it does not name one."""
        try:
            name = key(method, url)
            if not isinstance(name, str) or not name:
                raise WrongValue("key must give a string")
        except Exception as error:
            self._hub.complain(key, error)
            return None
        state = self.registry.get(("key", name))
        return self._host(origin, key=("key", name)) if state is None else state

    def _policy_of(self, key: Key, origin: Origin | None) -> Effective | None:
        kind, name = key
        if kind == "provider":
            return self.book.for_provider(name)
        if kind == "group":
            return self.book.for_group(name)
        return None if origin is None else self.book.for_origin(origin)

    def _keys(self, host: str) -> list[Key]:
        if is_provider(host):
            return [("provider", host), ("group", host), ("key", host)]
        origin = origin_of(host)
        group = self.book.for_origin(origin).group
        shared: list[Key] = [] if group is None else [("group", group)]
        return [*shared, ("host", host_key(*origin)), ("key", host)]

    def _forget(self, state: HostState) -> None:
        for spelling in state.route_keys:
            self.routes.pop(spelling, None)
        state.route_keys = ()

    def _forget_routes(self) -> None:
        for state in self.registry.everybody():
            state.route_keys = ()
        self.routes.clear()  # last: a finaliser's call may make one meanwhile


def _key_of(origin: Origin, effective: Effective) -> Key:
    return ("host", host_key(*origin)) if effective.group is None else ("group", effective.group)


def origin_of(url: str) -> Origin:
    """Scheme, normalised host and port of a URL. Raises ValueError, which shows no password and no query."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except (ValueError, AttributeError):
        raise ValueError("that is no URL: give scheme://host:port") from None
    if not scheme.isalnum() or scheme == "all" or not host or "*" in host:
        shown = url.partition("?")[0].rpartition("@")[2]
        raise ValueError(f"{shown!r}: give one host, scheme://host:port, without method or wildcard")
    return scheme, normal_host(host), port
