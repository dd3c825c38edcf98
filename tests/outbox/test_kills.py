"""kill -9 at any point: nothing that was acknowledged is lost, and under a key nothing has two effects.

`SEAWALL_KILLS=1000` kills as many workers as that, instead of a few: `make prove ARGS=kills`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

import seawall
from seawall import Outbox
from tests.contract import steps
from tests.contract.peer import Peer
from tests.contract.steps import Exchange, Step, answer

KILLS = int(os.environ.get("SEAWALL_KILLS", "40"))
ROUND = 100
ROOT = Path(__file__).resolve().parents[2]


class Shop:
    """A server that remembers keys: the first request under one has its effect, later ones only the same answer.

    Now and then it is busy, or hangs up before or after the effect.
    """

    def __init__(self) -> None:
        self.effects: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._chance = random.Random(0)
        self._lock = threading.Lock()

    def play(self, exchange: Exchange) -> None:
        request = exchange.request
        key = request.header("idempotency-key") or ""
        with self._lock:
            mood = self._chance.random()
            self.requests[key] += 1
            if request.path != f"/{key}" or request.body != key.encode() * 50 or request.method != "POST":
                self.wrong.append(request.target)
            if mood > 0.1 and key not in self.effects:
                self.effects[key] += 1
        if mood < 0.05:
            answer(503, b"busy", [("Retry-After", "0")]).play(exchange)
        elif mood < 0.15:
            steps.reset().play(exchange)
        else:
            answer(200, key.encode()).play(exchange)


@pytest.fixture
def watchdog() -> None:
    """Bounded by itself: see the limits below."""


def rounds() -> list[int]:
    return list(range(max(1, KILLS // ROUND)))


@pytest.mark.parametrize("seed", rounds())
def test__workers_killed_at_random__lose_nothing_and_double_nothing(seed: int, peer: Peer, folder: Path) -> None:
    shop = Shop()
    peer.script(Step(shop.play))
    path = folder / "outbox.db"
    Outbox(path).close()
    done = subprocess.run(
        [sys.executable, "-m", "tests.outbox.killing", str(path), peer.url, str(min(KILLS, ROUND)), str(seed)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "core")))},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    acknowledged: list[tuple[str, str]] = json.loads(done.stdout)
    assert len(acknowledged) > min(KILLS, ROUND) // 10

    outbox = Outbox(path)
    ends = time.monotonic() + 15
    with seawall.mount(httpx.Client(verify=False, trust_env=False)) as client:
        while len(outbox):
            assert time.monotonic() < ends, f"{len(outbox)} still wait"
            outbox.drain(client)
            time.sleep(min(outbox.sendable_in() or 0.0, 0.05))
    assert [key for id, key in acknowledged if outbox.state(id) != "done"] == []  # noqa: A001
    assert [key for id, key in acknowledged if shop.effects[key] != 1] == []  # noqa: A001
    assert set(shop.effects.values()) == {1}
    assert shop.wrong == []
    print(
        f"figures: {min(KILLS, ROUND)} kills, {len(acknowledged)} acknowledged, {len(shop.effects)} effects, "
        f"{shop.requests.total()} requests, 0 lost, 0 doubled"
    )
