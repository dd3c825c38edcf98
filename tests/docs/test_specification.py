"""docs/specification.md is whole: each row names tests that exist, and an edit that must make them fail still applies.

That the tests do fail is shown by scripts/prove_spec.py, which takes minutes and is run by hand.
"""

from __future__ import annotations

import ast
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

import seawall
from scripts import prove_spec
from scripts.edited import PACKAGES, ROOT
from scripts.prove_spec import PAGE, ROW

TEXT = PAGE.read_text(encoding="utf-8")
ROWS = prove_spec.rows()
SABOTAGES = prove_spec.sabotages()
SECTIONS = {"1": 33, "2": 27, "3": 13, "4": 14, "5": 13, "6": 27, "7": 19, "8": 18, "9": 8}
"""How many rows each has: a row that is lost is noticed."""

SPECIFIED: dict[type, tuple[str, ...]] = {
    seawall.Breaker: (
        "failure_threshold",
        "failure_rate_threshold",
        "min_requests",
        "sampling_window",
        "open_duration",
        "success_threshold",
        "half_open_max_requests",
        "half_open_timeout",
        "count_timeouts_as_failures",
        "count_5xx_as_failures",
        "count_429_as_failures",
    ),
    seawall.Retry: ("max_retries", "base_delay", "max_delay", "multiplier", "jitter", "backoff", "retry_on"),
    seawall.TokenBudget: ("max_tokens", "refill_rate"),
    seawall.AdaptiveBudget: ("max_tokens", "refill_rate", "min_refill_rate", "max_refill_rate", "interval"),
    seawall.Bulkhead: ("max_concurrent", "max_wait"),
    seawall.Timeouts: ("connect", "attempt", "total", "stream", "idle", "keep_alive"),
}
FIELDS = [(part, field) for part, names in SPECIFIED.items() for field in names]


@cache
def functions_of(path: Path) -> set[str]:
    """The test functions of a file, read without running it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


@cache
def source(file: str) -> tuple[str, str]:
    """A file of the product, and what is left of it without comments and form."""
    text = (ROOT / file).read_text(encoding="utf-8")
    return text, ast.dump(ast.parse(text))


def test__every_row__is_read_and_has_an_id_of_its_own() -> None:
    lines = [line for line in TEXT.splitlines() if line.startswith(("| S", "| W"))]
    ids = [row[1] for row in ROW.finditer(TEXT)]
    assert len(lines) == len(ids) == len(set(ids))


@pytest.mark.parametrize("section", SECTIONS)
def test__section__has_all_its_rows_in_order(section: str) -> None:
    ids = [row for row in ROWS if row.startswith(f"S{section}.")]
    assert ids == [f"S{section}.{number:02}" for number in range(1, SECTIONS[section] + 1)]


def test__list_of_wrong_things__has_every_entry() -> None:
    assert {int(row[1:3]) for row in ROWS if row.startswith("W")} == set(range(1, 29))


@pytest.mark.parametrize("row", ROWS)
def test__row__names_tests_that_exist(row: str) -> None:
    assert ROWS[row], "names no test"
    for test in ROWS[row]:
        path, _, name = test.partition("::")
        assert (ROOT / path).is_file(), path
        assert name in functions_of(ROOT / path), test


@pytest.mark.parametrize(("part", "field"), FIELDS, ids=[f"{part.__name__}.{field}" for part, field in FIELDS])
def test__specified_field__is_there_and_has_its_row(part: type, field: str) -> None:
    assert field in {known.name for known in fields(part)}
    assert any(f"`{part.__name__}.{field}" in row["ours"] for row in ROW.finditer(TEXT))


@pytest.mark.parametrize(
    "error",
    [
        "CircuitOpen",
        "HalfOpenLimit",
        "BulkheadFull",
        "BulkheadClosed",
        "RateLimited",
        "DeadlineExceeded",
        "RetryBudgetExhausted",
        "MaxRetriesExceeded",
        "NonRetryable",
        "AllProvidersFailed",
    ],
)
def test__specified_error__is_there_and_has_its_row(error: str) -> None:
    assert issubclass(getattr(seawall, error), seawall.ResilienceError)
    assert any(f"`{error}" in row["ours"] for row in ROW.finditer(TEXT))


@pytest.mark.parametrize("row", ROWS)
def test__row__has_edits_that_still_apply_and_swap_a_decision(row: str) -> None:
    edits = [one for one in SABOTAGES if one.row == row]
    assert edits, "nothing takes its behaviour out"
    for file, old, new in (one[1:] for one in edits):
        assert file.startswith(PACKAGES)
        before, meaning = source(file)
        assert before.count(old) == 1, f"{file}: {before.count(old)} times: {old}"
        assert ast.dump(ast.parse(before.replace(old, new))) != meaning, f"{file}: {new}"


def test__every_edit__is_of_a_row() -> None:
    assert {one.row for one in SABOTAGES} <= set(ROWS)


def test__prove_spec__tells_caught_from_not_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    test = "tests/core/test_window.py::test__ten_buckets__as_specified"
    idle = "tests/core/test_window.py::test__new__is_empty"
    file = "core/seawall/stats/window.py"
    page, edits = tmp_path / "page.md", tmp_path / "edits.py"
    page.write_text(f"| S1.01 | asked | ours | `{test}` |\n| S1.02 | asked | ours | `{idle}` |\n", encoding="utf-8")
    monkeypatch.setattr(prove_spec, "PAGE", page)
    monkeypatch.setattr(prove_spec, "SABOTAGES", edits)

    def proved(*entries: tuple[str, str, str, str]) -> tuple[int, str]:
        edits.write_text(f"SABOTAGES = {list(entries)!r}", encoding="utf-8")
        return prove_spec.main([]), capsys.readouterr().out

    caught = ("S1.01", file, "BUCKETS = 10\n", "BUCKETS = 5\n")
    code, said = proved(caught)
    assert (code, "every edit caught, every test seen to fail" in said) == (0, True), said
    code, said = proved(
        caught,
        ("S1.02", file, "BUCKETS = 10\n", "BUCKETS = 12\n"),
        ("S1.01", file, "no such text", ""),
    )
    lines = [line[8:] for line in said.splitlines() if line.startswith("S1")]
    verdicts = ["caught", "NOT CAUGHT", "does not apply", f"NEVER FAILED {idle}"]
    assert [line.startswith(verdict) for line, verdict in zip(lines, verdicts, strict=True)] == [True] * 4, said
    assert code == 1
