"""The body of an answer that is to be remembered, copied as it passes: raw, bounded, and kept only if it was all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from seawall.outcome import Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from seawall.degrade.flights import Lead
    from seawall.degrade.slot import Slot
    from seawall.outcome import Outcome

_BAD: Final = (Verdict.FAILURE, Verdict.THROTTLED)


class Copy:
    """What passed so far; nothing once it is too long."""

    __slots__ = ("__weakref__", "_pieces", "_size", "_slot", "lead")

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._pieces: list[bytes] | None = []
        self._size = 0
        self.lead: Lead | None = None
        """Others wait for it."""

    def add(self, piece: bytes) -> None:
        lead = self.lead
        if lead is not None and lead.passed is not None:
            lead.passed += 1
        if self._pieces is not None:
            self._size += len(piece)
            if self._size > self._slot.limit:
                self._pieces = None
                if lead is not None:
                    lead.land(None)
            else:
                self._pieces.append(piece)

    def keep(self, outcome: Outcome | None) -> None:
        """That was all of it, and this is what became of the attempt; what was a failure after all is not kept."""
        pieces, self._pieces = self._pieces, None
        lead, self.lead = self.lead, None
        record = None
        if pieces is not None and (outcome is None or outcome.verdict not in _BAD):
            record = self._slot.keep(b"".join(pieces))
        if lead is not None:
            lead.land(record)

    def leave(self) -> None:
        """The body is closed. Before its end, nobody will have all of it from here."""
        lead, self.lead = self.lead, None
        if lead is not None:
            lead.resign()

    def follow(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces, copied."""
        for piece in pieces:
            self.add(piece)
            yield piece

    def following(self, read: Callable[[], Awaitable[bytes]]) -> Callable[[], Awaitable[bytes]]:
        """The same `__anext__`, what it gives copied."""

        async def copied() -> bytes:
            piece = await read()
            self.add(piece)
            return piece

        return copied


def copy_of(call: Any, admission: Any, status: int, fields: Iterable[tuple[Any, Any]]) -> Copy | None:
    """The headers are here: a copy, if the call's answer is to be remembered."""
    slot: Slot = call.slot
    call.copy = None
    clock = call.state.clock
    elapsed = admission.headers_at - admission.started
    copy = Copy(slot) if slot.begin(status, fields, clock.monotonic(), clock.wall(), elapsed) else None
    if slot.coalesces:
        slot.copied_to(copy)
    return copy
