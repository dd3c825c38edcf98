"""`httpx2.alias_httpx()`: the name httpx resolves to httpx2 in the whole process; a mount must go by the class."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import httpx2
import pytest

from tests.contract.peer import Peer
from tests.contract.steps import answer

SCRIPT = """
    import sys
    import httpx2
    httpx2.alias_httpx()
    import httpx, httpcore
    assert httpx is httpx2

    import seawall
    from httpx_resilience import AsyncResilientTransport, ResilientTransport, mount
    from seawall import Breaker, Policy, Resilience, Retry

    policy = Policy(retry=Retry(max_retries=1, base_delay=0.01), budget=None,
                    breaker=Breaker(failure_threshold=4, min_failure_span=0))
    with mount(httpx.Client(), Resilience({"all://": policy})) as client:
        for _ in range(2):
            assert client.get(sys.argv[1]).status_code == 503
        try:
            client.get(sys.argv[1])
        except httpx2.TransportError as error:
            assert isinstance(error, seawall.CircuitOpen), error
        else:
            raise AssertionError("not refused")

    with httpx.Client(transport=ResilientTransport(None, Resilience({"all://": policy}))) as client:
        assert client.get(sys.argv[1]).status_code == 503

    async def main():
        async with mount(httpx.AsyncClient(), Resilience({"all://": policy})) as client:
            assert (await client.get(sys.argv[1])).status_code == 503
        transport = AsyncResilientTransport(httpx.AsyncHTTPTransport(), Resilience({"all://": policy}))
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.get(sys.argv[1])).status_code == 503

    import asyncio
    asyncio.run(main())
    print("fine")
"""


@pytest.mark.skipif(not hasattr(httpx2, "alias_httpx"), reason="this httpx2 has no alias yet")
def test__alias_httpx__mounts_work_and_errors_are_httpx2s(peer: Peer) -> None:
    peer.script(answer(503))
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(SCRIPT), peer / "x"],
        capture_output=True,
        text=True,
        timeout=15,
        env=_environment(),
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "fine"), ran.stderr
    assert peer.count == 4 + 2 + 2 + 2


def _environment() -> dict[str, str]:
    import os
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "core")])}
