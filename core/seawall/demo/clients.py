"""The clients of the demo, as a careful user would set them up, with and without seawall mounted.

Bare means the library alone with a timeout of one second. Mounted means the same client, made by the same line, and
one call of `mount` more.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import seawall
from seawall import FallbackProvider, Policy, Resilience, StaleResponse, Timeouts

TIMEOUT = 1.0
POLICY = Policy(timeouts=Timeouts(attempt=1, total=3))
POLICY_WORDS = "Policy(timeouts=Timeouts(attempt=1, total=3))"
LIBRARIES = ("httpx", "httpx2", "requests")


def bridging(backup: str) -> Policy:
    """The same, and what answers when the host does not: what it said before, then another host."""
    return Policy(timeouts=POLICY.timeouts, degrade=[StaleResponse(), FallbackProvider(backup)])


BRIDGING_WORDS = "degrade=[StaleResponse(), FallbackProvider(backup)]"


class Client(Protocol):
    """One client of one library, bound to one origin."""

    def fetch(self, path: str) -> str | None:
        """Make one call; whose good answer came back ("origin", "stale", "fallback"), None if none did."""
        ...

    def close(self) -> None:
        """Give back its connections."""
        ...


class _Httpx:
    def __init__(self, library: str, url: str, resilience: Resilience | None) -> None:
        self._url = url.rstrip("/")
        self._library: Any = importlib.import_module(library)
        # Loopback only: a proxy from the environment would take the calls elsewhere.
        self._client: Any = self._library.Client(timeout=TIMEOUT, trust_env=False)
        if resilience is not None:
            from httpx_resilience import mount

            mount(self._client, resilience)

    def fetch(self, path: str) -> str | None:
        try:
            return _source(self._client.get(self._url + path))
        except self._library.HTTPError:
            return None

    def close(self) -> None:
        self._client.close()


class _Requests:
    def __init__(self, url: str, resilience: Resilience | None) -> None:
        import requests
        from requests.adapters import HTTPAdapter

        self._url = url.rstrip("/")
        self._error = requests.RequestException
        self._session = requests.Session()
        self._session.trust_env = False
        # As many connections as httpx allows; with requests' own 10 each further one is dropped after one use.
        self._session.mount("http://", HTTPAdapter(pool_maxsize=100))
        if resilience is not None:
            from requests_resilience import mount

            mount(self._session, resilience)

    def fetch(self, path: str) -> str | None:
        try:
            return _source(self._session.get(self._url + path, timeout=TIMEOUT))
        except self._error:
            return None

    def close(self) -> None:
        self._session.close()


def _source(response: Any) -> str | None:
    if response.status_code != 200:
        return None
    report = seawall.report(response)
    return "origin" if report is None else report.served_from


def installed() -> list[str]:
    """The libraries of `LIBRARIES` that can be imported here."""
    return [name for name in LIBRARIES if importlib.util.find_spec(name) is not None]


def open_client(library: str, url: str, resilience: Resilience | None) -> Client:
    """A client of `library` for `url`; mounted if there is a `resilience`."""
    return _Requests(url, resilience) if library == "requests" else _Httpx(library, url, resilience)


class Call(NamedTuple):
    """One finished call: when it began and ended, and whose good answer came back."""

    started: float
    ended: float
    source: str | None

    @property
    def good(self) -> bool:
        """Did a good answer come back?"""
        return self.source is not None


class Caller:
    """Makes calls, each in a thread of its own, and remembers how each went."""

    def __init__(self, fetch: Callable[[str], str | None]) -> None:
        self._fetch = fetch
        self.sent = 0
        self.calls: list[Call] = []
        self.surprises: list[BaseException] = []

    @property
    def waiting(self) -> int:
        """How many calls have not ended yet."""
        return self.sent - len(self.calls)

    def call(self, path: str) -> None:
        """Start one call now and return at once."""
        self.sent += 1
        threading.Thread(target=self._run, args=(path,), daemon=True).start()

    def _run(self, path: str) -> None:
        started = time.monotonic()
        source = None
        try:
            source = self._fetch(path)
        except BaseException as error:  # anything but the library's own error is a defect: the scene raises it
            self.surprises.append(error)
        finally:
            self.calls.append(Call(started, time.monotonic(), source))
