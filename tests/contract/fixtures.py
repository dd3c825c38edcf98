"""Peers that are torn down, and a watchdog: for every suite that talks to real sockets."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.contract.peer import Peer

LIMIT = 15.0
GRACE = 5.0


class Hung(BaseException):
    """A scenario took longer than `LIMIT`; no `except Exception` may hide that."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Things to be torn down after the scenario."""
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def peer(stack: ExitStack) -> Peer:
    """A scripted server that answers 200 until told otherwise."""
    return stack.enter_context(Peer())


@pytest.fixture
def other(stack: ExitStack) -> Peer:
    """A second server, on another port."""
    return stack.enter_context(Peer())


@pytest.fixture(autouse=True)
def watchdog(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a scenario that takes too long; end the whole run, with every stack, if it cannot be interrupted."""
    ended = threading.Event()
    late = threading.Event()

    def watch() -> None:
        if ended.wait(LIMIT):
            return
        late.set()
        main = ctypes.c_ulong(threading.main_thread().ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(main, ctypes.py_object(Hung))  # ends a loop, not a wait
        if ended.wait(GRACE):
            return
        request.config.pluginmanager.getplugin("capturemanager").suspend_global_capture(in_=False)
        os.write(2, f"\n{request.node.nodeid} hangs\n".encode())
        faulthandler.dump_traceback(2)
        os._exit(70)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield
    ended.set()
    thread.join()
    assert not late.is_set(), f"took longer than {LIMIT} s"
