"""to_dict() and /health.json keep to the schema that is shipped, and the schema tells all there is."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from seawall import Policy, Resilience
from tests.health.situations import Play, bad_day

SCHEMA: dict[str, Any] = json.loads(files("seawall.health").joinpath("schema.json").read_text("utf-8"))


def closed(schema: Any) -> Any:
    """The schema, with every name it does not mention forbidden."""
    if isinstance(schema, list):
        return [closed(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    inside = {name: closed(value) for name, value in schema.items()}
    if "properties" in schema:
        inside["additionalProperties"] = False
    return inside


def errors(data: Any) -> list[str]:
    return [error.json_path + ": " + error.message for error in Draft202012Validator(closed(SCHEMA)).iter_errors(data)]


def without_parts() -> Resilience:
    play = Play(Policy(retry=None, budget=None, breaker=None, bulkhead=None))
    play.attempt("a.test")
    play.begin("a.test").abandon()
    play.resilience.isolate("https://b.test")
    return play.resilience


@pytest.mark.parametrize(
    "resilience",
    [lambda: Resilience(), lambda: bad_day().resilience, without_parts],
    ids=["nobody called", "a bad day", "every part off"],
)
def test__to_dict__keeps_to_the_schema_also_as_json(resilience: Any) -> None:
    data = resilience().health().to_dict()
    assert errors(data) == []
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def test__bad_day__has_everything_the_schema_tells_of() -> None:
    play = bad_day()
    data = play.resilience.health().to_dict()
    assert data["version"] == 1
    assert {part["status"] for part in data["breakers"]} == {"critical", "degraded", "warning", "healthy"}
    assert {one["component"] for one in data["recommendations"]} == {"breaker", "bulkhead", "budget"}
    assert any(part["transitions"] for part in data["breakers"])
    assert any(part["recommendation"] for part in data["budgets"])


def test__schema__notices_what_is_missing_wrong_or_new() -> None:
    data = bad_day().resilience.health().to_dict()
    spoiled: list[dict[str, Any]] = [
        {name: value for name, value in data.items() if name != "status"},
        {**data, "version": 2},
        {**data, "news": 1},
        {**data, "breakers": [{**data["breakers"][0], "failure_rate": 1.5}]},
        {**data, "budgets": [{**data["budgets"][0], "available": "many"}]},
    ]
    assert all(errors(one) for one in spoiled)


def test__schema__every_name_is_explained_or_plain() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert all(part["description"] for part in SCHEMA["$defs"].values())
