"""The configuration of `StaleResponse`."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from seawall.degrade.stale import StaleResponse
from seawall.stores.memory import MemoryStore
from seawall.stores.sqlite import SqliteStore


def test__defaults__are_those_of_the_specification() -> None:
    config = StaleResponse()
    assert (config.max_age, config.max_entries, config.methods) == (300, 1000, {"GET", "HEAD"})
    assert (config.key, config.store, config.ignore) == (None, None, frozenset())
    assert config.max_body < config.max_bytes


def test__lists_and_durations__are_kept_in_one_form() -> None:
    config = StaleResponse(max_age=timedelta(minutes=1), methods=["get", "POST"], ignore=["X-Call"])  # type: ignore[arg-type]
    assert (config.max_age, config.methods, config.ignore) == (60.0, frozenset({"GET", "POST"}), frozenset({"x-call"}))


async def later(request: object) -> str:
    return "alice"


WRONG: list[dict[str, Any]] = [
    {"max_age": 0},
    {"max_age": -1},
    {"max_age": float("inf")},
    {"max_age": "300"},
    {"max_entries": 0},
    {"max_bytes": 0},
    {"max_bytes": 1.5},
    {"max_body": -1},
    {"methods": "GET"},
    {"methods": ["GET /"]},
    {"methods": [1]},
    {"key": "alice"},
    {"key": later},
    {"ignore": "x-call"},
    {"ignore": ["x call"]},
    {"ignore": ["Authorization"]},
    {"ignore": ["x-api-key"]},
    {"store": "answers.db"},
]


@pytest.mark.parametrize("wrong", WRONG, ids=[str(wrong)[:40] for wrong in WRONG])
def test__wrong__raises_with_the_cure(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match="give"):
        StaleResponse(**wrong)


def test__copies__are_equal_and_start_empty(tmp_path: Path) -> None:
    file = SqliteStore(tmp_path / "a.db")
    for store in (None, file):
        config = StaleResponse(max_age=60, store=store)
        for copied in (pickle.loads(pickle.dumps(config)), copy.deepcopy(config)):
            assert (copied.max_age, type(copied.store)) == (60, type(store))
            if isinstance(copied.store, SqliteStore):
                copied.store.close()
    memory = MemoryStore()
    memory.put(b"k" * 32, b"x", 0, 1, 1, 1000)
    assert len(copy.deepcopy(StaleResponse(store=memory)).store or ()) == 0
    file.close()
