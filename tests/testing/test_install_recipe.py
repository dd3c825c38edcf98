"""The fixture of docs/install.md, in tests of its own as a user's tests would use it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = "pytester"

PAGE = Path(__file__).parents[2] / "docs" / "install.md"

SERVICE = """
import httpx
import seawall

seawall.install(seawall.Policy(breaker=None))  # as the service does at its start
seen = []
mock = httpx.MockTransport(lambda request: seen.append(request) or httpx.Response(500))
api = httpx.Client(transport=mock)
"""

TESTS = """
import httpx
import pytest
import service

@pytest.mark.parametrize("turn", range(3))
def test_each_has_its_own_state(turn, fresh_resilience):
    for client in (service.api, httpx.Client(transport=service.mock)):
        service.seen.clear()
        client.get("http://a.test/")
        assert len(service.seen) == 1  # the fixture's policy retries nothing
    assert fresh_resilience.snapshot("http://a.test").total_failures == 2

def test_one_without(resilience_off):
    service.api.get("http://b.test/")
"""


def test__fixture_of_the_page__isolates_the_services_clients_and_the_tests_own(pytester: pytest.Pytester) -> None:
    recipe = re.search(r"```python\n(import pytest\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert recipe is not None
    pytester.makeconftest("import seawall\nfrom seawall import Policy\n" + recipe[1])
    pytester.makepyfile(TESTS, service=SERVICE)
    done = pytester.runpytest_subprocess(
        *["-p", "no:seawall", "-p", "pytest_seawall", "-p", "no:cacheprovider", "-p", "no:randomly"]
    )
    done.assert_outcomes(passed=4)
