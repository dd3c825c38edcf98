"""Mounting in place: every adapter the session has is wrapped where it stands."""

from __future__ import annotations

from typing import TypeVar

from requests import Session

from requests_resilience._adapter import Given, ResilientAdapter
from seawall.resilience import resolve

S = TypeVar("S", bound=Session)


def mount(session: S, resilience: Given = None) -> S:
    """Put `resilience` under a requests session, in place, and return the session.

    Prefixes, adapters of your own, proxies, `verify`, hooks, cookies and auth stay as they are. Mounting again replaces
    the Resilience, it never nests. Raises TypeError for anything but a session.
    """
    resilience = resolve(resilience)
    unmount(session)
    for prefix, adapter in session.adapters.items():
        session.adapters[prefix] = ResilientAdapter(adapter, resilience)
    return session


def unmount(session: S) -> S:
    """Take seawall out of a session again. One that was never mounted stays as it is."""
    if not isinstance(session, Session):
        raise TypeError(f"{type(session).__qualname__} is not a session: give a requests.Session")
    for prefix, adapter in session.adapters.items():
        if isinstance(adapter, ResilientAdapter):
            session.adapters[prefix] = adapter.detach()
    return session
