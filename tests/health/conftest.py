"""Attempts die on purpose here: what is said of answers dropped unclosed is tested where there are answers."""

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.filterwarnings("ignore:seawall.* dropped:ResourceWarning"))
