"""What `seawall.install` has to know of requests: where sessions come to life, and how one is mounted then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from requests_resilience._adapter import ResilientAdapter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from requests import Session

    from seawall.resilience import Resilience


def births(library: Any) -> list[tuple[type, str]]:
    """Classes and methods after which a session, or an adapter of one, may be new; a copy comes by `__setstate__`."""
    return [(library.Session, "__init__"), (library.Session, "__setstate__"), (library.Session, "mount")]


def mount_new(session: Session, after: str, resilience: Resilience) -> Iterator[ResilientAdapter]:
    """Mount what is bare, and give each wrapper. A ResilientAdapter was put there by hand."""
    adapters = session.adapters
    if after == "mount" and not any(getattr(adapter, "is_installed", False) for adapter in adapters.values()):
        return  # a session of before, one unmounted or mounted by hand, or one that is just being made
    for prefix, adapter in list(adapters.items()):
        if not isinstance(adapter, ResilientAdapter):
            adapters[prefix] = wrapper = ResilientAdapter(adapter, resilience)
            wrapper.is_installed = True
            yield wrapper


def take_out(session: Session, wrapper: ResilientAdapter) -> None:
    """Put back what the wrapper is around, unless somebody hooked into the wrapper since."""
    if "send" in vars(wrapper):
        return
    for prefix, adapter in list(session.adapters.items()):
        if adapter is wrapper:
            session.adapters[prefix] = wrapper.inner
