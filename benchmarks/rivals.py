"""What people do without seawall, in the simulator: nothing, three retries, three retries and a breaker."""

from __future__ import annotations

from typing import Any

from seawall.testing.loop import sleep
from seawall.testing.sim.body import Body, Response
from seawall.testing.sim.client import Client
from seawall.testing.sim.history import CallSeen
from seawall.testing.sim.messages import NetworkError, Request


class Bare(Client):
    """A client with the timeouts of its library, and nothing else."""

    async def _send(self, seen: CallSeen, request: Request, override: Any, within: float | None) -> Response:
        sending = self._sent(seen, request)
        exchange = await self.network.send(request, sending, self.connect, self.read)
        body = Body.__new__(Body)  # nobody's attempt
        body.exchange, body.sending, body.clock, body.settled = exchange, sending, self.network.clock, True
        body.watch, body.outcome = None, None
        return Response(exchange.status, exchange.headers, body)


class Retrying(Bare):
    """Three retries after a 5xx or an error, exponential with full jitter, as retry decorators do."""

    async def _send(self, seen: CallSeen, request: Request, override: Any, within: float | None) -> Response:
        for retry in range(4):
            try:
                response = await super()._send(seen, request, override, within)
                if response.status_code < 500 or retry == 3:
                    return response
                response.close()
            except NetworkError:
                if retry == 3:
                    raise
            await sleep(self.chance.random() * 0.1 * 2**retry)
        raise AssertionError


class Breaking(Retrying):
    """The same with a breaker around each attempt: five failures in a row open it for 60 s, one success closes it."""

    _run = 0
    _open_until = 0.0

    async def _send(self, seen: CallSeen, request: Request, override: Any, within: float | None) -> Response:
        clock = self.network.clock
        for retry in range(4):
            if clock.now < self._open_until:
                raise ConnectionError("circuit open")
            try:
                response = await Bare._send(self, seen, request, override, within)
                failed = response.status_code >= 500
            except NetworkError as error:
                failed, response = True, error
            if not failed:
                self._run = 0
                return response
            self._run += 1
            if self._run >= 5:
                self._open_until = clock.now + 60
            if retry == 3:
                break
            if isinstance(response, Response):
                response.close()
            await sleep(self.chance.random() * 0.1 * 2**retry)
        if isinstance(response, Response):
            return response
        raise response
