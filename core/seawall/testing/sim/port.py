"""The runtime of a simulated client: what a mount is to a library, with the parts that all mounts share.

No decision is made here: the flow, the clocks and the judging are the product's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seawall.classification import streams
from seawall.degrade.answer import Answer
from seawall.degrade.copying import copy_of
from seawall.degrading import on_behalf
from seawall.errors import dress
from seawall.judging import watch_for
from seawall.mounted import PEEK_BYTES, PEEK_SECONDS, headers_came
from seawall.policies.retry import Repeatable
from seawall.testing.loop import sleep
from seawall.testing.sim.body import Body, Response, judge
from seawall.testing.sim.messages import BREAKS, HANGS, Headers, Request
from seawall.testing.virtual import VirtualRuntime

if TYPE_CHECKING:
    from seawall._story import Call
    from seawall.degrade.fallback import Rewrite
    from seawall.outcome import Rejection
    from seawall.testing.sim.client import Client


class Port(VirtualRuntime):
    """The runtime of one client."""

    admission = Body

    def __init__(self, client: Client) -> None:
        super().__init__(self._nothing, judge)
        self.client = client
        self.network = client.network

    async def _nothing(self, call: Call) -> Any:
        raise AssertionError("the network answers")

    async def send(self, call: Call, admission: Any) -> Response:
        client, request = self.client, call.request
        sending = admission.sending = client.left(call, request)
        watch = admission.watch = watch_for(call, admission.started)
        exchange = await self.network.send(request, sending, client.connect, client.read, watch)
        clock = admission.clock = self.network.clock
        admission.exchange = exchange
        admission.read_limit = client.read
        admission.headers_at = clock.now
        admission.status = exchange.status
        response = Response(exchange.status, exchange.headers, admission)
        if watch is not None:
            headers_came(call, watch, response)
        copy = None
        if call.slot is not None:
            copy = copy_of(call, admission, exchange.status, exchange.headers.items())
        admission.copy = copy
        if not (_is_quota_like(response) or (call.policy.inspect_streams and streams(response))):
            sending.judge(clock.now)
        if not exchange.pieces and exchange.body_ends not in (BREAKS, HANGS):
            admission.is_over = admission.is_read = True
            call.copy = copy
            sending.finish("eof", clock.now)
        return response

    async def peek(self, response: Response, admission: Any) -> bytes | None:
        if admission.is_over:
            return b""
        ends = self.network.clock.now + PEEK_SECONDS
        if admission.ahead is None and not admission.is_read:
            size, is_more = 0, True
            while is_more and size <= PEEK_BYTES and self.network.clock.now < ends:
                is_more = await admission.read_ahead()
                size = sum(map(len, admission.ahead or ()))
        sending = admission.sending
        sending.peeks += 1
        if sending.peeks == 1 and _is_quota_like(response):
            sending.judge(self.network.clock.now)
        elif admission.is_read:  # whoever looks this late lets the attempt go
            sending.finish("read ahead", self.network.clock.now)
        return b"".join(admission.ahead or ()) if admission.is_read else None

    async def hold(self, response: Response, admission: Any) -> Exception | None:
        inspector, watch = admission.inspector, admission.watch
        if not admission.is_over:
            watch.body_wanted()
            while not inspector.is_decided and await admission.read_ahead():
                pass
        if admission.is_read:
            inspector.end()
        if admission.ahead_error is None and watch is not None:
            watch.content()
        admission.sending.judge(self.network.clock.now)
        return admission.ahead_error  # type: ignore[no-any-return]

    async def discard(self, response: Response, admission: Any) -> None:
        admission.ahead_error = None
        admission.sending.finish("discarded", self.network.clock.now)
        await sleep(0)

    async def forward(self, call: Call, rewrite: Rewrite) -> Any:
        original = call.request
        content = original.content if rewrite.body is None else rewrite.body
        request = Request(rewrite.method, rewrite.url, headers=rewrite.headers, content=content)
        request.replayable = original.replayable
        other = self.client.new_call(request)
        if other is None:
            return None
        other.sending = call.sending
        return await on_behalf(call, other, self)

    async def read(self, response: Response) -> Answer:
        return Answer.decoded(response.status_code, response.headers.items(), await response.read())

    def repeatable(self, call: Call) -> Repeatable:
        return Repeatable.of(call.request, call.policy.retry, body=call.request.replayable)

    def fields(self, call: Call) -> list[tuple[Any, Any]]:
        return list(call.request.headers.items())

    def content(self, call: Call) -> bytes | None:
        return call.request.content if call.request.replayable else None

    def respond(self, call: Call, answer: Any) -> Response:
        if isinstance(answer, Response):
            return answer
        if not isinstance(answer, Answer):
            raise TypeError("give a seawall.Answer")
        return Response(answer.status, Headers(answer.headers), None, answer.content)

    def exception(self, call: Call, rejection: Rejection) -> BaseException:
        return dress(call, rejection)


def _is_quota_like(response: Response) -> bool:
    """Is the body of the answer looked into before it is decided what it means?"""
    return response.status_code == 429 and "json" in response.headers.get("content-type", "")
