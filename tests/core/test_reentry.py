"""A finaliser may run anywhere, also while its own thread is inside a host's lock: it must neither wait nor be lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from seawall import Bulkhead, Verdict
from seawall.admission import Admission
from seawall.policies.breaker import BreakerState
from seawall.policies.bulkhead import BulkheadState
from seawall.stats.window import Window
from tests.core.stage import HOST, Stage, brittle, only, outcome

SECONDS = 3.0
"""How long a thread may seem to hang; nobody waits that long unless it does."""


class Keeper:
    """A user's object that closes its response when it dies."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission

    def __del__(self) -> None:
        self.admission.finish()  # what closing the response does


def in_time(act: Callable[[], object]) -> None:
    """Run it in a thread of its own; fail, instead of hanging, if it does not come back."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive(), "the thread waits for itself"


def admit(stage: Stage) -> None:
    stage.end(stage.hold())


def fail(stage: Stage) -> None:
    stage.settle(Verdict.FAILURE)


def look(stage: Stage) -> None:
    stage.resilience.snapshot(HOST)


def isolate(stage: Stage) -> None:
    stage.resilience.isolate(HOST)


def reset(stage: Stage) -> None:
    stage.resilience.reset(HOST)


PLACES = [
    pytest.param(admit, BulkheadState, "take", id="letting another attempt in"),
    pytest.param(fail, BreakerState, "settle", id="counting another end"),
    pytest.param(look, BreakerState, "look", id="taking a picture"),
    pytest.param(isolate, BreakerState, "isolate", id="isolating"),
    pytest.param(reset, Window, "clear", id="resetting"),
]


@pytest.mark.parametrize("good", [True, False], ids=["good", "bad"])
@pytest.mark.parametrize(("act", "kind", "method"), PLACES)
def test__finaliser_that_ends_an_attempt_inside_the_hosts_lock__neither_hangs_nor_is_lost(
    act: Callable[[Stage], None], kind: type, method: str, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(only(breaker=brittle(failure_threshold=99), bulkhead=Bulkhead(max_concurrent=9)))
    admission = stage.hold()
    admission.headers_at = stage.clock.now
    admission.outcome = None if good else outcome()
    before = stage.host
    keepers = [Keeper(admission)]
    plain: Any = getattr(kind, method)

    def dropping(*args: Any, **kwargs: Any) -> Any:
        keepers.clear()  # as a collection would, which may begin at any allocation
        return plain(*args, **kwargs)

    monkeypatch.setattr(kind, method, dropping)
    in_time(lambda: act(stage))
    monkeypatch.undo()
    assert keepers == []
    after = stage.host
    own = {admit: (1, 0), fail: (0, 1)}.get(act, (0, 0))
    assert after.in_flight == 0
    assert (
        after.total_successes - before.total_successes - own[0],
        after.total_failures - before.total_failures - own[1],
    ) == ((1, 0) if good else (0, 1))
