"""What `seawall.install` has to know of httpx and httpx2: where clients come to life, and how one is mounted then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from httpx_resilience._mount import is_ours, parts
from seawall.mounted import warn_of_longer_clocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seawall.resilience import Resilience

_METHODS: Final = ("handle_request", "handle_async_request")


def births(library: Any) -> list[tuple[type, str]]:
    """Classes and the methods after which a client of theirs may be new."""
    return [(library.Client, "__init__"), (library.AsyncClient, "__init__")]


def mount_new(client: Any, _after: str, resilience: Resilience) -> Iterator[Any]:
    """Mount what is bare, and give each wrapper. A transport of ours, or around one of ours, was put there by hand."""
    wrapper, transports = parts(client)
    if not _holds_ours(client._transport):
        client._transport = wrapper(client._transport, resilience)
        yield client._transport
    for pattern, transport in list(transports.items()):
        if transport is not None and not _holds_ours(transport):
            transports[pattern] = wrapper(transport, resilience)
            yield transports[pattern]
    warn_of_longer_clocks(resilience, client.timeout.connect, client.timeout.read)


def take_out(client: Any, wrapper: Any) -> None:
    """Put back what the wrapper is around, unless somebody hooked into the wrapper since."""
    if any(name in vars(wrapper) for name in _METHODS):
        return
    if client._transport is wrapper:
        client._transport = wrapper.inner
    for pattern, transport in list(client._mounts.items()):
        if transport is wrapper:
            client._mounts[pattern] = wrapper.inner


def _holds_ours(transport: Any, depth: int = 3) -> bool:
    """Is it ours, or built around one of ours, as far as its attributes tell?"""
    if is_ours(transport) or depth == 0 or hasattr(transport, "_pool"):  # the library's own has sockets beneath
        return is_ours(transport)
    inside: list[Any] = list(getattr(transport, "__dict__", {}).values())
    return any(_holds_ours(each, depth - 1) for each in inside if _looks_like_a_transport(each))


def _looks_like_a_transport(thing: object) -> bool:
    return any(hasattr(type(thing), name) for name in _METHODS)
