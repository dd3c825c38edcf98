"""The pages say what the code says: printed sections are up to date and, read a second and separate way, whole."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

import seawall
from scripts.print_tables import PAGES, ROOT, SECTION, SECTIONS, printed
from scripts.prove import PROOFS
from seawall.classification import ERRORS, STATUSES
from seawall.policies.breaker import TRANSITIONS
from seawall.snapshot import HostSnapshot
from seawall.testing.swarm.scenario import FEATURES

DOCS = ROOT / "docs"
MARKED = [path for path in PAGES if "<!-- printed:" in path.read_text(encoding="utf-8")]


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def section(page: str, name: str) -> str:
    (found,) = (match["body"] for match in SECTION.finditer(text_of(page)) if match["name"] == name)
    return found


def cells(page: str, name: str) -> list[list[str]]:
    """The rows of a printed table, without its head."""
    rows = [line for line in section(page, name).splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`*") for cell in row.strip("|").split("|")] for row in rows[2:]]


@pytest.mark.parametrize("path", MARKED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test__printed_sections__are_what_the_code_prints(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    assert page == printed(page), "run: python scripts/print_tables.py"


def test__every_section__stands_on_exactly_one_page() -> None:
    names = [match["name"] for path in PAGES for match in SECTION.finditer(path.read_text(encoding="utf-8"))]
    assert sorted(names) == sorted(SECTIONS)


def test__every_mark__is_part_of_a_whole_section() -> None:
    for path in MARKED:
        page = path.read_text(encoding="utf-8")
        whole = len(list(SECTION.finditer(page)))
        assert (page.count("<!-- printed:"), page.count("<!-- /printed -->")) == (whole, whole), path.name


def test__stale_section__is_replaced_and_nothing_else() -> None:
    stale = "before\n\n<!-- printed: kinds -->\nold\n<!-- /printed -->\n\nafter\n"
    fresh = printed(stale)
    assert "old" not in fresh
    assert "CONNECTION_REFUSED" in fresh
    assert fresh.startswith("before\n")
    assert fresh.endswith("\nafter\n")
    assert printed(fresh) == fresh


def test__unknown_section__is_refused() -> None:
    with pytest.raises(ValueError, match="no section is called 'nothing'"):
        printed("<!-- printed: nothing -->\n<!-- /printed -->\n")


def test__breaker__table_has_every_transition() -> None:
    known = {(before.name, trigger.value, after.name) for (before, trigger), after in TRANSITIONS.items()}
    assert {tuple(row) for row in cells("breaker.md", "transitions")} == known


def test__breaker__picture_has_an_arrow_for_every_transition() -> None:
    arrows = re.findall(r"^    (\w+) --> (\w+): (.+)$", section("breaker.md", "diagram"), re.MULTILINE)
    drawn = {(before, why, after) for before, after, label in arrows for why in label.split(", or ")}
    assert drawn == {(before.__name__, why.value, after.__name__) for (before, why), after in TRANSITIONS.items()}


def test__classification__table_has_every_status() -> None:
    rows = {
        int(status): tuple(row[1:])
        for row in cells("classification.md", "statuses")
        if row[0][0].isdigit() and "x" not in row[0]
        for status in row[0].split(", ")
    }
    assert rows == {
        status: (kind.name, verdict.value, again.value) for status, (kind, verdict, again) in STATUSES.items()
    }


def test__classification__table_has_every_kind_of_exception() -> None:
    assert {row[0]: tuple(row[1:]) for row in cells("classification.md", "errors")} == {
        kind.name: (verdict.value, again.value, sent.value) for kind, (verdict, again, sent) in ERRORS.items()
    }


@pytest.mark.parametrize(
    ("page", "part"),
    [
        ("retry.md", seawall.Retry),
        ("budgets.md", seawall.RetryBudget),
        ("budgets.md", seawall.TokenBudget),
        ("budgets.md", seawall.AdaptiveBudget),
        ("breaker.md", seawall.Breaker),
        ("bulkhead.md", seawall.Bulkhead),
        ("timeouts.md", seawall.Timeouts),
        ("queue.md", seawall.QueueForRetry),
    ],
)
def test__policy_page__table_has_every_field(page: str, part: type) -> None:
    assert [row[0] for row in cells(page, f"fields of {part.__name__}")] == [field.name for field in fields(part)]


@pytest.mark.parametrize("ending", seawall.Ending, ids=lambda ending: ending.name)
def test__retry_page__explains_every_ending(ending: seawall.Ending) -> None:
    assert f"| `{ending.name}` | {ending.value} |" in text_of("retry.md")


@pytest.mark.parametrize("field", fields(HostSnapshot), ids=lambda field: field.name)
def test__events_page__names_every_field_of_a_snapshot(field: object) -> None:
    assert f"`{getattr(field, 'name', '')}`" in text_of("events.md")


def test__errors_page__names_every_public_error() -> None:
    public = {
        name
        for name in seawall.__all__
        if isinstance(kind := getattr(seawall, name), type) and issubclass(kind, seawall.ResilienceError)
    }
    missing = {name for name in public if name not in section("errors.md", "tree")}
    assert not missing


def names_in(page: str, head: str) -> list[str]:
    """What the first column of the table with this head names."""
    table = text_of(page).partition(head)[2].partition("\n\n")[0]
    return [name for row in table.splitlines() if row for name in re.findall("`(.+?)`", row.split("|")[1])]


def test__features_of_the_swarm__are_all_described() -> None:
    assert sorted(names_in("testing.md", "| feature | what it adds |\n")) == sorted(FEATURES)


def test__long_proofs__are_all_described() -> None:
    assert sorted(names_in("safety.md", "| name | what | figures |\n")) == sorted(PROOFS)
