"""The dashboard and the alerts ask for what is emitted, with its labels and their values, and leave nothing out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from seawall import Resilience
from seawall.telemetry import prometheus
from seawall.telemetry._measures import INSTRUMENTS
from tests.telemetry.test_measures import CLOSED_SETS

DASHBOARDS = Path(__file__).parents[2] / "dashboards"
SERIES = re.compile(r"\b(seawall_\w+)(?:\{(.*?)\})?")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"(.*?)"')
GROUPED = re.compile(r"\b(?:by|on|group_left) \((.*?)\)")


def families() -> dict[str, set[str]]:
    """What a scrape can have, with its labels: from the registry, not from our table."""
    registry = CollectorRegistry()
    prometheus.instrument(Resilience(), registry=registry)
    labels = {one.name.replace(".", "_"): set(one.labels) for one in INSTRUMENTS}
    found: dict[str, set[str]] = {}
    for family in registry.collect():
        own = labels[family.name.removesuffix("_seconds")]
        if family.type == "counter":
            found[f"{family.name}_total"] = own
        elif family.type == "histogram":
            found |= {f"{family.name}_bucket": {*own, "le"}, f"{family.name}_sum": own, f"{family.name}_count": own}
        else:
            found[family.name] = own
    return found


FAMILIES = families()


def board() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DASHBOARDS / "grafana.json").read_text(encoding="utf-8"))
    return loaded


def panels() -> list[dict[str, Any]]:
    return [panel for panel in board()["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    loaded = yaml.safe_load((DASHBOARDS / "alerts.yml").read_text(encoding="utf-8"))
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str, str]]:
    """Where, what is asked, and how it is labelled."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target["legendFormat"]
    for rule in rules():
        yield rule["alert"], rule["expr"], " ".join(rule["annotations"].values())


EXPRESSIONS = list(expressions())


@pytest.mark.parametrize(
    ("where", "expression", "legend"), EXPRESSIONS, ids=[f"{number} {one[0]}" for number, one in enumerate(EXPRESSIONS)]
)
def test__expression__asks_for_what_is_emitted(where: str, expression: str, legend: str) -> None:
    found = SERIES.findall(expression)
    assert found, "asks for nothing of ours"
    allowed = {"le"}
    for name, matchers in found:
        assert name in FAMILIES, name
        allowed |= FAMILIES[name]
        for label, value in MATCHER.findall(matchers):
            assert label in FAMILIES[name], f"{name} has no label {label}"
            if value != "$host_group":
                assert set(value.split("|")) <= CLOSED_SETS[label], f"{label} is never {value!r}"
    grouped = {label for labels in GROUPED.findall(expression) for label in labels.split(", ") if label}
    assert grouped <= allowed
    assert set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", legend)) <= grouped
    assert expression.count("(") == expression.count(")")


def test__every_metric__is_on_the_dashboard() -> None:
    asked = {name for panel in panels() for target in panel["targets"] for name, _ in SERIES.findall(target["expr"])}
    shown = {re.sub(r"_(total|bucket|sum|count)$", "", name).removesuffix("_seconds") for name in asked}
    assert shown == {one.name.replace(".", "_") for one in INSTRUMENTS}


def test__variables__are_defined_and_ask_for_a_label_that_is_there() -> None:
    variables = {variable["name"]: variable for variable in board()["templating"]["list"]}
    text = json.dumps(board())
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval"}
    assert used == set(variables)
    ((name, label),) = re.findall(r"label_values\((\w+), (\w+)\)", variables["host_group"]["definition"])
    assert label in FAMILIES[name]


def test__panels__have_ids_of_their_own_and_do_not_overlap() -> None:
    shown = board()["panels"]
    assert len({panel["id"] for panel in shown}) == len(shown)
    places = [panel["gridPos"] for panel in shown]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test__alerts__each_say_how_bad_it_is_and_what_to_know() -> None:
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"]["summary"]
        assert "for" in rule
