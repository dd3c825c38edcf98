"""What goes wrong in each scene, the same traffic for every client, and the figures that come of it.

Traffic arrives by the clock and not when the last call is back: callers of a real service do not wait for each other,
and a client that is stuck must not look good by asking less.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

from seawall import Resilience
from seawall.demo import clients
from seawall.demo.clients import Call, Caller
from seawall.demo.hosts import Host, Illness, Serving

Side = Literal["bare", "seawall"]
SIDES: tuple[Side, Side] = ("bare", "seawall")
SLOTS = 16
_LONGEST_CALL = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One thing that goes wrong: the host is ill from `begin` to `end`, while every client makes `rate` calls/s."""

    name: str
    illness: Illness
    begin: float
    end: float
    duration: float
    rate: float = 40.0
    bridges: bool = False
    """May the mounted clients answer from memory, and from another host? Then every other call asks something new."""

    @property
    def calls(self) -> int:
        """How many calls each client makes."""
        return round(self.rate * self.duration)

    @property
    def recovers(self) -> bool:
        """Does the host get well before the traffic ends?"""
        return self.end < self.duration

    @property
    def story(self) -> str:
        """The scene in one line."""
        span = f"for {self.end - self.begin:g} s, then it is well again" if self.recovers else "all the time"
        news = "; half the calls are new" if self.bridges else ""
        return f"{self.name}: the host {self.illness.value}, {span}{news}"

    def path(self, number: int) -> str:
        """What the call of that number asks for."""
        return f"/{number}" if self.bridges and number % 2 else "/"


SCENES = (
    Scene(name="20 % errors", illness=Illness.FLAKY, begin=0, end=math.inf, duration=5),
    Scene(name="bridged outage", illness=Illness.UNAVAILABLE, begin=0.5, end=3.5, duration=4.5, bridges=True),
    Scene(name="rate limit", illness=Illness.LIMITED, begin=0.5, end=2.5, duration=4.5),
    Scene(name="outage", illness=Illness.UNAVAILABLE, begin=0.5, end=5, duration=10),
    Scene(name="hang", illness=Illness.SILENT, begin=0.5, end=5, duration=10),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The figures of one client, bare or mounted, in one scene.

    `attempts` and `sick_attempts` (those that found the host ill) are counted by the host; `opened` and `state` are the
    breaker's, None for a bare client. `p99` is over all calls, good or not. `wasted` is the time callers spent in
    calls that brought nothing. `recovery` runs from the moment the host is well to the first good answer after
    the last call that failed: None if there is no such answer, or if the host never recovers. `timeline` is the share
    of good answers among the calls begun in each slice of the scene (None: none has ended yet). `remembered` calls were
    answered from memory, and `backup` is what the other host saw: None where nothing bridges.
    """

    scene: str
    client: str
    side: Side
    calls: int
    answered: int
    p99: float
    wasted: float
    attempts: int
    sick_attempts: int
    opened: int | None
    state: str | None
    recovery: float | None
    timeline: tuple[float | None, ...]
    remembered: int | None = None
    backup: int | None = None


class _Subject:
    """One client in front of hosts of its own, so that their counters are this client's alone."""

    def __init__(self, scene: Scene, library: str, side: Side, host: Host, backup: Host) -> None:
        self.scene = scene
        self.library = library
        self.side: Side = side
        self.host = host
        self.backup = backup
        policy = clients.bridging(backup.url.rstrip("/")) if scene.bridges else clients.POLICY
        self.resilience = Resilience({"all://": policy}) if side == "seawall" else None
        self.client = clients.open_client(library, host.url, self.resilience)
        self.caller = Caller(self.client.fetch)

    def row(self, start: float) -> Row:
        scene = self.scene
        calls = list(self.caller.calls)
        snapshot = self.resilience.snapshot(self.host.url) if self.resilience is not None else None
        bridged = scene.bridges and self.resilience is not None
        return Row(
            scene=scene.name,
            client=self.library,
            side=self.side,
            calls=scene.calls,
            answered=sum(call.good for call in calls),
            p99=_p99([call.ended - call.started for call in calls]),
            wasted=sum(call.ended - call.started for call in calls if not call.good),
            attempts=self.host.attempts,
            sick_attempts=self.host.sick_attempts,
            opened=snapshot.open_count if snapshot is not None else None,
            state=snapshot.state if snapshot is not None else None,
            recovery=_recovery(calls, start + scene.end) if scene.recovers else None,
            timeline=_timeline(calls, start, scene.duration),
            remembered=sum(call.source == "stale" for call in calls) if bridged else None,
            backup=self.backup.attempts if bridged else None,
        )


def _p99(latencies: Sequence[float]) -> float:
    return sorted(latencies)[math.ceil(0.99 * len(latencies)) - 1] if latencies else 0.0


def _recovery(calls: Sequence[Call], well: float) -> float | None:
    last_failure = max((call.started for call in calls if not call.good), default=-math.inf)
    after = [call.ended for call in calls if call.good and call.started > last_failure and call.ended >= well]
    return min(after) - well if after else None


def _timeline(calls: Sequence[Call], start: float, duration: float) -> tuple[float | None, ...]:
    slots: list[list[bool]] = [[] for _ in range(SLOTS)]
    for call in calls:
        slots[min(SLOTS - 1, int((call.started - start) / duration * SLOTS))].append(call.good)
    return tuple(sum(slot) / len(slot) if slot else None for slot in slots)


def _send(callers: Sequence[Caller], scene: Scene, start: float) -> None:
    """The clients take turns, evenly spaced: started all at once, they would wait for each other's processor time."""
    for number in range(scene.calls * len(callers)):
        time.sleep(max(0.0, start + number / (scene.rate * len(callers)) - time.monotonic()))
        callers[number % len(callers)].call(scene.path(number // len(callers)))


def run_scene(scene: Scene, libraries: Sequence[str], watch: Callable[[list[Row]], None] | None = None) -> list[Row]:
    """Run one scene with every library bare and mounted at the same time; `watch` sees the figures as they grow."""
    sides: list[tuple[str, Side]] = [(library, side) for library in libraries for side in SIDES]
    hosts, backups = ([Host(scene.illness) for _ in sides] for _ in range(2))
    with Serving(hosts + backups), ExitStack() as stack:
        subjects = [_Subject(scene, *of, *at) for of, at in zip(sides, zip(hosts, backups, strict=True), strict=True)]
        for subject in subjects:
            stack.callback(subject.client.close)
        callers = [subject.caller for subject in subjects]
        start = time.monotonic() + 0.1
        for host in hosts:
            host.begin, host.end = start + scene.begin, start + scene.end
        sender = threading.Thread(target=_send, args=(callers, scene, start), daemon=True)
        sender.start()
        give_up = start + scene.duration + _LONGEST_CALL
        while (sender.is_alive() or any(caller.waiting for caller in callers)) and time.monotonic() < give_up:
            time.sleep(0.2)
            if watch is not None:
                watch([subject.row(start) for subject in subjects])
        for subject in subjects:
            if subject.caller.surprises:
                raise subject.caller.surprises[0]
            if subject.caller.waiting:
                raise RuntimeError(
                    f"{scene.name}: {subject.caller.waiting} calls of {subject.library} ({subject.side}) did not end "
                    f"within {_LONGEST_CALL:g} s"
                )
        return [subject.row(start) for subject in subjects]


def run_scenes(scenes: Sequence[Scene] = SCENES, libraries: Sequence[str] | None = None) -> list[Row]:
    """Run `scenes` one after the other with `libraries` (default: all that are installed) and return their figures."""
    libraries = clients.installed() if libraries is None else libraries
    return [row for scene in scenes for row in run_scene(scene, libraries)]
