"""`seawall.mount(client)`: finds the mount for a client by the library its class comes from.

Mounts announce themselves as entry points ("seawall.mounts": library → package), so
that the core imports none of them.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from seawall.policy import Policy
    from seawall.resilience import Resilience

C = TypeVar("C")

_RETRIES = "_seawall_max_retries"


def mount(client: C, resilience: Resilience | Mapping[str, Policy] | Policy | None = None) -> C:
    """Put `resilience` (left out: the process's default) under a client, in place, and return the client.

    Takes httpx, httpx2 and requests clients, and SDK clients built on them (OpenAI, Anthropic …): theirs is found, and
    their own `max_retries` set to 0, since retries of both would multiply. Raises TypeError for anything else.
    """
    inner = _client_of(client)
    _package(inner).mount(inner, resilience)
    if inner is not client and isinstance(getattr(client, "max_retries", None), int) and not hasattr(client, _RETRIES):
        sdk: Any = client
        setattr(sdk, _RETRIES, sdk.max_retries)
        sdk.max_retries = 0
    return client


def unmount(client: C) -> C:
    """Undo `mount`: the client is as before, an SDK's `max_retries` too."""
    inner = _client_of(client)
    _package(inner).unmount(inner)
    if hasattr(client, _RETRIES):
        sdk: Any = client
        sdk.max_retries = getattr(sdk, _RETRIES)
        delattr(sdk, _RETRIES)
    return client


def replayer(client: Any) -> tuple[Any, Any]:
    """The HTTP client, and its mount's module that sends what an outbox kept."""
    inner = _client_of(client, "drain")
    return inner, importlib.import_module(f"{_package(inner).__name__}._replay")


def _client_of(client: Any, wanted_by: str = "mount") -> Any:
    """The HTTP client: itself, or the one an SDK keeps in `_client`."""
    candidate = client
    for _ in range(3):
        if any(library in mounts() for library in _libraries(candidate)):
            return candidate
        candidate = getattr(candidate, "_client", None)
    if isinstance(client, type):
        raise TypeError(f"{wanted_by}: {client.__name__} is a class: give a client made of it, {client.__name__}(…)")
    raise TypeError(
        f"{wanted_by}: {type(client).__name__} is no client of {', '.join(sorted(mounts()))}, nor an SDK "
        f"client with one inside: {wanted_by} its HTTP client, or give the SDK a mounted one (http_client=…)"
    )


def _libraries(client: object) -> Iterator[str]:
    for kind in type(client).__mro__:
        yield kind.__module__.partition(".")[0]


def _package(client: object) -> Any:
    known = mounts()
    return importlib.import_module(next(known[library] for library in _libraries(client) if library in known))


@cache
def mounts() -> dict[str, str]:
    """Library → the package that mounts on it."""
    from importlib.metadata import entry_points

    known = {"httpx": "httpx_resilience", "httpx2": "httpx_resilience", "requests": "requests_resilience"}
    known.update({entry.name: entry.value for entry in entry_points(group="seawall.mounts")})
    return known
