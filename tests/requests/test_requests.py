"""What only requests has: adapters by prefix, sessions that pickle, `response.connection`, raw bodies."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter

import seawall
from requests_resilience import ResilientAdapter, mount, unmount
from tests.contract import steps
from tests.contract.peer import Peer
from tests.contract.settings import only, quick, retrying, tripping
from tests.contract.steps import answer

URL = "http://mocked.test/x"


@responses.activate
def test__responses__is_below_and_sees_each_attempt() -> None:
    responses.add(responses.GET, URL, status=503)
    responses.add(responses.GET, URL, json={"a": 1})
    with mount(requests.Session(), quick()) as session:
        got = session.get(URL)
    assert (got.status_code, got.json(), len(responses.calls)) == (200, {"a": 1}, 2)


@responses.activate
def test__responses__mocked_error__is_that_error_after_the_attempts() -> None:
    responses.add(responses.GET, URL, body=requests.ReadTimeout("mocked"))
    with (
        mount(requests.Session(), quick(max_retries=1)) as session,
        pytest.raises(requests.ReadTimeout, match="mocked"),
    ):
        session.get(URL)
    assert len(responses.calls) == 2


@responses.activate
def test__responses__foreign_error__passes_unretried() -> None:
    responses.add(responses.GET, URL, body=ZeroDivisionError("mocked"))
    with mount(requests.Session(), quick()) as session, pytest.raises(ZeroDivisionError):
        session.get(URL)
    assert len(responses.calls) == 1


@responses.activate
def test__responses__streamed__settles_at_the_end() -> None:
    responses.add(responses.GET, URL, body=b"x" * 1000)
    resilience = only()
    with mount(requests.Session(), resilience) as session:
        got = session.get(URL, stream=True)
        assert b"".join(got.iter_content(100)) == b"x" * 1000
    (snapshot,) = resilience.snapshots()
    assert (snapshot.successes, snapshot.in_flight) == (1, 0)


class UsersAdapter(HTTPAdapter):
    """A subclass with something of its own."""

    def __init__(self, word: str = "mine") -> None:
        super().__init__()
        self.word = word

    def add_headers(self, request: Any, **kwargs: Any) -> None:
        request.headers["X-Word"] = self.word


def test__mount__wraps_every_adapter_and_keeps_prefixes_and_subclasses(peer: Peer) -> None:
    session = requests.Session()
    session.mount(peer.url, UsersAdapter("special"))
    before = dict(session.adapters)
    mount(session, quick())
    assert list(session.adapters) == list(before)
    peer.script(answer(503), answer(200))
    with session:
        assert session.get(peer / "x").status_code == 200
        assert session.get_adapter(peer / "x").word == "special"  # type: ignore[attr-defined]
    assert [request.header("x-word") for request in peer.requests] == ["special"] * 2
    unmount(session)
    assert dict(session.adapters) == before


def test__one_adapter_under_two_prefixes__is_wrapped_once_or_twice_and_restored(peer: Peer) -> None:
    session, shared = requests.Session(), UsersAdapter()
    for prefix in ("http://", "https://"):
        session.mount(prefix, shared)
    with unmount(mount(session, quick())):
        assert set(map(id, session.adapters.values())) == {id(shared)}


def test__resilient_adapter__is_mounted_as_any_adapter(peer: Peer, other: Peer) -> None:
    for each in (peer, other):
        each.script(answer(503))
    with requests.Session() as session:
        session.mount(peer.url, ResilientAdapter(None, quick()))
        session.get(peer / "x")
        session.get(other / "x")
    assert (peer.count, other.count) == (3, 1)


def test__resilient_adapter__without_arguments_is_a_plain_one_with_the_default(peer: Peer) -> None:
    with requests.Session() as session:
        session.mount("http://", ResilientAdapter())
        assert session.get(peer / "x").status_code == 200
    assert seawall.default().remove(peer.url)


def test__session__pickles_mounted(peer: Peer) -> None:
    peer.script(answer(503), answer(200))
    session = mount(requests.Session(), quick())
    again: requests.Session = pickle.loads(pickle.dumps(session))
    with session, again:
        assert again.get(peer / "x").status_code == 200
    assert peer.count == 2


def test__response_connection__is_ours(peer: Peer) -> None:
    with mount(requests.Session(), quick()) as session:
        assert session.get(peer / "x").connection is session.get_adapter(peer / "x")


def test__urllib3_retry_underneath__is_warned_about_once_and_multiplies(peer: Peer) -> None:
    peer.script(answer(503))
    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=urllib3.Retry(2, status_forcelist=[503], backoff_factor=0)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with mount(session, quick(max_retries=1)), pytest.raises(requests.exceptions.RetryError):
            session.get(peer / "x")
    assert len(caught) == 1
    assert "6" in str(caught[0].message)


@pytest.mark.parametrize("way", ["content", "lines", "read", "readinto", "raw-lines", "raw-stream", "text", "json"])
def test__every_way_to_read__ends_the_call(peer: Peer, way: str) -> None:
    peer.script(answer(200, b'{"a":\n1}'))
    resilience = only()
    with mount(requests.Session(), resilience) as session:
        with session.get(peer / "x", stream=True) as got:
            assert resilience.snapshots()[0].in_flight == 1
            match way:
                case "content":
                    assert b"".join(got.iter_content(3)) == b'{"a":\n1}'
                case "lines":
                    assert list(got.iter_lines()) == [b'{"a":', b"1}"]
                case "read":
                    assert got.raw.read() == b'{"a":\n1}'
                case "readinto":
                    assert io.BufferedReader(got.raw).read() == b'{"a":\n1}'
                case "raw-lines":
                    assert b"".join(got.raw) == b'{"a":\n1}'
                case "raw-stream":
                    assert b"".join(got.raw.stream(3)) == b'{"a":\n1}'
                case "text":
                    assert got.text == '{"a":\n1}'
                case _:
                    assert got.json() == {"a": 1}
            assert resilience.snapshots()[0].in_flight == 0
    (snapshot,) = resilience.snapshots()
    assert (snapshot.successes, snapshot.failures) == (1, 0)


@pytest.mark.parametrize("step", [answer(204), answer(304), answer(200, b"")], ids=["204", "304", "empty"])
def test__streamed_without_a_body__ends_at_the_headers(peer: Peer, step: steps.Step) -> None:
    peer.script(step)
    resilience = only()
    with mount(requests.Session(), resilience) as session:
        got = session.get(peer / "x", stream=True)
        (snapshot,) = resilience.snapshots()
        assert (snapshot.successes, snapshot.in_flight) == (1, 0)
        got.close()


@pytest.mark.parametrize("step", [answer(503), steps.reset()], ids=["503", "reset"])
def test__file_read_into__is_rewound_to_where_it_stood(peer: Peer, tmp_path: Path, step: steps.Step) -> None:
    path = tmp_path / "upload"
    path.write_bytes(b"already read, the rest")
    peer.script(step, answer(200))
    with mount(requests.Session(), quick()) as session, path.open("rb") as opened:
        opened.read(14)
        assert session.put(peer / "x", data=opened).status_code == 200
    assert peer.bodies == [b"the rest"] * 2


class Pipe(io.BytesIO):
    """A body that tells where it stands and cannot go back: a pipe, a socket, urllib3's own responses."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise io.UnsupportedOperation("underlying stream is not seekable")


def test__body_that_tells_but_cannot_go_back__is_sent_once_and_the_servers_answer_returned(peer: Peer) -> None:
    peer.script(answer(503, b"busy"))
    with mount(requests.Session(), quick()) as session:
        got = session.put(peer / "x", data=Pipe(b"once"))
    assert (got.status_code, got.content, peer.bodies) == (503, b"busy", [b"once"])
    report = seawall.report(got)
    assert report is not None
    assert report.ending is seawall.Ending.BODY_NOT_REPLAYABLE


def test__body_that_tells_but_cannot_go_back__is_sent_once_and_the_librarys_error_raised(peer: Peer) -> None:
    peer.script(steps.reset())
    with mount(requests.Session(), quick()) as session, pytest.raises(requests.ConnectionError):
        session.put(peer / "x", data=Pipe(b"once"))
    assert peer.bodies == [b"once"]


@pytest.mark.parametrize("again", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test__response_after_redirects_under_a_deadline__copies_like_a_bare_one(
    peer: Peer, again: Callable[[Any], Any]
) -> None:
    peer.script(steps.redirect("/b"), answer(200, b"there"))
    with mount(requests.Session(), only(timeouts=seawall.Timeouts(total=5))) as session:
        got = session.get(peer / "a")
    for copied in (again(got), again(got.history[0]), again(got.request), again(got.history[0].request)):
        hooks = copied.hooks if isinstance(copied, requests.PreparedRequest) else copied.request.hooks
        assert type(hooks) is dict
    assert again(got).content == b"there"
    assert [older.status_code for older in again(got).history] == [302]


class Local(BaseAdapter):
    """An adapter that is no HTTPAdapter, and whose raw body is a C type."""

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        response = requests.Response()
        response.status_code, response.raw, response.request, response.url = (
            200,
            io.BytesIO(b"local"),
            request,
            request.url,
        )
        return response

    def close(self) -> None:
        pass


def test__adapter_of_another_kind__is_served_and_settled() -> None:
    session = requests.Session()
    session.mount("local://", Local())
    resilience = only()
    with mount(session, resilience):
        assert session.get("local://here/x").content == b"local"
    assert [(s.successes, s.in_flight) for s in resilience.snapshots()] == [(1, 0)]


def test__bad_digest_leg__is_rejected_by_the_open_breaker(peer: Peer) -> None:
    demand = answer(401, b"who?", [("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth"')])
    peer.script(demand, answer(503))
    with mount(requests.Session(), only(breaker=tripping(failure_threshold=1))) as session:
        assert session.get(peer / "x", auth=requests.auth.HTTPDigestAuth("u", "w")).status_code == 503
        with pytest.raises(seawall.CircuitOpen) as caught:
            session.get(peer / "x", auth=requests.auth.HTTPDigestAuth("u", "w"))
    assert isinstance(caught.value, requests.RequestException)
    assert peer.count == 2


def test__requests_request__is_on_the_error(peer: Peer) -> None:
    with mount(requests.Session(), only(breaker=tripping(), retry=retrying())) as session:
        peer.script(answer(503))
        session.get(peer / "x")
        with pytest.raises(requests.RequestException) as caught:
            session.get(peer / "x")
    assert isinstance(caught.value.request, requests.PreparedRequest)
    assert caught.value.response is None
