"""Runs each scenario once per client, as the contract suite does, and leaves nothing installed behind."""

from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest
import requests

import seawall
from tests.contract.conftest import kit, other, peer, pytest_itemcollected, pytest_pyfunc_call, stack, watchdog

__all__ = ["kit", "other", "peer", "pytest_itemcollected", "pytest_pyfunc_call", "stack", "watchdog"]

BORN = [
    (httpx.Client, "__init__"),
    (httpx.AsyncClient, "__init__"),
    (httpx2.Client, "__init__"),
    (httpx2.AsyncClient, "__init__"),
    (requests.Session, "__init__"),
    (requests.Session, "__setstate__"),
    (requests.Session, "mount"),
]


@pytest.fixture(autouse=True)
def classes() -> Iterator[list[Any]]:
    """The methods as they are without seawall; after each test they are those very objects again."""
    before = [vars(kind)[name] for kind, name in BORN]
    yield before
    seawall.uninstall()
    left = [(kind, name) for (kind, name), method in zip(BORN, before, strict=True) if vars(kind)[name] is not method]
    assert left == []
