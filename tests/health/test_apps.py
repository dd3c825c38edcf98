"""The page and the data over WSGI and ASGI: one table of requests, both shells, any prefix, both kinds of loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
import trio

from seawall import Policy, Resilience
from seawall.health import asgi_app, page, wsgi_app
from tests.core.stage import Stage, brittle, fault, only
from tests.health.situations import Play, bad_day


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


Ask = Callable[..., Reply]


def over_wsgi(
    resilience: Resilience, path: str = "/", *, method: str = "GET", mount: str = "", query: str = ""
) -> Reply:
    """Through the standard library's checker of both sides of WSGI."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": mount.encode().decode("latin-1"),
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": query,
        "wsgi.input": BytesIO(),
    }
    setup_testing_defaults(environ)
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], error: Any = None) -> Callable[[bytes], object]:
        started.append((status, headers))
        return lambda data: None

    answer = validator(wsgi_app(resilience))(environ, start_response)
    body = b"".join(answer)
    answer.close()  # type: ignore[attr-defined]
    ((status, headers),) = started
    return Reply(int(status[:3]), {name.lower(): value for name, value in headers}, body)


async def talk(app: Any, scope: dict[str, Any], *told: dict[str, Any]) -> list[dict[str, Any]]:
    """What an ASGI app sends, told these messages."""
    sent: list[dict[str, Any]] = []
    messages = list(told)

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def over_asgi(
    resilience: Resilience,
    path: str = "/",
    *,
    method: str = "GET",
    mount: str = "",
    query: str = "",
    whole: bool = True,
) -> Reply:
    """`whole`: the path begins with the mount's own, as servers have it since 2023; else it is taken off."""
    scope = {
        "type": "http",
        "method": method,
        "root_path": mount,
        "path": mount + path if whole else path,
        "query_string": query.encode(),
        "headers": [],
    }
    start, end = asyncio.run(talk(asgi_app(resilience), scope, {"type": "http.request"}))
    assert (start["type"], end["type"]) == ("http.response.start", "http.response.body")
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert all(name == name.lower() for name in headers)
    return Reply(start["status"], headers, end["body"])


def over_old_asgi(resilience: Resilience, path: str = "/", **more: Any) -> Reply:
    return over_asgi(resilience, path, whole=False, **more)


both = pytest.mark.parametrize("ask", [over_wsgi, over_asgi], ids=["wsgi", "asgi"])
every = pytest.mark.parametrize(
    "ask", [over_wsgi, over_asgi, over_old_asgi], ids=["wsgi", "asgi", "asgi without prefix"]
)


def ill() -> Stage:
    """A host whose circuit is open, and whose callers get nothing."""
    stage = Stage(only(breaker=brittle()), fault())
    stage.together(stage.start(), stage.start())
    return stage


@both
def test__root__is_the_page(ask: Ask) -> None:
    reply = ask(ill().resilience)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert reply.body.startswith(b"<!doctype html>")
    assert b"https://</span>api.<wbr>test" in reply.body


@both
def test__data__is_what_to_dict_says(ask: Ask) -> None:
    play = bad_day()
    reply = ask(play.resilience, "/health.json")
    assert reply.headers["content-type"] == "application/json"
    assert json.loads(reply.body) == play.resilience.health().to_dict()


@both
def test__data__503_when_critical_else_200_and_the_page_always_200(ask: Ask) -> None:
    stage = ill()
    assert (ask(stage.resilience, "/health.json").status, ask(stage.resilience).status) == (503, 200)
    stage.resilience.reset_all()
    assert ask(stage.resilience, "/health.json").status == 200


@both
def test__degraded__is_no_503(ask: Ask) -> None:
    stage = Stage(Policy())
    stage.resilience.isolate("https://quiet.test")
    assert stage.resilience.health().status == "degraded"
    assert ask(stage.resilience, "/health.json").status == 200


@both
@pytest.mark.parametrize("path", ["/", "/health.json", "/nothing"])
def test__head__has_the_headers_of_get_and_no_body(ask: Ask, path: str) -> None:
    resilience = ill().resilience
    asked, told = ask(resilience, path, method="HEAD"), ask(resilience, path)
    assert asked.body == b""
    assert (asked.status, asked.headers) == (told.status, told.headers)
    assert int(told.headers["content-length"]) == len(told.body) > 0


@both
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test__other_methods__405_and_which_are_allowed(ask: Ask, method: str) -> None:
    reply = ask(ill().resilience, method=method)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


@both
@pytest.mark.parametrize("path", ["/health", "/health.json/", "//", "/../", "/index.html", "/é"])
def test__other_paths__404(ask: Ask, path: str) -> None:
    assert ask(ill().resilience, path).status == 404
    assert ask(ill().resilience, path, method="POST").status == 404


@both
@pytest.mark.parametrize("path", ["/", "/health.json", "/nothing"])
def test__nothing__is_kept_or_guessed_at(ask: Ask, path: str) -> None:
    headers = ask(ill().resilience, path).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@both
def test__page__may_load_and_run_nothing(ask: Ask) -> None:
    policy = ask(ill().resilience).headers["content-security-policy"]
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
    assert rules["style-src"].startswith("'sha256-")
    assert "unsafe" not in policy
    assert set(rules) == {"default-src", "style-src", "img-src", "base-uri", "form-action", "frame-ancestors"}


@every
@pytest.mark.parametrize("mount", ["", "/health", "/ops/wärter", "/a b"])
def test__prefix__does_not_matter(ask: Ask, mount: str) -> None:
    resilience = ill().resilience
    assert ask(resilience, "/", mount=mount).body.startswith(b"<!doctype html>")
    assert ask(resilience, "/health.json", mount=mount).status == 503
    assert ask(resilience, "/nothing", mount=mount).status == 404


@every
@pytest.mark.parametrize(("mount", "path"), [("/ops/health", ""), ("/ops/health", "/"), ("/x:y", ""), ("", "/")])
def test__page__links_to_its_own_data_wherever_it_is_mounted(ask: Ask, mount: str, path: str) -> None:
    shown = ask(ill().resilience, path, mount=mount).body.decode()
    link = shown.partition('">health.json</a>')[0].rpartition('href="')[2]
    assert unquote(urljoin(f"http://here.test{mount}{path}", link)) == f"http://here.test{mount}/health.json"


@both
def test__page__reloads_itself_unless_paused(ask: Ask) -> None:
    reloads = f'<meta http-equiv="refresh" content="{page.EVERY}">'.encode()
    assert reloads in ask(ill().resilience).body
    assert b"http-equiv" not in ask(ill().resilience, query="refresh=off").body


def test__asgi__a_prefix_that_only_begins_alike_is_not_taken_off() -> None:
    assert over_old_asgi(ill().resilience, "/health.json", mount="/health").status == 503


def test__asgi__runs_under_trio() -> None:
    scope = {"type": "http", "method": "GET", "path": "/health.json"}
    start, _ = trio.run(talk, asgi_app(ill().resilience), scope)
    assert start["status"] == 503


def test__asgi__lifespan_begins_and_ends() -> None:
    told = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = asyncio.run(talk(asgi_app(Resilience()), {"type": "lifespan"}, *told))
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test__asgi__web_sockets_are_refused_in_words() -> None:
    with pytest.raises(RuntimeError, match="this is websocket"):
        asyncio.run(talk(asgi_app(Resilience()), {"type": "websocket", "path": "/"}))


def test__asgi__many_hosts__the_loop_goes_on_meanwhile() -> None:
    play = Play(Policy())
    for number in range(300):
        play.attempt(f"h{number}.test")

    async def main() -> int:
        beats = 0
        asked = asyncio.create_task(
            talk(asgi_app(play.resilience), {"type": "http", "method": "GET", "path": "/health.json"})
        )
        while not asked.done():
            await asyncio.sleep(0)
            beats += 1
        return beats

    assert asyncio.run(main()) > 3  # made in the loop, the answer would take one turn of it


@both
def test__names_that_are_no_text__are_shown_all_the_same(ask: Ask) -> None:
    resilience = Resilience(key=lambda method, url: "broken \ud800 name")
    Play.attempt(_play(resilience), "a.test")
    assert ask(resilience).status == 200
    assert json.loads(ask(resilience, "/health.json").body)["breakers"][0]["host"] == "broken \ud800 name"


def _play(resilience: Resilience) -> Play:
    play = Play()
    play.resilience = resilience
    play.clock.now = resilience.clock.monotonic()
    return play
