"""What can happen to a request, as data: how to bring each fault about, and what each library calls it.

`sent` says whether the server may have acted on the request, `retried` whether a GET is worth another attempt.
A fault after the headers is past the commit point: it is the caller's, and is never retried.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.contract import steps
from tests.contract.clients import Kit
from tests.contract.peer import BlackHole, Peer

Arrange = Callable[[ExitStack], tuple[str, Peer | None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One row: `arrange` gives the URL to call and the peer that plays it, if there is one."""

    name: str
    arrange: Arrange
    sent: Literal["no", "maybe", "yes"]
    retried: bool
    after_headers: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    client: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return self.name

    def error(self, kit: Kit) -> type[Exception]:
        """The class the library itself raises."""
        found: type[Exception] = getattr(kit.errors, self.name)
        return found

    def method(self) -> str:
        """The method the fault needs: GET, unless it must send a body."""
        return "PUT" if "content" in self.options else "GET"


def _plays(step: steps.Step) -> Arrange:
    def arrange(stack: ExitStack) -> tuple[str, Peer | None]:
        peer = stack.enter_context(Peer())
        peer.script(step)
        return peer / "it", peer

    return arrange


def _refusing(stack: ExitStack) -> tuple[str, Peer | None]:
    return stack.enter_context(Peer(refusing=True)) / "it", None


def _black_hole(stack: ExitStack) -> tuple[str, Peer | None]:
    return stack.enter_context(BlackHole()) / "it", None


def _silent_tls(stack: ExitStack) -> tuple[str, Peer | None]:
    peer = stack.enter_context(Peer(deaf=True))
    return f"https://127.0.0.1:{peer.port}/it", None


def _bad_certificate(stack: ExitStack) -> tuple[str, Peer | None]:
    return stack.enter_context(Peer(tls=True)) / "it", None


def _deaf(stack: ExitStack) -> tuple[str, Peer | None]:
    return stack.enter_context(Peer(deaf=True)) / "it", None


def _circle(stack: ExitStack) -> tuple[str, Peer | None]:
    peer = stack.enter_context(Peer())
    peer.script(steps.redirect(peer / "it"))
    return peer / "it", peer


QUICK = 0.05
THEN_QUICK = (2.0, QUICK)
"""Patient while connecting, so that a busy machine does not turn a slow answer into a slow connection."""

FAULTS = [
    Fault("refused", _refusing, "no", True),
    Fault("unresolved", lambda _: ("http://nobody.test/it", None), "no", True),
    Fault("connect_timeout", _black_hole, "no", True, client={"timeout": QUICK}),
    Fault("tls_silent", _silent_tls, "no", True, client={"timeout": QUICK}),
    Fault("bad_certificate", _bad_certificate, "no", False),
    Fault("write_timeout", _deaf, "maybe", True, options={"content": bytes(8_000_000)}, client={"timeout": QUICK}),
    Fault("read_timeout", _plays(steps.hang()), "maybe", True, client={"timeout": THEN_QUICK}),
    Fault("closed", _plays(steps.close()), "maybe", True),
    Fault("reset", _plays(steps.reset()), "maybe", True),
    Fault("garbage", _plays(steps.garbage()), "yes", True),
    Fault("bomb", _plays(steps.bomb()), "yes", True),
    Fault("short_body", _plays(steps.short_body()), "yes", False, after_headers=True),
    Fault("bad_chunk", _plays(steps.bad_chunk()), "yes", False, after_headers=True),
    Fault("bad_gzip", _plays(steps.bad_gzip()), "yes", False, after_headers=True),
    Fault("redirect_loop", _circle, "yes", False, options={"follow": True}, client={"max_redirects": 3}),
    Fault("bad_scheme", lambda _: ("gopher://127.0.0.1/it", None), "no", False),
    Fault("no_host", lambda _: ("/just/a/path", None), "no", False),
]
