"""Runs each scenario once per client."""

from __future__ import annotations

import inspect
import socket
from functools import partial
from typing import Any

import pytest

from tests.contract.clients import KITS, Kit
from tests.contract.fixtures import other, peer, stack, watchdog

__all__ = ["kit", "names", "other", "peer", "stack", "watchdog"]


@pytest.fixture(params=KITS, ids=repr)
def kit(request: pytest.FixtureRequest) -> Kit:
    """Each client in turn."""
    chosen: Kit = request.param
    return chosen


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names under `.test` are this machine, `nobody.test` does not exist: no resolver is asked."""
    resolve = socket.getaddrinfo

    def local(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if isinstance(name, str) and name.rstrip(".").endswith(".test"):
            if name.startswith("nobody"):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            name = "127.0.0.1"
        return resolve(name, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", local)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Under trio the libraries leave generators of their own to the collector, mounted or not; ours may not."""
    item.add_marker(pytest.mark.filterwarnings(r"ignore:Async generator .http(x|core)2?\.:ResourceWarning"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test as a scenario of its kit."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    kit: Kit = wanted["kit"]
    kit.run(partial(pyfuncitem.obj, **wanted))
    return True
