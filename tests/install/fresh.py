"""Scripts in an interpreter of their own, in which nothing has been imported."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, *arguments: str, warnings: str = "error") -> str:
    """What the script printed; it has to end well, warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", warnings, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "core")])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
