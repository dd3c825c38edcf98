"""The scripted peers and the watchdog of the contract suite."""

from tests.contract.fixtures import other, peer, stack, watchdog

__all__ = ["other", "peer", "stack", "watchdog"]
