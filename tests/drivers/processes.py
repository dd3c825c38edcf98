"""Programs of their own, for what cannot be undone in this one: forks, signals, the end of the interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import seawall

ROOT = Path(__file__).parent.parent.parent


def script(text: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
    """Run a program; it may import the library and the tests."""
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", text],
        capture_output=True,
        text=True,
        timeout=seconds,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(seawall.__file__).parent.parent), str(ROOT)])},
        cwd=ROOT,
        check=False,
    )
