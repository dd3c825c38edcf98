"""Mounting in place: the client keeps everything it has, its transports are wrapped where they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from httpx_resilience._library import library_of
from httpx_resilience._transport import AsyncResilientTransport, ResilientTransport
from seawall.mounted import warn_of_longer_clocks
from seawall.resilience import resolve

if TYPE_CHECKING:
    from httpx_resilience._transport import Given

C = TypeVar("C")


def mount(client: C, resilience: Given = None) -> C:
    """Put `resilience` under an httpx or httpx2 client, in place, and return the client.

    Proxies, `verify`, `http2`, event hooks, cookies and auth stay as they are; `None` mounts (NO_PROXY) stay None.
    Mounting again replaces the Resilience, it never nests. Raises TypeError for anything but a client.
    """
    wrapper, transports = parts(client)
    resilience = resolve(resilience)
    unmount(client)
    client_: Any = client
    client_._transport = wrapper(client_._transport, resilience)
    for pattern, transport in transports.items():
        if transport is not None:
            transports[pattern] = wrapper(transport, resilience)
    timeout = client_.timeout
    warn_of_longer_clocks(resilience, timeout.connect, timeout.read)
    return client


def unmount(client: C) -> C:
    """Take seawall out of a client again. One that was never mounted stays as it is."""
    _, transports = parts(client)
    client_: Any = client
    client_._transport = _bare(client_._transport)
    for pattern, transport in transports.items():
        transports[pattern] = _bare(transport)
    return client


def parts(client: Any) -> tuple[type[Any], dict[Any, Any]]:
    """The class of wrapper a client needs, and its transports by pattern. Raises TypeError for what is no client."""
    library = library_of(client)
    if isinstance(client, library.client):
        return ResilientTransport, client._mounts
    if isinstance(client, library.async_client):
        return AsyncResilientTransport, client._mounts
    raise TypeError(f"{type(client).__qualname__} is not a client: give an httpx.Client or httpx.AsyncClient")


def is_ours(transport: Any) -> bool:
    """Is it one of our wrappers, mounted or made by hand?"""
    return isinstance(transport, ResilientTransport | AsyncResilientTransport)


def _bare(transport: Any) -> Any:
    while is_ours(transport) and transport.inner is not None:
        transport = transport.detach()
    return transport
