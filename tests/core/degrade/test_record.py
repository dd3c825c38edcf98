"""Records: what comes back from a store is what some server could have said, or nothing."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.degrade.answer import Answer
from seawall.degrade.record import _HEAD, LONGEST_FIELDS, MOST_FIELDS, Record, decode, encode

SLOTS = Record.__slots__


def figures(record: Record) -> dict[str, object]:
    return {name: getattr(record, name) for name in SLOTS}


def record(**changes: object) -> Record:
    made = Record(200, [("Content-Type", "text/plain")], b"body", 1000.0, 1.7e9, 60.0, inf, 2.5)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


text = st.text(st.characters(exclude_characters="\r\n\0"), max_size=20)
records = st.builds(
    Record,
    st.integers(200, 599),
    st.lists(st.tuples(text, text), max_size=8),
    st.binary(max_size=50),
    st.floats(-1e12, 1e12),
    st.floats(-1e12, 1e12),
    st.floats(0, 1e10),
    st.floats(0, inf),
    st.floats(0, 1e10),
)


@given(records)
def test__record__comes_back_as_it_was(made: Record) -> None:
    data = encode(made)
    assert data is not None
    back = decode(data)
    assert back is not None
    assert figures(back) == figures(made)


@pytest.mark.parametrize(
    "fields",
    [
        [("x", "a\nb")],
        [("x", "a\r")],
        [("x\0", "a")],
        [("a\nb", "c"), ("d", "e")],
        [("x", "a")] * (MOST_FIELDS + 1),
        [("x", "a" * LONGEST_FIELDS)],
    ],
    ids=["line feed", "carriage return", "NUL", "in a name", "too many", "too long"],
)
def test__fields__that_no_server_sends__are_not_remembered(fields: list[tuple[str, str]]) -> None:
    assert encode(record(fields=fields)) is None


def give(data: bytes) -> None:
    """Whatever decodes can be given."""
    back = decode(data)
    if back is not None:
        Answer(back.status, headers=back.fields, content=back.body)
        assert min(back.lifetime, back.grace, back.age) >= 0
        assert back.age < inf


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b"sea1" + tail))
def test__any_bytes__are_an_answer_or_nothing(data: bytes) -> None:
    give(data)


@given(records, st.data())
def test__damaged_record__is_an_answer_or_nothing(made: Record, data: st.DataObject) -> None:
    good = encode(made)
    assert good is not None
    place = data.draw(st.integers(0, len(good) - 1))
    damage = data.draw(st.binary(max_size=8))
    give(good[:place] + damage + good[place + len(damage) :])
    assert decode(good[:place]) is None
    assert decode(good + b"x") is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"received": nan},
        {"received": inf},
        {"wall": nan},
        {"lifetime": -1.0},
        {"lifetime": nan},
        {"grace": nan},
        {"grace": -1.0},
        {"age": inf},
        {"age": -1.0},
        {"status": 199},
        {"status": 600},
    ],
    ids=str,
)
def test__figures__that_cannot_be__are_nothing(wrong: dict[str, object]) -> None:
    data = encode(record(**wrong))
    assert data is not None
    assert decode(data) is None


@pytest.mark.parametrize(
    "fields", [b"Content-Type text/plain", b"Content-Type\ntext\rplain", b"Content-Type\ntext\0plain"]
)
def test__fields__that_cannot_be__are_nothing(fields: bytes) -> None:
    data = encode(record())
    assert data is not None
    assert decode(data.replace(b"Content-Type\ntext/plain", fields)) is None


@pytest.mark.parametrize(("length", "is_read"), [(4 * LONGEST_FIELDS, True), (4 * LONGEST_FIELDS + 1, False)])
def test__fields__longer_than_any_we_keep_are_nothing(length: int, is_read: bool) -> None:
    data = encode(record())
    assert data is not None
    fields = b"x-long\n".ljust(length, b"x")
    figures = list(_HEAD.unpack_from(data))
    figures[-2] = length
    assert (decode(_HEAD.pack(*figures) + fields + b"body") is not None) is is_read


def test__another_version__is_nothing() -> None:
    data = encode(record())
    assert data is not None
    assert decode(b"sea2" + data[4:]) is None
