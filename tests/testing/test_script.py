"""The scripted server, as clients of every library see it."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
import httpx2
import pytest
import requests

import seawall
from seawall import Resilience, Retry
from seawall.testing import Answer, FaultProxy, LimitData, ScriptedServer


def test__script__each_request_takes_a_line_and_the_last_stays() -> None:
    with ScriptedServer(503, Answer(body="fine", headers={"X-Mine": "yes"}), 404) as server:
        first = httpx.get(server.url)
        second = requests.get(server.url, timeout=5)
        third, fourth = httpx2.get(server.url), httpx2.get(server.url)
        server.script(201)
        fifth = httpx.get(server.url)
    assert (first.status_code, second.status_code, second.text) == (503, 200, "fine")
    assert second.headers["X-Mine"] == "yes"
    assert [third.status_code, fourth.status_code, fifth.status_code] == [404, 404, 201]


def test__no_script__is_200_under_an_async_client_too() -> None:
    async def main() -> int:
        async with ScriptedServer() as server, httpx.AsyncClient() as client:
            return (await client.get(server.url)).status_code

    assert asyncio.run(main()) == 200


def test__requests__are_told_as_they_came() -> None:
    with ScriptedServer(200, Answer(body=b"\x00")) as server, httpx.Client() as client:
        client.post(f"{server.url}/a?b=c", content=b"hello", headers={"X-Mine": "yes"})
        client.put(server.url, content=iter([b"in ", b"pieces"]))  # chunked, and the connection lives on
        assert client.get(server.url).content == b"\x00"
        assert client.head(server.url).content == b""
    first, second, *_ = server.requests
    assert (first.method, first.path, first.body, first.headers["x-mine"]) == ("POST", "/a?b=c", b"hello", "yes")
    assert (second.method, second.body) == ("PUT", b"in pieces")
    assert len(server.requests) == 4


def test__no_content__has_no_body_and_the_connection_lives_on() -> None:
    with ScriptedServer(204, 304, 200) as server, httpx.Client() as client:
        assert [client.get(server.url).status_code for _ in range(3)] == [204, 304, 200]


def test__delay__is_waited_for_and_the_end_of_the_server_does_not_wait() -> None:
    began = time.monotonic()
    with ScriptedServer(Answer(delay=30)) as server, pytest.raises(httpx.ReadTimeout):
        httpx.get(server.url, timeout=0.2)
    assert time.monotonic() - began < 10


def test__client_that_keeps_its_connection__leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with httpx.Client() as client:
        with ScriptedServer() as server:
            client.get(server.url)
        end = time.monotonic() + 5
        while threading.active_count() > before:
            assert time.monotonic() < end, "a thread of the server still waits"
            time.sleep(0.01)


def test__client_that_goes_away__is_no_news(capfd: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer(Answer(delay=0.1, body=b"x" * 10_000_000)) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(server.url, timeout=0.02)
        while not server.requests:
            time.sleep(0.01)
        time.sleep(0.2)
    assert capfd.readouterr().err == ""


def test__mounted_client__retries_and_goes_on_behind_a_network_that_breaks() -> None:
    resilience = Resilience({"all://": seawall.Policy(retry=Retry(base_delay=0.01))})
    with ScriptedServer(503, 200) as server, FaultProxy(server.url) as proxy, httpx.Client() as inner:
        client = seawall.mount(inner, resilience)
        assert client.get(proxy.url).status_code == 200
        assert len(server.requests) == 2
        with proxy.under(LimitData(size=0)), pytest.raises(httpx.TransportError):
            client.get(proxy.url)
    assert len(server.requests) > 2


@pytest.mark.parametrize(("field", "value"), [("status", 100), ("status", "200"), ("delay", -1)])
def test__answer__nonsense__says_which_field(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"Answer: {field}="):
        Answer(**{field: value})  # type: ignore[arg-type]
