"""Scenarios that take a kit run once per client, as the contract suite does."""

from tests.contract.conftest import kit, other, peer, pytest_itemcollected, pytest_pyfunc_call, stack, watchdog

__all__ = ["kit", "other", "peer", "pytest_itemcollected", "pytest_pyfunc_call", "stack", "watchdog"]
