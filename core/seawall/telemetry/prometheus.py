"""Counters, histograms and gauges of prometheus_client, fed by events.

No collector that looks when it is scraped: those do not work in prometheus_client's multiprocess mode (gunicorn and
other servers that fork), counters do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from seawall.forks import Lock
from seawall.telemetry._measures import BUCKETS, INSTRUMENTS, Instrument, Measures
from seawall.telemetry._once import once

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ImportError as error:
    raise ImportError(
        "seawall.telemetry.prometheus needs prometheus_client: pip install 'seawall[prometheus]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seawall.resilience import Resilience

_VERBS: Final = {"counter": "inc", "histogram": "observe"}

_families: WeakKeyDictionary[CollectorRegistry, _Families] = WeakKeyDictionary()
"""A registry takes each name once, for any number of Resiliences."""
_making: Final = Lock()


def instrument(
    resilience: Resilience,
    *,
    registry: CollectorRegistry = REGISTRY,
    each_host: bool = False,
    buckets: Sequence[float] = BUCKETS,
) -> Callable[[], None]:
    """Count and measure calls, attempts, retries, refusals, circuits, bulkheads, budgets; returns what ends it.

    registry: where the metrics are, shared with other Resiliences.
    each_host: True makes the label `host_group` the host itself, at most 1,000 of them; else it is what was configured
        (a pattern, a group, a provider name), and "all://" for every host that no entry names. Left out: bounded.
    buckets: of the histograms, in seconds; those of the first call for a registry hold.

    What was counted stays in the registry when it ends. Twice for the same registry is once. Thread-safe.
    """

    def begin() -> Callable[[], None]:
        with _making:
            families = _families.get(registry)
            if families is None:
                families = _families[registry] = _Families(registry, buckets)
        measures = Measures(resilience, _Export(families), each_host=each_host)
        unsubscribe = resilience.subscribe(measures.hear)
        measures.look(resilience)

        def end() -> None:
            unsubscribe()
            measures.close()

        return end

    return once(resilience, ("prometheus", registry), begin)


class _Families:
    """The metrics of a registry."""

    def __init__(self, registry: CollectorRegistry, buckets: Sequence[float]) -> None:
        self.lock = Lock()
        self.levels: dict[tuple[Instrument, tuple[str, ...]], dict[_Export, float]] = {}
        """What each Resilience's adds to a level that is not 0."""
        self._all: dict[Instrument, Any] = {}
        for one in INSTRUMENTS:
            name, text, labels = one.name.replace(".", "_"), one.text, one.labels
            if one.unit == "s":
                name += "_seconds"
            if one.kind == "counter":
                self._all[one] = Counter(name, text, labels, registry=registry)
            elif one.kind == "histogram":
                self._all[one] = Histogram(name, text, labels, registry=registry, buckets=buckets)
            elif one.kind == "sum":  # of the processes that live: attempts and open circuits add up
                self._all[one] = Gauge(name, text, labels, registry=registry, multiprocess_mode="livesum")
            else:  # a budget is each process's own: the one to know of is that which has least
                self._all[one] = Gauge(name, text, labels, registry=registry, multiprocess_mode="livemin")

    def writer(self, instrument: Instrument, labels: tuple[str, ...]) -> Callable[[float], None]:
        """What writes one series."""
        child = self._all[instrument].labels(*labels)
        write: Callable[[float], None] = getattr(child, _VERBS.get(instrument.kind, "set"))
        return write


class _Export:
    """Figures of one Resilience into the metrics of a registry."""

    def __init__(self, families: _Families) -> None:
        self._families = families
        self._writers: dict[tuple[Instrument, tuple[str, ...]], Callable[[float], None]] = {}
        """Looking them up costs as much as the rest. No more than there are values of labels."""

    def __call__(self, instrument: Instrument, value: float, labels: tuple[str, ...]) -> None:
        key = (instrument, labels)
        write = self._writers.get(key)
        if write is None:
            write = self._writers[key] = self._families.writer(instrument, labels)
        if instrument.kind != "sum":
            write(value)
            return
        with self._families.lock:
            levels = self._families.levels.setdefault(key, {})
            levels[self] = value
            if not value:
                del levels[self]
            write(sum(levels.values()))
