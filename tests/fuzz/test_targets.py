"""Everything that reads outside data, under Hypothesis: seeds, what resembles them, and anything at all."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import SEEDS, TARGETS


def resembling(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Seeds, cut and joined with each other and with something else."""
    parts = st.sampled_from(sorted({seed[i : i + 6] for seed in seeds for i in range(0, len(seed), 3)} | set(seeds)))
    return st.lists(parts | st.binary(max_size=4), max_size=30).map(b"".join)


@pytest.mark.parametrize(("name", "target"), TARGETS.items(), ids=TARGETS)
def test__parser_of_outside_data__any_bytes__neither_raises_nor_lies(
    name: str, target: Callable[[bytes], None]
) -> None:
    seeds = SEEDS.get(name, [])
    anything = st.binary(max_size=300) | (resembling(seeds) if seeds else st.nothing())
    check = given(anything)(target_of(target))
    for seed in seeds:
        check = example(seed)(check)
    settings(max_examples=150, deadline=None)(check)()


def target_of(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def check(data: bytes) -> None:
        target(data)

    return check
