"""What a scrape says, in one process and in several; and that a registry can be shared, left and joined again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from seawall import Resilience
from seawall.telemetry import prometheus
from seawall.telemetry._measures import INSTRUMENTS
from tests.core.stage import HOST, Stage, answer, brittle, fault, only, steady

ROOT = Path(__file__).parents[2]


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, {"host_group": "all://"} | labels)


def test__scrape__has_what_happened() -> None:
    registry = CollectorRegistry()
    stage = Stage(only(retry=steady(), breaker=brittle(failure_threshold=3)), answer(503), answer(200, after=0.02))
    prometheus.instrument(stage.resilience, registry=registry)
    stage.get()
    stage.resilience.isolate(HOST)
    stage.get()
    assert value(registry, "seawall_client_requests_total", outcome="ok") == 1
    assert value(registry, "seawall_client_requests_total", outcome="rejected") == 1
    assert value(registry, "seawall_client_attempts_total", verdict="success", error_type="") == 1
    assert value(registry, "seawall_client_retries_total", error_type="service unavailable") == 1
    assert value(registry, "seawall_client_rejections_total", policy="breaker", reason="isolated") == 1
    assert value(registry, "seawall_client_request_duration_seconds_sum", outcome="ok") == pytest.approx(1.02)
    assert value(registry, "seawall_breaker_state", state="isolated") == 1
    assert value(registry, "seawall_breaker_state", state="open") == 0
    assert value(registry, "seawall_bulkhead_permits_used") == 0


def test__every_instrument__is_a_family_of_the_registry() -> None:
    registry = CollectorRegistry()
    prometheus.instrument(Resilience(), registry=registry)
    families = {family.name for family in registry.collect()}
    wanted = {one.name.replace(".", "_") + "_seconds" * (one.unit == "s") for one in INSTRUMENTS}
    assert families == wanted


def test__registry__is_shared_by_several_resiliences() -> None:
    registry = CollectorRegistry()
    stages = [Stage(only(), answer(200)) for _ in range(2)]
    for stage in stages:
        prometheus.instrument(stage.resilience, registry=registry)
        stage.get()
    assert value(registry, "seawall_client_requests_total", outcome="ok") == 2


def test__levels_of_several_resiliences__add_up_and_go_when_one_ends() -> None:
    registry = CollectorRegistry()
    stages = [Stage(only(), answer(200, stream=True)) for _ in range(2)]
    ends = [prometheus.instrument(stage.resilience, registry=registry) for stage in stages]
    for stage in stages:
        stage.get()
        stage.resilience.isolate(HOST)
    assert value(registry, "seawall_bulkhead_permits_used") == 2
    assert value(registry, "seawall_breaker_state", state="isolated") == 2
    ends[0]()
    assert value(registry, "seawall_bulkhead_permits_used") == 1
    assert value(registry, "seawall_breaker_state", state="isolated") == 1
    for answered in stages[1].peer.opened:
        answered.admission.finish()
    stages[1].resilience.restore(HOST)
    assert value(registry, "seawall_bulkhead_permits_used") == 0
    assert value(registry, "seawall_breaker_state", state="isolated") == 0


def test__instrument__twice_is_once_and_ends_once() -> None:
    registry = CollectorRegistry()
    stage = Stage(only(), answer(200))
    ends = [prometheus.instrument(stage.resilience, registry=registry) for _ in range(2)]
    stage.get()
    for end in ends:
        end()
    stage.get()
    assert not stage.resilience.hub.listening
    assert value(registry, "seawall_client_requests_total", outcome="ok") == 1
    prometheus.instrument(stage.resilience, registry=registry)
    ends[0]()  # of the first time: nothing to do with this one
    stage.get()
    assert value(registry, "seawall_client_requests_total", outcome="ok") == 2


def test__buckets__are_the_users() -> None:
    registry = CollectorRegistry()
    stage = Stage(only(), fault(after=3))
    prometheus.instrument(stage.resilience, registry=registry, buckets=(2, 4))
    stage.get()
    buckets = "seawall_client_attempt_duration_seconds_bucket"
    assert [value(registry, buckets, le=le) for le in ("2.0", "4.0", "+Inf", "5.0")] == [0, 1, 1, None]


def test__each_host__is_a_label_when_asked_for() -> None:
    registry = CollectorRegistry()
    stage = Stage(only(), answer(200))
    prometheus.instrument(stage.resilience, registry=registry, each_host=True)
    stage.get()
    assert value(registry, "seawall_client_requests_total", outcome="ok", host_group=HOST) == 1


WORKER = """
import os, sys
import httpx, seawall
from httpx_resilience import mount
from seawall import Breaker, Policy
from seawall.telemetry import prometheus

breaker = Breaker(failure_threshold=2, min_failure_span=0, open_duration=60, max_open_duration=60)
policy = Policy(retry=None, breaker=breaker, bulkhead=seawall.Bulkhead(max_concurrent=8))
resilience = seawall.Resilience({"https://api.test": policy, "https://well.test": policy})
prometheus.instrument(resilience)

def answer(request):
    return httpx.Response(503 if request.url.host == "api.test" else 200)

def serve():
    client = mount(httpx.Client(transport=httpx.MockTransport(answer)), resilience)
    for _ in range(3):
        try:
            client.get("https://CANARY:CANARY@api.test/CANARY?CANARY", headers={"X-API-Key": "CANARY"})
        except seawall.CircuitOpen:
            pass
        client.get("https://well.test/")

workers = []
for _ in range(2):  # as a server that loads the application before it forks
    pid = os.fork()
    if pid == 0:
        serve()
        os.write(1, b"served\\n")
        sys.stdin.read()
        os._exit(0)
    workers.append(pid)
serve()
os.write(1, b"served\\n")
sys.stdin.read()
"""

SCRAPE = """
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test__several_processes__add_up_in_multiprocess_mode(tmp_path: Path) -> None:
    environment = os.environ | {
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "core")]),
    }
    running = subprocess.Popen(
        [sys.executable, "-c", WORKER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert running.stdin is not None
    assert running.stdout is not None
    try:
        assert [running.stdout.readline() for _ in range(3)] == ["served\n"] * 3
        done = subprocess.run(
            [sys.executable, "-c", SCRAPE], env=environment, capture_output=True, text=True, timeout=30, check=True
        )
    finally:
        running.stdin.close()
        running.wait(10)
        running.stdout.close()
    assert not [file for file in tmp_path.iterdir() if b"CANARY" in file.read_bytes()]
    lines = set(done.stdout.splitlines())
    assert {
        'seawall_client_requests_total{host_group="https://well.test",outcome="ok"} 9.0',
        'seawall_client_requests_total{host_group="https://api.test",outcome="error"} 6.0',
        'seawall_client_requests_total{host_group="https://api.test",outcome="rejected"} 3.0',
        'seawall_breaker_state{host_group="https://api.test",state="open"} 3.0',
        'seawall_breaker_state{host_group="https://well.test",state="open"} 0.0',
        'seawall_bulkhead_permits_used{host_group="https://well.test"} 0.0',
        'seawall_bulkhead_permits_limit{host_group="https://well.test"} 24.0',
    } <= lines, done.stdout


def test__without_the_library__the_cure_is_said() -> None:
    script = "import sys; sys.modules['prometheus_client'] = None; import seawall; seawall.telemetry.prometheus"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(ROOT / "core")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "ImportError: seawall.telemetry.prometheus needs prometheus_client" in done.stderr
    assert "pip install 'seawall[prometheus]'" in done.stderr
