"""Requests and answers as a mount shows them to the cache, and a cache with its time in the test's hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from seawall.degrade.answer import Answer
from seawall.degrade.cache import StaleState
from seawall.degrade.slot import Slot
from seawall.degrade.stale import StaleResponse

WALL = 1_700_000_000.0
"""Tue, 14 Nov 2023 22:13:20 GMT"""
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"

Fields = Mapping[str, str] | Iterable[tuple[str, str]]


class Request:
    def __init__(self, method: str = "GET", url: str = "https://api.test/x", headers: Fields = ()) -> None:
        self.method = method
        self.url = url
        self.headers = pairs(headers)


def pairs(headers: Fields) -> list[tuple[str, str]]:
    return list(headers.items() if isinstance(headers, Mapping) else headers)


class Cache:
    """A `StaleState`, and what mount and flow do with it."""

    def __init__(self, **config: Any) -> None:
        self.complaints: list[str] = []
        self.state = StaleState(
            StaleResponse(**config), lambda _, error: self.complaints.append(f"{type(error).__name__}: {error}")
        )
        self.now = 1000.0

    @property
    def wall(self) -> float:
        return WALL + self.now - 1000

    def slot(self, request: Request, body: bytes | None = b"", identity: str | int = 0) -> Slot | None:
        return self.state.slot(request, request.headers, body, identity)

    def answered(
        self,
        request: Request,
        status: int = 200,
        headers: Fields = (),
        body: bytes = b"good",
        *,
        asked: bytes | None = b"",
        identity: str | int = 0,
        elapsed: float = 0.0,
    ) -> bool:
        """The request was sent and answered, whole. Was it kept?"""
        slot = self.slot(request, asked, identity)
        if slot is None or not slot.begin(status, pairs(headers), self.now, self.wall, elapsed):
            return False
        slot.keep(body)
        return True

    def found(
        self, request: Request, *, asked: bytes | None = b"", identity: str | int = 0, **how: Any
    ) -> Answer | None:
        """What comes instead of an answer that the host does not give."""
        slot = self.slot(request, asked, identity)
        return None if slot is None else self.state.find(slot, self.now, self.wall, **{"sent": False, **how})


def header(answer: Answer | None, name: str) -> str | None:
    assert answer is not None
    found = [value for known, value in answer.headers if known.lower() == name]
    assert len(found) <= 1
    return found[0] if found else None
