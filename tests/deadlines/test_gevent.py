"""gevent: patched first, deadlines hold and other greenlets go on; patched too late, the mount refuses and says why."""

from __future__ import annotations

import subprocess
import sys
import textwrap

COOPERATES = """
    from gevent import monkey
    monkey.patch_all()
    import time, gevent, gevent.server, requests, seawall
    from requests_resilience import mount
    from seawall import Policy

    def drip(sock, address):
        sock.recv(65536)
        for byte in b"HTTP/1.1 200 OK\\r\\n" + b"X-A: b\\r\\n" * 100:
            try:
                sock.sendall(bytes([byte]))
            except OSError:
                return
            gevent.sleep(0.02)

    server = gevent.server.StreamServer(("127.0.0.1", 0), drip)
    server.start()
    session = mount(requests.Session(), {"all://": Policy(retry=None)})
    session.trust_env = False
    ticks = 0

    def tick():
        global ticks
        while True:
            gevent.sleep(0.02)
            ticks += 1

    ticking = gevent.spawn(tick)

    def call(host):
        started = time.monotonic()
        try:
            with seawall.deadline(0.3):
                session.get(f"http://{host}:{server.server_port}/x")
        except seawall.DeadlineExceeded as error:
            return time.monotonic() - started, error.scope, seawall.report(error).deadline_precision

    ends = [job.get() for job in [gevent.spawn(call, host) for host in ("127.0.0.1", "localhost", "127.0.0.1")]]
    print(ends, ticks)
    for took, scope, precision in ends:
        assert 0.28 < took < 1.0, took
        assert (scope, precision) == ("total", "exact")
    assert ticks >= 5, ticks
"""

REFUSES = """
    import requests, requests_resilience
    import gevent.monkey
    gevent.monkey.patch_all()
    from seawall import Resilience
    try:
        requests_resilience.mount(requests.Session())
    except RuntimeError as error:
        assert "patch_all() first" in str(error), error
        assert "hard_deadlines=False" in str(error), error
    else:
        raise AssertionError("it did not refuse")
    requests_resilience.mount(requests.Session(), Resilience(hard_deadlines=False))
"""


def run(script: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test__patched_first__deadlines_hold_and_other_greenlets_go_on() -> None:
    run(COOPERATES)


def test__patched_after_the_import__the_mount_refuses_and_says_why() -> None:
    run(REFUSES)
