"""What OpenTelemetry exports of the figures, and what a collector will make of their names for Prometheus."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Histogram, InMemoryMetricReader

import seawall
from seawall.telemetry import otel
from seawall.telemetry._measures import BUCKETS, INSTRUMENTS
from tests.core.stage import HOST, Stage, answer, brittle, fault, only, purse, steady


class Meters:
    """A meter provider, and what was exported of it."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader])

    def collect(self) -> dict[str, Any]:
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {one.name: one for r in data.resource_metrics for scope in r.scope_metrics for one in scope.metrics}

    def points(self, name: str) -> dict[frozenset[tuple[str, Any]], Any]:
        return values(self.collect()[name])


def values(metric: Any) -> dict[frozenset[tuple[str, Any]], Any]:
    return {frozenset(dict(point.attributes).items()): point.value for point in metric.data.data_points}


def measured(stage: Stage) -> Meters:
    meters = Meters()
    otel.instrument(stage.resilience, meter_provider=meters.provider)
    return meters


def test__figures__are_exported_with_their_attributes() -> None:
    stage = Stage(only(retry=steady(), budget=purse(5)), answer(503), answer(200))
    meters = measured(stage)
    stage.get()
    found = meters.collect()
    assert values(found["seawall.client.requests"]) == {frozenset({("host_group", "all://"), ("outcome", "ok")}): 1}
    assert values(found["seawall.client.attempts"]) == {
        frozenset({("host_group", "all://"), ("verdict", "failure"), ("error.type", "service unavailable")}): 1,
        frozenset({("host_group", "all://"), ("verdict", "success")}): 1,
    }
    assert values(found["seawall.retry.budget"]) == {frozenset({("host_group", "all://")}): 4}


def test__durations__are_in_seconds_with_buckets_that_fit() -> None:
    stage = Stage(only(), fault(after=3))
    meters = measured(stage)
    stage.get()
    metric = meters.collect()["seawall.client.attempt.duration"]
    assert isinstance(metric.data, Histogram)
    (point,) = metric.data.data_points
    assert (metric.unit, point.sum, tuple(point.explicit_bounds)) == ("s", 3, BUCKETS)


class Old:
    """A meter of an API before 1.30, which takes no advice on buckets."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._meter, name)

    def create_histogram(self, name: str, unit: str = "", description: str = "") -> Any:
        return self._meter.create_histogram(name, unit, description)


def test__durations__with_an_older_api_are_in_the_buckets_of_the_sdk() -> None:
    stage, meters = Stage(only(), fault(after=3)), Meters()

    class Provider:
        def get_meter(self, name: str) -> Old:
            return Old(meters.provider.get_meter(name))

    otel.instrument(stage.resilience, meter_provider=Provider())  # type: ignore[arg-type]
    stage.get()
    (point,) = meters.collect()["seawall.client.attempt.duration"].data.data_points
    assert (point.sum, tuple(point.explicit_bounds) != BUCKETS) == (3, True)


def test__without_the_library__the_cure_is_said() -> None:
    script = "import sys; sys.modules['opentelemetry'] = None; import seawall; seawall.telemetry.otel"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(Path(seawall.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "ImportError: seawall.telemetry.otel needs opentelemetry-api" in done.stderr
    assert "pip install 'seawall[otel]'" in done.stderr


def test__levels__go_up_and_down() -> None:
    stage = Stage(only(breaker=brittle()), answer(200, stream=True))
    meters = measured(stage)
    one, two = stage.get(), stage.get()
    stage.resilience.isolate(HOST)
    used = "seawall.bulkhead.permits.used"
    isolated = frozenset({("host_group", "all://"), ("state", "isolated")})
    assert list(meters.points(used).values()) == [2]
    assert meters.points("seawall.breaker.state")[isolated] == 1
    one.admission.finish()
    two.admission.finish()
    stage.resilience.restore(HOST)
    assert list(meters.points(used).values()) == [0]
    assert meters.points("seawall.breaker.state")[isolated] == 0


def test__end__lets_the_levels_down_and_counts_no_more() -> None:
    stage, meters = Stage(only(), answer(200, stream=True)), Meters()
    end = otel.instrument(stage.resilience, meter_provider=meters.provider)
    stage.get()
    end()
    stage.get()
    assert list(meters.points("seawall.bulkhead.permits.used").values()) == [0]
    assert list(meters.points("seawall.client.requests").values()) == [1]


def test__several_resiliences__add_up_and_the_sdk_does_not_complain(caplog: Any) -> None:
    meters, stages = Meters(), [Stage(only(), answer(200)) for _ in range(2)]
    for stage in stages:
        otel.instrument(stage.resilience, meter_provider=meters.provider)
        stage.get()
    assert list(meters.points("seawall.client.requests").values()) == [2]
    assert caplog.records == []


def test__units__leave_the_names_that_prometheus_has() -> None:
    # A collector appends a unit it knows ("s" becomes _seconds) and, to a level of unit "1", _ratio.
    assert {one.unit for one in INSTRUMENTS} == {"", "s"}
    assert {one.kind for one in INSTRUMENTS if one.unit == "s"} == {"histogram"}
