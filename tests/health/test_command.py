"""`seawall health`: what it prints, what it returns, and that nothing it reads can lead it or its reader astray."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import seawall
from seawall import Policy, Resilience, TokenBudget
from seawall.__main__ import main
from seawall.health import reading
from tests.health.situations import Play, bad_day

CORE = Path(seawall.__file__).parent.parent


def data_of(resilience: Resilience) -> dict[str, Any]:
    return resilience.health().to_dict()


@pytest.fixture
def day() -> dict[str, Any]:
    play = bad_day()
    return data_of(play.resilience)


@pytest.fixture
def command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Any], tuple[int, str, str]]:
    """Run it with a URL, or a file that holds this: exit status, output, errors."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)

    def run(source: Any) -> tuple[int, str, str]:
        if not isinstance(source, str):
            path = tmp_path / "health.json"
            path.write_bytes(source if isinstance(source, bytes) else json.dumps(source).encode())
            source = str(path)
        status = main(["health", source])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


Command = Callable[[Any], tuple[int, str, str]]


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], object]) -> Generator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """The client left."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def reply(status: int, body: bytes, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


# -- what it says ----------------------------------------------------------------------------------


def test__bad_day__recommendations_first_then_a_table_worst_first(command: Command, day: dict[str, Any]) -> None:
    status, out, err = command(day)
    lines = out.splitlines()
    assert (status, err) == (2, "")
    assert lines[0] == "critical: 9 hosts, 2 open circuits, 1 degraded, at 2023-11-14 22:33:20 UTC"
    assert lines[2] == "critical: https://payments.example.com, breaker"
    assert lines[4].endswith("[Policy.degrade]")
    heads = next(place for place, line in enumerate(lines) if line.startswith("HOST"))
    assert [line.split()[0] for line in lines[heads + 1 :]] == [part["host"] for part in day["breakers"]]
    assert lines[heads + 1].split()[1:3] == ["critical", "open"]
    assert "40 of 40       12    10 of 10" in out


def with_status(status: str) -> dict[str, Any]:
    play = Play(Policy(budget=TokenBudget(max_tokens=1, refill_rate=0)))
    play.attempt("a.test")
    if status == "warning":
        play.deny("a.test", 1)
    elif status in ("degraded", "critical"):
        play.resilience.isolate("https://a.test")
    if status == "critical":
        play.state("a.test").count_rejection(play.clock.now)
    data = data_of(play.resilience)
    assert data["status"] == status
    return data


@pytest.mark.parametrize(("status", "code"), [("healthy", 0), ("warning", 1), ("degraded", 1), ("critical", 2)])
def test__exit_status__is_the_healths(command: Command, status: str, code: int) -> None:
    done, out, _ = command(with_status(status))
    assert (done, out.partition(":")[0]) == (code, status)


def test__nobody_called__is_healthy_and_has_no_table(command: Command) -> None:
    status, out, _ = command(data_of(Resilience()))
    assert (status, len(out.splitlines())) == (0, 1)


def test__no_limit_and_no_budget__have_no_figures(command: Command) -> None:
    play = Play(Policy(budget=None))
    play.state("a.test")
    _, out, _ = command(data_of(play.resilience))
    assert out.splitlines()[-1].split() == [
        "https://a.test",
        "healthy",
        "closed",
        "0/s",
        "0",
        "%",
        "-",
        "-",
        "0",
        "0",
        "-",
    ]


def test__many_hosts__the_rest_is_counted(command: Command) -> None:
    play = Play(Policy())
    for number in range(130):
        play.state(f"h{number}.test")
    _, out, _ = command(data_of(play.resilience))
    assert out.splitlines()[-1] == "and 30 hosts more, none worse than these"
    assert len(out.splitlines()) == 104


def test__names_a_newer_version_adds__are_passed_over(command: Command, day: dict[str, Any]) -> None:
    assert command({**day, "news": [1], "breakers": [{**part, "news": {}} for part in day["breakers"]]})[0] == 2


# -- where it reads --------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [200, 503])
def test__url__is_read_also_when_critical(command: Command, day: dict[str, Any], code: int) -> None:
    with answering(reply(code, json.dumps(day).encode())) as url:
        status, out, _ = command(f"{url}/health.json")
    assert (status, out.startswith("critical: 9 hosts")) == (2, True)


def test__the_page__is_not_the_data(command: Command) -> None:
    with answering(reply(200, b"<!doctype html>")) as url:
        assert command(url) == (
            3,
            "",
            "seawall health: cannot read it: that is a page, not data: give its health.json\n",
        )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (reply(404, b""), "it answered 404"),
        (reply(500, b"{}"), "it answered 500"),
        (reply(302, b"", Location="ftp://127.0.0.1/health.json"), "ftp"),
        (reply(302, b"", Location="file:///etc/passwd"), "it answered 302"),
        (reply(200, b" " * (reading.MOST + 9)), "more than 16 MiB"),
        (reply(200, b"{}", **{"Content-Length": "9999"}), "version is not a number"),
    ],
    ids=["404", "500", "to ftp", "to a file", "without end", "cut off"],
)
def test__url__that_gives_something_else__says_what(
    command: Command, answer: Callable[[BaseHTTPRequestHandler], None], said: str
) -> None:
    with answering(answer) as url:
        status, out, err = command(f"{url}/health.json")
    assert (status, out) == (3, "")
    assert err.startswith("seawall health: cannot read it: ")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("what", ["headers", "body"])
def test__url__that_drips__is_left_in_time(command: Command, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(reading, "LONGEST", 0.5)
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        if what == "body":
            handler.send_response(200)
            handler.end_headers()
        while not over.wait(0.05):
            handler.wfile.write(b" ")

    with answering(drip) as url:
        started = time.monotonic()
        status, _, err = command(url)
        took = time.monotonic() - started
        over.set()
    assert (status, err) == (3, "seawall health: cannot read it: no end within 0.5 s\n")
    assert took < 5


def test__nobody_listens__says_so(command: Command) -> None:
    with answering(reply(200, b"")) as url:
        pass
    status, _, err = command(url)
    assert (status, "refused" in err, "urlopen" in err) == (3, True, False)


@pytest.mark.parametrize("url", ["http://me:secret@127.0.0.1:9/health.json", "https://secret@127.0.0.1:9/"])
def test__credentials_in_the_url__are_neither_used_nor_shown(command: Command, url: str) -> None:
    status, out, err = command(url)
    assert (status, "secret" in out + err) == (3, False)
    assert "pipe it to -" in err


@pytest.mark.parametrize(
    "source", ["/nowhere/health.json", ".", "http://", "http://[", "http://a b/", "http://127.0.0.1:x/"]
)
def test__no_such_place__is_said_in_one_line(command: Command, source: str) -> None:
    status, out, err = command(source)
    assert (status, out, err.count("\n")) == (3, "", 1)


def test__command_line__as_a_process_from_standard_input(day: dict[str, Any]) -> None:
    environment = os.environ | {"PYTHONPATH": str(CORE), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-W", "error", "-m", "seawall", "health"]

    def run(*arguments: str, given: str = "") -> tuple[int, str, str]:
        done = subprocess.run(
            [*command, *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=30,
            env=environment,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    status, out, err = run("-", given=json.dumps({**day, "breakers": [{**day["breakers"][0], "host": "wärter"}]}))
    assert (status, err) == (2, "")
    assert "w?rter" in out
    status, out, err = run()
    assert (status, out, err.splitlines()[-1]) == (
        3,
        "",
        "seawall health: the following arguments are required: URL_OR_FILE",
    )


def test__pipe_that_never_ends__is_left_in_time(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LONGEST", 0.3)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR)
    try:
        assert command(str(pipe))[0] == 3
    finally:
        os.close(held)


# -- what it believes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no JSON"),
        (b"null", "the whole is no object"),
        (b"[1]", "the whole is no object"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"{" * 100_000, "no JSON"),
        (b'{"version": ' + b"[" * 100_000, "no JSON"),
        (b'{"version": NaN}', "NaN is no number"),
        (b'{"version": ' + b"9" * 5000 + b"}", "no JSON"),
        (b'{"version": 1e999}', "version is not a number"),
        (b'{"version": true}', "version is not a number"),
        (b'{"version": 2}', "version 2 is not known here"),
        (b'{"version": 1}', "status is not one of"),
        (b'{"version": 1, "status": []}', "status is not one of"),
        (b'{"version": 1, "status": "healthy"}', "breakers is not a list"),
    ],
    ids=lambda value: repr(value)[:24] if isinstance(value, bytes) else None,
)
def test__not_health__says_where_it_is_wrong(command: Command, data: bytes, said: str) -> None:
    status, out, err = command(data)
    assert (status, out) == (3, "")
    assert said in err
    assert (err.count("\n"), len(err) < 400) == (1, True)


def spoiled(day: dict[str, Any], part: str, **values: Any) -> dict[str, Any]:
    return {**day, part: [{**day[part][0], **values}, *day[part][1:]]}


@pytest.mark.parametrize(
    ("part", "values", "said"),
    [
        ("breakers", {"state": "ajar"}, "breakers[0].state is not one of closed, open, half_open, isolated"),
        ("breakers", {"status": None}, "breakers[0].status is not one of"),
        ("breakers", {"failure_rate": "high"}, "breakers[0].failure_rate is not a number"),
        ("breakers", {"request_rate": 10**400}, "breakers[0].request_rate is not a number"),
        ("breakers", {"latency_p99": {}}, "breakers[0].latency_p99 is not a number"),
        ("breakers", {"host": 5}, "breakers[0].host is not a text"),
        ("bulkheads", {"in_flight": None}, "bulkheads[0].in_flight is not a number"),
        ("budgets", {"max": "inf"}, "budgets[0].max is not a number"),
        ("recommendations", {"severity": "dire"}, "recommendations[0].severity is not one of"),
        ("recommendations", {"message": ["x"]}, "recommendations[0].message is not a text"),
    ],
)
def test__value_of_another_kind__is_named(
    command: Command, day: dict[str, Any], part: str, values: dict[str, Any], said: str
) -> None:
    status, out, err = command(spoiled(day, part, **values))
    assert (status, out) == (3, "")
    assert said in err


@pytest.mark.parametrize(
    "data",
    [{"breakers": [1]}, {"breakers": {}}, {"bulkheads": []}, {"timestamp": 1e14}, {"open_circuit_count": "1"}],
    ids=repr,
)
def test__shape_of_another_kind__is_refused(command: Command, day: dict[str, Any], data: dict[str, Any]) -> None:
    status, out, _ = command({**day, **data})
    assert (status, out) == (3, "")


def test__texts__cannot_drive_the_terminal(command: Command, day: dict[str, Any]) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\r\n\u202e\u2028evil" + "x" * 5000
    data = spoiled(spoiled(day, "breakers", host=evil), "recommendations", host=evil, message=evil, action=evil)
    status, out, _ = command(data)
    assert status == 2
    assert all(letter.isprintable() or letter == "\n" for letter in out)
    assert max(map(len, out.splitlines())) < 600
    assert len(out.splitlines()) == len(command(day)[1].splitlines())


def test__figures_beyond_reason__are_printed_all_the_same(command: Command, day: dict[str, Any]) -> None:
    data = spoiled(day, "breakers", request_rate=-1e14, failure_rate=9e14, latency_p50=-5, latency_p99=1e14)
    assert command(data)[0] == 2


def test__entry__of_a_nested_list__says_where() -> None:
    with pytest.raises(reading.Unreadable, match=r"a\[0\]\.b is not a list"):
        reading.Entry({"a": [{}]}, "").entries("a")[0].entries("b")


def test__output_that_is_no_terminals__has_every_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "health.json"
    file.write_text(json.dumps(data_of(Resilience())))
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["health", str(file)]) == 0
    assert out.getvalue() != ""


def test__demo__is_a_command_with_options_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--help"])
    assert ended.value.code == 0
    assert "usage: seawall demo [-h] [--svg FILE]" in capsys.readouterr().out


def test__no_command__prints_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert [word for word in ("demo", "outbox", "health") if word not in out] == []


def test__no_such_option__is_an_error_that_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--nonsense"])
    assert ended.value.code == 2
    assert "--nonsense" in capsys.readouterr().err
