"""The demo's table: its figures from a shortened run over real sockets, and what its words make of figures."""

import io
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from seawall import demo
from seawall.demo import clients, screen, table
from seawall.demo.hosts import Illness
from seawall.demo.scenes import SIDES, Row, Scene

LIBRARIES = ("httpx", "httpx2", "requests")

# Shorter than the demo's own, yet with time enough after the illness for the longest a breaker may stay open.
SHORT = (
    Scene(name="outage", illness=Illness.UNAVAILABLE, begin=0.5, end=3.5, duration=8, rate=20),
    Scene(name="20 % errors", illness=Illness.FLAKY, begin=0, end=float("inf"), duration=6, rate=20),
    Scene(name="hang", illness=Illness.SILENT, begin=0.5, end=4.5, duration=9.5, rate=20),
    Scene(name="rate limit", illness=Illness.LIMITED, begin=0.5, end=2.5, duration=4, rate=20),
    Scene(name="bridged", illness=Illness.UNAVAILABLE, begin=0.5, end=3.5, duration=4.5, rate=20, bridges=True),
)
BLINK = Scene(name="blink", illness=Illness.FLAKY, begin=0, end=float("inf"), duration=0.4, rate=10)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    def run(scene: Scene) -> list[Row]:
        return demo.run_scenes([scene], LIBRARIES)

    with ThreadPoolExecutor(len(SHORT)) as together:
        return [row for rows in together.map(run, SHORT) for row in rows]


def pair(rows: list[Row], scene: str, client: str) -> tuple[Row, Row]:
    bare, mounted = (row for row in rows if row.scene == scene and row.client == client)
    assert (bare.side, mounted.side) == SIDES
    return bare, mounted


def test__table__has_a_row_per_scene_client_and_side(rows: list[Row]) -> None:
    wanted = [(scene.name, client, side) for scene in SHORT for client in LIBRARIES for side in SIDES]
    assert [(row.scene, row.client, row.side) for row in rows] == wanted
    assert {row.client for row in rows} == set(clients.installed())


@pytest.mark.parametrize("client", LIBRARIES)
@pytest.mark.parametrize("scene", SHORT, ids=lambda scene: scene.name)
def test__both_sides__get_the_same_calls_and_bare_sends_each_once(rows: list[Row], scene: Scene, client: str) -> None:
    bare, mounted = pair(rows, scene.name, client)
    assert bare.calls == mounted.calls == scene.calls
    assert bare.attempts == scene.calls
    assert (bare.opened, bare.state) == (None, None)


@pytest.mark.parametrize("client", LIBRARIES)
@pytest.mark.parametrize("scene", ["outage", "hang", "rate limit", "bridged"])
def test__bare__each_call_that_met_the_sick_host_failed_and_no_other(rows: list[Row], scene: str, client: str) -> None:
    # Not compared with rate × seconds: a busy machine sends late, and what counts is what was sent.
    bare, _ = pair(rows, scene, client)
    assert bare.sick_attempts == bare.calls - bare.answered > 0


@pytest.mark.parametrize("client", LIBRARIES)
def test__outage__mounted_spares_the_sick_host_and_closes_again(rows: list[Row], client: str) -> None:
    bare, mounted = pair(rows, "outage", client)
    assert mounted.sick_attempts <= 0.6 * bare.sick_attempts
    assert mounted.opened is not None
    assert mounted.opened >= 1
    assert mounted.state == "closed"
    assert mounted.recovery is not None
    assert mounted.recovery < 4


@pytest.mark.parametrize("client", LIBRARIES)
def test__one_error_in_five__mounted_answers_more_for_few_more_attempts(rows: list[Row], client: str) -> None:
    bare, mounted = pair(rows, "20 % errors", client)
    assert bare.answered < 0.9 * bare.calls
    assert mounted.calls - mounted.answered <= 0.6 * (bare.calls - bare.answered)
    # The default budget's law: three to start with, a fifth of the successes, and a little for the time.
    assert 0 < mounted.attempts - mounted.calls <= 3 + 0.2 * mounted.answered + 1
    assert mounted.opened == 0


@pytest.mark.parametrize("client", LIBRARIES)
def test__hang__mounted_spares_the_sick_host_and_its_callers(rows: list[Row], client: str) -> None:
    bare, mounted = pair(rows, "hang", client)
    assert mounted.sick_attempts <= 0.75 * bare.sick_attempts
    assert mounted.wasted < bare.wasted
    assert mounted.state == "closed"
    assert mounted.recovery is not None
    assert mounted.recovery < 4.5


@pytest.mark.parametrize("client", LIBRARIES)
def test__rate_limit__mounted_waits_as_told_and_answers_every_call(rows: list[Row], client: str) -> None:
    bare, mounted = pair(rows, "rate limit", client)
    assert bare.answered < mounted.answered == mounted.calls
    assert mounted.sick_attempts <= 3


@pytest.mark.parametrize("client", LIBRARIES)
def test__bridged__what_was_asked_before_comes_from_memory_and_the_rest_from_the_backup(
    rows: list[Row], client: str
) -> None:
    bare, mounted = pair(rows, "bridged", client)
    assert bare.answered < mounted.answered == mounted.calls
    assert mounted.sick_attempts < bare.sick_attempts
    assert (bare.remembered, bare.backup) == (None, None)
    assert mounted.remembered is not None
    assert mounted.backup is not None
    # Every other call asks what was asked before: in an outage as many are remembered as are not, but for its edges.
    assert mounted.remembered > 10
    assert mounted.backup > 10
    assert mounted.remembered + mounted.backup >= 0.9 * bare.sick_attempts


def test__table__says_the_figures_of_the_rows(rows: list[Row]) -> None:
    outage = [row for row in rows if row.scene == "outage"]
    lines = table.plain(outage, wide=True).splitlines()
    assert len(lines) == 2 + len(outage)
    for row, line in zip(outage, lines[2:], strict=True):
        assert line.startswith(row.client)
        assert f"{row.answered}/{row.calls}" in line
        assert re.search(rf"\b{row.sick_attempts}\b", line)
        assert f"{row.recovery:.2f} s" in line
        if row.side == "seawall":
            assert f"opened {row.opened}x, closed" in line


def test__table__where_something_bridges__says_what_came_from_where(rows: list[Row]) -> None:
    bridged = [row for row in rows if row.scene == "bridged"]
    head, _, *lines = table.plain(bridged, wide=True).splitlines()
    assert head.endswith("remembered  backup saw")
    for row, line in zip(bridged, lines, strict=True):
        told = [str(row.remembered), str(row.backup)] if row.side == "seawall" else ["-", "-"]
        assert line.split()[-2:] == told


BARE = Row(
    scene="made up",
    client="httpx",
    side="bare",
    calls=100,
    answered=50,
    p99=0.1,
    wasted=50.0,
    attempts=100,
    sick_attempts=50,
    opened=None,
    state=None,
    recovery=0.1,
    timeline=(None, 0.0, 0.5, 1.0),
)
SAME = replace(BARE, side="seawall", opened=0, state="closed")


def test__verdict__equal_sides__claims_nothing() -> None:
    assert table.verdict([BARE, SAME]) == "made up: no gain."


def test__verdict__better_figures__are_gains() -> None:
    better = replace(SAME, answered=90, sick_attempts=5, wasted=1.0)
    assert table.verdict([BARE, better]) == (
        "made up: 90 of 100 calls answered instead of 50, the sick hosts saw 5 attempts instead of 50, "
        "callers waited 1 s in vain instead of 50 s."
    )


def test__verdict__worse_figures__are_the_price() -> None:
    worse = replace(SAME, answered=40, sick_attempts=60, wasted=90.0, p99=2.0, recovery=1.5)
    assert table.verdict([BARE, worse]) == (
        "made up: no gain. The price: 40 of 100 calls answered instead of 50, the sick hosts saw 60 attempts instead "
        "of 50, callers waited 90 s in vain instead of 50 s, a p99 of 2.00 s instead of 0.10 s, "
        "the slowest answers again 1.5 s after its host is well."
    )


def test__verdict__bridged__says_what_came_from_memory_and_who_paid() -> None:
    bridged = replace(SAME, answered=100, sick_attempts=5, wasted=0.0, remembered=20, backup=30)
    assert table.verdict([BARE, bridged]) == (
        "made up: 100 of 100 calls answered instead of 50, 20 of them from memory, the sick hosts saw 5 attempts "
        "instead of 50, callers waited 0 s in vain instead of 50 s. The price: the backups saw 30 attempts."
    )


def test__cells__the_better_side_is_green_and_the_worse_red_whichever_it_is() -> None:
    worse = replace(SAME, answered=40, sick_attempts=60)
    tones = {cell.text: cell.tone for row in (BARE, worse) for cell in table.cells(row, [BARE, worse], wide=False)}
    assert tones[" 50/100  50%"] == tones["   50"] == "good"
    assert tones[" 40/100  40%"] == tones["   60"] == "bad"


def test__demo__keeps_within_forty_seconds() -> None:
    # Half a second to start and end each scene, and the longest a call may take after the traffic stops.
    assert sum(scene.duration + 0.5 for scene in demo.SCENES) + 3 <= 40


def test__main__in_a_pipe__prints_only_the_final_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SCENES", (BLINK,))
    assert demo.main([]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert printed.count("sick host saw") == 1
    assert "mount(client, Policy(timeouts=Timeouts(attempt=1, total=3)))" in printed
    assert "=> blink: " in printed


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test__plain_screen__on_a_terminal__redraws_the_running_scene_and_erases_it_at_the_end() -> None:
    def run(watch: screen.Watch) -> list[Row]:
        watch([BARE])
        watch([BARE, SAME])
        return [BARE, SAME]

    out = Terminal()
    screen.PlainScreen(out).scene(BLINK, run)
    first, second, final = out.getvalue().split("\x1b[")[0::2]
    assert "bare" in first
    assert "seawall" in second
    assert "=> made up: no gain." in final


def test__plain_screen__out_cannot_carry_the_bars__prints_the_rest() -> None:
    buffer = io.BytesIO()
    out = io.TextIOWrapper(buffer, encoding="ascii")
    screen.PlainScreen(out).scene(BLINK, lambda watch: [BARE, SAME])
    out.flush()
    assert b"50/100" in buffer.getvalue()


def test__main__svg__saves_a_picture_that_fetches_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "SCENES", (BLINK,))
    picture = tmp_path / "demo.svg"
    assert demo.main(["--svg", str(picture)]) == 0
    svg = picture.read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert "blink" in svg
    assert "url(http" not in svg.replace('"', "")
