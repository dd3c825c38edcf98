"""`seawall outbox run FILE --client module:name`: the process that sends what is queued."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Self

from seawall._mounting import replayer
from seawall.drivers.signals import StopSignal
from seawall.outbox import Outbox
from seawall.stores.items import OutboxError

_LOOK_EVERY: Final = 1.0
"""Seconds: other processes put requests in, and tell nobody."""


def main(argv: Sequence[str]) -> int:
    """Run the worker and return its exit status: 0 when it was asked to end, 1 when the file cannot be used."""
    parser = argparse.ArgumentParser(prog="seawall outbox", description="Sends what is queued in an outbox.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run_parser = commands.add_parser("run", help="send until SIGTERM or SIGINT, which lets the item under way end")
    run_parser.add_argument("file", metavar="FILE", help="the outbox's file")
    run_parser.add_argument(
        "--client",
        required=True,
        metavar="module:name",
        help="a client of httpx, httpx2 or requests, or a function that makes one; mount policies on it",
    )
    run_parser.add_argument(
        "--attach", metavar="module:name", help="a function of the request that puts credentials on it"
    )
    run_parser.add_argument(
        "--lease", type=float, default=30.0, metavar="SECONDS", help="see Outbox.drain (default 30)"
    )
    run_parser.add_argument("--once", action="store_true", help="send what is due now, and end")
    options = parser.parse_args(argv)
    sys.path.insert(0, "")  # a script's path lacks the current directory
    try:
        client = _client(options.client)
        attach = None if options.attach is None else _named(options.attach)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        parser.error(str(error))
    try:
        if not Path(options.file).exists():  # nobody has put anything in yet; or its name is misspelt
            print(f"seawall: {options.file} is new: nothing was queued there before", file=sys.stderr)
        return run(Outbox(options.file), client, attach=attach, lease=options.lease, once=options.once)
    except OutboxError as error:
        print(f"seawall: {error}", file=sys.stderr)
        return 1


def run(
    outbox: Outbox,
    client: Any,
    *,
    attach: Callable[[Any], object] | None = None,
    lease: float = 30.0,
    once: bool = False,
) -> int:
    """Drain, sleep until there is more to do, and again."""
    with StopSignal() as signal, _Drain(outbox, client, attach, lease, lambda: signal.came) as drain:
        while not signal.came:
            sent = drain()
            if sent or once:
                print(f"{sent} sent, {len(outbox)} waiting", flush=True)
            if once:
                break
            wait = outbox.sendable_in()
            signal.wait(_LOOK_EVERY if wait is None else min(max(wait, 0.02), _LOOK_EVERY))
    return 0


class _Drain:
    """`drain`, or `adrain` in an event loop that is kept, since an async client's connections belong to one."""

    def __init__(self, outbox: Outbox, client: Any, attach: Any, lease: float, stop: Callable[[], bool]) -> None:
        self._outbox = outbox
        self._client = client
        self._options: dict[str, Any] = {"attach": attach, "lease": lease, "stop": stop}
        inner, mount = replayer(client)
        self._runner: Any = None
        if mount.is_async(inner):
            from seawall.drivers.aio import runner

            self._runner = runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._runner is not None:
            self._runner.close()

    def __call__(self) -> int:
        if self._runner is None:
            return self._outbox.drain(self._client, **self._options)
        return self._runner.run(self._outbox.adrain(self._client, **self._options))  # type: ignore[no-any-return]


def _client(path: str) -> Any:
    """The client of that name, or what a function of that name returns."""
    found = _named(path)
    try:
        replayer(found)
    except TypeError:
        if not callable(found):
            raise
        found = found()
        replayer(found)
    return found


def _named(path: str) -> Any:
    module, colon, name = path.partition(":")
    if not colon or not module or not name:
        raise ValueError(f"{path!r}: give module:name")
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found
