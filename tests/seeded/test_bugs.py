"""The seeded bugs fit the product: each old text stands exactly once, and what takes its place is Python."""

from pathlib import Path

import pytest

from tests.seeded.bugs import BUGS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug[0])
def test__seeded_bug__applied__is_another_program(bug: tuple[str, str, str, str, str]) -> None:
    _, _, file, old, new = bug
    text = (ROOT / file).read_text(encoding="utf-8")
    assert text.count(old) == 1
    changed = text.replace(old, new)
    assert changed != text
    compile(changed, file, "exec")


def test__seeded_bugs__names__are_unique() -> None:
    assert len({bug[0] for bug in BUGS}) == len(BUGS) >= 40
