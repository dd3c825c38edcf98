"""What is shared and gone through may change meanwhile, by another thread or by a finaliser: that is no error."""

from __future__ import annotations

import gc
import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seawall import Resilience, forks
from seawall.drivers import resolver
from seawall.events import BreakerChanged, CallInfo, Event
from seawall.hub import Hub
from seawall.stores.database import Database
from seawall.telemetry import _measures, otel
from seawall.telemetry.logging import Logging
from tests.core.interrupting import Places


def everywhere(prepare: Callable[[], tuple[Callable[[], object], Callable[[], object]]], *rooms: str) -> int:
    """Run what `prepare` gives first, and what it gives second at each place of the code in `rooms` in turn."""
    for at in range(1_000):
        act, meanwhile = prepare()
        with Places(at, rooms, meanwhile) as places:
            act()
        if not places.struck:
            return at
    raise AssertionError("it does not end")


class Dying:
    """Does something when a collection finds it."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.itself = self
        self.act = act

    def __del__(self) -> None:
        self.act()


@pytest.fixture
def collections() -> Iterator[None]:
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.set_threshold(*thresholds)
    gc.enable()
    gc.unfreeze()


@pytest.mark.usefixtures("collections")
def test__listeners_that_a_collection_unsubscribes__do_not_stop_the_event() -> None:
    event = Event(host="h", host_group="g", at=0.0)
    for allocations in range(1, 30):
        hub, heard = Hub(), []
        ends = [hub.subscribe(heard.append) for _ in range(40)]
        Dying(ends[-1])
        gc.set_threshold(gc.get_count()[0] + allocations)  # a collection in the midst of what follows
        gc.enable()
        hub.emit(event)
        gc.disable()
        gc.collect()
        assert len(heard) >= 39


class Owner:
    def __init__(self) -> None:
        self.told = 0

    def before_fork(self) -> None:
        self.told += 1


def test__file_opened_by_another_thread_while_one_forks__all_the_others_are_told() -> None:
    first, others = Owner(), []
    forks.prepare(first)

    def come() -> None:
        others.append(Owner())
        forks.prepare(others[-1])

    def prepare() -> tuple[Callable[[], object], Callable[[], object]]:
        others.clear()
        return forks._before, come

    assert everywhere(prepare, "_weakrefset.py", "seawall/forks.py") > 3
    assert first.told > 3
    come()
    known = len(forks._owners)
    others.clear()
    assert len(forks._owners) == known - 1, "one that is gone is kept"


def test__connection_taken_by_another_thread_while_all_are_closed__is_no_error(tmp_path: Path) -> None:
    class Idle(list[Any]):
        """Another thread takes one between the look and the pop."""

        def __bool__(self) -> bool:
            there = len(self) > 0
            self.clear()
            return there

    database = Database(
        str(tmp_path / "file.db"), schema=("CREATE TABLE t (a)",), version=1, longest=1000, error=RuntimeError
    )
    database._idle = Idle([sqlite3.connect(":memory:")])
    database.before_fork()


def test__lookups_that_end_while_room_is_made__are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    under_way: dict[Any, Any] = {}

    class Ending:
        """Its thread notes that it is over just when somebody looks."""

        @property
        def is_over(self) -> bool:
            under_way.pop(("other.test", 1), None)
            return True

    lookups = resolver._Lookups()
    lookups.under_way = under_way
    for number in range(resolver.MOST_AT_A_TIME):
        under_way[f"{number}.test", 1] = Ending()
    under_way["other.test", 1] = Ending()
    monkeypatch.setattr(lookups, "_ask", lambda host, port: [])
    lookups.find("new.test", 1)
    assert len(under_way) <= 1


def info() -> CallInfo:
    return CallInfo(id=1, method="GET", address="h", port=None, pattern="all://")


def test__call_that_begins_or_ends_while_tracing_is_ended__is_no_error() -> None:
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider().get_tracer("test")

    def prepare() -> tuple[Callable[[], object], Callable[[], object]]:
        tracing, calls = otel._Tracing(tracer), [info() for _ in range(3)]
        for call in calls:
            tracing.begin(call)(None)
        more = info()

        def meanwhile() -> None:
            tracing.begin(more)(None)
            tracing._end(calls[1], tracing._traces[calls[1]]) if calls[1] in tracing._traces else None

        return tracing.close, meanwhile

    assert everywhere(prepare, "weakref.py", "seawall/telemetry/otel.py") > 3


def changed(host: str, after: str = "open") -> BreakerChanged:
    return BreakerChanged(host=host, host_group=host, at=0.0, before="closed", after=after, reason="x")


def test__finaliser_that_reports_while_figures_are_written__is_no_error() -> None:
    inside: list[_measures.Measures] = []

    def export(instrument: object, value: float, labels: tuple[str, ...]) -> None:
        if inside:  # what is exported makes garbage, and a collection ends an attempt
            measures = inside.pop()
            measures._use("another", 1)
            measures.hear(changed("yet another"))

    measures = _measures.Measures(Resilience(), export, each_host=False)
    measures._use("one", 1)
    measures._use("two", 1)
    inside.append(measures)
    measures.close()
    assert not inside


def test__finaliser_that_reports_while_lines_are_counted__is_no_error() -> None:
    from seawall.events import Rejected

    def rejected(host: str, at: float) -> Rejected:
        return Rejected(host=host, host_group="g", at=at, call=info(), policy="p", reason="r", retry_after=None)

    log = logging.getLogger("tests.changing")
    log.disabled = True
    for last in (changed("a", "closed"), rejected("b", 100.0)):

        def prepare(last: Event = last) -> tuple[Callable[[], object], Callable[[], object]]:
            lines = Logging(log, 60.0)
            for _ in range(2):
                for host in ("a", "b", "c"):
                    lines.hear(rejected(host, 0.0))
            return lambda: lines.hear(last), lambda: (lines.hear(changed("a", "closed")), lines.hear(rejected("d", 0)))

        assert everywhere(prepare, "seawall/telemetry/logging.py") > 3
