"""The pictures of the health page in docs/: `python scripts/dev.py pictures`. Needs Chromium and its driver.

What they show is played in virtual time (tests/health/situations.py), so they change only when the page does.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

from seawall.health import page
from tests.health import browser
from tests.health.situations import bad_day

DOCS = Path(__file__).resolve().parent.parent / "docs"


class Picture(NamedTuple):
    name: str
    theme: Literal["light", "dark"]
    width: int
    height: int | None
    """None: the whole page."""
    scale: float


PICTURES = (
    Picture("health-light.png", "light", 1280, None, 1.25),
    Picture("health-dark.png", "dark", 1280, None, 1.0),
    Picture("health-phone.png", "dark", 360, 1500, 1.0),
)


def main() -> int:
    if why := browser.missing():
        print(f"no pictures: {why}")
        return 1
    play = bad_day()
    shown = page.render(play.resilience.health(), data="./health.json")
    with tempfile.TemporaryDirectory() as folder, browser.chromium() as window:
        file = Path(folder, "page.html")
        file.write_bytes(shown)
        for picture in PICTURES:
            browser.prefer(window, picture.theme)
            browser.resize(window, picture.width, scale=picture.scale)
            window.get(file.as_uri())
            height = picture.height or window.execute_script("return document.documentElement.scrollHeight")
            browser.resize(window, picture.width, height, picture.scale)
            browser.save(window, DOCS / picture.name)
            print(f"docs/{picture.name}: {picture.width} × {height}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
