"""Send it later: the request is kept on disk, and the caller gets a receipt instead of an answer.

For what has to happen, but not now: an order, an event, a write. Only what may be sent
twice is kept, since a worker that dies after sending cannot say so: by its method, or
under an idempotency key, which is kept and sent each time. Credentials are not kept;
whoever sends attaches them (`Outbox.drain(attach=…)`), so that a stolen file opens
nothing, and a token that expired meanwhile is no reason to fail.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from seawall import _check
from seawall.degrade.credentials import is_credential
from seawall.degrade.fields import CONNECTION, text
from seawall.outcome import Reason, Rejection
from seawall.policies.retry import IDEMPOTENT_METHODS, Retry, key_field

if TYPE_CHECKING:
    from seawall._story import Call, Source
    from seawall.degrade.step import Trouble
    from seawall.outbox import Outbox
    from seawall.runtime import Runtime
    from seawall.stores.items import Fields, Receipt

_RECOMPUTED: Final = CONNECTION | {"accept-encoding", "content-length", "expect", "host"}
"""The library makes them anew. Results are not compressed."""


@dataclass(frozen=True, slots=True)
class QueueForRetry:
    """Keep the request in an outbox and raise `Queued`, whose `.receipt` tells later what became of it."""

    outbox: Outbox
    """Where: `Outbox("outbox.db")`."""
    _: KW_ONLY
    queue_timeout: float = 3600.0
    """Seconds after which it is not sent any more: how long the request still means what it meant."""
    max_body: int = 1024 * 1024
    """Bytes; a request with a longer body is not kept, and the next step is asked."""
    store_credentials: bool = False
    """Keep `Authorization`, cookies, API keys in the file, in clear. Else whoever sends attaches them."""

    def __post_init__(self) -> None:
        if isinstance(self.outbox, type) or not (hasattr(self.outbox, "put") and hasattr(self.outbox, "drain")):
            raise TypeError(f'QueueForRetry: outbox={self.outbox!r}: give an Outbox, such as Outbox("outbox.db")')
        _check.duration(self, "queue_timeout", zero=False)
        _check.count(self, "max_body", 0)
        _check.flag(self, "store_credentials")

    @property
    def source(self) -> Source:
        return "origin"  # it gives no answer

    @property
    def reserve(self) -> float:
        return 0.0

    def begin(self, call: Call, runtime: Runtime) -> None:
        pass

    def could_answer(self, call: Call) -> bool:
        return self.accepts(call.request, call.policy.retry)

    async def answer(self, trouble: Trouble) -> Rejection | None:
        """A rejection with the receipt; None: this request is not one to keep. Raises OutboxFull, OutboxError."""
        call, runtime = trouble.call, trouble.runtime
        if not self.accepts(call.request, call.policy.retry) or not runtime.repeatable(call).body:
            return None
        after = trouble.rejection.wait(call.state.clock.monotonic()) if trouble.rejection is not None else None
        if _declared_length(call.request) > self.max_body:  # not read into memory first
            return None
        body = runtime.content(call)
        if body is None:
            return None
        receipt = await runtime.disk(self.keep, call.request, body, call.state.name, call.policy.retry, after)
        if receipt is None:
            return None
        # Without a time to try again: whoever does sends a second request.
        return Rejection(
            Reason.QUEUED,
            call.state.name,
            cause=trouble.error,
            response=trouble.response,
            facts={"receipt": receipt},
        )

    def accepts(self, request: Any, retry: Retry | None) -> bool:
        """May this request be sent twice, by its method or under a key?"""
        if not hasattr(request, "headers"):  # an operation of `execute`
            return False
        methods = IDEMPOTENT_METHODS if retry is None or retry.methods is None else retry.methods
        return (request.method or "GET").upper() in methods or bool(request.headers.get(key_field(retry)))

    def keep(
        self, request: Any, body: bytes | None, host: str, retry: Retry | None, wait: float | None = None
    ) -> Receipt | None:
        """Put a library's request into the outbox. None: its body is too long. Raises OutboxFull, OutboxError."""
        if body is not None and len(body) > self.max_body:
            return None
        url = str(request.url)
        if not self.store_credentials:
            parts = urlsplit(url)
            if "@" in parts.netloc:
                url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        return self.outbox.put(
            (request.method or "GET").upper(),
            url,
            self.stored_fields(request, key_field(retry)),
            body or None,
            host=host,
            queue_timeout=self.queue_timeout,
            wait=wait or 0.0,
        )

    def stored_fields(self, request: Any, key: str) -> Fields:
        """What is kept of a request's header: nothing of the connection, no credentials unless asked for."""
        pairs = [(text(name), text(value)) for name, value in _pairs(request.headers)]
        hop = {
            "",
            *(one.strip().lower() for name, value in pairs if name.lower() == "connection" for one in value.split(",")),
        }
        return tuple(
            (name, value)
            for name, value in pairs
            if name.lower() not in _RECOMPUTED | hop
            and (self.store_credentials or name.lower() == key.lower() or not is_credential(name))
        )


def _declared_length(request: Any) -> int:
    length = str(request.headers.get("content-length", "0"))
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0


def _pairs(headers: Any) -> list[tuple[Any, Any]]:
    """Each field by itself and as it is sent, where the library keeps that."""
    return list(headers.raw if hasattr(headers, "raw") else headers.items())
