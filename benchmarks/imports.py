"""What does importing cost, once the client library is there?

CPU milliseconds in fresh interpreters that alternate, bytecode at hand, and how many modules came with it. `+ a call`
adds the first request, so that whatever loads on first use is counted too. httpx is imported without its command line,
which comes with click installed and would double it. And: does the core load asyncio in a program that is sync
throughout?
"""

import statistics
import time

from benchmarks.measure import Goal, child, table

FIRST_CALL = """
client = httpx.Client(transport={transport}(httpx.MockTransport(lambda request: httpx.Response(200))))
assert client.get("http://api.example.com/").status_code == 200
"""
OURS, OURS_REQUESTS, SCALE = "ours (httpx)", "ours (requests)", "httpx itself"
SUBJECTS = (  # name, imported before, imported and timed
    (SCALE, "", "import httpx"),
    ("httpx2 itself", "", "import httpx2"),
    ("requests itself", "", "import requests"),
    ("seawall alone", "", "import seawall"),
    (OURS, "import httpx", "import httpx_resilience"),
    (OURS_REQUESTS, "import requests", "import requests_resilience"),
    (
        "ours (httpx) + a call",
        "import httpx",
        "import httpx_resilience" + FIRST_CALL.format(transport="httpx_resilience.ResilientTransport"),
    ),
    ("bare httpx, a call", "import httpx", FIRST_CALL.format(transport="")),
    ("httpx-retries", "import httpx", "import httpx_retries"),
    ("interlock-cb (httpx)", "import httpx", "import interlock.integrations.httpx"),
    ("interlock-cb (requests)", "import requests", "import interlock.integrations.requests"),
    ("tenacity", "import httpx", "import tenacity"),
    ("stamina", "import httpx", "import stamina"),
    ("pybreaker", "import httpx", "import pybreaker"),
    ("circuitbreaker", "import httpx", "import circuitbreaker"),
    ("purgatory", "import httpx", "import purgatory"),
    ("hyx, all four", "import httpx", "import hyx.circuitbreaker, hyx.retry, hyx.bulkhead, hyx.timeout"),
    ("by hand", "import httpx", "import tenacity, pybreaker"),
)
QUICK = 6
TIMED = """
import sys, time
sys.modules["click"] = None
{before}
modules, start = len(sys.modules), time.process_time()
{timed}
print((time.process_time() - start) * 1e3, len(sys.modules) - modules)
"""
SYNC_USE = """
import sys, seawall
assert seawall.Resilience().execute("provider", int, "1") == 1
print(sum(name.partition(".")[0] == "asyncio" for name in sys.modules))
"""


def run(quick: bool) -> list[Goal]:
    figures: dict[str, list[tuple[float, int]]] = {}
    rounds, end = 0, time.perf_counter() + (1.0 if quick else 40.0)
    while rounds < 3 or time.perf_counter() < end:
        rounds += 1
        for name, before, timed in SUBJECTS[:QUICK] if quick else SUBJECTS:
            out = child(name, "-c", TIMED.format(before=before, timed=timed))
            if out and rounds > 1:  # the first leaves the bytecode behind
                ms, modules = out.split()
                figures.setdefault(name, []).append((float(ms), int(modules)))
    medians = {name: statistics.median(ms for ms, _ in values) for name, values in figures.items()}
    table(
        "Import, the client library already there",
        ("subject", "CPU ms", "× import httpx", "modules added"),
        (
            (name, f"{ms:.1f}", f"{ms / medians[SCALE]:.2f}", str(figures[name][0][1]))
            for name, ms in sorted(medians.items(), key=lambda item: item[1])
        ),
    )
    loaded = child("seawall alone", "-c", SYNC_USE)
    return [
        Goal(
            "import, × import httpx",
            0.5,
            {k: medians[k] / medians[SCALE] for k in (OURS, OURS_REQUESTS) if k in medians},
        ),
        Goal("asyncio modules loaded by sync use of the core", 0, {"seawall": int(loaded)} if loaded else {}),
    ]
