"""One call mounts every client made afterwards; one text for all clients."""

from __future__ import annotations

import inspect
import sys
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
import requests

import seawall
from seawall import Policy, Resilience, Timeouts
from tests.contract.clients import Client, Kit
from tests.contract.fakes import always_busy
from tests.contract.peer import Peer
from tests.contract.settings import quick, retrying
from tests.contract.steps import answer
from tests.install.conftest import BORN
from tests.install.fresh import run


async def attempts(client: Client, peer: Peer) -> int:
    """How often the server sees one GET that it answers 503."""
    peer.forget()
    peer.script(answer(503))
    assert (await client.get(peer / "x")).status == 503
    return peer.count


async def test__client_made_afterwards__is_resilient_until_uninstall(kit: Kit, peer: Peer) -> None:
    seawall.install(quick())
    async with kit.bare() as client:
        assert await attempts(client, peer) == 3
        seawall.uninstall()
        assert await attempts(client, peer) == 1


async def test__client_of_before__stays_as_it_was(kit: Kit, peer: Peer) -> None:
    client = kit.bare()
    slot = client.slot
    with seawall.installed(quick()):
        assert client.slot is slot
        async with client:
            assert await attempts(client, peer) == 1


async def test__subclass__is_mounted_too(kit: Kit, peer: Peer) -> None:
    kind = type(kit.bare().inner)
    own = type("Own", (kind,), {"__init__": lambda self: kind.__init__(self)})
    with seawall.installed(quick()):
        client = kit.bare()
        client.inner = own()
        async with client:
            assert await attempts(client, peer) == 3


async def test__own_transport__is_what_the_mount_is_around(kit: Kit) -> None:
    fake = kit.fake(always_busy)
    with seawall.installed(quick()):
        async with kit.bare(fake=fake) as client:
            assert client.slot.inner is fake
            assert (await client.get("http://a.test/x")).status == 503
    assert len(fake.asked) == 3


async def test__transport_of_ours_given_by_hand__is_neither_nested_nor_taken_out(kit: Kit, peer: Peer) -> None:
    by_hand = kit.wrap(None, quick(max_retries=1))
    seawall.install(quick(max_retries=4))
    async with kit.bare(fake=by_hand) as client:
        assert client.slot is by_hand
        assert await attempts(client, peer) == 2
        seawall.uninstall()
        assert client.slot is by_hand
        assert await attempts(client, peer) == 2


async def test__mounted_by_hand_under_install__the_hand_holds(kit: Kit, peer: Peer) -> None:
    seawall.install(quick(max_retries=4))
    client = kit.mounted(quick(max_retries=1))
    async with client:
        assert await attempts(client, peer) == 2
        seawall.uninstall()
        assert await attempts(client, peer) == 2


async def test__unmounted_by_hand__stays_bare(kit: Kit, peer: Peer) -> None:
    with seawall.installed(quick()):
        client = kit.bare()
        seawall.unmount(client.inner)
        async with client:
            assert await attempts(client, peer) == 1
            seawall.install(quick(max_retries=4))
            assert await attempts(client, peer) == 1


async def test__installed_again__the_last_one_holds_for_all_and_nothing_nests(kit: Kit, peer: Peer) -> None:
    seawall.install(quick(max_retries=4))
    early = kit.bare()
    seawall.install(quick(max_retries=1))
    late = kit.bare()
    async with early, late:
        assert await attempts(early, peer) == 2
        assert await attempts(late, peer) == 2
        seawall.uninstall()
        assert await attempts(early, peer) == 1
        assert await attempts(late, peer) == 1


async def test__installed_again_without_hard_deadlines__a_used_client_follows_in_that_too(kit: Kit, peer: Peer) -> None:
    policy = Policy(timeouts=Timeouts(total=10))
    seawall.install(Resilience(policy))
    async with kit.bare() as client:
        found = []
        for hard in (True, False, True):
            seawall.install(Resilience(policy, hard_deadlines=hard))
            report = seawall.report((await client.get(peer / "x")).raw)
            found.append(report and report.deadline_precision)
            assert (await client.get(peer / "x")).status == 200
    soft = "exact" if kit.is_async else "phase"  # cancel scopes
    assert found == ["exact", soft, "exact"]
    seawall.uninstall()


async def test__block_in_a_block__each_restores_what_was_before(kit: Kit, peer: Peer) -> None:
    async with AsyncExitStack() as opened:
        with seawall.installed(quick(max_retries=1)):
            client = await opened.enter_async_context(kit.bare())
            with seawall.installed(quick(max_retries=4)):
                inside = await opened.enter_async_context(kit.bare())
                assert await attempts(client, peer) == 5
                assert await attempts(inside, peer) == 5
                seawall.uninstall()
                assert await attempts(client, peer) == 1
            assert await attempts(client, peer) == 2
            assert await attempts(inside, peer) == 2
        assert await attempts(client, peer) == 1
        assert await attempts(inside, peer) == 1


async def test__block_in_an_install__the_outer_one_holds_after_it(kit: Kit, peer: Peer) -> None:
    outer = seawall.install(quick(max_retries=1))
    async with AsyncExitStack() as opened:
        with seawall.installed(quick(max_retries=4)):
            client = await opened.enter_async_context(kit.bare())
            assert await attempts(client, peer) == 5
        assert await attempts(client, peer) == 2
        async with kit.bare() as another:
            assert await attempts(another, peer) == 2
    assert [(snapshot.host, snapshot.failures) for snapshot in outer.snapshots()] == [(peer.url, 4)]


async def test__block_that_ends_in_an_error__restores_too(kit: Kit, peer: Peer) -> None:
    with pytest.raises(ZeroDivisionError), seawall.installed(quick()):
        raise ZeroDivisionError
    async with kit.bare() as client:
        assert await attempts(client, peer) == 1


async def test__mapping_policy_and_nothing__are_taken_for_a_resilience(kit: Kit, peer: Peer) -> None:
    policy = Policy(retry=retrying(max_retries=1), budget=None, breaker=None)
    for given in (policy, {"all://": policy}):
        with seawall.installed(given) as resilience:
            async with kit.bare() as client:
                assert await attempts(client, peer) == 2
            assert len(resilience) == 1
    with seawall.installed() as resilience:
        assert resilience is seawall.default()
    assert seawall.install() is seawall.default()
    seawall.uninstall()


async def test__proxy__its_calls_are_resilient_and_uninstall_frees_them(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503), answer(200, b"by proxy"))
    seawall.install(quick())
    async with kit.bare(proxy=peer.url) as client:
        got = await client.get("http://far.test/x")
        assert (got.status, got.body, peer.count) == (200, b"by proxy", 2)
        seawall.uninstall()
        peer.script(answer(503))
        assert (await client.get("http://far.test/x")).status == 503
    assert peer.count == 3


async def test__clients_in_calls_at_uninstall__their_calls_end_as_they_began(kit: Kit, peer: Peer) -> None:
    peer.script(answer(503), answer(200, b"a" * 5000, chunks=50))
    resilience = seawall.install(quick())
    async with kit.bare() as client:
        async with await client.stream("GET", peer / "x") as stream:
            head = await stream.some()
            seawall.uninstall()
            assert len(head) <= 5000
    (snapshot,) = resilience.snapshots()
    assert (snapshot.in_flight, snapshot.failures) == (0, 1)


@pytest.mark.parametrize("library", [httpx, httpx2, requests], ids=lambda library: library.__name__)
def test__module_functions__are_resilient(library: Any, peer: Peer) -> None:
    peer.script(answer(503), answer(503), answer(200, b"at last"))
    with seawall.installed(quick()):
        assert library.get(peer / "x").content == b"at last"
    assert peer.count == 3
    peer.forget()
    peer.script(answer(503))
    assert library.get(peer / "x").status_code == 503
    assert peer.count == 1


def test__classes__keep_signature_name_and_kind(classes: list[Any]) -> None:
    def look() -> list[Any]:
        found: list[Any] = []
        for kind in (httpx.Client, httpx.AsyncClient, httpx2.Client, httpx2.AsyncClient, requests.Session):
            found += [kind, inspect.signature(kind), kind.__mro__, isinstance(kind, type), sorted(vars(kind))]
        for kind, name in BORN:
            method = getattr(kind, name)
            found += [inspect.signature(method), method.__name__, method.__qualname__, method.__doc__]
            found += [inspect.getsource(method), inspect.isfunction(requests.Session.get)]
        return found

    bare = look()
    with seawall.installed(quick()):
        assert look() == bare
        assert all(vars(kind)[name] is not method for (kind, name), method in zip(BORN, classes, strict=True))


def test__not_installed__uninstall_does_nothing() -> None:
    seawall.uninstall()
    seawall.uninstall()


def test__without_wrapt__says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wrapt", None)
    for install in (seawall.install, lambda: seawall.installed().__enter__()):
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'seawall\[install\]'"):
            install()
    seawall.uninstall()


def test__what_is_no_resilience__is_refused_and_nothing_installed(peer: Peer) -> None:
    for nonsense in ("https://a.test", 5, object()):
        with pytest.raises(TypeError, match="give a Resilience"):
            seawall.install(nonsense)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="give a Resilience"), seawall.installed(nonsense):  # type: ignore[arg-type]
            pass
    assert type(httpx.Client()._transport) is httpx.HTTPTransport


ORDERS = {
    "installed first": "seawall.install(policy); import httpx, httpx2, requests",
    "imported first": "import httpx, httpx2, requests; seawall.install(policy)",
    "in between": "import httpx; seawall.install(policy); import requests, httpx2",
    "by another's import": "seawall.install(policy); import respx, responses, httpx, httpx2, requests",
    "again": "seawall.install(policy); seawall.uninstall(); import httpx, httpx2, requests; seawall.install(policy)",
    "name taken along": "from httpx import Client; seawall.install(policy); import httpx, httpx2, requests",
    "mount imported first": "import requests_resilience; seawall.install(policy); import httpx, httpx2, requests",
    "in a block": "block = seawall.installed(policy); block.__enter__(); import httpx, httpx2, requests",
}

SCRIPT = """
import sys
import seawall
from seawall import Policy, Retry
policy = Policy(retry=Retry(max_retries=1, base_delay=0.01), budget=None)
assert not any(name in sys.modules for name in ("wrapt", "httpx", "httpx2", "requests"))
{order}
for library in (httpx, httpx2, requests):
    assert library.get(sys.argv[1]).status_code == 503
"""


@pytest.mark.parametrize("order", ORDERS.values(), ids=list(ORDERS))
def test__order_of_imports__does_not_matter(order: str, peer: Peer) -> None:
    peer.script(answer(503))
    run(SCRIPT.format(order=order), peer / "x")
    assert peer.count == 2 * 3


def test__library_missing_or_another_of_its_name__the_others_are_patched(tmp_path: Path, peer: Peer) -> None:
    peer.script(answer(503))
    (tmp_path / "requests.py").write_text("something = 'of the user'")
    run(
        """
        import sys, warnings
        sys.modules["httpx2"] = None
        sys.path.insert(0, sys.argv[2])
        import seawall
        from seawall import Policy, Retry
        policy = Policy(retry=Retry(max_retries=1, base_delay=0.01), budget=None)
        seawall.install(policy)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import requests
            assert requests.something
        assert ["requests could not be mounted" in str(each.message) for each in caught] == [True], caught
        seawall.install(policy)
        import httpx
        assert httpx.get(sys.argv[1]).status_code == 503
        seawall.uninstall()
        """,
        peer / "x",
        str(tmp_path),
    )
    assert peer.count == 2


def test__nothing_imported__install_imports_no_client() -> None:
    run(
        "import sys, seawall; seawall.install(); import json, http.server; seawall.uninstall()\n"
        "assert not {'httpx', 'httpx2', 'requests', 'urllib3', 'httpcore'} & set(sys.modules), sys.modules"
    )


HALF = """
import sys, threading, time
begun = threading.Event()
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "httpx._transports":  # the client classes come after it
            begun.set()
            time.sleep(0.3)
sys.meta_path.insert(0, Slow())
import seawall
from seawall import Policy, Retry
thread = threading.Thread(target=__import__, args=("httpx",))
thread.start()
begun.wait(5)
assert not hasattr(sys.modules["httpx"], "Client")
seawall.install(Policy(retry=Retry(max_retries=1, base_delay=0.01), budget=None))
thread.join()
import httpx
assert httpx.get(sys.argv[1]).status_code == 503
"""


def test__library_half_imported_by_a_thread__is_waited_for(peer: Peer) -> None:
    peer.script(answer(503))
    run(HALF, peer / "x")
    assert peer.count == 2


def test__library_imported_by_a_thread_while_installing__is_patched(peer: Peer) -> None:
    peer.script(answer(503))
    script = """
import sys, threading, seawall
from seawall import Policy, Retry
policy = Policy(retry=Retry(max_retries=1, base_delay=0.01), budget=None)
def load():
    import httpx, requests, httpx2
sys.setswitchinterval(1e-5)
threads = [threading.Thread(target=load, daemon=True) for _ in range(3)]
for thread in threads: thread.start()
for _ in range(30): seawall.install(policy)
for thread in threads: thread.join(20)
assert not any(thread.is_alive() for thread in threads)
import httpx, httpx2, requests
for library in (httpx, httpx2, requests):
    assert library.get(sys.argv[1]).status_code == 503
"""
    run(script, peer / "x")
    assert peer.count == 2 * 3


def test__two_threads_with_blocks__neither_takes_away_the_others(peer: Peer) -> None:
    peer.script(answer(503))
    entered, leave = threading.Event(), threading.Event()

    def first() -> None:
        with seawall.installed(quick(max_retries=1)):
            entered.set()
            leave.wait(5)

    thread = threading.Thread(target=first)
    thread.start()
    entered.wait(5)
    with seawall.installed(quick(max_retries=3)):
        leave.set()
        thread.join()
        requests.get(peer / "x")
        assert peer.count == 4
    peer.forget()
    requests.get(peer / "x")
    assert peer.count == 1
