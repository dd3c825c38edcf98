"""Each scenario once per client, through a proxy that fails on request, to a real server on loopback."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from seawall.testing import FaultProxy
from tests.contract.conftest import kit, pytest_itemcollected, pytest_pyfunc_call
from tests.contract.fixtures import peer, stack, watchdog
from tests.contract.peer import Peer

__all__ = ["kit", "peer", "proxy", "pytest_itemcollected", "pytest_pyfunc_call", "stack", "watchdog"]


@pytest.fixture
def proxy(stack: ExitStack, peer: Peer) -> FaultProxy:
    """Stands in front of `peer`; well until told otherwise, and with the same chance in each run."""
    return stack.enter_context(FaultProxy(peer.url, seed=6))
