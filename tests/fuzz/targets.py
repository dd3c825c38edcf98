"""What outside data meets in seawall, one function of bytes each: it may not raise, and what comes out has to be sound.

Run by Hypothesis in tests/fuzz/test_targets.py, and guided by coverage in scripts/fuzz.py (`make fuzz`).
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from typing import Final

from seawall.classification import is_quota, server_delay
from seawall.degrade.key import target_of
from seawall.degrade.record import decode, encode
from seawall.degrade.storing import Fate, Terms, Wish, terms_of, timestamp, wish_of
from seawall.inspect_stream import Inspector, inspector_for
from seawall.pattern import Pattern, check_provider, host_key
from seawall.stores.items import Damaged, headers_from_text, headers_to_text, item_of, result_of

WALL: Final = 1_700_000_000.0


class Answer:
    """All that is asked of a response."""

    status_code = 200

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers


def retry_after(data: bytes) -> None:
    value = data.decode("latin-1")
    for name in ("retry-after", "retry-after-ms"):
        delay = server_delay(Answer({name: value}), WALL)
        assert delay is None or 0 <= delay <= 1e9


def cache_control(data: bytes) -> None:
    value = data.decode("latin-1")
    for name in ("cache-control", "vary", "age", "expires", "date", "transfer-encoding"):
        terms = terms_of({name: value}, frozenset({"traceparent"}), WALL, 0.1)
        if isinstance(terms, Terms):
            assert 0 <= terms.lifetime <= 2**31
            assert 0 <= terms.grace <= math.inf
            assert 0 <= terms.age < math.inf
        else:
            assert terms is Fate.REPLACE
    wish = wish_of(value, value)
    if isinstance(wish, Wish):
        assert wish.allows(10.0, 5.0) in (True, False)


def http_date(data: bytes) -> None:
    instant = timestamp(data.decode("latin-1"))
    assert instant is None or -1e12 < instant < 1e12


def cache_record(data: bytes) -> None:
    for candidate in (data, b"sea1" + data[4:]):  # else nearly all would fail at the first four bytes
        record = decode(candidate)
        if record is not None:
            again = encode(record)
            assert again is not None
            twice = decode(again)
            assert twice is not None
            assert (twice.status, twice.fields, twice.body) == (record.status, record.fields, record.body)
            assert 200 <= record.status <= 599
            assert math.isfinite(record.age)


def event_stream(data: bytes) -> None:
    _inspect(data, "text/event-stream")


def lines(data: bytes) -> None:
    _inspect(data, "application/x-ndjson")


def packed_stream(data: bytes) -> None:
    for packed in (data, gzip.compress(data, 1)):
        inspector = inspector_for(Answer({"content-type": "text/event-stream", "content-encoding": "gzip"}))
        assert inspector is not None
        inspector.feed(packed)
        inspector.end()
        assert inspector.is_decided


def quota(data: bytes) -> None:
    assert is_quota(data) in (True, False)


def url(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for given in (text, "http://" + text):
        target = target_of(given)
        if target is not None:
            userinfo, place = target
            again = target_of(place)
            assert again is not None
            assert again == ("", place), "one spelling is the last"
            assert not userinfo or f"//{userinfo}@" in given


def host(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        key = host_key("http", text, None)
    except UnicodeError:
        return
    assert key == host_key("http", text.upper() if text.isascii() else text, 80)


def pattern(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        known = Pattern(text)
    except ValueError:
        return
    assert known.contains(known)
    try:
        check_provider(text)
    except ValueError:
        pass


def outbox_headers(data: bytes) -> None:
    try:
        fields = headers_from_text(data.decode("utf-8", "replace"))
    except Damaged:
        return
    assert headers_from_text(headers_to_text(fields)) == fields


def outbox_row(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for row in ((text, 1, 1, text, text, text, text, data, data), (text, None, text, None, "GET", text, 1, data, None)):
        try:
            item_of(row)
        except Damaged:
            continue
        raise AssertionError("a row with a wrong digest was taken for sound")
    try:
        result = result_of(("done", 200, text, data, 1, 1, None))
    except Damaged:
        return
    assert result.content == data


def _inspect(data: bytes, kind: str) -> None:
    """However it is cut, a stream means the same until there is content; nothing grows without bound."""
    whole = _fed([data], kind)
    bytewise = _fed([data[i : i + 1] for i in range(len(data))], kind)
    halves = _fed([data[: len(data) // 2], data[len(data) // 2 :]], kind)
    assert whole.kind is bytewise.kind is halves.kind
    assert whole.delay is None or 0 <= whole.delay < 1e9


def _fed(pieces: list[bytes], kind: str) -> Inspector:
    inspector = inspector_for(Answer({"content-type": kind}))
    assert inspector is not None
    told = 0
    for piece in pieces:
        told += inspector.feed(piece)
    assert told <= 1
    inspector.end()
    return inspector


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__: target
    for target in (
        retry_after, cache_control, http_date, cache_record, event_stream, lines, packed_stream, quota, url, host,
        pattern, outbox_headers, outbox_row,
    )
}  # fmt: skip

SEEDS: Final[dict[str, list[bytes]]] = {
    "retry_after": [b"120", b"1.5", b"Fri, 31 Dec 1999 23:59:59 GMT", b"9999999999", b"1m0s"],
    "cache_control": [b'max-age=60, stale-if-error=300, private="x"', b"no-store", b"Accept, Cookie", b"gzip, chunked"],
    "http_date": [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"],
    "event_stream": [
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n',
        b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n',
        b'data: {"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"3s"}]}}\r\n\r\n',
        b": ping\r\rdata: x\r\r",
    ],
    "lines": [b'{"error":"model not found"}\n', b'{"response":"a","done":false}\n{"done":true}\n'],
    "quota": [b'{"error":{"code":"insufficient_quota"}}', b"limit 20000/min"],
    "url": [
        b".",
        b"http://[]:8443/",
        b"p://[\xff[\xf7]:0",
        b"http://user:pw@Ex.org:80/a%7e?q#f",
        b"https://[::1]:8443/",
    ],
    "host": ["bücher.example".encode(), b"EXAMPLE.com."],
    "pattern": [b"POST https://*.example.com:8443/v1", b"all://", b"primary"],
    "outbox_headers": [b'[["Accept","*/*"]]'],
}
