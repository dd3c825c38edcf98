"""Each scenario once per client, as in the contract suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.conftest import kit, names, pytest_itemcollected, pytest_pyfunc_call
from tests.contract.fixtures import other, peer, stack, watchdog
from tests.deadlines.machine import Machine

__all__ = [
    "kit",
    "machine",
    "names",
    "other",
    "peer",
    "pytest_itemcollected",
    "pytest_pyfunc_call",
    "stack",
    "watchdog",
]


@pytest.fixture
def machine() -> Iterator[Machine]:
    """How late the machine itself is, while the scenario runs."""
    with Machine() as running:
        yield running
