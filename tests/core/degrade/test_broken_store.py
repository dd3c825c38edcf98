"""A user's store that raises, against its promise: what it remembers is lost, and no call is."""

from __future__ import annotations

from typing import Any

import pytest

from seawall.stores.memory import MemoryStore
from tests.core.degrade.asking import Cache, Request


class Broken(MemoryStore):
    """A user's store that raises, against its promise."""

    def __init__(self, *methods: str) -> None:
        super().__init__()
        self.methods = methods

    def get(self, *args: Any) -> Any:
        self._break("get")
        return super().get(*args)

    def put(self, *args: Any) -> None:
        self._break("put")
        super().put(*args)

    def drop(self, *args: Any) -> None:
        self._break("drop")
        super().drop(*args)

    def _break(self, method: str) -> None:
        if method in self.methods:
            raise OSError("the disk is full")


@pytest.mark.parametrize("method", ["get", "put", "drop"])
def test__store_that_raises__costs_its_answers_only(method: str) -> None:
    cache = Cache(store=Broken(method))
    assert cache.answered(Request())
    assert (cache.found(Request()) is None) == (method in ("get", "put"))
    assert not cache.answered(Request(), headers={"cache-control": "no-store"})
    assert cache.complaints[:1] == ["OSError: the disk is full"]
