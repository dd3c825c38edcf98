"""Keys of calls that send one request object together, interleaved where it hurts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from seawall import Retry
from seawall.idempotency import add_key

NAME = "Idempotency-Key"


class Meddled(dict[str, str]):
    """Headers in whose writing another call comes between."""

    between: Any = None

    def __setitem__(self, key: str, value: str) -> None:
        between, self.between = self.between, None
        if between is not None:
            between()
        super().__setitem__(key, value)

    def copy(self) -> Meddled:
        return Meddled(self)


class Request:
    def __init__(self) -> None:
        self.method = "POST"
        self.headers = Meddled()


class Call:
    ending: object = None

    def __init__(self, request: Request) -> None:
        self.request = request
        self.policy = SimpleNamespace(retry=Retry(idempotency_key="auto"))


def test__second_call_while_the_first_writes_its_key__each_has_its_own() -> None:
    request = Request()
    earlier, first, second = Call(request), Call(request), Call(request)
    add_key(earlier)  # type: ignore[arg-type]
    earlier.ending = "over"
    request.headers.between = lambda: add_key(second)  # type: ignore[arg-type]
    add_key(first)  # type: ignore[arg-type]
    assert first.request is request
    assert second.request is not request
    assert first.request.headers[NAME] != second.request.headers[NAME]


def test__many_calls_one_after_the_other__leave_nothing_behind() -> None:
    request = Request()
    for _ in range(100):
        call = Call(request)
        add_key(call)  # type: ignore[arg-type]
        call.ending = "over"
    (keys,) = (value for name, value in vars(request).items() if name.startswith("_seawall"))
    assert (len(keys.known), len(keys._claims)) == (2, 1)
