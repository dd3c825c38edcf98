"""What an inspector makes of the bytes of a stream: nothing yet, content, or an error, however they are cut."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall import ErrorKind
from seawall.inspect_stream import LOOK_BYTES, Inspector, inspector_for
from seawall.vendors import meaning_of
from tests.core.stage import Answer

K = ErrorKind
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
OVERLOADED = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
START = b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","content":[]}}\n\n'
DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"hi"}}\n\n'
PING = b': ping\n\nevent: ping\ndata: {"type":"ping"}\n\n'


def chat(**choice: Any) -> bytes:
    """A chunk of a chat completion."""
    return b"data: " + json.dumps({"id": "c", "choices": [{"index": 0, **choice}]}).encode() + b"\n\n"


ROLE = chat(delta={"role": "assistant", "content": ""}, finish_reason=None)
HELLO = chat(delta={"content": "hello"}, finish_reason=None)


def made(kind: str = SSE, encoding: str = "", ask: Any = None) -> Inspector:
    found = inspector_for(Answer(200, None, True, {"content-type": kind, "content-encoding": encoding}), ask)
    assert found is not None
    return found


def fed(body: bytes, inspector: Inspector | None = None, size: int | None = None, *, end: bool = True) -> Inspector:
    """An inspector that saw this body, in pieces of `size`."""
    it = made() if inspector is None else inspector
    for at in range(0, len(body), size or len(body) or 1):
        it.feed(body[at : at + (size or len(body))])
    if end:
        it.end()
    return it


def data(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


ERRORS: dict[str, tuple[bytes, ErrorKind]] = {
    "openai server error": (data({"error": {"type": "server_error", "code": None}}), K.INTERNAL_SERVER_ERROR),
    "openai rate limit": (data({"error": {"type": "tokens", "code": "rate_limit_exceeded"}}), K.TOO_MANY_REQUESTS),
    "openai quota": (data({"error": {"type": "insufficient_quota", "code": "insufficient_quota"}}), K.QUOTA_EXCEEDED),
    "openai bad request": (data({"error": {"type": "invalid_request_error"}}), K.BAD_REQUEST),
    "openai response.failed": (
        b"event: response.failed\n"
        + data({"type": "response.failed", "response": {"error": {"code": "server_error"}}}),
        K.INTERNAL_SERVER_ERROR,
    ),
    "openai error event": (
        b"event: error\n" + data({"type": "error", "code": "rate_limit_exceeded", "message": "!"}),
        K.TOO_MANY_REQUESTS,
    ),
    "chunk with an error": (data({"choices": [{"delta": {}}], "error": {"code": 502}}), K.BAD_GATEWAY),
    "code in digits": (data({"error": {"message": "!", "code": "429"}}), K.TOO_MANY_REQUESTS),
    "anthropic overloaded": (OVERLOADED, K.SERVICE_UNAVAILABLE),
    "anthropic rate limit": (data({"type": "error", "error": {"type": "rate_limit_error"}}), K.TOO_MANY_REQUESTS),
    "anthropic billing": (data({"type": "error", "error": {"type": "billing_error"}}), K.QUOTA_EXCEEDED),
    "anthropic error event without a type": (b"event: error\ndata: oh no\n\n", K.INTERNAL_SERVER_ERROR),
    "error event without data": (b"event: error\n\n", K.INTERNAL_SERVER_ERROR),
    "gemini": (data({"error": {"code": 503, "message": "!", "status": "UNAVAILABLE"}}), K.SERVICE_UNAVAILABLE),
    "gemini in an array": (data([{"error": {"code": 503, "status": "UNAVAILABLE"}}]), K.SERVICE_UNAVAILABLE),
    "gemini by its status only": (data({"error": {"status": "RESOURCE_EXHAUSTED"}}), K.TOO_MANY_REQUESTS),
    "gemini used up": (
        data({"error": {"code": 429, "message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED"}}),
        K.QUOTA_EXCEEDED,
    ),
    "a word": (data({"error": "overloaded"}), K.SERVICE_UNAVAILABLE),
    "a sentence": (data({"error": "it went wrong"}), K.INTERNAL_SERVER_ERROR),
    "a status that is no error's": (data({"error": {"code": 200, "status": "UNAVAILABLE"}}), K.SERVICE_UNAVAILABLE),
    "a kind nobody knows": (data({"error": {"type": "gremlins"}}), K.INTERNAL_SERVER_ERROR),
}  # fmt: skip

CONTENT: dict[str, bytes] = {
    "openai text": HELLO,
    "openai tool call": chat(delta={"tool_calls": [{"index": 0}]}, finish_reason=None),
    "openai end without text": chat(delta={}, finish_reason="stop"),
    "openai completion of old": chat(text="hi"),
    "openai done": b"data: [DONE]\n\n",
    "openai response text": b"event: response.output_text.delta\n" + data({"type": "response.output_text.delta"}),
    "anthropic text": DELTA,
    "gemini": data({"candidates": [{"content": {"parts": [{"text": "hi"}]}}]}),
    "plain text": b"data: hello\n\n",
    "broken JSON": b"data: {oh\n\n",
    "an error that is none": data({"error": None, "text": "hi"}),
    "an empty error": data({"error": {}, "text": "hi"}),
    "talk of errors": data({"text": '"error"'}),
    "several lines": b'data: {"text":\ndata: "hi"}\n\n',
    "a number": b"data: 7\n\n",
}

NOTHING: dict[str, bytes] = {
    "nothing": b"",
    "a comment": b": keep-alive\n\n",
    "a ping": PING,
    "a ping of another style": data({"type": "ping"}),
    "retry and id": b"retry: 3000\nid: 7\n\n",
    "an empty event": b"data:\n\n",
    "blank lines": b"\n\n\n\n",
    "openai role": ROLE,
    "azure filter results": data({"choices": [], "prompt_filter_results": []}),
    "openai response.created": b"event: response.created\n" + data({"response": {"error": None}}),
    "openai response.in_progress": data({"type": "response.in_progress"}),
    "anthropic start": START,
    "anthropic block": data({"type": "content_block_start", "content_block": {"type": "text", "text": ""}}),
    "half an event": b'data: {"choices": [',
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test__error__is_found_at_once_and_named(name: str) -> None:
    body, kind = ERRORS[name]
    it = made()
    assert it.feed(body)
    assert (it.kind, it.is_decided) == (kind, True)
    assert not it.feed(body)


@pytest.mark.parametrize("name", CONTENT)
def test__content__decides(name: str) -> None:
    it = fed(CONTENT[name], end=False)
    assert (it.kind, it.is_decided) == (None, True)


@pytest.mark.parametrize("name", NOTHING)
def test__nothing_of_the_answer_yet__leaves_it_open(name: str) -> None:
    it = fed(NOTHING[name], end=False)
    assert (it.kind, it.is_decided) == (None, False)


@pytest.mark.parametrize("name", set(NOTHING) - {"half an event"})
def test__stream_of_events__ended_before_any_content__is_broken(name: str) -> None:
    assert fed(NOTHING[name]).kind is K.INVALID_RESPONSE


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=repr)
@pytest.mark.parametrize("name", ["anthropic overloaded", "openai quota", "gemini in an array"])
def test__line_ends__of_all_three_kinds(name: str, end: bytes) -> None:
    body, kind = ERRORS[name]
    for size in (None, 1, 2, 3):
        assert fed((PING + START + body).replace(b"\n", end), size=size).kind is kind


def test__byte_order_mark__is_no_part_of_the_first_line() -> None:
    for size in (None, 1):
        assert fed(b"\xef\xbb\xbf" + data({"error": "overloaded"}), size=size, end=False).kind is K.SERVICE_UNAVAILABLE


def test__server_delay__of_google_rpc__is_read() -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38.5s"}
    error = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [{"reason": "x"}, detail]}}
    assert fed(data(error)).delay == 38.5
    assert fed(data([error])).delay == 38.5
    for other in ("", "s", "-1s", "1e9s", 3, None):
        error["error"]["details"] = [{"retryDelay": other}]  # type: ignore[index]
        assert fed(data(error)).delay is None


def test__error_after_content__is_told_once() -> None:
    it = made()
    assert [it.feed(piece) for piece in (START, DELTA, OVERLOADED, OVERLOADED)] == [False, False, True, False]
    assert it.kind is K.SERVICE_UNAVAILABLE


def test__error_after_content__is_seen_at_the_end_of_a_long_piece() -> None:
    it = fed(HELLO, end=False)
    assert it.feed(HELLO * 10_000 + OVERLOADED + b"data: [DONE]\n\n")


def test__long_piece_after_content__an_event_cut_in_two_is_not_taken_for_another() -> None:
    it = fed(HELLO, end=False)
    line = b'data: {"error": "overloaded", "padding": "'
    assert not it.feed(HELLO * 1000 + b"data: quoted:\n" + line.ljust(2048 - 4, b".") + b'"}\n\n')
    assert it.feed(OVERLOADED)


def test__error_after_content_in_one_piece__is_seen() -> None:
    assert made().feed(HELLO + ERRORS["openai server error"][0])


def test__lines__each_is_content_or_an_error() -> None:
    assert fed(b'{"response": "hi"}\n', made(NDJSON), end=False).is_decided
    assert not fed(b'{"response": "hi"}', made(NDJSON), end=False).is_decided
    assert not fed(b"\r\n \n", made(NDJSON), end=False).is_decided
    assert fed(b'{"error": {"code": 503}}\n', made(NDJSON)).kind is K.SERVICE_UNAVAILABLE
    assert fed(b'{"a": 1}\n{"error": "overloaded"}', made(NDJSON)).kind is K.SERVICE_UNAVAILABLE


def test__lines__none_at_all_are_an_answer() -> None:
    it = fed(b"", made(NDJSON))
    assert (it.kind, it.is_decided) == (None, True)


def test__last_event_without_its_end__counts() -> None:
    assert fed(OVERLOADED.rstrip()).kind is K.SERVICE_UNAVAILABLE
    assert fed(HELLO.rstrip()).kind is None


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "", "x" * 300])
def test__other_types__are_not_looked_at(kind: str) -> None:
    assert inspector_for(Answer(200, None, True, {"content-type": kind})) is None


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "rot13"])
def test__other_encodings__are_not_looked_at(encoding: str) -> None:
    headers = {"content-type": SSE, "content-encoding": encoding}
    assert inspector_for(Answer(200, None, True, headers)) is None


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


PACKERS = {"gzip": gzip.compress, "deflate": zlib.compress, "Deflate": raw_deflate, "x-gzip": gzip.compress}


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("size", [None, 1, 7], ids=str)
def test__packed__is_read_as_if_it_were_not(encoding: str, size: int | None) -> None:
    pack = PACKERS[encoding]
    assert fed(pack(PING + START + OVERLOADED), made(SSE, encoding), size).kind is K.SERVICE_UNAVAILABLE
    assert fed(pack(PING + HELLO + OVERLOADED), made(SSE, encoding), size).kind is K.SERVICE_UNAVAILABLE
    assert fed(pack(START), made(SSE, encoding), size).kind is K.INVALID_RESPONSE


def test__packed__what_follows_the_error_is_not_looked_at() -> None:
    it = made(SSE, "gzip")
    assert it.feed(gzip.compress(OVERLOADED + HELLO * 1000 + data({"error": {"code": 429}}) + b"\n" * 100_000))
    assert (it.kind, it.is_decided) == (K.SERVICE_UNAVAILABLE, True)


def test__not_packed_as_it_says__is_content() -> None:
    it = fed(OVERLOADED, made(SSE, "gzip"))
    assert (it.kind, it.is_decided) == (None, True)


def test__packed_bomb__is_not_unpacked_whole() -> None:
    for body in (b":" * 200_000_000, b"data: x\n\n" + b":" * 200_000_000):
        it = fed(gzip.compress(body), made(SSE, "gzip"), end=False)
        assert it.is_decided
        assert len(it._tail) <= LOOK_BYTES


@pytest.mark.parametrize("noise", [b": keep-alive\n\n", b":", PING], ids=["comments", "one comment", "pings"])
def test__64_kib_without_content__is_content(noise: bytes) -> None:
    it, fed_so_far = made(), 0
    while not it.is_decided:
        it.feed(noise)
        fed_so_far += len(noise)
    assert LOOK_BYTES < fed_so_far <= LOOK_BYTES + len(noise)


def test__64_kib_unpacked_without_content__are_content() -> None:
    it = made(SSE, "gzip")
    it.feed(gzip.compress(b": keep-alive\n\n" * 4000))
    assert not it.is_decided
    it = made(SSE, "gzip")
    it.feed(gzip.compress(b": keep-alive\n\n" * 5000))
    assert it.is_decided


def test__event_too_long__is_skipped_and_the_next_one_read() -> None:
    long = b"data: " + b"x" * (LOOK_BYTES * 2) + b" error\n\n"
    for size in (None, 1000, 4097):
        it = made()
        fed(long + HELLO, it, size, end=False)
        assert (it.kind, len(it._tail) <= LOOK_BYTES) == (None, True)
        assert fed(OVERLOADED, it, size).kind is K.SERVICE_UNAVAILABLE


def test__users_word__comes_first() -> None:
    def ask(name: str, value: Any) -> ErrorKind | bool | None:
        if name == "oops":
            return K.BAD_GATEWAY
        return {"wait": False, "go": True}.get(value) if isinstance(value, str) else None

    it = made(ask=ask)
    fed(b"data: wait\n\n", it, end=False)
    assert not it.is_decided
    fed(b"data: go\n\n", it, end=False)
    assert it.is_decided
    assert fed(b"event: oops\ndata: {}\n\n", it).kind is K.BAD_GATEWAY
    assert fed(OVERLOADED, made(ask=ask)).kind is K.SERVICE_UNAVAILABLE


def test__users_word__may_clear_what_looks_like_an_error() -> None:
    assert fed(data({"error": {"code": 503}}), made(ask=lambda name, value: True)).kind is None


def test__deep_or_huge_json__is_content() -> None:
    for text in (b"[" * 60_000, b'{"a":' * 10_000, b'{"error": ' + b"9" * 60_000 + b"}"):
        it = fed(b"data: " + text + b"\n\n", end=False)
        assert (it.kind, it.is_decided) == (None, True)


# -- whatever the bytes, however they are cut ----------------------------------------------------------------------

EVENTS = [
    *(body for body, _ in ERRORS.values()),
    *CONTENT.values(),
    *NOTHING.values(),
    b"\n",
    b"\r\n\r\n",
    b"\xef\xbb\xbf",
]
LINES = [b'{"error": {"code": 503}}\n', b'{"a": 1}\r\n', b"\n", b'{"error": "overloaded"}', b"[", b"\xff\n", b" \n"]
bodies = st.lists(st.one_of(st.sampled_from(EVENTS), st.binary(max_size=30)), max_size=6).map(b"".join)
lines = st.lists(st.one_of(st.sampled_from(LINES), st.binary(max_size=20)), max_size=6).map(b"".join)


def found(inspector: Inspector) -> Any:
    return inspector.kind, inspector.delay, inspector.is_decided


@given(body=bodies, cuts=st.lists(st.integers(0, 2000), max_size=8))
def test__events__are_the_same_however_cut(body: bytes, cuts: list[int]) -> None:
    whole = found(fed(body))
    assert found(fed(body, size=1)) == whole
    it, at = made(), 0
    for cut in sorted(cuts):
        it.feed(body[at:cut])
        at = max(at, cut)
    it.feed(body[at:])
    it.end()
    assert found(it) == whole


@given(body=lines)
def test__lines__are_the_same_however_cut(body: bytes) -> None:
    whole = found(fed(body, made(NDJSON)))
    for size in (1, 2, 5):
        assert found(fed(body, made(NDJSON), size)) == whole


@given(body=bodies, encoding=st.sampled_from(list(PACKERS)), size=st.integers(1, 50))
def test__packed__is_the_same_as_not(body: bytes, encoding: str, size: int) -> None:
    plain = fed(body)
    packed = fed(PACKERS[encoding](body), made(SSE, encoding), size)
    assert packed.kind == plain.kind


@given(body=st.binary(max_size=3000), encoding=st.sampled_from(["", *PACKERS]), kind=st.sampled_from([SSE, NDJSON]))
def test__any_bytes__never_raise(body: bytes, encoding: str, kind: str) -> None:
    for size in (17, None):
        inspector = fed(body, made(kind, encoding), size, end=False)
        assert encoding or inspector.kind is not None or not inspector._is_blind, "it stumbled, and `feed` hid it"
        inspector.end()
        assert inspector.is_decided


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "type", "code", "status", "choices", "delta", "response", "details", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(name=st.sampled_from(["", "error", "ping", "response.failed"]), value=json_values)
def test__any_json__has_a_meaning(name: str, value: Any) -> None:
    meaning = meaning_of(name, value)
    assert isinstance(meaning, bool | ErrorKind)
    fed(data(value))
