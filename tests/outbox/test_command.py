"""`seawall outbox run`, as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import seawall
from seawall import Outbox, Receipt
from tests.contract import steps
from tests.contract.peer import Peer
from tests.contract.steps import answer
from tests.outbox.test_sending import put

CORE = Path(seawall.__file__).parent.parent
CLIENTS = """
import httpx, httpx2, requests, seawall
plain = seawall.mount(httpx.Client(trust_env=False), seawall.Policy(retry=None))
asynchronous = seawall.mount(httpx2.AsyncClient(trust_env=False), seawall.Policy(retry=None))
def session():
    return seawall.mount(requests.Session())
def attach(request):
    request.headers["Authorization"] = "Bearer fresh"
number = 3
"""


class Worker:
    """A running command."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        (folder / "clients.py").write_text(CLIENTS)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "seawall", "outbox", *arguments],  # as a script: without this folder
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join((str(CORE), str(CORE.parent)))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ends(self) -> tuple[int, str, str]:
        """Exit status, output and errors."""
        try:
            out, err = self.process.communicate(timeout=10)
        finally:
            self.process.kill()
        return self.process.returncode, out, err


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 8
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


@pytest.fixture
def file(folder: Path) -> Outbox:
    return Outbox(folder / "outbox.db")


@pytest.mark.parametrize("client", ["plain", "asynchronous", "session"])
def test__once__sends_what_is_due_and_ends(client: str, folder: Path, file: Outbox, peer: Peer) -> None:
    receipts = [put(file, peer / "x", key=str(n)) for n in range(3)]
    arguments = ("run", "outbox.db", "--client", f"clients:{client}", "--attach", "clients:attach", "--once")
    assert Worker(folder, *arguments).ends() == (0, "3 sent, 0 waiting\n", "")
    assert {receipt.state for receipt in receipts} == {"done"}
    assert {request.header("authorization") for request in peer.requests} == {"Bearer fresh"}


def test__new_file__is_said_since_its_name_may_be_misspelt(folder: Path) -> None:
    code, out, err = Worker(folder, "run", "misspelt.db", "--client", "clients:plain", "--once").ends()
    assert (code, out) == (0, "0 sent, 0 waiting\n")
    assert err == "seawall: misspelt.db is new: nothing was queued there before\n"


@pytest.mark.parametrize("client", ["plain", "asynchronous"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test__worker__sends_later_ones_too__until_the_signal(
    client: str, number: signal.Signals, folder: Path, file: Outbox, peer: Peer
) -> None:
    worker = Worker(folder, "run", "outbox.db", "--client", f"clients:{client}")
    peer.script(answer(503), answer(200))
    receipts = [put(file, peer / "x")]
    until(lambda: receipts[0].state == "done")
    receipts.append(put(file, peer / "y", key="another"))
    until(lambda: receipts[1].state == "done")
    worker.process.send_signal(number)
    code, out, err = worker.ends()
    assert (code, err) == (0, "")
    assert sum(int(line.partition(" ")[0]) for line in out.splitlines()) == 2


@pytest.mark.parametrize("client", ["plain", "asynchronous"])
def test__signal_while_sending__lets_the_item_end(client: str, folder: Path, file: Outbox, peer: Peer) -> None:
    peer.script(steps.slow(0.5, answer(200)))
    receipts = [put(file, peer / "x", key=str(n)) for n in range(2)]
    worker = Worker(folder, "run", "outbox.db", "--client", f"clients:{client}")
    until(lambda: peer.count == 1)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.ends()[0] == 0
    assert [receipt.state for receipt in receipts] == ["done", "queued"]


def test__second_signal__ends_at_once_and_the_lease_lapses(folder: Path, file: Outbox, peer: Peer) -> None:
    peer.script(steps.hang(5))
    receipt: Receipt = put(file, peer / "x")
    worker = Worker(folder, "run", "outbox.db", "--client", "clients:plain", "--lease", "0.5")
    until(lambda: peer.count == 1)
    worker.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.ends()[0] == -signal.SIGTERM
    until(lambda: file.lease(1) is not None)
    assert receipt.state == "leased"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("run", "outbox.db"), 2, "--client"),
        (("run", "outbox.db", "--client", "clients"), 2, "module:name"),
        (("run", "outbox.db", "--client", "nowhere:client"), 2, "nowhere"),
        (("run", "outbox.db", "--client", "clients:nobody"), 2, "nobody"),
        (("run", "outbox.db", "--client", "clients:number"), 2, "int is no client"),
        (("run", "clients.py", "--client", "clients:plain"), 1, "not a database"),
        ((), 2, "usage: seawall outbox"),
        (("run", "-h"), 0, "--attach"),
    ],
)
def test__mistake__is_said_in_words(arguments: Any, code: int, says: str, folder: Path, file: Outbox) -> None:
    ended, out, err = Worker(folder, *arguments).ends()
    assert ended == code
    assert says in out + err
    assert "Traceback" not in err
