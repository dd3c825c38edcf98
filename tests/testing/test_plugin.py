"""The pytest plugin, run in tests of its own as a user's tests would use it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = "pytester"

SETTINGS = "-p no:cacheprovider -p no:randomly -W error"  # the plugin comes by its entry point


def check(pytester: pytest.Pytester, source: str, **outcomes: int) -> None:
    pytester.makepyfile(source)
    pytester.runpytest(*SETTINGS.split()).assert_outcomes(**outcomes)


def test__resilience_clock__default_policy__waits_pass_at_once(pytester: pytest.Pytester) -> None:
    check(
        pytester,
        """
        import time
        import asyncio
        import httpx
        import seawall

        def answers():
            yield httpx.Response(503, headers={"Retry-After": "20"})
            yield httpx.Response(200)

        def test_sync(resilience_clock):
            script, began = answers(), time.monotonic()
            client = seawall.mount(httpx.Client(transport=httpx.MockTransport(lambda request: next(script))))
            before = resilience_clock.now
            assert client.get("http://a.test/").status_code == 200
            assert resilience_clock.now - before >= 20
            assert time.monotonic() - began < 5

        def test_async(resilience_clock):
            async def main():
                script = answers()
                transport = httpx.MockTransport(lambda request: next(script))
                async with seawall.mount(httpx.AsyncClient(transport=transport)) as client:
                    return (await client.get("http://a.test/")).status_code
            before = resilience_clock.now
            assert asyncio.run(main()) == 200
            assert resilience_clock.now - before >= 20

        def test_deadline(resilience_clock):
            client = seawall.mount(httpx.Client(transport=httpx.MockTransport(
                lambda request: httpx.Response(503, headers={"Retry-After": "20"}))))
            with seawall.deadline(10):
                assert client.get("http://a.test/").status_code == 503
            assert resilience_clock.now < 1010

        def test_queue(resilience_clock):
            import threading
            from seawall import Bulkhead, Policy, Resilience
            free, entered = threading.Event(), threading.Event()
            def slow(request):
                entered.set()
                free.wait(5)
                return httpx.Response(200)
            resilience = Resilience(Policy(bulkhead=Bulkhead(max_concurrent=1, max_wait=30)), clock=resilience_clock)
            client = seawall.mount(httpx.Client(transport=httpx.MockTransport(slow)), resilience)
            thread = threading.Thread(target=client.get, args=("http://a.test/",))
            thread.start()
            entered.wait(5)
            try:
                client.get("http://a.test/")
            except seawall.BulkheadFull:
                pass
            else:
                raise AssertionError
            finally:
                free.set()
                thread.join()
            assert 1030 <= resilience_clock.now < 1032
        """,
        passed=4,
    )


def test__client_mounted_at_import__follows_the_fixtures(pytester: pytest.Pytester) -> None:
    check(
        pytester,
        """
        import asyncio
        import time
        import httpx
        import pytest
        import requests
        import seawall

        def answers(request):
            CALLS.append(request)
            return httpx.Response(503, headers={"Retry-After": "20"}) if len(CALLS) % 2 else httpx.Response(200)

        CALLS = []
        CLIENT = seawall.mount(httpx.Client(transport=httpx.MockTransport(answers)))
        ASYNC = seawall.mount(httpx.AsyncClient(transport=httpx.MockTransport(answers)))
        SESSION = seawall.mount(requests.Session())
        OUTER = seawall.default()
        KNOWN = len(OUTER)

        def test_no_waits(resilience_clock):
            began = time.monotonic()
            assert CLIENT.get("http://a.test/").status_code == 200
            async def main():
                return (await ASYNC.get("http://b.test/")).status_code
            assert asyncio.run(main()) == 200
            assert time.monotonic() - began < 5
            assert SESSION.get_adapter("http://a.test/").resilience is seawall.default()

        def test_fresh(fresh_resilience):
            CALLS.append(None)
            CLIENT.get("http://a.test/")
            assert fresh_resilience.snapshot("http://a.test").total_successes == 1

        def test_after():
            assert OUTER is seawall.default()
            assert CLIENT._transport.resilience is ASYNC._transport.resilience is OUTER
            assert len(OUTER) == KNOWN
        """,
        passed=3,
    )


def test__resilience_off__mounted_client__is_bare(pytester: pytest.Pytester) -> None:
    check(
        pytester,
        """
        import httpx
        import seawall

        def test_it(resilience_off):
            calls = []
            def server(request):
                calls.append(request)
                return httpx.Response(503)
            seawall.mount(httpx.Client(transport=httpx.MockTransport(server))).get("http://a.test/")
            assert len(calls) == 1
        """,
        passed=1,
    )


def test__fresh_resilience__is_the_default_for_one_test_and_checks_it(pytester: pytest.Pytester) -> None:
    check(
        pytester,
        """
        import httpx
        import seawall

        OUTER = seawall.default()
        KEPT = []

        def test_is_new(fresh_resilience):
            assert seawall.default() is fresh_resilience is not OUTER

        def test_leaks(fresh_resilience):
            client = seawall.mount(httpx.Client(transport=httpx.MockTransport(
                lambda request: httpx.Response(200, content=iter([b"a", b"b"])))))
            KEPT.append(client.send(client.build_request("GET", "http://a.test/"), stream=True))

        def test_outer_is_back():
            assert seawall.default() is OUTER
        """,
        passed=3,
        errors=1,
    )


def test__fault_proxy__is_closed_with_the_test(pytester: pytest.Pytester) -> None:
    check(
        pytester,
        """
        import socket
        PORTS = []

        def test_it(fault_proxy):
            with socket.create_server(("127.0.0.1", 0)) as server:
                proxy = fault_proxy(f"127.0.0.1:{server.getsockname()[1]}")
                PORTS.append(proxy.port)
                socket.create_connection(("127.0.0.1", proxy.port)).close()

        def test_closed():
            try:
                socket.create_connection(("127.0.0.1", PORTS[0]))
            except ConnectionRefusedError:
                return
            raise AssertionError
        """,
        passed=2,
    )


def test__scripted_server__behind_a_proxy_with_chaos__both_are_closed_with_the_test(pytester: pytest.Pytester) -> None:
    check(
        pytester,
        """
        import socket
        import httpx
        import pytest
        import seawall
        from seawall.testing import chaos
        PORTS = []

        @pytest.mark.parametrize("seed", range(2))
        def test_it(scripted_server, fault_proxy, fresh_resilience, seed):
            server = scripted_server(503, 200)
            proxy = fault_proxy(server.url, seed=seed)
            proxy.add(*chaos(seed))
            proxy.clear()
            with seawall.mount(httpx.Client()) as client:
                assert client.get(proxy.url).status_code == 200
            assert len(server.requests) == 2
            PORTS.extend([proxy.port, int(server.url.rpartition(":")[2])])

        def test_closed():
            assert len(PORTS) == 4
            for port in PORTS:
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port))
        """,
        passed=3,
    )


def test__mocks_of_the_page__work_with_the_clock(pytester: pytest.Pytester) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "fixtures.md").read_text(encoding="utf-8")
    recipe = re.search(r"```python no-run\n(def test_with_respx.*?)```", page, re.DOTALL)
    assert recipe is not None
    imports = "import httpx\nimport requests\nimport responses\nimport seawall\n\n"
    pytester.makepyfile(imports + recipe[1])
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:randomly").assert_outcomes(passed=3)


def test__plugin__imported__loads_nothing_of_seawall() -> None:
    code = "import sys, pytest_seawall; sys.exit(any(name.partition('.')[0] == 'seawall' for name in sys.modules))"
    core = Path(__file__).resolve().parents[2] / "core"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=core).returncode == 0
