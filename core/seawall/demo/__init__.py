"""`python -m seawall demo`: what mounting seawall changes when a host falls ill, seen on real sockets in half a minute.

The same traffic goes through httpx, httpx2 and requests, bare and mounted, to local servers that misbehave on purpose.
Every figure about a host is counted by that host. `run_scenes()` gives the same figures as data.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from seawall.demo import clients
from seawall.demo.scenes import SCENES, Row, Scene, run_scene, run_scenes
from seawall.demo.screen import open_screen, save_picture

__all__ = ["SCENES", "Row", "Scene", "main", "run_scene", "run_scenes"]

_TRAFFIC = (
    f"Every client makes {SCENES[0].rate:g} GET calls a second to a local host of its own, whatever becomes of them.\n"
    f"bare:    the library alone, timeout {clients.TIMEOUT:g} s.\n"
    f"seawall: the same client, and mount(client, {clients.POLICY_WORDS});\n"
    f"         in the bridged outage with {clients.BRIDGING_WORDS} besides."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit status."""
    parser = argparse.ArgumentParser(prog="seawall demo", description="Bare and mounted clients beside each other.")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also save the final tables as a picture (needs rich)")
    options = parser.parse_args(argv)
    libraries = clients.installed()
    if not libraries:
        parser.error("none of httpx, httpx2, requests is installed: pip install httpx requests")
    try:
        screen, recorder = open_screen(recording=options.svg is not None)
    except ImportError:
        parser.error("--svg needs rich: pip install 'seawall[demo]'")
    screen.say(_TRAFFIC)
    try:
        for scene in SCENES:
            screen.scene(scene, partial(run_scene, scene, libraries))
    except KeyboardInterrupt:
        return 130
    if recorder is not None:
        save_picture(recorder, options.svg)
    return 0
