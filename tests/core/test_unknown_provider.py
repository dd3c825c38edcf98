"""A provider name without a policy that looks like one with a policy: most likely misspelt, so it is said once."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from seawall import Policy, Resilience
from tests.core.operations import Way, both


def warned(way: Way, resilience: Resilience, *names: str) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in names:
            assert way(resilience, name, lambda: "value") == "value"
    assert {warning.category for warning in caught} <= {RuntimeWarning}
    return [str(warning.message) for warning in caught]


@both
def test__misspelt__is_warned_about_once_with_the_name_that_was_meant(way: Way) -> None:
    resilience = Resilience({"primary": Policy(retry=None), "secondary": Policy()})
    (said,) = warned(way, resilience, "primray", "primray", "primary")
    assert resilience.remove("primray")
    assert warned(way, resilience, "primray") == []
    assert "'primray'" in said
    assert "did you mean 'primary'?" in said


@both
@pytest.mark.parametrize(
    "policies",
    [
        None,
        {"https://primary.test": Policy()},
        {"secondary": Policy()},
        {"primary": Policy(), "all://": Policy()},
    ],
    ids=["nothing configured", "hosts only", "like none of the others", "all:// says what others get"],
)
def test__no_reason_to_doubt_a_name__nothing_is_said(way: Way, policies: Any) -> None:
    assert warned(way, Resilience(policies), "primray") == []


def test__warning__points_at_the_callers_line() -> None:
    with pytest.warns(RuntimeWarning) as caught:
        Resilience({"primary": Policy()}).execute("primray", lambda: "value")
    assert caught[0].filename == __file__
