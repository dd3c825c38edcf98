"""What a `FaultProxy` can do to a connection: the eight faults of Shopify's Toxiproxy, under its names.

Each is said for one direction: "downstream", what the server sends, or "upstream", what the client sends. `toxicity`
is the share (0–1) of connections it befalls. Seconds and bytes throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from seawall import _check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

Direction = Literal["downstream", "upstream"]


class Cut(Exception):
    """Close the connection, here and now."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset
        """With a RST instead of a FIN."""


class Flow(Protocol):
    """What a toxic may ask of the direction of the connection it acts on."""

    chance: Random
    passed: dict[Toxic, int]
    """Bytes a toxic let through."""

    def since_received(self) -> float:
        """Seconds since the piece in hand came from the other side."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Toxic:
    """One fault. Not used by itself."""

    direction: Direction = "downstream"
    toxicity: float = 1.0

    def __post_init__(self) -> None:
        _check.choice(self, "direction", "downstream", "upstream")
        _check.number(self, "toxicity", 0, 1)

    def act(self, piece: bytes, flow: Flow) -> Iterator[bytes | float]:
        """What becomes of a piece: bytes go on, a number is a pause, `Cut` ends it all."""
        yield piece

    def befalls_in(self) -> float | None:
        """Seconds after which a connection is cut, whether anything is sent or not; None: it is not."""
        return None

    def lingers(self) -> float:
        """Seconds by which the end of the stream is passed on late."""
        return 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Latency(Toxic):
    """Everything comes `seconds` late, give or take `jitter`; a long body no slower than that."""

    seconds: float
    jitter: float = 0.0

    def __post_init__(self) -> None:
        Toxic.__post_init__(self)
        _check.duration(self, "seconds")
        _check.duration(self, "jitter")

    def act(self, piece: bytes, flow: Flow) -> Iterator[bytes | float]:
        yield self.seconds + self.jitter * (2 * flow.chance.random() - 1) - flow.since_received()
        yield piece


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Down(Toxic):
    """Connections are refused, those there are cut."""

    def act(self, piece: bytes, flow: Flow) -> Iterator[bytes | float]:
        raise Cut
        yield piece


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bandwidth(Toxic):
    """So many bytes a second, in ten portions."""

    rate: int

    def __post_init__(self) -> None:
        Toxic.__post_init__(self)
        _check.count(self, "rate", 1)

    def act(self, piece: bytes, flow: Flow) -> Iterator[bytes | float]:
        for part in _parts(piece, max(1, self.rate // 10)):
            yield len(part) / self.rate
            yield part


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlowClose(Toxic):
    """The end of the stream comes `seconds` late."""

    seconds: float

    def __post_init__(self) -> None:
        Toxic.__post_init__(self)
        _check.duration(self, "seconds")

    def lingers(self) -> float:
        return self.seconds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeout(Toxic):
    """Nothing gets through; the connection is closed after `seconds`. 0: never, it hangs."""

    seconds: float = 0.0

    def __post_init__(self) -> None:
        Toxic.__post_init__(self)
        _check.duration(self, "seconds")

    def act(self, piece: bytes, flow: Flow) -> Iterator[bytes | float]:
        if self.seconds:
            yield self.seconds
            raise Cut

    def befalls_in(self) -> float | None:
        return self.seconds or None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ResetPeer(Toxic):
    """The connection is reset (RST) after `seconds`; 0: at once."""

    seconds: float = 0.0

    def __post_init__(self) -> None:
        Toxic.__post_init__(self)
        _check.duration(self, "seconds")

    def act(self, piece: bytes, flow: Flow) -> Iterator[bytes | float]:
        yield self.seconds
        raise Cut(reset=True)

    def befalls_in(self) -> float | None:
        return self.seconds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slicer(Toxic):
    """Bytes come in slices of `size`, give or take `variation`, `delay` seconds apart."""

    size: int
    variation: int = 0
    delay: float = 0.0

    def __post_init__(self) -> None:
        Toxic.__post_init__(self)
        _check.count(self, "size", 1)
        _check.count(self, "variation", 0)
        _check.duration(self, "delay")

    def act(self, piece: bytes, flow: Flow) -> Iterator[bytes | float]:
        while piece:
            size = max(1, self.size + flow.chance.randint(-self.variation, self.variation))
            yield piece[:size]
            yield self.delay
            piece = piece[size:]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LimitData(Toxic):
    """The connection is closed after so many bytes."""

    size: int

    def __post_init__(self) -> None:
        Toxic.__post_init__(self)
        _check.count(self, "size", 0)

    def act(self, piece: bytes, flow: Flow) -> Iterator[bytes | float]:
        left = self.size - flow.passed.get(self, 0)
        flow.passed[self] = flow.passed.get(self, 0) + len(piece)
        yield piece[:left]
        if len(piece) >= left:
            raise Cut


def _parts(piece: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(piece), size):
        yield piece[start : start + size]
