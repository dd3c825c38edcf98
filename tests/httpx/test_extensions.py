"""What only httpx has: `extensions` on the request and on the response."""

from __future__ import annotations

from typing import Any

import httpx
import httpx2
import pytest

import seawall
from httpx_resilience import mount
from seawall import Timeouts
from tests.contract import steps
from tests.contract.peer import Peer
from tests.contract.settings import only, quick
from tests.contract.steps import answer

both = pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)


@both
def test__override_in_extensions__holds_for_that_request(library: Any, peer: Peer) -> None:
    peer.script(answer(503))
    once = seawall.override(retry=None)
    with mount(library.Client(), quick()) as client:
        for _ in range(2):
            client.get(peer / "x", extensions={"resilience": once})
        assert peer.count == 2
        client.get(peer / "x")
    assert peer.count == 2 + 3


@both
def test__override_in_extensions__wins_over_the_surroundings(library: Any, peer: Peer) -> None:
    peer.script(steps.hang(), answer(200))
    with mount(library.Client(), quick()) as client, seawall.override(retry=None):
        extensions = {
            "resilience": seawall.override(retry=seawall.Retry(base_delay=0.01), timeouts=Timeouts(attempt=0.15))
        }
        assert client.get(peer / "x", extensions=extensions).status_code == 200


@both
def test__response_extensions__hold_the_report(library: Any, peer: Peer) -> None:
    peer.script(answer(503), answer(200))
    with mount(library.Client(), quick()) as client:
        got = client.get(peer / "x")
    report = got.extensions["resilience"]
    assert isinstance(report, seawall.Report)
    assert report is seawall.report(got)
    assert [attempt.status for attempt in report.attempts] == [503, 200]


@both
def test__network_stream_and_other_extensions__are_kept(library: Any, peer: Peer) -> None:
    with mount(library.Client(), quick()) as client:
        got = client.get(peer / "x")
    assert {"http_version", "reason_phrase", "network_stream"} <= got.extensions.keys()


@both
def test__trace_extension__is_called_for_each_attempt(library: Any, peer: Peer) -> None:
    seen: list[str] = []
    peer.script(answer(503), answer(200))
    with mount(library.Client(), quick()) as client:
        client.get(peer / "x", extensions={"trace": lambda name, info: seen.append(name)})
    assert seen.count("http11.send_request_headers.started") == 2


@both
def test__request_sent_again__starts_with_a_fresh_deadline(library: Any, peer: Peer) -> None:
    with mount(library.Client(follow_redirects=True), only(timeouts=Timeouts(total=0.25))) as client:
        request = client.build_request("GET", peer / "x")
        for _ in range(3):
            peer.script(steps.slow(0.07, steps.redirect("/b")), steps.slow(0.07, answer(200)))
            assert client.send(request).status_code == 200
