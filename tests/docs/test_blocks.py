"""Runs every Python block of README.md and docs/, so that what a reader pastes works.

A page is one test: its blocks run from top to bottom in one namespace, in an empty folder; `await` works at top level.
- ```python runs; ```python no-run does not (an excerpt, or something that needs the reader's own account).
- A page with the line `<!-- run: server -->` gets a loopback server that answers every request with 200 and
  `{"ok": true}`; https://api.example.com means that server in all blocks of the page.
"""

import ast
import asyncio
import gc
import inspect
import json
import re
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]+)\n(?P<code>.*?)^(?P=indent)``` *$", re.MULTILINE | re.DOTALL)
SERVER_MARK = "<!-- run: server -->"
SERVER_PLACEHOLDER = "https://api.example.com"


class Block(NamedTuple):
    line: int
    code: str


def blocks_of(page: str) -> list[Block]:
    found: list[Block] = []
    for fence in FENCE.finditer(page):
        info = fence["info"].strip()
        if info == "python":
            found.append(Block(page.count("\n", 0, fence.start("code")), textwrap.dedent(fence["code"])))
        elif info.startswith("py") and info != "python no-run":
            pytest.fail(f"```{info}: a Python block is tagged `python` or `python no-run`, else nobody would notice it")
    return found


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps({"ok": True}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 (the standard library's names)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def loopback_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run_blocks(blocks: list[Block], filename: str) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    with asyncio.Runner() as runner:  # one event loop for the page: a client made in one block is used in the next
        for block in blocks:
            source = "\n" * block.line + block.code  # so that a traceback points into the page
            code = compile(source, filename, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            result = eval(code, namespace)
            if inspect.iscoroutine(result):
                runner.run(result)


# A page may leave its clients open, as a reader at the prompt does; the collection makes their complaints fall here.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test__page__python_blocks_in_order__run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = path.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with loopback_server() as address:
        if SERVER_MARK in page.splitlines():
            page = page.replace(SERVER_PLACEHOLDER, address)
        run_blocks(blocks_of(page), str(path))
        gc.collect()
