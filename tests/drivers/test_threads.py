"""The sync driver: waiting in threads, real signals, the end of the process."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import pytest

from seawall import Bulkhead, DeadlineExceeded, Resilience, Retry, Timeouts, Verdict
from seawall.drivers.threads import Threads, wait_until
from seawall.outcome import Reason
from seawall.policies.bulkhead import Ticket
from seawall.runtime import run_sync
from tests.drivers.processes import script
from tests.drivers.quick import HOST, get, hold, only, threads, until, was_refused


def waited(ticket: Ticket, seconds: float) -> float:
    started = time.monotonic()
    run_sync(Threads().wait(ticket, seconds))
    return time.monotonic() - started


# -- waiting ---------------------------------------------------------------------------------------


def test__wait__ends_when_another_thread_wakes_it() -> None:
    ticket = Ticket(0)
    timer = threading.Timer(0.02, ticket.wake)
    timer.start()
    assert waited(ticket, 10) < 5


def test__wait__woken_before_it_began__ends_at_once() -> None:
    ticket = Ticket(0)
    ticket.wake()
    assert waited(ticket, 10) < 1


def test__wait__ends_when_its_time_is_over() -> None:
    assert 0.02 <= waited(Ticket(0), 0.02) < 5


def test__wait__forgets_a_wake_it_was_woken_by() -> None:
    ticket = Ticket(0)
    ticket.wake()
    waited(ticket, 10)
    assert waited(ticket, 0.02) >= 0.02


def test__wait_until__looks_until_its_time_is_over() -> None:
    looks: list[None] = []
    assert wait_until(lambda: looks.append(None) or len(looks) > 2, 10) is True
    assert wait_until(lambda: False, 0.03) is False
    assert wait_until(lambda: True, None) is True


def test__run_sync__refuses_a_runtime_that_suspends() -> None:
    class Suspends:
        def __await__(self):  # type: ignore[no-untyped-def]
            yield

    async def flow() -> None:
        await Suspends()

    with pytest.raises(RuntimeError, match="suspended"):
        run_sync(flow())


# -- calls -----------------------------------------------------------------------------------------


def test__full__the_next_thread_starts_when_a_permit_comes_back() -> None:
    resilience = Resilience(only(bulkhead=Bulkhead(max_concurrent=1)))
    holder = hold(resilience)
    results: list[object] = []
    with threads(lambda: results.append(get(resilience))):
        until(lambda: resilience.snapshot(HOST).queue_depth == 1)  # type: ignore[union-attr]
        holder.abandon()
    assert not was_refused(results[0])


def test__full__waits_no_longer_than_allowed() -> None:
    resilience = Resilience(only(bulkhead=Bulkhead(max_concurrent=1, max_wait=0.03)))
    holder = hold(resilience)
    started = time.monotonic()
    assert get(resilience).reason is Reason.BULKHEAD_TIMEOUT
    assert 0.03 <= time.monotonic() - started < 5
    holder.abandon()


def test__backoff__is_slept_in_real_time() -> None:
    resilience = Resilience(only(retry=Retry(base_delay=0.02, max_delay=0.02, jitter="none", max_retries=2)))
    times: list[float] = []

    def fail() -> None:
        times.append(time.monotonic())
        raise ConnectionError

    get(resilience, fail)
    assert len(times) == 3
    assert all(after - before >= 0.02 for before, after in pairwise(times))


def test__execute__late_operation_is_judged_by_the_real_clock() -> None:
    resilience = Resilience(only(timeouts=Timeouts(total=0.02)))
    with pytest.raises(DeadlineExceeded):
        resilience.execute("primary", lambda: time.sleep(0.03))


def test__settled_by_two_threads_at_once__counts_once() -> None:
    resilience = Resilience(only())
    for verdict in (Verdict.SUCCESS, Verdict.FAILURE):
        for _ in range(200):
            admission = hold(resilience)
            admission.headers_at = admission.started
            barrier = threading.Barrier(2)

            def settle(admission=admission, barrier=barrier, verdict=verdict) -> None:  # type: ignore[no-untyped-def]
                barrier.wait(5)
                admission.call.state.settle(admission, verdict, admission.started)

            with threads(settle, settle):
                pass
    picture = resilience.snapshot(HOST)
    assert picture is not None
    assert (picture.total_successes, picture.total_failures, picture.in_flight) == (200, 200, 0)


def test__close__waits_for_calls_in_flight() -> None:
    resilience = Resilience(only())
    holder = hold(resilience)
    closed: list[bool] = []
    with threads(lambda: closed.append(resilience.close(10))):
        until(lambda: was_refused(get(resilience)))
        assert closed == []
        holder.abandon()
    assert closed == [True]


def test__close__gives_up_after_its_time() -> None:
    resilience = Resilience(only())
    holder = hold(resilience)
    assert resilience.close(0.02) is False
    holder.abandon()


# -- the process -----------------------------------------------------------------------------------


def test__sigint_while_waiting_in_line__raises_and_leaves_nothing_behind() -> None:
    done = script(
        """
import os, signal, threading, time
from seawall import Bulkhead, Resilience
from tests.drivers.quick import HOST, get, hold, only, until
resilience = Resilience(only(bulkhead=Bulkhead(max_concurrent=1, max_wait=20)))
holder = hold(resilience)
def strike():
    until(lambda: resilience.snapshot(HOST).queue_depth == 1)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=strike).start()
started = time.monotonic()
try:
    get(resilience)
except KeyboardInterrupt:
    holder.abandon()
    picture = resilience.snapshot(HOST)
    print(picture.in_flight, picture.queue_depth, time.monotonic() - started < 10)
"""
    )
    assert (done.stdout.split(), done.stderr) == (["0", "0", "True"], "")


def test__exit_while_threads_wait__is_quick_and_clean() -> None:
    done = script(
        """
import threading
from seawall import Bulkhead, Resilience
from tests.drivers.quick import HOST, get, hold, only, until
resilience = Resilience(only(bulkhead=Bulkhead(max_concurrent=1, max_wait=60)))
holder = hold(resilience)
for _ in range(8):
    threading.Thread(target=get, args=(resilience,), daemon=True).start()
until(lambda: resilience.snapshot(HOST).queue_depth == 8)
print("leaving")
""",
        seconds=20,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "leaving", "")


def test__default__two_threads_at_once__get_the_same() -> None:
    done = script(
        """
import threading, seawall
make = seawall.Resilience.__init__
both = threading.Barrier(2)
def slowly(self, *args, **options):
    try:
        both.wait(0.3)  # the other thread is in here too, if nothing keeps it out
    except threading.BrokenBarrierError:
        pass
    make(self, *args, **options)
seawall.Resilience.__init__ = slowly
found = []
pair = [threading.Thread(target=lambda: found.append(seawall.default())) for _ in range(2)]
for thread in pair: thread.start()
for thread in pair: thread.join()
print(found[0] is found[1])
"""
    )
    assert (done.stdout.strip(), done.stderr) == ("True", "")
