"""Sessions are pickled and copied as without seawall; what comes to life where it is installed is mounted there."""

from __future__ import annotations

import copy
import pickle
from typing import Any, ClassVar

import httpx
import pytest
import requests

import seawall
from requests_resilience import ResilientAdapter, mount
from tests.contract.peer import Peer
from tests.contract.settings import quick
from tests.contract.steps import answer
from tests.install.fresh import run


class Tuned(requests.adapters.HTTPAdapter):
    """Somebody's own adapter, with something to remember."""

    __attrs__: ClassVar = [*requests.adapters.HTTPAdapter.__attrs__, "tuning"]

    def __init__(self, tuning: str = "none") -> None:
        self.tuning = tuning
        super().__init__()


def told(session: requests.Session) -> list[tuple[str, type, Any]]:
    """The adapters underneath, in order."""
    found = []
    for prefix, adapter in session.adapters.items():
        inner: Any = adapter.inner if isinstance(adapter, ResilientAdapter) else adapter
        found.append((prefix, type(inner), getattr(inner, "tuning", None)))
    return found


def session_of_a_user() -> requests.Session:
    session = requests.Session()
    session.headers["X-Own"] = "kept"
    session.mount("https://api.test/", Tuned("sharp"))
    return session


def test__pickle__has_nothing_of_ours_in_it() -> None:
    seawall.install(quick())
    session = session_of_a_user()
    data = pickle.dumps(session)
    seawall.uninstall()
    assert b"seawall" not in data
    assert b"resilience" not in data
    again = pickle.loads(data)
    assert told(again) == told(session)
    assert [type(adapter) for adapter in again.adapters.values()] == [Tuned, *[requests.adapters.HTTPAdapter] * 2]
    assert again.headers["X-Own"] == "kept"


def test__pickle_of_an_installed_process__is_read_where_seawall_is_missing() -> None:
    seawall.install(quick())
    data = pickle.dumps(requests.Session())
    seawall.uninstall()
    run(
        f"""
        import sys
        sys.modules["seawall"] = sys.modules["requests_resilience"] = None
        import pickle
        session = pickle.loads({data!r})
        assert [type(adapter).__name__ for adapter in session.adapters.values()] == ["HTTPAdapter"] * 2
        """
    )


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test__pickle__every_protocol__is_mounted_where_it_is_installed(protocol: int, peer: Peer) -> None:
    bare = pickle.dumps(session_of_a_user(), protocol)
    peer.script(answer(503))
    seawall.install(quick())
    for data in (bare, pickle.dumps(session_of_a_user(), protocol)):
        peer.forget()
        with pickle.loads(data) as session:
            session.get(peer / "x")
            assert peer.count == 3
            seawall.uninstall()
            session.get(peer / "x")
            assert peer.count == 4
            seawall.install(quick())


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test__copy__is_mounted_as_its_original_and_freed_with_it(duplicate: Any, peer: Peer) -> None:
    peer.script(answer(503))
    seawall.install(quick())
    session = session_of_a_user()
    again = duplicate(session)
    assert told(again) == told(session)
    with session, again:
        again.get(peer / "x")
        assert peer.count == 3
        seawall.uninstall()
        again.get(peer / "x")
        assert peer.count == 4
        assert not any(isinstance(adapter, ResilientAdapter) for adapter in again.adapters.values())


def test__pickle_of_one_mounted_by_hand__keeps_its_policies() -> None:
    session = mount(requests.Session(), quick())
    with seawall.installed(quick()):
        again = pickle.loads(pickle.dumps(session))
        assert [type(adapter.inner) for adapter in again.adapters.values()] == [requests.adapters.HTTPAdapter] * 2
    assert [type(adapter) for adapter in again.adapters.values()] == [ResilientAdapter] * 2


def test__shallow_copy_of_a_httpx_client__works_on_bare_after_uninstall(peer: Peer) -> None:
    peer.script(answer(503))
    seawall.install(quick())
    with httpx.Client() as client:
        again = copy.copy(client)
        again.get(peer / "x")
        assert peer.count == 3
        seawall.uninstall()
        again.get(peer / "x")
        assert peer.count == 4
