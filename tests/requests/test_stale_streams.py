"""`stream=True` under StaleResponse: what its reader read to the end, in whatever way, is remembered as it came."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from typing import Any

import pytest
import requests

from requests_resilience import mount
from seawall import StaleResponse
from tests.contract import steps
from tests.contract.peer import Peer
from tests.contract.settings import only, quick
from tests.contract.steps import Step, answer

TEXT = b'{"a":\n1}'
GZIP = [("content-encoding", "gzip")]

ANSWERS: dict[str, Callable[[], Step]] = {
    "a length": lambda: answer(200, TEXT),
    "chunks": lambda: answer(200, TEXT, chunks=3),
    "compressed": lambda: answer(200, gzip.compress(TEXT), GZIP),
    "compressed chunks": lambda: answer(200, gzip.compress(TEXT), GZIP, chunks=3),
}
WAYS: dict[str, Callable[[Any], object]] = {
    "content": lambda got: got.content,
    "content by pieces": lambda got: list(got.iter_content(3)),
    "content as it comes": lambda got: list(got.iter_content(None)),
    "lines": lambda got: list(got.iter_lines()),
    "text": lambda got: got.text,
    "json": lambda got: got.json(),
    "raw": lambda got: got.raw.read(),
    "raw, not decoded": lambda got: got.raw.read(decode_content=False),
    "raw by pieces": lambda got: list(iter(lambda: got.raw.read(3), b"")),
    "raw, exactly": lambda got: (got.raw.read(0), got.raw.read(100), got.raw.read(100)),
    "a buffer": lambda got: io.BufferedReader(got.raw).read(),
    "raw lines": lambda got: list(got.raw),
    "raw stream": lambda got: list(got.raw.stream(3)),
    "raw stream, not decoded": lambda got: list(got.raw.stream(3, decode_content=False)),
    "raw data": lambda got: got.raw.data,
}


def twice(peer: Peer, read: Callable[[Any], object], first: Step, **config: Any) -> tuple[Any, int, str]:
    """Read a streamed answer; then the host fails. What the reader had, and what comes instead of an answer."""
    peer.script(first, answer(503))
    with mount(requests.Session(), only(degrade=[StaleResponse(**config)])) as session:
        with session.get(peer / "x", stream=True) as got:
            had = read(got)
        again = session.get(peer / "x")
    return had, again.status_code, again.text


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("made", ANSWERS.values(), ids=ANSWERS)
def test__read_to_the_end__is_remembered_and_reads_as_without_us(
    peer: Peer, made: Callable[[], Step], way: Callable[[Any], object]
) -> None:
    peer.script(made())
    bare = way(requests.get(peer / "x", stream=True, timeout=5))
    had, status, text = twice(peer, way, made())
    assert (together(had), status, text) == (together(bare), 200, TEXT.decode())


def together(had: object) -> object:
    """Where pieces end may differ: decoders give what they have."""
    return b"".join(had) if isinstance(had, list) else had


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda got: None, id="not at all"),
        pytest.param(lambda got: got.raw.read(0), id="nothing"),
        pytest.param(lambda got: got.raw.read(3), id="a part"),
        pytest.param(lambda got: (got.raw.read(3), got.close(), got.raw.read()), id="a part, and on when closed"),
        pytest.param(lambda got: next(got.iter_content(3)), id="a piece"),
    ],
)
@pytest.mark.parametrize("chunks", [0, 4])
def test__left_early__is_not_remembered(peer: Peer, chunks: int, read: Callable[[Any], object]) -> None:
    assert twice(peer, read, answer(200, b"x" * 100_000, chunks=chunks))[1] == 503


@pytest.mark.parametrize("step", [steps.short_body(), steps.bad_gzip()], ids=["too short", "not gzip"])
def test__broken__is_never_given_again(peer: Peer, step: Step) -> None:
    def read(got: Any) -> None:
        with pytest.raises(requests.RequestException):
            list(got.iter_content(1000))

    assert twice(peer, read, step)[1] == 503


@pytest.mark.parametrize("encoding", [[], GZIP], ids=["plain", "compressed"])
def test__too_long__passes_whole_and_is_not_remembered(peer: Peer, encoding: list[tuple[str, str]]) -> None:
    body = bytes(range(256)) * 40
    sent = gzip.compress(body, compresslevel=0) if encoding else body
    first = answer(200, sent, encoding, chunks=5)
    had, status, _ = twice(peer, lambda got: got.content, first, max_body=2000)
    assert (had, status) == (body, 503)


def test__without_a_body__is_remembered(peer: Peer) -> None:
    peer.script(answer(204), answer(503))
    with mount(requests.Session(), only(degrade=[StaleResponse()])) as session:
        for _ in range(2):
            assert session.get(peer / "x", stream=True).status_code == 204


class FromBytes(requests.adapters.BaseAdapter):
    """An adapter of somebody's, whose answers are no urllib3 responses."""

    def __init__(self, *statuses: int) -> None:
        super().__init__()
        self.statuses = list(statuses)

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        response = requests.Response()
        response.status_code = self.statuses.pop(0)
        response.url, response.request = request.url, request
        response.raw = io.BytesIO(b"all of it")
        return response

    def close(self) -> None:
        pass


@pytest.mark.parametrize("stream", [False, True])
def test__answer_that_cannot_be_followed__is_not_remembered_as_an_empty_one(stream: bool) -> None:
    session = requests.Session()
    session.mount("http://", FromBytes(200, 503))
    with mount(session, only(degrade=[StaleResponse()])):
        assert session.get("http://api.test/x", stream=stream).content == b"all of it"
        assert session.get("http://api.test/x").status_code == 503


def test__failed_answer_that_cannot_be_read_ahead__is_tried_again_and_at_last_the_callers() -> None:
    session = requests.Session()
    adapter = FromBytes(503, 200, 503)
    session.mount("http://", adapter)
    with mount(session, quick(max_retries=1, base_delay=0.001)):
        assert session.get("http://api.test/x").status_code == 200
        adapter.statuses += [503]
        last = session.get("http://api.test/x")
        assert (last.status_code, last.content, adapter.statuses) == (503, b"all of it", [])
