"""The page in a real browser: what a reader sees, in both themes and on a phone, and that nothing else happens."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Literal
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest

from seawall import Policy, Resilience, Verdict
from seawall.health import page, wsgi_app
from tests.health.browser import chromium, missing, prefer, resize
from tests.health.situations import Play, bad_day

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

NEEDED = "SEAWALL_NEEDS_CHROMIUM"
"""Set by .ci/run once it has a Chromium: then a browser that is not found fails the tests instead of skipping them."""
HOSTILE = (
    "</title><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">&amp;\u202egnp.\x1b[2J"
)


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a browser opens connections it never uses


@contextmanager
def serving(app: Callable[..., Any]) -> Generator[str]:
    with make_server("127.0.0.1", 0, app, Server, Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def window() -> Generator[WebDriver]:
    why = missing()
    if why and os.environ.get(NEEDED):
        pytest.fail(f"{NEEDED} is set, and {why}")
    if why:
        pytest.skip(why)
    with chromium() as browser:
        yield browser


@pytest.fixture(autouse=True)
def as_usual(window: WebDriver) -> None:
    window.get("about:blank")
    window.get_log("browser")
    resize(window, 1280)
    prefer(window, "light")


@pytest.fixture(scope="module")
def day() -> Play:
    return bad_day()


def texts(window: WebDriver, selector: str) -> list[str]:
    """What these elements say, as rendered."""
    script = "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText.replace(/\\s+/g, ' ').trim())"
    return window.execute_script(script, selector)


def test__bad_day__reads_from_the_worst_to_the_well(window: WebDriver, day: Play) -> None:
    with serving(wsgi_app(day.resilience)) as url:
        window.get(url)
        assert window.title == "critical · checkout health"
        assert texts(window, ".verdict h2, .verdict p") == ["Critical", "Callers of 1 host get no answer."]
        assert texts(window, ".shares li") == ["1 critical", "1 degraded", "3 warning", "4 healthy"]
        figures = dict(zip(texts(window, ".figures dt"), texts(window, ".figures dd"), strict=True))
        assert {name: figures[name] for name in ("hosts", "open circuits", "degraded", "waiting")} == {
            "hosts": "9",
            "open circuits": "2",
            "degraded": "1",
            "waiting": "12",
        }
        names = [circuit.host for circuit in day.resilience.health().breakers]
        assert texts(window, ".host h3") == names
        assert (names[0], names[1]) == ("https://payments.example.com", "https://llm.example.com")
        assert texts(window, ".host .state")[:3] == ["Open next try in 17 s", "Open next try in 8 s", "Closed"]


def test__recommendations__stand_on_top_with_figures_action_and_setting(window: WebDriver, day: Play) -> None:
    with serving(wsgi_app(day.resilience)) as url:
        window.get(url)
        said = day.resilience.health().recommendations
        assert texts(window, ".advice .kind") == ["Critical", "Warning", "Warning", "Warning", "Warning"]
        assert texts(window, ".advice h3") == [one.host for one in said]
        assert texts(window, ".advice code") == [one.setting for one in said]
        told = texts(window, ".advice .what p:first-child")
        assert [text[1:] for text in told] == [f"{one.message[1:]}." for one in said]
        tops = window.execute_script(
            "return ['.advice', '.hosts'].map(s => document.querySelector(s).getBoundingClientRect().top)"
        )
        assert tops[0] < tops[1]


def test__row__shows_rates_latency_permits_budget_and_changes(window: WebDriver, day: Play) -> None:
    with serving(wsgi_app(day.resilience)) as url:
        window.get(url)
        cells = ("traffic", "latency", "permits", "budget", "changes")
        shown = {name: texts(window, f".host .{name}") for name in cells}
        names = texts(window, ".host h3")
        images, mail, maps = (
            next(place for place, host in enumerate(names) if name in host) for name in ("images", "mail", "maps")
        )
        assert re.fullmatch(r"Traffic 4\.\d/s · 2\d % failed · 23 refused", shown["traffic"][0])
        assert re.search(r"0/s · (\d+) refused · \1 degraded", shown["traffic"][1])
        assert re.fullmatch(r"Latency 0\.\d+ s p90 0\.\d+ s p99 0\.\d+ s", shown["latency"][0])
        assert re.fullmatch(r"Permits 40 of 40 out 12 waiting · 0\.\d+ s mean wait", shown["permits"][images])
        assert shown["budget"][mail] == "Retry budget 0 of 10 15 denied"
        assert shown["changes"][0] == "Last changes 3 s ago open: failures in a row"
        assert shown["changes"][maps] == (
            "Last changes 4 s ago closed: enough probes succeeded 4 s ago half-open: open duration over "
            "9 s ago open: a probe failed"
        )


def test__status__is_a_word_and_a_shape_beside_the_colour(window: WebDriver, day: Play) -> None:
    with serving(wsgi_app(day.resilience)) as url:
        window.get(url)
        shapes = window.execute_script(
            "return [...document.querySelectorAll('.host')].map(h => [h.className.replace('host ', ''), "
            "h.querySelector('.state use').getAttribute('href')])"
        )
        assert len(shapes) == 9
        assert all(shape == f"#i-{status}" for status, shape in shapes)
        drawn = window.execute_script("return [...document.querySelectorAll('symbol')].map(s => s.innerHTML)")
        assert len(drawn) == len(set(drawn)) == 5


@pytest.mark.parametrize("width", [320, 360, 500, 720, 721, 900, 1240, 1241, 1280, 2000])
def test__every_width__nothing_to_scroll_sideways_and_nothing_cut_off(
    window: WebDriver, width: int, hostile: Resilience
) -> None:
    resize(window, width)
    with serving(wsgi_app(hostile)) as url:
        window.get(url)
        assert window.execute_script("return document.documentElement.scrollWidth") <= width
        wide = window.execute_script(
            "return [...document.querySelectorAll('main p, main h3, main li, main code, header *')].filter(e => "
            "e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.outerHTML.slice(0, 80))"
        )
        assert wide == []


CONTRAST = """
const parse = text => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(c => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
  if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) { const e = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || !e.getClientRects().length) continue;
  const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
  found.push([(Math.max(a, b) + .05) / (Math.min(a, b) + .05), walk.currentNode.data.trim()]); }
return found.sort((x, y) => x[0] - y[0]);
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test__theme__every_word_has_the_contrast_of_wcag_aa(
    window: WebDriver, theme: Literal["light", "dark"], day: Play
) -> None:
    prefer(window, theme)
    with serving(wsgi_app(day.resilience)) as url:
        window.get(url)
        found = window.execute_script(CONTRAST)
        assert len(found) > 150
        assert found[0][0] >= 4.5, found[:5]
        ground = window.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (theme == "dark")


@pytest.fixture(scope="module")
def hostile() -> Resilience:
    """Names that users, or whom they read links from, may choose."""
    names = [HOSTILE, "w" * 300, f"https://{'very-' * 20}long.example.com", "https://" + "sub." * 60 + "test", "näme"]
    play = Play(name=HOSTILE, key=lambda method, url: names[int(url[8:].partition(".")[0])])
    for number in range(len(names)):
        for _ in range(6):
            play.attempt(f"{number}.test", Verdict.FAILURE)
    play.resilience.isolate(names[1])
    return play.resilience


def test__hostile_names__are_text(window: WebDriver, hostile: Resilience) -> None:
    with serving(wsgi_app(hostile)) as url:
        window.get(url)
        assert window.title.startswith("degraded · </title><script>document.title='run'</script><img")
        assert window.execute_script("return document.scripts.length + document.images.length") == 0
        shown = texts(window, ".host h3")
        assert any(name.startswith("</title><script>") and "&amp;" in name for name in shown)
        assert not any(set(name) & {"\u202e", "\x1b"} for name in shown)
        assert max(map(len, shown)) == len("https://") + 120
        assert window.get_log("browser") == []


def test__page__asks_for_nothing_and_breaks_no_rule_of_its_own(window: WebDriver, day: Play) -> None:
    asked: list[str] = []
    app = wsgi_app(day.resilience)

    def noting(environ: dict[str, Any], start_response: Any) -> Any:
        asked.append(environ["PATH_INFO"])
        return app(environ, start_response)

    with serving(noting) as url:
        window.get(url)
        assert window.get_log("browser") == []
        assert window.execute_script("return performance.getEntriesByType('resource').length") == 0
        assert window.execute_script("return getComputedStyle(document.querySelector('.host')).display") == "grid"
    assert set(asked) == {"/"}


def test__mounted_below_a_path__link_leads_to_the_data(window: WebDriver, day: Play) -> None:
    app = wsgi_app(day.resilience)

    def below(environ: dict[str, Any], start_response: Any) -> Any:
        mount, path = "/ops/health", environ["PATH_INFO"]
        return app(environ | {"SCRIPT_NAME": mount, "PATH_INFO": path.removeprefix(mount)}, start_response)

    with serving(below) as url:
        for start in ("/ops/health", "/ops/health/"):
            window.get(url + start)
            window.find_element("link text", "health.json").click()
            assert '"version": 1' in window.find_element("tag name", "body").text
        assert window.current_url == f"{url}/ops/health/health.json"


def test__page__shows_what_happened_since_by_itself_until_paused(
    window: WebDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "EVERY", 1)
    play = Play()
    play.attempt("a.test")
    with serving(wsgi_app(play.resilience)) as url:
        window.get(url)
        assert texts(window, ".verdict h2") == ["Healthy"]
        play.resilience.isolate("https://a.test")
        ends = time.monotonic() + 20
        while texts(window, ".verdict h2") != ["Degraded"]:
            assert time.monotonic() < ends, "it did not reload itself"
            time.sleep(0.1)
        window.find_element("link text", "Pause").click()
        assert window.find_elements("css selector", "meta[http-equiv=refresh]") == []
        window.find_element("link text", "Resume").click()
        assert len(window.find_elements("css selector", "meta[http-equiv=refresh]")) == 1


def test__thousands_of_hosts__the_worst_are_shown_and_the_rest_is_counted(window: WebDriver) -> None:
    play = Play(Policy())
    for number in range(900):
        play.attempt(f"h{number}.test")
    for number in range(25):
        play.resilience.isolate(f"https://down{number}.test")
    with serving(wsgi_app(play.resilience)) as url:
        window.get(url)
        shown = texts(window, ".host h3")
        assert (len(shown), sum("down" in name for name in shown[:25])) == (page.HOSTS, 25)
        assert texts(window, ".hosts .more") == ["825 hosts are left out: 825 healthy."]
        assert texts(window, ".advice .more") == ["and 5 more, no more severe than these"]
        assert texts(window, ".shares li") == ["25 degraded", "900 healthy"]


def test__nobody_called__says_so(window: WebDriver) -> None:
    with serving(wsgi_app(Resilience())) as url:
        window.get(url)
        assert texts(window, ".verdict h2, .verdict p") == ["Healthy", "No host has been called yet."]
        assert (texts(window, ".host"), texts(window, ".advice")) == ([], [])
