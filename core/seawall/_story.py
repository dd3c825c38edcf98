"""The story of one call: the working record of the flow, and what users read as a `Report`.

One object serves both, so that a call which goes well pays for no second one: the
flow appends small tuples; text and views are made when somebody reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from seawall.outcome import Attempt, Ending, ErrorKind, Verdict

if TYPE_CHECKING:
    from seawall.effective import Effective
    from seawall.events import CallInfo
    from seawall.host import HostState


def ended_in(status: int | None, kind: ErrorKind | None) -> str:
    """What an attempt ended in, in words: in reports and logs the same."""
    what = str(status) if status is not None else "no answer"
    return what if kind is None else f"{what} ({kind.value})"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 0.001 or not seconds else "less than 1 ms"


Source = Literal["origin", "stale", "fallback", "simplified"]
Entry = tuple[int, str, float, float, float, "int | None", "ErrorKind | None", Verdict, "float | None"]


class Report:
    """What happened to one call. Read-only; pickles; `str()` tells it in a few lines. Seconds throughout."""

    ending: Ending | None = None
    """Why the call stopped; None while it runs."""
    reason: str = ""
    """What refused it, if we did."""
    served_from: Source = "origin"
    """Who answered; anything but "origin" is a degraded answer."""
    error: BaseException | None = None
    """Of a degraded answer: what the caller would have got instead. Not pickled."""
    deadline_precision: Literal["exact", "phase"] = "exact"
    """"exact": our clocks bounded every wait and every socket operation; "phase": in some attempt only each phase
    (connect, write, read), which a server can stretch by sending single bytes (docs/timeouts.md says when)."""

    def __init__(self, host: str, log: list[Entry], ending: Ending | None, facts: dict[str, Any]) -> None:
        self._host = host
        self.ending = ending
        self._log = log
        self.__dict__.update(facts)

    @property
    def host(self) -> str:
        """Whose policy it was: scheme://host:port, a group, or a provider name."""
        return self._host

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Each send that ended, in order."""
        return tuple(Attempt._make(entry) for entry in self._entries())

    def _entries(self) -> list[Entry]:
        return self._log

    @property
    def elapsed(self) -> float:
        """From the start of the call to the end of its last attempt."""
        last = self.attempts[-1:]
        return last[0].started + last[0].duration if last else 0.0

    @property
    def waited_in_vain(self) -> float:
        """Seconds waited after the last attempt (or from the start) for one that was then refused."""
        return float(self.__dict__.get("_waited_in_vain", 0.0))

    @property
    def budget_left(self) -> float:
        """Tokens of the host's retry budget."""
        return float(self.__dict__.get("_budget_left", 0.0))

    @property
    def time_left(self) -> float | None:
        """Seconds to the deadline when the last attempt ended; None without one."""
        return self.__dict__.get("_time_left")

    def __str__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        ending = self.ending.value if self.ending else "under way"
        lines = [f"{self.host}: {ending}{why}, {_seconds(self.elapsed + self.waited_in_vain)}"]
        if self.served_from != "origin":
            lines[0] += f", served from: {self.served_from}"
        for attempt in self.attempts:
            what = ended_in(attempt.status, attempt.kind)
            waited = f", after waiting {_seconds(attempt.wait)}" if attempt.wait >= 0.001 else ""
            where = "" if attempt.host == self.host else f" at {attempt.host}"
            took = _seconds(attempt.duration)
            lines.append(f"  attempt {attempt.number}{where}: {what} in {took}{waited}: {attempt.verdict.value}")
        if self.waited_in_vain >= 0.001:
            lines.append(f"  waited {_seconds(self.waited_in_vain)} in vain")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"<Report {self.host}: {len(self.attempts)} attempts, {self.ending.value if self.ending else 'under way'}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {
            "reason": self.reason,
            "served_from": self.served_from,
            "deadline_precision": self.deadline_precision,
            "_budget_left": self.budget_left,
            "_time_left": self.time_left,
            "_waited_in_vain": self.waited_in_vain,
        }
        return Report, (self.host, self._entries(), self.ending, facts)


_NOTHING: Final[frozenset[str]] = frozenset()


class Call(Report):
    """One request on its way. What has a default here is set only when it differs: most calls never need it.

    They stand together by who sets them first; anybody may read them.
    """

    # Resilience, which makes the call: what `__init__` takes, and
    exempt: frozenset[str]
    """Parts of the host's state an override switched off for this call."""
    nested: bool = False
    """Inside an `execute` of the same Resilience, which retries already."""
    outer: float | None = None
    """The deadline without the policy's own `total`, where that ends at the headers of an answer that streams."""

    # The mount, or `execute`, which sends it
    limits: Any = None
    """The clocks with the client's own folded in (`Limits`): whoever sends the call knows those."""
    upload: Any = None
    """What stands in the place of a body that is read while it is sent."""
    sending: Any = None
    """What else is needed to send it."""

    # The flow
    _log: list[Entry] = []  # noqa: RUF012 - shared and never changed: `note` gives a call its own
    answer: tuple[int, float, float, int] | None = None
    """The good end: number, start and headers of the last attempt, and its status. Most calls add no more than that."""
    may_be_done: bool = False
    """The host may have executed the request in some attempt."""
    paid: bool = False
    """The attempt that is to follow was paid for from the retry budget."""
    waited: float = 0.0
    """Seconds waited for the attempt under way."""
    own_delays: int = 0
    """Steps of the own backoff since the last delay the server gave."""
    last_delay: float | None = None
    """The last of these steps, in seconds."""

    # The ways to degrade
    silent: bool = False
    """Its end is told by who started it, after degradation."""
    hurry: float | None = None
    """Longest wait (seconds) while a way to degrade could answer at once."""
    whole: float | None = None
    """The deadline without what is reserved for ways to degrade: that of the body."""
    slot: Any = None
    """Its place among remembered answers (`Slot`)."""
    copy: Any = None
    """Of the last attempt's answer, if it was whole before it was judged (`Copy`)."""
    last: Any = None
    """While it is silent: the attempt whose answer was handed over as its failure, and may have to be let go."""

    # The events
    info: CallInfo | None = None
    """What stands for it there, once somebody listens."""

    def __init__(
        self, state: HostState, policy: Effective, request: Any, started: float, deadline: float | None
    ) -> None:
        self.state = state
        self.policy = policy
        self.request = request
        self.started = started
        self.deadline = deadline
        self.exempt = _NOTHING

    @property
    def host(self) -> str:
        return self.state.name

    @property
    def waited_in_vain(self) -> float:
        return self.waited if self.answer is None else 0.0

    @property
    def budget_left(self) -> float:
        return self.state.budget_left()

    @property
    def time_left(self) -> float | None:
        return None if self.deadline is None else self.deadline - self.started - self.elapsed

    def note(
        self,
        number: int,
        started: float,
        ended: float,
        status: int | None,
        kind: ErrorKind | None,
        verdict: Verdict,
        delay: float | None = None,
    ) -> None:
        """Add an attempt to the story."""
        entry = (
            number,
            self.state.name,
            started - self.started,
            ended - started,
            self.waited,
            status,
            kind,
            verdict,
            delay,
        )
        self._log = [*self._log, entry]
        self.waited = 0.0

    def join(self, other: Call) -> None:
        """The attempts of a call made on behalf of this one belong to its story."""
        before = other.started - self.started
        self._log = [*self._entries(), *((n, h, at + before, *rest) for n, h, at, *rest in other._entries())]  # type: ignore[list-item]
        self.answer = None

    def amend(self, ended: float, kind: ErrorKind | None, verdict: Verdict) -> None:
        """The last attempt ended otherwise than its headers promised."""
        entries = self._entries()
        if entries:
            number, host, started, _, waited, status, _, _, delay = entries[-1]
            entries[-1] = (number, host, started, ended - self.started - started, waited, status, kind, verdict, delay)
            self._log, self.answer = entries, None

    def ended(self) -> tuple[int, int | None, ErrorKind | None]:
        """How many attempts ended, and the status and kind of the last one."""
        if self.answer is not None:
            return len(self._log) + 1, self.answer[3], None
        if not self._log:
            return 0, None, None
        return len(self._log), self._log[-1][5], self._log[-1][6]

    def _entries(self) -> list[Entry]:
        if self.answer is None:
            return list(self._log)
        number, started, at, status = self.answer
        good: Entry = (
            number,
            self.state.name,
            started - self.started,
            at - started,
            self.waited,
            status,
            None,
            Verdict.SUCCESS,
            None,
        )
        return [*self._log, good]


_ATTRIBUTE = "_seawall_report"


def attach(carrier: Any, report: Report) -> None:
    """Make `report(carrier)` find it."""
    try:
        setattr(carrier, _ATTRIBUTE, report)
    except AttributeError:  # a class with slots: it has no report then
        pass


def report(x: object) -> Report | None:
    """The story behind a response or an exception: ours, the library's, or an SDK's around it.

    Follows `.report`, `.response`, `.request` and the chain of causes. None: nothing of ours was involved.
    """
    seen: set[int] = set()
    pending: list[Any] = [x]
    while pending and len(seen) < 50:
        current = pending.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, Report):
            return current
        pending.append(_look(current, _ATTRIBUTE))
        extensions = _look(current, "extensions")
        if isinstance(extensions, dict):
            pending.append(extensions.get("resilience"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        names = ("report", "response", "http_response", "request", "__cause__")  # its context may be another call's
        pending += [_look(current, name) for name in names]
        if isinstance(current, BaseException):  # requests keeps the error of a body as an argument of its own
            pending += [argument for argument in current.args if isinstance(argument, BaseException)]
    return None


def _look(thing: Any, name: str) -> Any:
    """An attribute, whatever looking at it does."""
    try:
        return getattr(thing, name, None)
    except Exception:
        return None
