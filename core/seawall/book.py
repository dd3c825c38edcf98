"""Policies by pattern: which ones hold for an origin, a provider or a group, and what they add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seawall._check import UNSET
from seawall.effective import Effective
from seawall.pattern import Pattern, check_provider, is_provider
from seawall.policy import STATE_PARTS, Policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from seawall.degrade.step import Step

Origin = tuple[str, str, int | None]
"""Scheme, normalised host, explicit port."""


class PolicyBook:
    """What a Resilience was configured with. Not changed once in use: `with_policy` makes another."""

    __slots__ = ("_known", "_patterns", "policies")

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        self.policies = dict(policies)
        """Pattern or provider name → policy, as given."""
        patterns = [pattern for text, policy in policies.items() if (pattern := _checked(text, policy)) is not None]
        self._patterns = sorted(patterns, key=lambda pattern: pattern.rank, reverse=True)
        self._known: dict[tuple[str, ...], Effective] = {}
        """Matching patterns → what they add up to: many hosts share a few."""
        self._check_groups()

    def with_policy(self, text: str, policy: Policy) -> PolicyBook:
        """This book with one pattern set anew. Raises like the constructor."""
        return PolicyBook({**self.policies, text: policy})

    def for_origin(self, origin: Origin, specific: Pattern | None = None) -> Effective:
        """What holds for an origin; `specific`: a pattern with method or path that matches too."""
        found = tuple(
            pattern.text
            for pattern in self._patterns
            if pattern.covers(*origin)
            and (pattern.host_only or pattern is specific or (specific is not None and pattern.contains(specific)))
        )
        effective = self._known.get(found)
        if effective is None:
            policy = Policy()
            for text in found:
                policy = policy.over(self.policies[text])
            effective = self._known[found] = Effective(policy, *found[:1])
        return effective

    def specific(self, origin: Origin) -> Iterator[Pattern]:
        """The patterns with a method or path that may match at this origin, most specific first."""
        return (pattern for pattern in self._patterns if not pattern.host_only and pattern.covers(*origin))

    def for_provider(self, name: str) -> Effective:
        """What holds for a provider name: its own entry over `all://`."""
        known = self._known.get((name,))
        if known is None:
            base = self.policies.get("all://", Policy())
            if isinstance(base.degrade, tuple):
                base = Policy(degrade=_for_operations(base.degrade)).over(base)
            known = Effective(self.policies.get(name, Policy()).over(base))
            if name in self.policies:  # others may be any number
                known.pattern = name
                self._known[name,] = known
        return known

    def for_group(self, name: str) -> Effective | None:
        """What holds for a group; None if no entry names it."""
        for pattern in self._patterns:
            if self.policies[pattern.text].group == name:
                return self._of_pattern(pattern)
        for text, policy in self.policies.items():
            if policy.group == name:
                return self.for_provider(text)
        return None

    def concerns(self, text: str, key: tuple[str, str], origin: Origin | None) -> bool:
        """Does the entry `text` have a say in the state of that name?"""
        kind, name = key
        if text == "all://":
            return True
        if kind == "group":
            members = [pattern for pattern in self._patterns if self.policies[pattern.text].group == name]
            if is_provider(text):
                return self.policies[text].group == name
            return any(member.text == text or Pattern(text).contains(member) for member in members)
        if kind == "provider" or is_provider(text):
            return kind == "provider" and name == text
        return origin is not None and Pattern(text).covers(*origin)

    def _of_pattern(self, pattern: Pattern) -> Effective:
        """What the hosts of a pattern get: itself over every wider one."""
        policy = Policy()
        for other in self._patterns:
            if other is pattern or other.contains(pattern):
                policy = policy.over(self.policies[other.text])
        return Effective(policy, pattern.text)

    def _check_groups(self) -> None:
        firsts: dict[str, tuple[str, Effective]] = {}
        for text, policy in self.policies.items():
            group = policy.group
            if not group:
                continue
            pattern = next((pattern for pattern in self._patterns if pattern.text == text), None)
            effective = self.for_provider(text) if pattern is None else self._of_pattern(pattern)
            first, known = firsts.setdefault(str(group), (text, effective))
            for part in STATE_PARTS:
                if getattr(known, part) != getattr(effective, part):
                    raise ValueError(
                        f"group {group!r}: {first!r} and {text!r} have different {part}: a group has one state, "
                        "give both the same"
                    )


def _checked(text: object, policy: object) -> Pattern | None:
    """The parsed pattern, or None for a provider name."""
    if not isinstance(text, str):
        raise TypeError(f"pattern {text!r}: give a string such as 'https://api.example.com'")
    if not isinstance(policy, Policy):
        raise TypeError(f"pattern {text!r}: policy {policy!r}: give a Policy(…)")
    if is_provider(text):
        check_provider(text)
        _check_operations(text, policy)
        return None
    pattern = Pattern(text)
    if not pattern.host_only and not policy.group:
        for part in STATE_PARTS:
            if getattr(policy, part) is not UNSET:
                raise ValueError(
                    f"pattern {text!r}: {part} belongs to the state of the whole host: set it on a pattern without "
                    "method and path, or give this one a group of its own"
                )
    return pattern


def _for_operations(steps: Sequence[Step]) -> list[Step]:
    """Of ways to degrade meant for requests, those that answer for an operation of `execute` too.

    Not `StaleResponse`: a key that names the caller of a request would stand for whatever that caller ran.
    """
    from seawall.degrade.fallback import FallbackProvider
    from seawall.degrade.queue import QueueForRetry
    from seawall.degrade.stale import StaleResponse

    return [step for step in steps if not isinstance(step, FallbackProvider | QueueForRetry | StaleResponse)]


def _check_operations(text: str, policy: Policy) -> None:
    if not isinstance(policy.degrade, tuple):
        return
    from seawall.degrade.queue import QueueForRetry

    if any(isinstance(step, QueueForRetry) for step in policy.degrade):
        raise ValueError(
            f"{text!r} is a provider of execute(): degrade has QueueForRetry, which keeps requests, and an operation "
            "is a function, which no file can hold: give it to the pattern of a host, or take it out"
        )
