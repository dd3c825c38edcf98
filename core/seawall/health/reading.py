"""Reading /health.json of another process: bounded in time and bytes, and believed in nothing.

What is read was written by somebody else, or by somebody who pretends to be them:
every value that is shown is looked at first, and texts lose what a terminal would
obey. The file or URL is read in a thread of its own, since neither a socket nor a
pipe keeps to a time by itself.
"""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from seawall.drivers.aside import Aside
from seawall.drivers.threads import Threads
from seawall.health.model import VERSION
from seawall.health.words import printable
from seawall.runtime import OutOfTime, run_sync

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

LONGEST: Final = 10.0
"""Seconds the reading may take."""
MOST: Final = 16 * 1024 * 1024
"""Bytes read at most: some 15,000 hosts."""
_LARGEST: Final = 1e15


class Unreadable(Exception):
    """What was given cannot be read as health; the text says why and what to do."""


class Entry:
    """A JSON object somebody else wrote. Each method gives a value of the type it says, or raises Unreadable."""

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, dict):
            raise Unreadable(f"{where or 'the whole'} is no object")
        self._data: dict[str, Any] = data
        self._where = where

    def text(self, name: str, most: int = 500) -> str:
        """Printable, and not longer than `most`."""
        value = self._data.get(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a text")
        return printable(value, most)

    def word(self, name: str, words: Sequence[str]) -> str:
        """One of `words`."""
        value = self._data.get(name)
        if not isinstance(value, str) or value not in words:
            raise self._wrong(name, f"one of {', '.join(words)}")
        return value

    def number(self, name: str) -> float:
        value = self.number_or_none(name)
        if value is None:
            raise self._wrong(name, "a number")
        return value

    def number_or_none(self, name: str) -> float | None:
        """Finite and not absurd; null is None."""
        value = self._data.get(name, "")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
            raise self._wrong(name, "a number")
        return float(value)

    def entries(self, name: str) -> list[Entry]:
        """A list of objects."""
        value: Any = self._data.get(name)
        if not isinstance(value, list):
            raise self._wrong(name, "a list")
        where = f"{self._where}." if self._where else ""
        return [Entry(member, f"{where}{name}[{place}]") for place, member in enumerate(value)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]

    def _wrong(self, name: str, wanted: str) -> Unreadable:
        return Unreadable(f"{self._where + '.' if self._where else ''}{name} is not {wanted}")


def read(source: str) -> Entry:
    """The health at a URL, in a file, or (-) on standard input. Raises Unreadable."""
    work = Aside(lambda: _bytes_of(source))
    work.start()
    try:
        data: bytes = run_sync(work.result(LONGEST, Threads()))
    except OutOfTime:
        raise Unreadable(f"no end within {LONGEST:g} s") from None
    except (OSError, HTTPException, ValueError) as error:
        why = str(getattr(error, "reason", error))  # urllib wraps what the socket said
        raise Unreadable(printable(why, 300) or type(error).__name__) from error
    return parse(data)


def parse(data: bytes) -> Entry:
    """The object in these bytes. Raises Unreadable."""
    if len(data) > MOST:
        raise Unreadable(f"more than {MOST // 1024 // 1024} MiB")
    if data.lstrip()[:1] == b"<":
        raise Unreadable("that is a page, not data: give its health.json")
    try:
        found = Entry(json.loads(data, parse_constant=_no_number), "")
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"that is no JSON: {printable(str(error), 200)}") from None
    version = found.number("version")
    if version != VERSION:
        raise Unreadable(f"version {version:g} is not known here, only {VERSION}: use the seawall that wrote it")
    return found


def _bytes_of(source: str) -> bytes:
    if source.lower().startswith(("http://", "https://")):
        return _fetch(source)
    # Unbuffered: a buffer's lock, held by a thread that waits for a pipe, would break the end of the process.
    with open(0 if source == "-" else source, "rb", buffering=0, closefd=source != "-") as file:
        return _up_to_most(file)


def _up_to_most(file: IO[bytes]) -> bytes:
    found = bytearray()
    while len(found) <= MOST and (piece := file.read(65_536)):
        found += piece
    return bytes(found)


def _fetch(url: str) -> bytes:
    from urllib import request
    from urllib.error import HTTPError

    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError("credentials in a URL are not used: fetch it with a tool that has them, and pipe it to -")
    opener = request.OpenerDirector()  # the default one would follow a redirect to ftp:
    for handler in (
        request.ProxyHandler,
        request.UnknownHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPRedirectHandler,
        request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    asked = request.Request(url, headers={"Accept": "application/json", "User-Agent": "seawall"})
    try:
        with opener.open(asked, timeout=LONGEST) as answer:
            return _up_to_most(answer)
    except HTTPError as error:
        with error:
            if error.code != 503:  # which is how critical is told
                raise ValueError(f"it answered {error.code}: give the URL of a health.json") from None
            return _up_to_most(error)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")
