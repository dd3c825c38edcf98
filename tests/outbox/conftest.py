"""The clients, peers and watchdog of the contract suite; outboxes on a quick disk, with a clock that tests advance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from seawall import Outbox
from seawall.testing.virtual import VirtualClock
from tests.contract.conftest import kit, pytest_itemcollected, pytest_pyfunc_call
from tests.contract.fixtures import other, peer, stack, watchdog
from tests.core.stores.files import quick_folder

__all__ = ["kit", "other", "peer", "pytest_itemcollected", "pytest_pyfunc_call", "stack", "watchdog"]


@pytest.fixture
def folder() -> Iterator[Path]:
    with quick_folder() as found:
        yield found


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(u=0.0)


@pytest.fixture
def outbox(folder: Path, clock: VirtualClock) -> Outbox:
    return Outbox(folder / "outbox.db", clock=clock)
