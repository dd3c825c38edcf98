"""Each example runs by itself, in seconds, without a warning, and says what its reader came for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SAYS = {
    "custom_configuration": ["after 5 attempts: 200", "breaker closed, bulkhead 0 of 20 in use"],
    "fallback_provider": [
        "answer: The second provider.",
        "served from: fallback, after 2 attempts at the first provider",
        "our key went along: False; their own did: True",
    ],
    "stale_answers": [
        "well: ['tea', 'bread']",
        "ill: ['tea', 'bread'], stale, seawall; fwd=stale",
        "somebody else: 503",
    ],
    "simplified_response": [
        "recommendations: [], simplified, instead of NonRetryable",
        "orders: none; there is the page of yesterday",
    ],
    "health_page": [
        "critical: 2 circuits open, 1 degraded",
        "see Policy.degrade",
        "the page: Critical",
        "the data: 503 ['critical', 'degraded', 'healthy']",
    ],
    "httpx2_clients": ["sync: 200", "async: 200", "one state for both: 4 attempts, 2 failed"],
    "httpx_async": ["20 of 20 answered", "21 attempts, never more than 100% of 5 at once"],
    "httpx_sync": [
        "mounted: 200 after 3 attempts",
        "own transport: 200 after 2 attempts",
        "its own 503, after 4 attempts",
    ],
    "install_everywhere": [
        "httpx.get: 9 °C",
        "a library's session: on its way",
        "an SDK: Take a coat.",
        "2 attempts, 1 of them failed\n3 attempts, 2 of them failed\n2 attempts, 1 of them failed\n",
        "uninstalled: HTTPTransport",
    ],
    "llm_fallback": [
        "1: I am the second provider. (so far 2 attempts at the first provider)",
        "5: I am the second provider. (so far 4 attempts at the first provider)",
        "the first provider's breaker is open",
    ],
    "llm_request": ["answer: The sea is calm.", "the provider saw 3 attempts with 1 idempotency key"],
    "openai_sdk": ["up to 2 retries of its own", "mounted: 0", "answer: Hello from", "the provider saw 2 attempts"],
    "operators_trial": [
        "a quiet morning",
        "the page: critical\n  the circuit is open",
        "give callers an answer from elsewhere meanwhile. (Policy.degrade)",
        "visitors were told a price, 0 were not\nthe page: degraded",
        "visitors were told a price, 0 were not\nthe page: healthy\nthe circuit is closed",
    ],
    "per_host_policies": [
        "GET /: at most 3 retries",
        "GET /reports/7: at most 1 retries",
        "POST /reports/7: at most 3 retries",
        "healthy host: 200",
        "the broken host saw 3 requests",
        "breaker now: None",
    ],
    "queue_for_retry": [
        "queued: the shop is down",
        "sent 3, 0 waiting",
        "order 1: 200 after 1 attempt of the worker",
        "the shop saw 3 idempotency keys, and no stored credential",
    ],
    "read_a_report": ["attempt 1: 503", "attempt 2: 502", "attempt 3: 200", "refused without an attempt (0)"],
    "requests_session": ["whole session: 200 after 3 attempts and 0:00:01", "one prefix: 503 after 2 attempts"],
    "scopes": [
        "override(retry=None): 1 attempt\n",
        "2 attempts",
        "disabled: 1 attempt\n",
        "page 1",
        "after 0.5 s",
    ],
    "telemetry_logging": [
        "INFO    http://127.0.0.1:",
        ": attempt 1: 503 (service unavailable), attempt 2 after waiting",
        ": circuit open, was closed: failures in a row",
        ": circuit open (breaker), try again in 0.",
        "times more in 0.",
        ": circuit closed, was half_open: enough probes succeeded",
    ],
    "telemetry_otel": [
        "seawall GET\n",
        "    - seawall.retry: {'http.request.resend_count': 1,",
        "  GET\n",
        "  GET, repeat 1",
    ],
    "telemetry_prometheus": [
        'seawall_client_requests_total{host_group="orders",outcome="ok"} 1.0',
        'seawall_client_requests_total{host_group="orders",outcome="error"} 3.0',
        'seawall_client_rejections_total{host_group="orders",policy="breaker",reason="circuit open"} 6.0',
        'seawall_breaker_state{host_group="orders",state="open"} 1.0',
    ],
    "without_http": [
        "account 4711 is in balance (attempt 3)",
        "the printer: out of paper\nthe printer: out of paper\nrefused without trying",
    ],
}


def test__examples__each_has_its_line_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("[!_]*.py")} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test__example__runs_alone_and_says_what_it_promises(name: str) -> None:
    # A proxy from the environment has nothing to do with servers on the loopback.
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")],
        capture_output=True,
        text=True,
        timeout=30,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert [phrase for phrase in SAYS[name] if phrase not in done.stdout] == [], done.stdout
