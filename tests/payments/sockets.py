"""The bank as a real server, and its customers as real clients: what the wire can do to a payment."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import seawall
from seawall import ErrorKind
from tests.contract import steps
from tests.contract.clients import Kit
from tests.contract.peer import Peer
from tests.contract.steps import Exchange, Received, Step, answer
from tests.payments.bank import STATUSES, Bank, Fate, Payment
from tests.payments.mounts import address, body, headers, resilience

AT_ONCE = 8
RETRIES = 12
"""Connections are reset beside the faults of the calls, and each is to be answered in the end."""
UNSENT = (ErrorKind.CONNECTION_REFUSED, ErrorKind.CONNECTION_TIMEOUT)
"""What a busy machine can do to an attempt before anything of it has left."""
LATE = 0.15
"""Seconds the clients wait for an answer."""


def _reset(exchange: Exchange) -> None:
    exchange.keep = False
    exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _half(exchange: Exchange) -> None:
    exchange.sock.recv(40)
    _reset(exchange)


def _unread(exchange: Exchange) -> None:
    exchange.sock.recv(1, socket.MSG_PEEK)  # something has left, or it would be fair to send it again
    _reset(exchange)


HALF_READ = Step(_half, early=True)
UNREAD = Step(_unread, early=True)


def _gone(exchange: Exchange) -> None:
    """Answer, then drop the kept connection without a word: the next call may write into it."""
    answer(200, b"paid").play(exchange)
    exchange.keep = False


class BankServer(Peer):
    """Plays each request's fate; some connections it resets unread, some it drops when they are idle."""

    def __init__(self, bank: Bank, seed: int) -> None:
        self.bank = bank
        self._chance = random.Random(seed)
        self._drawing = threading.Lock()
        super().__init__()
        self.script(steps.judged(self._judge))

    def _take(self, path: str | None, *, early: bool = False) -> Step | None:
        if not early:
            return super()._take(path)
        with self._drawing:
            drawn = self._chance.random()
        return HALF_READ if drawn < 0.05 else UNREAD if drawn < 0.08 else None

    def _judge(self, request: Received) -> Step:
        number = int(request.header("x-call") or "")
        fate = self.bank.take(number, request.header("idempotency-key"), request.body)
        match fate:
            case Fate.FINE:
                return Step(_gone) if number % 5 == 0 else answer(200, b"paid")
            case Fate.RESET_BEFORE | Fate.RESET_AFTER | Fate.RESET_HALF_READ:
                return steps.reset()
            case Fate.CLOSED_BEFORE | Fate.CLOSED_AFTER:
                return steps.close()
            case Fate.LATE_BEFORE | Fate.LATE_AFTER:
                return steps.hang(2 * LATE)
            case Fate.GARBAGE_AFTER:
                return steps.garbage()
            case Fate.MID_RESPONSE:
                return steps.short_body()
            case _:
                status, fields = STATUSES[fate]
                return answer(status, b"no", list(fields.items()))


def through_sockets(kit: Kit, calls: list[Payment], seed: int) -> None:
    """All calls through one mounted client, some at once."""
    bank = Bank(calls)
    with BankServer(bank, seed) as server:

        async def pay(pending: Iterator[Payment], client: Any) -> None:
            for call in pending:
                content = body(call, is_async=kit.is_async)
                options: dict[str, Any] = {} if content is None else {"content": content}
                end: Any
                try:
                    got = await client.request(call.method, address(call, server.url), headers=headers(call), **options)
                    end = got.raw
                except kit.errors.base as error:
                    end = error
                report = seawall.report(end)
                assert report is not None
                call.attempts = sum(attempt.kind not in UNSENT for attempt in report.attempts)

        async def pay_all() -> None:
            pending = iter(calls)
            async with kit.mounted(resilience(server.url, RETRIES), timeout=(5.0, LATE)) as client:
                ends = await kit.together(*[lambda: pay(_one_by_one(pending), client)] * AT_ONCE)
            assert ends == [None] * AT_ONCE, ends

        kit.run(pay_all)


def _one_by_one(pending: Iterator[Payment]) -> Iterator[Payment]:
    """An iterator several threads may draw from: that of a list is safe."""
    while (call := next(pending, None)) is not None:
        yield call
