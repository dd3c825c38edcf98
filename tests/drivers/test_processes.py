"""Whole programs under fire: storms of SIGINT, threads that exit, the end of the interpreter under load."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.drivers.processes import script

PRELUDE = """
import asyncio, gc, json, logging, os, signal, socket, sys, threading, time, warnings
import httpx, requests
import httpx_resilience, requests_resilience
from seawall import Breaker, Bulkhead, Policy, Resilience, Retry, Timeouts
from tests.contract import steps
from tests.contract.peer import Peer
from tests.drivers.quick import only, until

logging.getLogger("asyncio").setLevel("CRITICAL")  # slow steps of a busy machine
warnings.simplefilter("ignore", ResourceWarning)  # clients nobody closed
policy = only(
    retry=Retry(max_retries=1, base_delay=0.001, max_delay=0.001),
    breaker=Breaker(failure_threshold=10**6, failure_rate_threshold=1),
    bulkhead=Bulkhead(max_concurrent=2, max_wait=20),
    timeouts=Timeouts(total=20),
)
resilience = Resilience(policy)

def client():
    return httpx_resilience.mount(httpx.Client(trust_env=False), resilience)

def session():
    made = requests.Session()
    made.trust_env = False
    return requests_resilience.mount(made, resilience)

def gauges():
    gc.collect()
    return [[host.in_flight, host.queue_depth] for host in resilience.snapshots()]
"""


def run(text: str, seconds: float = 60) -> Any:
    return script(PRELUDE + text, seconds)


def test__storm_of_sigint__main_thread_and_others_go_on_and_nothing_is_left() -> None:
    done = run(
        """
sys.unraisablehook = lambda what: None  # struck in a finaliser
armed = False
def strike(*_):
    if armed:
        raise KeyboardInterrupt
signal.signal(signal.SIGINT, strike)
peer = Peer().script(steps.answer(503, b"sorry"), *[steps.answer(200, b"fine")] * 2, path=None)
stop = threading.Event()
served, struck = [0], 0

def work(make):
    mine = make()
    while not stop.is_set():
        mine.get(peer / "x")
        served[0] += 1

def storm():
    for _ in range(400):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.004)
    stop.set()

crowd = [threading.Thread(target=work, args=(make,)) for make in (client, session, client)]
crowd.append(threading.Thread(target=storm))
for thread in crowd: thread.start()
while not stop.is_set():
    mine = client() if struck % 2 else session()  # what is struck may lose its connection
    try:
        armed = True
        for _ in range(20):
            mine.get(peer / "x")
        armed = False
    except KeyboardInterrupt:
        armed = False
        struck += 1
for thread in crowd: thread.join(20)
alive = sum(thread.is_alive() for thread in crowd)
del mine
left = gauges()
peer.stop()
print(json.dumps([left, alive, struck > 20, served[0] > 20]))
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[[[0, 0]], 0, true, true]"


def test__sigint_that_nobody_catches__ends_the_program_at_once_and_cleanly() -> None:
    done = run(
        """
peer = Peer().script(steps.hang())
for make in (client, session):
    threading.Thread(target=lambda make=make: make().get(peer / "x"), daemon=True).start()
until(lambda: peer.count == 2)
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
client().get(peer / "x")
"""
    )
    assert done.returncode == -2
    assert done.stderr.strip().endswith("KeyboardInterrupt")
    assert "Exception ignored" not in done.stderr
    assert "Fatal" not in done.stderr


def test__threads_that_exit_in_the_middle_of_a_call__hold_nothing() -> None:
    done = run(
        """
import ctypes
peer = Peer().script(steps.slow(0.02, steps.answer(200, b"fine")))
sys.unraisablehook = lambda what: None  # struck in a finaliser
def work(mine):
    while True:
        mine.get(peer / "x")
crowd = [threading.Thread(target=work, args=(make(),)) for make in (client, session) * 4]
for thread in crowd: thread.start()
until(lambda: peer.count > 10)
def ended():
    for thread in crowd:  # more than once: what strikes in a finaliser is swallowed
        if thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
    time.sleep(0.1)
    return not any(thread.is_alive() for thread in crowd)
until(ended, 20)
alive = sum(thread.is_alive() for thread in crowd)
left = gauges()
assert client().get(peer / "x").status_code == 200
peer.stop()
print(json.dumps([left, alive]))
"""
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == "[[[0, 0]], 0]"


LOADS = {
    "threads in flight, in line and asleep": """
for make in (client, session) * 3:
    threading.Thread(target=lambda make=make: make().get(peer / "x"), daemon=True).start()
until(lambda: peer.count == 2 and resilience.snapshots()[0].queue_depth == 4)
""",
    "lookups that hang": """
socket.getaddrinfo = lambda *args, **options: threading.Event().wait()
for make in (client, session):
    threading.Thread(target=lambda make=make: make().get("http://api.test/x"), daemon=True).start()
until(lambda: sum(thread.name == "seawall-aside" for thread in threading.enumerate()) >= 1)
""",
    "lookups that end while it ends": """
socket.getaddrinfo = lambda *args, **options: time.sleep(0.05) or []
def work():
    for number in range(10**6):
        try: client().get(f"http://api-{number}.test/x")
        except httpx.HTTPError: pass
for _ in range(8): threading.Thread(target=work, daemon=True).start()
time.sleep(0.1)
""",
    "threads in full swing": """
peer.script(steps.answer(503, b"sorry"), *[steps.answer(200, b"fine")] * 2)
def work(make):
    mine = make()
    while True: mine.get(peer / "x")
for make in (client, session) * 4:
    threading.Thread(target=work, args=(make,), daemon=True).start()
until(lambda: peer.count > 50)
""",
    "a loop with calls in it": """
async def main():
    mine = httpx_resilience.mount(httpx.AsyncClient(trust_env=False), resilience)
    calls = [asyncio.ensure_future(mine.get(peer / "x")) for _ in range(5)]
    await asyncio.gather(*calls)
threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()
until(lambda: peer.count == 2 and resilience.snapshots()[0].queue_depth == 3)
""",
}


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("ending", ["", "sys.exit(3)"], ids=["end", "exit"])
def test__interpreter_ends_under_load__at_once_and_silently(load: str, ending: str) -> None:
    done = run(
        f"""
peer = Peer().script(steps.hang())
{LOADS[load]}
started = time.monotonic()
import atexit
atexit.register(lambda: os.write(1, json.dumps(time.time()).encode()))
{ending}
"""
    )
    took = time.time() - float(done.stdout)
    assert done.returncode == (3 if ending else 0)
    assert done.stderr == ""
    assert took < 1, "from the end of the main thread to the end of the process"


def test__call_in_an_exit_handler__is_served() -> None:
    done = run(
        """
import atexit
peer = Peer().script(steps.answer(200, b"fine"))
plain = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **options: plain("127.0.0.1", *more, **options)
atexit.register(lambda: print([make().get(f"http://api.test:{peer.port}/x").status_code for make in (client, session)]))
"""
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[200, 200]", "")
