"""A remembered answer as bytes: a version, figures, the fields, the body. No pickle.

Whatever bytes come back from a store, `decode` gives an answer some server could
have given, or None. (That the record is the one that was put there is the store's
business: the one in a file has a checksum over key and record.)
"""

from __future__ import annotations

from math import isfinite
from struct import Struct
from typing import Final

_HEAD: Final = Struct("!4sHdddddII")
_VERSION: Final = b"sea1"
LONGEST_FIELDS: Final = 64 * 1024
MOST_FIELDS: Final = 200


class Record:
    """One remembered answer."""

    __slots__ = ("age", "body", "fields", "grace", "lifetime", "received", "status", "wall")

    def __init__(
        self,
        status: int,
        fields: list[tuple[str, str]],
        body: bytes,
        received: float,
        wall: float,
        lifetime: float,
        grace: float,
        age: float,
    ) -> None:
        self.status = status
        self.fields = fields
        self.body = body
        self.received = received
        """When its headers came, by the store's clock."""
        self.wall = wall
        """The same, in seconds since the epoch."""
        self.lifetime = lifetime
        self.grace = grace
        self.age = age


def encode(record: Record) -> bytes | None:
    """The record as bytes; None if its fields are too many, too long, or none that HTTP knows."""
    text = "\n".join(map("\n".join, record.fields))
    if len(record.fields) > MOST_FIELDS or len(text) > LONGEST_FIELDS or "\r" in text or "\0" in text:
        return None
    if text.count("\n") != max(0, 2 * len(record.fields) - 1):
        return None
    fields = text.encode("utf-8", "surrogatepass")
    return b"".join(
        (
            _HEAD.pack(
                _VERSION,
                record.status,
                record.received,
                record.wall,
                record.lifetime,
                record.grace,
                record.age,
                len(fields),
                len(record.body),
            ),
            fields,
            record.body,
        )
    )


def decode(data: bytes) -> Record | None:
    """The record, or None for anything that `encode` did not make. Never raises."""
    if len(data) < _HEAD.size:
        return None
    version, status, received, wall, lifetime, grace, age, fields_size, body_size = _HEAD.unpack_from(data)
    start = _HEAD.size + fields_size
    if version != _VERSION or not 200 <= status <= 599 or start + body_size != len(data):
        return None
    if not (isfinite(received + wall + lifetime + age) and lifetime >= 0 and grace >= 0 and age >= 0):
        return None
    if fields_size > 4 * LONGEST_FIELDS:
        return None
    try:
        text = data[_HEAD.size : start].decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    flat = text.split("\n") if text else []
    if len(flat) % 2 or len(flat) > 2 * MOST_FIELDS or "\r" in text or "\0" in text:
        return None
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    return Record(status, pairs, data[start:], received, wall, lifetime, grace, age)
