"""Operations for `execute` and `aexecute`, run both ways, and what a mounted client used inside them would do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import seawall
from seawall import Policy, Resilience, Retry
from seawall.errors import dress
from seawall.flow import Failed, run
from seawall.mounted import blame
from seawall.outcome import Rejection
from seawall.testing import VirtualClock, simulate
from tests.core.stage import Answer, Peer, Step, call_to, only

URL = "https://inside.test/"


def at_once(**changes: Any) -> Retry:
    """Two retries without any delay: these runtimes wait in real time."""
    return Retry(**({"max_retries": 2, "base_delay": 0, "max_delay": 0} | changes))


def gateway(policy: Policy | None = None, **more: Policy) -> Resilience:
    return Resilience({"all://": policy or only(), **more}, clock=VirtualClock())


def execute(resilience: Resilience, name: str, operation: Callable[..., Any], *args: Any) -> Any:
    return resilience.execute(name, operation, *args)


def aexecute(resilience: Resilience, name: str, operation: Callable[..., Any], *args: Any) -> Any:
    async def as_coroutine(*given: Any) -> Any:
        return operation(*given)

    return asyncio.run(resilience.aexecute(name, as_coroutine, *args))


Way = Callable[..., Any]
both = pytest.mark.parametrize("way", [execute, aexecute], ids=["execute", "aexecute"])


def snapshot(resilience: Resilience, name: str = "primary") -> seawall.HostSnapshot:
    picture = resilience.snapshot(name)
    assert picture is not None
    return picture


class Operation:
    """Plays what it is given, the last for ever: exceptions are raised, the rest is returned."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.times = 0

    def __call__(self, *args: Any) -> Any:
        step = self.script[min(self.times, len(self.script) - 1)]
        self.times += 1
        if isinstance(step, BaseException):
            raise step
        return step


def fetch(resilience: Resilience, *steps: Step, url: str = URL) -> Any:
    """What a mounted client of the same Resilience does with a request."""
    call = call_to(resilience, url)
    clock: Any = resilience.clock
    (result,) = simulate(clock, run(call, Peer(*steps)))
    if isinstance(result, Failed):
        raise blame(call, result.take())
    if isinstance(result, Rejection):
        raise dress(call, result)
    if isinstance(result, BaseException):
        raise result
    assert isinstance(result, Answer)
    return result


class StatusError(Exception):
    """As httpx, requests and the SDKs have them: the status is on a response, or on the error."""

    def __init__(self, status: int, *, on_response: bool = True) -> None:
        super().__init__(f"status {status}")
        carrier = type("Response", (), {"status_code": status})()
        if on_response:
            self.response = carrier
        else:
            self.status_code = status


def caused_by(cause: BaseException) -> Exception:
    error = RuntimeError("an SDK's own")
    error.__cause__ = cause
    return error
