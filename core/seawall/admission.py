"""One attempt in flight: the object that holds its permits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from seawall.outcome import Verdict

if TYPE_CHECKING:
    from weakref import ref

    from seawall._story import Call
    from seawall.clocks import Watch
    from seawall.inspect_stream import Inspector
    from seawall.outcome import Outcome
    from seawall.policies.breaker import Phase


SUCCESS: Final = Verdict.SUCCESS  # an enum's member is looked up through its class


class Admission:
    """All permits of one attempt, and its verdict: settled exactly once, as success, failure, throttled or ignored.

    Made before anything is acquired, so that an interrupt at any point finds an owner. Mounts subclass it with the
    wrapper of the answer's body, whose end is the end of the attempt. What has a default here is set only when it
    differs.
    """

    phase: Phase | None = None
    """The breaker's phase it was let in by; None: an override switched the breaker off."""
    permit: ref[Admission] | None = None
    settled = False
    headers_at: float = 0.0
    """0: not yet."""
    outcome: Outcome | None = None
    """What the headers or the error said; None: an answer below 400."""
    status: int | None = None
    is_over = False
    """Nothing follows the headers (no body, or it was read before): the flow settles."""
    inspector: Inspector | None = None
    """Looks for errors among the pieces of the body; None: nobody asked for that."""
    watch: Watch | None = None
    """Its running clocks; None: no clock of ours, or the mount has none."""
    paid = False
    """An extra attempt, paid for from the retry budget."""
    overdue = False
    """Counted as a failure while still in flight."""
    slow = False
    """Counted as slow while still in flight."""

    def __init__(self, call: Call, number: int, now: float) -> None:
        self.call = call
        self.number = number
        self.started = now
        # The happy path reads these, and before Python 3.12 a class's default is slow to find.
        self.settled = self.is_over = self.paid = self.overdue = False
        self.outcome = self.watch = None

    def receive(self, response: Any) -> Any:
        """The answer that came, to be handed over: where it has a body, that is this attempt's from now on."""
        return response

    def finish(self) -> None:
        """The exchange ended as its headers promised."""
        if not self.settled:
            state, outcome = self.call.state, self.outcome
            state.settle(self, SUCCESS if outcome is None else outcome.verdict, state.now())

    def abandon(self) -> None:
        """Cancelled or dropped: everything goes back, and the host is neither praised nor blamed."""
        if not self.settled:
            state = self.call.state
            state.settle(self, Verdict.IGNORED, state.clock.monotonic())

    def broke(self, outcome: Outcome) -> None:
        """The body ended in an error: whatever the headers promised, that is the verdict."""
        if not self.settled:
            state, call = self.call.state, self.call
            self.outcome = outcome
            now = state.clock.monotonic()
            call.amend(now, outcome.kind, outcome.verdict)
            state.settle(self, outcome.verdict, now)
