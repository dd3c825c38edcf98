"""Clients that are made, or change, in ways of their own."""

from __future__ import annotations

import re
import warnings
from typing import Any, ClassVar

import httpx
import pytest
import requests

import seawall
from httpx_resilience import AsyncResilientTransport, ResilientTransport
from requests_resilience import ResilientAdapter
from seawall import Policy, Resilience, Timeouts
from tests.contract.fakes import RequestsFake, always_busy
from tests.contract.peer import Peer
from tests.contract.settings import only, quick
from tests.contract.steps import answer
from tests.contract.test_mounting import recorded


@pytest.fixture
def installed(peer: Peer) -> Any:
    peer.script(answer(503))
    with seawall.installed(quick()) as resilience:
        yield resilience


# -- requests: adapters mounted later ----------------------------------------------------------------------------------


class Own(requests.adapters.HTTPAdapter):
    pass


def test__adapter_mounted_later__is_resilient_too(installed: Resilience, peer: Peer) -> None:
    with requests.Session() as session:
        own = Own(pool_maxsize=3)
        session.mount(f"{peer.url}/api", own)
        session.get(peer / "api/x")
        assert peer.count == 3
        found: Any = session.get_adapter(peer / "api/x")
        assert found.inner is own
        assert next(iter(session.adapters)) == f"{peer.url}/api"
        seawall.uninstall()
        assert session.get_adapter(peer / "api/x") is own


def test__adapters_mounted_in_a_subclass__are_resilient_too(installed: Resilience, peer: Peer) -> None:
    class Sdk(requests.Session):
        def __init__(self, token: str) -> None:
            super().__init__()
            self.token = token
            self.mount("http://", Own())
            self.mount("https://", Own())

    with Sdk("t") as session:
        session.get(peer / "x")
    assert peer.count == 3


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http+docker://localhost/v1.41/info", 3),
        ("http+unix://%2Fvar%2Frun%2Fa.sock/info", 3),
        ("s3://a_bucket/key", 3),
        ("file:///etc/none", 1),  # no host: nothing to remember anything about
        ("mock:opaque", 1),
    ],
)
def test__adapter_for_a_scheme_of_its_own__gets_its_calls(url: str, asked: int, installed: Resilience) -> None:
    own = RequestsFake(always_busy)
    with requests.Session() as session:
        session.mount(url.partition(":")[0] + ":", own)
        assert session.get(url).status_code == 503
    assert len(own.asked) == asked


def test__every_adapter_replaced__all_are_resilient(installed: Resilience, peer: Peer) -> None:
    with requests.Session() as session:
        for _ in range(2):
            shared = Own()
            for prefix in ("http://", "https://"):
                session.mount(prefix, shared)
        session.get(peer / "x")
        assert peer.count == 3
        seawall.uninstall()
        assert list(session.adapters.values()) == [shared, shared]
        assert type(shared.poolmanager.pool_classes_by_scheme) is dict


def test__adapter_of_ours_mounted_later__is_the_users(installed: Resilience, peer: Peer) -> None:
    with requests.Session() as session:
        by_hand = ResilientAdapter(resilience=quick(max_retries=1))
        session.mount("http://", by_hand)
        session.get(peer / "x")
        assert peer.count == 2
        seawall.uninstall()
        assert session.adapters["http://"] is by_hand


def test__session_of_before__its_later_adapters_stay_bare(peer: Peer) -> None:
    peer.script(answer(503))
    with requests.Session() as session, seawall.installed(quick()):
        session.mount("http://", Own())
        session.get(peer / "x")
    assert peer.count == 1


def test__session_mounted_by_hand__its_later_adapters_stay_bare(installed: Resilience, peer: Peer) -> None:
    with requests.Session() as session:
        seawall.mount(session, quick())
        session.mount("http://", Own())
        session.get(peer / "x")
    assert peer.count == 1


def test__adapters_put_back_by_a_test_tool__are_not_nested(installed: Resilience, peer: Peer) -> None:
    with requests.Session() as session:
        before = dict(session.adapters)
        session.mount("http://", Own())
        for prefix, adapter in before.items():
            session.mount(prefix, adapter)
        session.get(peer / "x")
    assert peer.count == 3


def test__adapter_that_retries_itself__one_warning(installed: Resilience, peer: Peer) -> None:
    with requests.Session() as session:
        with recorded() as caught:
            for _ in range(3):
                session.mount("http://", requests.adapters.HTTPAdapter(max_retries=3))
    assert ["underneath retries 3 times" in str(warning.message) for warning in caught] == [True]


def test__session_and_sessions_session__are_one() -> None:
    with seawall.installed(quick()):
        for session in (requests.session(), requests.sessions.Session(), requests.Session()):
            assert isinstance(session.adapters["http://"], ResilientAdapter)


# -- httpx: transports of many kinds -----------------------------------------------------------------------------------


def test__own_transport_from_a_subclass__is_wrapped(installed: Resilience) -> None:
    seen: list[str] = []

    class Quiet(httpx.Client):
        def _init_transport(self, **options: Any) -> Any:
            return httpx.MockTransport(lambda request: (seen.append(str(request.url)), httpx.Response(503))[1])

    with Quiet() as client:
        client.get("http://a.test/")
    assert len(seen) == 3


def test__mounts__each_is_resilient_and_none_stays_none(installed: Resilience, peer: Peer) -> None:
    transport = httpx.HTTPTransport()
    with httpx.Client(mounts={"http://": transport, "https://a.test": None}) as client:
        assert sorted(type(each).__name__ for each in client._mounts.values()) == ["NoneType", "ResilientTransport"]
        client.get(peer / "x")
        assert peer.count == 3
        seawall.uninstall()
        assert list(client._mounts.values()) in ([transport, None], [None, transport])


def test__ours_by_hand_inside_somebody_elses__is_not_nested(installed: Resilience, peer: Peer) -> None:
    class Caching(httpx.BaseTransport):
        def __init__(self, below: httpx.BaseTransport) -> None:
            self._below = below

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return self._below.handle_request(request)

        def close(self) -> None:
            self._below.close()

    caching = Caching(ResilientTransport(None, quick(max_retries=1)))
    with httpx.Client(transport=caching, mounts={"http://a.test": Caching(httpx.HTTPTransport())}) as client:
        assert client._transport is caching
        assert [type(each) for each in client._mounts.values()] == [ResilientTransport]
        client.get(peer / "x")
    assert peer.count == 2


def test__init_called_again__the_new_transport_is_mounted(installed: Resilience, peer: Peer) -> None:
    with httpx.Client() as client:
        pass
    client.__init__()  # type: ignore[misc]
    with client:
        client.get(peer / "x")
    assert peer.count == 3


# -- constructors and classes ------------------------------------------------------------------------------------------


def test__constructor_that_raises__its_own_error_and_nothing_mounted(installed: Resilience) -> None:
    with pytest.raises(TypeError, match="nonsense"):
        httpx.Client(nonsense=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="proxy"):
        httpx.Client(proxy="gopher://a.test")

    class Failing(requests.Session):
        def __init__(self) -> None:
            super().__init__()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Failing()


def test__class_that_never_asks_the_librarys_constructor__is_left_alone(installed: Resilience) -> None:
    class Hollow(httpx.Client):
        def __init__(self) -> None:
            self.own = True

        def __del__(self) -> None:
            pass

    class Bare(requests.Session):
        def __init__(self) -> None:
            self.adapters: Any = {}
            self.mount("http://", Own())

    assert Hollow().own
    assert [type(adapter) for adapter in Bare().adapters.values()] == [Own]


def test__odd_metaclass_and_slots__the_client_is_mounted_all_the_same(installed: Resilience, peer: Peer) -> None:
    class Registering(type):
        made: ClassVar[list[Any]] = []

        def __call__(cls, *args: Any, **options: Any) -> Any:
            client = super().__call__(*args, **options)
            cls.made.append(client)
            return client

    class Odd(httpx.Client, metaclass=Registering):
        __slots__ = ("extra",)
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise AssertionError("nobody has to compare clients")

    with Odd() as client:
        client.get(peer / "x")
        assert peer.count == 3
        assert Registering.made.pop() is client
        seawall.uninstall()
        assert type(client._transport) is httpx.HTTPTransport


def test__several_bases__one_mount(installed: Resilience, peer: Peer) -> None:
    class Mixin:
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)

    class Twice(Mixin, requests.Session):
        def __init__(self) -> None:
            super().__init__()
            requests.Session.__init__(self)

    with Twice() as session:
        session.get(peer / "x")
    assert peer.count == 3


def test__client_that_cannot_be_mounted__works_as_without_after_one_warning(installed: Resilience) -> None:
    class Strange(httpx.Client):
        def _init_transport(self, **options: Any) -> Any:
            return object()

    with recorded() as caught:
        for _ in range(3):
            assert type(Strange()._transport) is object
    (warning,) = caught
    assert re.search(r"Strange could not be mounted .* has no handle_request", str(warning.message))


def test__clocks_longer_than_the_clients__one_warning_for_all() -> None:
    with seawall.installed(only(timeouts=Timeouts(attempt=20, total=60))):
        with recorded() as caught:
            for _ in range(3):
                httpx.Client()
    assert ["shorter and holds" in str(warning.message) for warning in caught] == [True]


def test__warning_as_error__is_told_to_whoever_made_the_client() -> None:
    with seawall.installed(only(timeouts=Timeouts(attempt=20, total=60))), warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match=r"^seawall: .all://. sets attempt=20 s"):
            httpx.Client()


def test__host_switched_off__is_left_out(peer: Peer, other: Peer) -> None:
    peer.script(answer(503))
    other.script(answer(503))
    retrying = quick().policies["all://"]
    with seawall.installed({"all://": retrying, other.url: Policy(mode="off")}):
        requests.get(peer / "x")
        requests.get(other / "x")
    assert (peer.count, other.count) == (3, 1)


def test__disabled__leaves_it_out_for_a_block(installed: Resilience, peer: Peer) -> None:
    with seawall.disabled():
        httpx.get(peer / "x")
    assert peer.count == 1


async def _async_client(peer: Peer) -> int:
    async with httpx.AsyncClient() as client:
        assert isinstance(client._transport, AsyncResilientTransport)
        await client.get(peer / "x")
    return peer.count


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test__async_client_made_in_a_loop__is_mounted(backend: str, installed: Resilience, peer: Peer) -> None:
    import anyio

    assert anyio.run(_async_client, peer, backend=backend) == 3
