"""SPEC 2, retry: rows of docs/specification.md that no other test shows."""

from __future__ import annotations

import pytest

from seawall import Retry
from tests.core.stage import Stage, answer, only


def test__base_delay__is_the_first_step() -> None:
    for base in (0.1, 1.5):
        retry = Retry(max_retries=2, base_delay=base, max_delay=30, jitter="none")
        stage = Stage(only(retry=retry), answer(503))
        stage.get()
        assert stage.times == pytest.approx([0, base, base + 2 * base])
