"""A fork under load: the child takes part at once, with what the parent learned and without what is the parent's."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.drivers.processes import script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

PRELUDE = """
import json, os, signal, sys, threading, time, warnings
import httpx
from httpx_resilience import mount
from seawall import Breaker, Bulkhead, Policy, Resilience, Retry
from seawall.drivers import resolver
from tests.drivers.quick import HOST, get, hold, only, until
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

def forked(act, seconds=20):
    # What act() gave in a child; None if it raised or hung.
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(seconds)  # kills a child that hangs
        try:
            os.write(writer, json.dumps(act()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    said = b"".join(iter(lambda: os.read(reader, 65536), b""))
    os.close(reader)
    os.waitpid(pid, 0)
    return json.loads(said) if said else None

def picture(resilience):
    host = resilience.snapshot(HOST)
    return [host.state, host.in_flight, host.queue_depth, host.total_failures]
"""


def said(text: str, seconds: float = 60) -> Any:
    """What a program printed, as JSON."""
    done = script(PRELUDE + text, seconds)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test__200_forks_from_busy_threads__every_child_calls_within_a_second_and_the_parent_is_unharmed() -> None:
    children, longest, after = said(
        """
policy = only(
    retry=Retry(max_retries=1, base_delay=0, max_delay=0),
    breaker=Breaker(failure_threshold=10**6, failure_rate_threshold=1),
    bulkhead=Bulkhead(max_concurrent=2, max_wait=30),
)
resilience = Resilience(policy)
numbers = iter(range(10**9))
def serve(request):
    return httpx.Response(503 if next(numbers) % 3 == 0 else 200)
def client():
    return mount(httpx.Client(transport=httpx.MockTransport(serve)), resilience)
shared, unused = client(), client()  # one in use at the fork has locks of its own: its cookies', its pool's
sys.setswitchinterval(1e-5)  # locks are held at the moment of a fork more often than not
children, stop, turn = [], threading.Event(), threading.Lock()

def call(client=unused):
    started = time.monotonic()
    assert client.get(HOST).status_code in (200, 503)
    return time.monotonic() - started

def busy():
    while not stop.is_set():
        call(shared)
        with turn:
            if len(children) < 200:
                children.append(forked(call, 3))
            else:
                stop.set()

crowd = [threading.Thread(target=busy) for _ in range(4)]
for thread in crowd: thread.start()
for thread in crowd: thread.join()
longest = max((took for took in children if took is not None), default=0)
print(json.dumps([sum(took is not None for took in children), longest, picture(resilience)[:3]]))
""",
        90,
    )
    assert children == 200
    assert longest < 1
    assert after == ["closed", 0, 0]


@pytest.mark.parametrize("lock", ["resilience._registry.lock", "resilience.routes[HOST].state._lock"])
def test__lock_held_by_another_thread_at_the_fork__does_not_hold_up_the_child(lock: str) -> None:
    answer = said(
        f"""
resilience = Resilience(only(retry=Retry(), bulkhead=Bulkhead(max_concurrent=1)))
get(resilience)
held, done = threading.Event(), threading.Event()
def holder():
    with {lock}:
        held.set()
        done.wait(10)
threading.Thread(target=holder).start()
held.wait(10)
def call():
    get(resilience)
    resilience.isolate("https://other.test")
    return [picture(resilience), len(resilience)]
print(json.dumps(forked(call, 2)))
done.set()
"""
    )
    assert answer == [["closed", 0, 0, 0], 2]


@pytest.mark.parametrize(
    "lock", ["transport._first", "httpx_resilience._network._mounting", "requests_resilience._network._mounting"]
)
def test__first_use_or_mounting_under_way_at_the_fork__does_not_hold_up_the_child(lock: str) -> None:
    assert (
        said(
            f"""
import requests, requests_resilience, httpx_resilience
from httpx_resilience import ResilientTransport
transport = ResilientTransport(resilience=Resilience(only()))
held, done = threading.Event(), threading.Event()
def holder():
    with {lock}:
        held.set()
        done.wait(10)
threading.Thread(target=holder).start()
held.wait(10)
def call():
    requests_resilience.mount(requests.Session(), Resilience(only()))
    try:
        transport.handle_request(httpx.Request("GET", "http://127.0.0.1:1"))
    except httpx.ConnectError:
        return "tried"
print(json.dumps(forked(call, 5)))
done.set()
"""
        )
        == "tried"
    )


def test__lookup_under_way_at_the_fork__the_child_asks_afresh() -> None:
    assert said(
        """
import socket
asked, done = threading.Event(), threading.Event()
def slow(*args, **options):
    asked.set()
    done.wait(20)
    return quick()
def quick(*args, **options):
    return [(2, 1, 6, "", ("127.0.0.1", 80))]
socket.getaddrinfo = slow
threading.Thread(target=resolver.addresses, args=("api.test", 80, 20)).start()
asked.wait(10)
def ask():
    socket.getaddrinfo = quick
    return resolver.addresses("api.test", 80, 3)
with resolver._lookups.lock:
    answers = []
    other = threading.Thread(target=lambda: answers.append(forked(ask, 5)))
    other.start()
    other.join()
done.set()
print(json.dumps(answers[0]))
"""
    ) == ["127.0.0.1"]


def test__child__keeps_what_was_learned_and_drops_what_is_the_parents() -> None:
    child, parent = said(
        """
resilience = Resilience(only(breaker=Breaker(failure_threshold=2, min_failure_span=0, open_duration=60, open_jitter=0)))
def fail(): raise ConnectionError
for _ in range(2): get(resilience, fail)
held = hold(Resilience(only()))
other = Resilience(only(bulkhead=Bulkhead(max_concurrent=1, max_wait=60)))
holder = hold(other)
threading.Thread(target=get, args=(other,), daemon=True).start()
until(lambda: other.snapshot(HOST).queue_depth == 1)
def look():
    before = picture(other)
    get(other)
    holder.finish()
    return [picture(resilience), before, picture(other), other.snapshot(HOST).total_successes]
child = forked(look)
holder.abandon()
until(lambda: other.snapshot(HOST).total_successes == 1)
print(json.dumps([child, picture(other)]))
"""
    )
    opened, before, after, successes = child
    assert opened == ["open", 0, 0, 2]
    assert before == ["closed", 0, 0, 0]
    assert (after, successes) == (["closed", 0, 0, 0], 1), "the parent's attempt is not the child's to count"
    assert parent == ["closed", 0, 0, 0]


def test__probe_out_at_the_fork__its_slot_is_free_in_the_child() -> None:
    assert said(
        """
breaker = Breaker(
    failure_threshold=1, min_failure_span=0, open_duration=0.05, max_open_duration=0.05, open_jitter=0,
    half_open_max_requests=1, success_threshold=1,
)
resilience = Resilience(only(breaker=breaker))
def fail(): raise ConnectionError
get(resilience, fail)
time.sleep(0.06)
from tests.drivers.quick import begin
from seawall.admission import Admission
probe = Admission(begin(resilience), 1, time.monotonic())
state = probe.call.state
state.admit(probe, probe.started)
assert picture(resilience)[:2] == ["half_open", 1]
def call():
    get(resilience)
    return picture(resilience)[0]
print(json.dumps([forked(call), picture(resilience)[:2]]))
"""
    ) == ["closed", ["half_open", 1]]


def test__waiter_that_forks_in_a_signal_handler__is_served_in_the_child() -> None:
    assert said(
        """
resilience = Resilience(only(bulkhead=Bulkhead(max_concurrent=1, max_wait=20)))
holder = hold(resilience)
reader, writer = os.pipe()
children = []
def fork(*_):
    children.append(os.fork())
    if children[0]:
        holder.abandon()
signal.signal(signal.SIGUSR1, fork)
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
started = time.monotonic()
get(resilience)
if children == [0]:
    os.write(writer, json.dumps([time.monotonic() - started < 5, picture(resilience)]).encode())
    os._exit(0)
os.close(writer)
os.waitpid(children[0], 0)
print(os.read(reader, 1000).decode())
"""
    ) == [True, ["closed", 0, 0, 0]]


def test__children__draw_different_delays() -> None:
    delays = said(
        """
resilience = Resilience()
get(resilience)
draw = lambda: [resilience.clock.random() for _ in range(20)]
print(json.dumps([forked(draw) for _ in range(8)]))
"""
    )
    drawn = [delay for child in delays for delay in child]
    assert len(set(drawn)) == len(drawn) == 160


def test__instrumented__child_begins_afresh_without_a_word() -> None:
    """What was mended first in a child must not keep the rest from being mended."""
    assert (
        said(
            """
from seawall import StaleResponse
from seawall.telemetry import logging
resilience = Resilience(Policy(degrade=[StaleResponse(coalesce=True)]))
logging.instrument(resilience)
client = mount(httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200))), resilience)
client.get(HOST)
print(json.dumps(forked(lambda: client.get(HOST).status_code, 3)))
"""
        )
        == 200
    )
