"""Effective: a policy as a call works with it: nothing left out, and worked out once what every call would ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from seawall.policies.timeouts import Limits, Timeouts
from seawall.policy import complete

if TYPE_CHECKING:
    from seawall.policy import Policy

_NO_CLOCKS: Final = Timeouts(**dict.fromkeys(Timeouts.__slots__))


class Effective:
    """A policy with nothing left out: what a call works with."""

    __slots__ = (
        "_latest",
        "_limits",
        "_under",
        "adds_key",
        "breaker",
        "budget",
        "bulkhead",
        "classify",
        "degrade",
        "degrade_after",
        "group",
        "inspect_streams",
        "is_off",
        "is_plain",
        "keeps_of_body",
        "pattern",
        "policy",
        "rejections",
        "retry",
        "stream",
        "timeouts",
        "trusts_headers",
    )

    def __init__(self, policy: Policy, pattern: str = "all://") -> None:
        self.pattern = pattern
        """The most specific pattern, or the provider name, that it was found by."""
        self.policy = full = complete(policy)
        self.timeouts: Timeouts = full.timeouts or _NO_CLOCKS
        self.retry = full.retry
        self.budget = full.budget
        self.breaker = full.breaker
        self.bulkhead = full.bulkhead
        self.degrade = full.degrade
        self.degrade_after = full.degrade_after
        self.stream = full.stream
        self.inspect_streams = full.inspect_streams
        self.rejections = full.rejections
        self.classify = full.classify
        self.trusts_headers = self.classify is None and self.inspect_streams is False
        """An answer below 400 is good, nobody has to be asked."""
        self.group = full.group
        self.is_off: bool = full.mode == "off"
        self.is_plain = not self.is_off and not isinstance(self.timeouts.total, float)
        """Nothing of it has to be looked at before the call begins."""
        self.adds_key: bool = self.retry is not None and self.retry.idempotency_key is not None
        self.keeps_of_body = self.retry.buffer_body if self.retry is not None and self.retry.max_retries else 0
        """Bytes to remember of a body that is read while it is sent, for another attempt."""
        self._under: dict[int, tuple[Policy, Effective]] = {}
        self._limits: dict[tuple[float | None, float | None], Limits] = {}
        self._latest: tuple[float | None, float | None, Limits] | None = None

    def under(self, changes: Policy) -> Effective:
        """This, with what an override changes."""
        known = self._under.get(id(changes))
        if known is None or known[0] is not changes:
            if len(self._under) >= 64:  # overrides made anew for each call
                self._under.clear()
            known = self._under[id(changes)] = (changes, Effective(changes.over(self.policy), self.pattern))
        return known[1]

    def limits(self, connect: float | None, read: float | None) -> Limits:
        """The clocks under a client with these limits of its own."""
        latest = self._latest
        if latest is not None and latest[0] == connect and latest[1] == read:
            return latest[2]
        known = self._limits.get((connect, read))
        if known is None:
            if len(self._limits) >= 64:  # a client that computes its timeouts
                self._limits.clear()
            known = self._limits[connect, read] = Limits(self.timeouts, connect, read)
        self._latest = connect, read, known
        return known
