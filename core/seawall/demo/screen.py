"""Where the demo is seen: live on a terminal, with rich or without, and as final tables alone in a pipe.

Each scene's table becomes final when the scene ends, and stays in the scrollback; only the scene under way is redrawn.
"""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from seawall.demo import table
from seawall.demo.scenes import Row, Scene

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_WIDE = 105
_STYLES = {"good": "bold green", "bad": "red", "plain": "", "faint": "dim"}
Watch = Callable[[list[Row]], None]


class PlainScreen:
    """Text without colour. On a terminal the running scene is redrawn by cursor movement; in a pipe it is silent."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._live = self._out.isatty()
        self._wide = not self._live or shutil.get_terminal_size().columns >= _WIDE
        self._drawn = 0

    def say(self, text: str) -> None:
        """Print a paragraph."""
        self._write(f"{text}\n\n")

    def scene(self, scene: Scene, run: Callable[[Watch], list[Row]]) -> list[Row]:
        """Show one scene while `run` runs it, then its final table and what it comes to."""
        self._write(f"{scene.story}\n")
        rows = run(self._redraw)
        self._erase()
        verdict = textwrap.fill(f"=> {table.verdict(rows)}", _WIDE, subsequent_indent="   ")
        self._write(f"{table.plain(rows, self._wide)}\n{verdict}\n\n")
        return rows

    def _redraw(self, rows: list[Row]) -> None:
        if self._live:
            text = table.plain(rows, self._wide)
            self._erase()
            self._write(f"{text}\n")
            self._drawn = text.count("\n") + 1

    def _erase(self) -> None:
        if self._drawn:
            self._write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
        except UnicodeEncodeError:  # a pipe that cannot carry the bars, such as cp1252: better ugly than broken
            self._out.write(text.encode("ascii", "replace").decode())
        self._out.flush()


class RichScreen:
    """Colour, through rich. A console that records draws the picture as well."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        """Print a paragraph."""
        self._console.print(text, style="dim", markup=False, highlight=False)
        self._console.print()

    def scene(self, scene: Scene, run: Callable[[Watch], list[Row]]) -> list[Row]:
        """Show one scene while `run` runs it, then its final table and what it comes to."""
        from rich.live import Live

        with Live(console=self._console, refresh_per_second=5, transient=True) as live:
            rows = run(lambda rows: live.update(self._table(scene, rows)))
        self._console.print(self._table(scene, rows))
        self._console.print(f"=> {table.verdict(rows)}", style="bold", markup=False, highlight=False)
        self._console.print()
        return rows

    def _table(self, scene: Scene, rows: Sequence[Row]) -> RenderableType:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        wide = self._console.width >= _WIDE
        grid = Table(
            title=scene.story,
            title_justify="left",
            title_style="bold cyan",
            box=box.SIMPLE_HEAD,
            padding=(0, 1 if wide else 0, 0, 0),
            pad_edge=False,
            show_edge=False,
        )
        for heading in table.headings(rows, wide):
            grid.add_column(heading, no_wrap=True)
        for row in rows:
            grid.add_row(*(Text(cell.text, style=_STYLES[cell.tone]) for cell in table.cells(row, rows, wide)))
        return grid


def open_screen(recording: bool = False) -> tuple[PlainScreen | RichScreen, Console | None]:
    """The screen that fits standard output, and the console that records if `recording`."""
    try:
        from rich.console import Console
    except ImportError:
        if recording:
            raise
        return PlainScreen(), None
    if recording:
        console = Console(record=True, width=_WIDE)
        return RichScreen(console), console
    return (RichScreen(Console()) if sys.stdout.isatty() else PlainScreen()), None


def save_picture(console: Console, path: Path) -> None:
    """Write what `console` recorded as an SVG that fetches nothing from elsewhere (rich names fonts by address)."""
    svg = console.export_svg(title="python -m seawall demo")
    path.write_text(re.sub(r"@font-face\s*\{.*?\}", "", svg, flags=re.DOTALL), encoding="utf-8")
