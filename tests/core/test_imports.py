"""What `import seawall` costs a program that does not need it: no event loop, no client, no thread of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import seawall

CORE = Path(seawall.__file__).parent.parent
LOOPS = {"asyncio", "anyio", "trio", "sniffio", "selectors", "concurrent.futures"}
CLIENTS = {"httpx", "httpx2", "httpcore", "requests", "urllib3", "wrapt", "rich"}
HEAVY = {"email", "http.client", "logging", "ssl", "json", "importlib.metadata"}


def loaded_by(script: str) -> set[str]:
    """The modules a script adds to a fresh interpreter."""
    program = f"import sys; before = set(sys.modules)\n{script}\nprint(*sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(CORE)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("unwanted", [LOOPS, CLIENTS, HEAVY], ids=["event loops", "clients", "heavy"])
def test__import__loads_none_of_them(unwanted: set[str]) -> None:
    assert loaded_by("import seawall") & unwanted == set()


def test__sync_execute__loads_no_event_loop() -> None:
    script = "import seawall; assert seawall.Resilience().execute('x', lambda: 1) == 1"
    assert loaded_by(script) & (LOOPS | CLIENTS) == set()


def test__outbox__loads_no_event_loop_and_no_client(tmp_path: Path) -> None:
    put = "put('PUT', 'http://a.test/', (), None, host='a', queue_timeout=1)"
    script = f"import seawall; box = seawall.Outbox({str(tmp_path / 'o.db')!r}); box.{put}; assert len(box) == 1"
    assert loaded_by(script) & (LOOPS | CLIENTS) == set()
    assert "sqlite3" not in loaded_by("import seawall; seawall.Outbox; seawall.QueueForRetry; seawall.Receipt")


def test__import__loads_no_mount() -> None:
    loaded = loaded_by("import seawall")
    assert not {name for name in loaded if name.startswith(("httpx_resilience", "requests_resilience"))}


def test__import__starts_no_thread() -> None:
    loaded_by("import threading, seawall; assert threading.active_count() == 1")


def test__public_names__are_those_of_all() -> None:
    script = "import seawall\nfor name in seawall.__all__: getattr(seawall, name)"
    assert loaded_by(script) & (LOOPS | CLIENTS) == set()
    assert sorted(seawall.__all__) == list(seawall.__all__)


def test__unknown_name__is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        seawall.nothing  # noqa: B018


def test__name_that_is_not_there__is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="'seawall' has no attribute 'nonsense'"):
        seawall.nonsense  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("room", ["health", "telemetry"])
def test__room__is_there_without_an_import_of_its_own(room: str) -> None:
    assert f"seawall.{room}" in loaded_by(f"import seawall; seawall.{room}")
