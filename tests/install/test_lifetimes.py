"""Nothing is kept alive, nothing is left behind, whoever else patches, forks or makes clients meanwhile."""

from __future__ import annotations

import functools
import gc
import itertools
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest
import requests
import wrapt

import seawall
from httpx_resilience import AsyncResilientTransport, ResilientTransport
from requests_resilience import ResilientAdapter
from seawall import Policy, Resilience, Timeouts, _installing
from tests.contract.peer import Peer
from tests.contract.settings import quick
from tests.contract.steps import answer
from tests.install.conftest import BORN
from tests.install.fresh import run

OURS = (ResilientTransport, AsyncResilientTransport, ResilientAdapter)


def mounted(client: Any) -> bool:
    """Is anything of ours in the client?"""
    if isinstance(client, requests.Session):
        slots = list(client.adapters.values())
    else:
        slots = [client._transport, *client._mounts.values()]
    return any(isinstance(slot, OURS) for slot in slots)


def make() -> list[Any]:
    return [httpx.Client(), httpx.AsyncClient(), httpx2.Client(), httpx2.AsyncClient(), requests.Session()]


def test__clients_nobody_holds__are_collected() -> None:
    seawall.install(quick())
    clients = make()
    assert all(mounted(client) for client in clients)
    parts = [weakref.ref(client) for client in clients]
    parts += [weakref.ref(client._transport) for client in clients[:4]]
    parts += [weakref.ref(adapter) for adapter in clients[4].adapters.values()]
    del clients
    gc.collect()
    assert [part() for part in parts] == [None] * len(parts)
    assert not _installing._living
    seawall.uninstall()


def test__resilience__is_not_kept_after_uninstall() -> None:
    known = weakref.ref(seawall.install(quick()))
    clients = make()
    seawall.uninstall()
    gc.collect()
    assert known() is None
    assert clients


def test__uninstall__every_method_is_the_object_it_was(classes: list[Any]) -> None:
    for _ in range(3):
        seawall.install(quick())
        assert [isinstance(vars(kind)[name], wrapt.FunctionWrapper) for kind, name in BORN] == [True] * len(BORN)
        seawall.uninstall()
        assert [vars(kind)[name] for kind, name in BORN] == classes


def test__uninstall__the_very_transports_are_back() -> None:
    transport, adapter = httpx.HTTPTransport(), requests.adapters.HTTPAdapter()
    backend, classes = transport._pool._network_backend, adapter.poolmanager.pool_classes_by_scheme
    seawall.install(quick())
    client, session = httpx.Client(transport=transport, mounts={"http://a.test": None}), requests.Session()
    session.mount("https://", adapter)
    assert transport._pool._network_backend is not backend
    seawall.uninstall()
    assert client._transport is transport
    assert transport._pool._network_backend is backend
    assert list(client._mounts.values()) == [None]
    assert session.get_adapter("https://a.test") is adapter
    assert adapter.poolmanager.pool_classes_by_scheme is classes


def test__patched_over_by_somebody__theirs_stays_and_ours_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def theirs(wrapped: Any, instance: Any, args: Any, options: Any) -> Any:
        calls.append("theirs")
        return wrapped(*args, **options)

    monkeypatch.setattr(requests.Session, "__init__", requests.Session.__init__)  # so that it is undone after the test
    seawall.install(quick())
    wrapt.wrap_function_wrapper(requests.Session, "__init__", theirs)
    over = vars(requests.Session)["__init__"]
    assert mounted(requests.Session())
    seawall.uninstall()
    assert vars(requests.Session)["__init__"] is over
    assert not mounted(requests.Session())
    seawall.install(quick())
    assert vars(requests.Session)["__init__"] is over
    assert mounted(requests.Session())
    seawall.uninstall()
    assert calls == ["theirs"] * 3
    assert len(_installing._patches) == 1


def test__patched_over_by_one_who_hides_us__a_client_is_mounted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests.Session, "__init__", requests.Session.__init__)  # so that it is undone after the test
    seawall.install(quick())
    ours = vars(requests.Session)["__init__"]

    def theirs(self: Any) -> None:
        ours(self)

    requests.Session.__init__ = theirs  # type: ignore[method-assign]
    seawall.uninstall()
    seawall.install(quick())
    session = requests.Session()
    assert [type(adapter.inner) for adapter in session.adapters.values()] == [requests.adapters.HTTPAdapter] * 2  # type: ignore[attr-defined]
    seawall.uninstall()
    assert not mounted(session)
    assert vars(requests.Session)["__init__"] is theirs


def test__patched_over_many_times__no_search_without_end_and_a_client_is_mounted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requests.Session, "__init__", requests.Session.__init__)  # so that it is undone after the test
    seawall.install(quick())
    for _ in range(150):
        over = vars(requests.Session)["__init__"]
        requests.Session.__init__ = functools.wraps(over)(functools.partialmethod(over))  # type: ignore[method-assign]
    seawall.uninstall()
    seawall.install(quick())
    session = requests.Session()
    assert [type(adapter.inner) for adapter in session.adapters.values()] == [requests.adapters.HTTPAdapter] * 2  # type: ignore[attr-defined]
    seawall.uninstall()
    assert not mounted(session)


def test__client_that_goes_with_the_one_before__does_not_stop_it() -> None:
    seawall.install(quick())
    sessions = [requests.Session() for _ in range(3)]
    first = next(iter(sessions[0].adapters.values()))
    first.keeps = sessions.pop()  # type: ignore[attr-defined]
    del first
    seawall.uninstall()
    assert [mounted(session) for session in sessions] == [False, False]
    assert not _installing._living


def test__wrapper_hidden_by_somebody__passes_everything_through_after_uninstall(peer: Peer) -> None:
    class Foreign(httpx.BaseTransport):
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return self.inner.handle_request(request)  # type: ignore[no-any-return]

        def close(self) -> None:
            self.inner.close()

    peer.script(answer(503))
    resilience = seawall.install(quick())
    with httpx.Client() as client:
        client._transport = Foreign(client._transport)
        client.get(peer / "x")
        assert peer.count == 3
        seawall.uninstall()
        client.get(peer / "x")
        assert peer.count == 4
        assert client._transport.inner._is_hard is False  # type: ignore[attr-defined]
    (snapshot,) = resilience.snapshots()
    assert snapshot.requests == 3


def test__method_of_the_wrapper_wrapped_by_somebody__theirs_stays(peer: Peer) -> None:
    calls: list[str] = []

    def theirs(wrapped: Any, instance: Any, args: Any, options: Any) -> Any:
        calls.append("theirs")
        return wrapped(*args, **options)

    peer.script(answer(503))
    seawall.install(quick())
    with httpx.Client() as client, requests.Session() as session:
        wrapt.wrap_function_wrapper(client._transport, "handle_request", theirs)
        wrapt.wrap_function_wrapper(session.adapters["http://"], "send", theirs)
        seawall.uninstall()
        client.get(peer / "x")
        session.get(peer / "x")
    assert (peer.count, calls) == (2, ["theirs"] * 2)


def test__threads_making_clients_while_it_comes_and_goes__none_is_left_mounted() -> None:
    stop = threading.Event()
    made: list[Any] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while not stop.is_set():
                made.append(requests.Session())
        except BaseException as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(150):
            seawall.install(quick())
            if number % 3 == 0:
                seawall.install(quick(max_retries=1))
            seawall.uninstall()
        stop.set()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not errors
    assert len(made) > 100
    assert sum(mounted(session) for session in made) == 0
    assert not _installing._living


def test__clients_collected_while_it_goes__do_not_stop_it() -> None:
    seawall.install(quick())
    gc.collect()
    thresholds = gc.get_threshold()
    gc.disable()
    for _ in range(50):
        session = requests.Session()
        session.hooks["itself"] = [session]  # nothing but a collection finds it
    del session
    gc.set_threshold(gc.get_count()[0] + 50)  # a collection in the midst of going through the hundred
    gc.enable()
    try:
        seawall.uninstall()
    finally:
        gc.set_threshold(*thresholds)
    assert not _installing._living


def test__uninstalled_while_a_client_is_being_made__the_client_is_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    from requests_resilience import _install

    mount_new = _install.mount_new

    def late(*given: Any) -> Iterator[Any]:
        seawall.uninstall()  # what another thread does between two steps of this one
        yield from mount_new(*given)

    monkeypatch.setattr(_install, "mount_new", late)
    seawall.install(quick())
    session = requests.Session()
    assert not mounted(session)
    assert not _installing._living


def test__installed_anew_while_a_client_is_being_made__the_new_one_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    from requests_resilience import _install

    mount_new, newer = _install.mount_new, quick()

    def late(*given: Any) -> Iterator[Any]:
        seawall.install(newer)
        yield from mount_new(*given)

    monkeypatch.setattr(_install, "mount_new", late)
    seawall.install(quick())
    assert [adapter.resilience for adapter in requests.Session().adapters.values()] == [newer] * 2  # type: ignore[attr-defined]
    seawall.uninstall()


def test__threads_installing_and_leaving__the_last_state_is_clean() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(50):
                with seawall.installed(quick()):
                    assert mounted(requests.Session())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert not mounted(requests.Session())


FORKS = """
    import os, sys, threading
    import requests, httpx
    import seawall
    from requests_resilience import ResilientAdapter
    resilience = seawall.install()
    parents = requests.Session()
    held, done = threading.Event(), threading.Event()
    def holder():
        from seawall import _installing
        with _installing._changing:
            held.set()
            done.wait(10)
    threading.Thread(target=holder).start()
    held.wait(10)
    child = os.fork()
    if child == 0:
        ours = isinstance(requests.Session().adapters["http://"], ResilientAdapter)
        seawall.uninstall()
        bare = not isinstance(requests.Session().adapters["http://"], ResilientAdapter)
        freed = not isinstance(parents.adapters["http://"], ResilientAdapter)
        os._exit(0 if ours and bare and freed else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    done.set()
    assert status == 0, status
    assert isinstance(parents.adapters["http://"], ResilientAdapter)
    assert isinstance(requests.Session().adapters["http://"], ResilientAdapter)
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork here")
def test__fork__a_child_has_its_own_installation_even_if_a_lock_was_held() -> None:
    run(FORKS, warnings="ignore")


def test__client_made_in_a_thread__is_mounted() -> None:
    made: list[Any] = []
    with seawall.installed(quick()):
        thread = threading.Thread(target=lambda: made.extend(make()))
        thread.start()
        thread.join()
        assert [mounted(client) for client in made] == [True] * 5
    assert [mounted(client) for client in made] == [False] * 5


@pytest.mark.parametrize("library", [httpx, httpx2, requests], ids=lambda library: library.__name__)
def test__exchanged_while_threads_send__every_call_is_answered_and_every_permit_given_back(
    library: Any, peer: Peer
) -> None:
    peer.script(answer(200, b"x" * 2000, chunks=4))
    kinds = [quick(), Resilience(Policy(timeouts=Timeouts(total=30))), Resilience(hard_deadlines=False)]
    seawall.install(kinds[0])
    client = requests.Session() if library is requests else library.Client()
    stop, errors, answers = threading.Event(), list[BaseException](), list[int]()

    def work() -> None:
        try:
            while not stop.is_set():
                answers.append(len(client.get(peer / "x", timeout=10).content))
        except BaseException as error:
            errors.append(error)

    with client:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in itertools.count():
            if len(answers) > 400 or errors:
                break
            if number % 6 == 0:
                with seawall.installed(kinds[0]):
                    seawall.uninstall()
            seawall.install(kinds[number % 3])
        stop.set()
        for thread in threads:
            thread.join()
        seawall.uninstall()
        assert client.get(peer / "x").status_code == 200
    assert errors == []
    assert set(answers) == {2000}
    assert {(snapshot.in_flight, snapshot.failures) for kind in kinds for snapshot in kind.snapshots()} <= {(0, 0)}
    assert not mounted(client)
