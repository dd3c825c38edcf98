"""The simulated network: what is sent reaches a server, and what it decided comes back as time passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seawall.outcome import ErrorKind, Sent
from seawall.testing.loop import sleep
from seawall.testing.sim.messages import Exchange, NetworkError, Request

if TYPE_CHECKING:
    from seawall.clocks import Watch
    from seawall.testing.sim.history import Sending
    from seawall.testing.sim.server import Server
    from seawall.testing.virtual import VirtualClock


async def until(clock: VirtualClock, instant: float, limit: float | None, kind: ErrorKind) -> None:
    """Wait for it, at most `limit` seconds: then the library raises its timeout."""
    left = instant - clock.now
    if limit is not None and limit < left:
        await sleep(limit)
        raise NetworkError(kind)
    if left > 0:
        await sleep(left)


def origin_of(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


class Network:
    """The servers by origin, and the time they share."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.servers: dict[str, Server] = {}

    async def send(
        self, request: Request, sending: Sending, connect: float | None, read: float | None, watch: Watch | None = None
    ) -> Exchange:
        """The exchange, when its headers are there. Raises NetworkError, as the library would."""
        clock = self.clock
        try:
            server = self.servers.get(sending.origin)
            if server is None:
                raise NetworkError(ErrorKind.NAME_RESOLUTION, Sent.NO)
            exchange = sending.exchange = server.receive(request, clock.now)
            if watch is not None:
                watch.is_proof = True
                limit: float | None = watch.connect_within(connect)
                watch.is_exact = True
            else:
                limit = connect
            if exchange.connected_at > clock.now:
                await until(clock, exchange.connected_at, limit, ErrorKind.CONNECTION_TIMEOUT)
            error = exchange.error
            if error is None or error[1] is not Sent.NO:
                limit = read
                if watch is not None:
                    watch.write_within(None)
                    watch.wrote = True
                    limit = watch.read_within(read)
                    watch.is_exact = True
            await until(clock, exchange.headers_at, limit, ErrorKind.TIMEOUT)
            if error is not None:
                raise NetworkError(*error)
        except Exception as raised:
            if isinstance(raised, NetworkError):
                raised.sending = sending
            sending.judge(clock.now, what(raised))
            sending.finish("error", clock.now)
            raise
        except BaseException:
            sending.finish("cancelled", clock.now)
            raise
        sending.see_headers(clock.now)
        return exchange


def what(error: Exception) -> str:
    """An exception in a word or two."""
    return error.kind.value if isinstance(error, NetworkError) else type(error).__name__
