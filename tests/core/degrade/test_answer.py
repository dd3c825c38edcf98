"""An answer of ours: what can be said, and what cannot."""

from __future__ import annotations

from typing import Any

import pytest

from seawall.degrade.answer import Answer


@pytest.mark.parametrize(
    ("body", "content", "kind"),
    [
        pytest.param({}, b"", None, id="none"),
        pytest.param({"content": b"raw"}, b"raw", None, id="content"),
        pytest.param({"json": []}, b"[]", "application/json", id="an empty list is a body"),
        pytest.param({"text": "é"}, "é".encode(), "text/plain; charset=utf-8", id="text"),
    ],
)
def test__body__in_one_of_three_ways(body: dict[str, Any], content: bytes, kind: str | None) -> None:
    answer = Answer(**body)
    assert (answer.content, dict(answer.headers).get("content-type")) == (content, kind)


def test__content_type__given__stays() -> None:
    assert Answer(json={}, headers={"Content-Type": "application/problem+json"}).headers == (
        ("Content-Type", "application/problem+json"),
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": 99},
        {"status": True},
        {"status": "200"},
        {"json": {}, "text": "x"},
        {"content": "text"},
        {"text": b"bytes"},
        {"headers": {"x": 1}},
        {"headers": {"x": "a\r\nset-cookie: b"}},
        {"headers": ["x"]},
        {"json": {"rate": float("nan")}},
        {"json": [float("-inf")]},
        {"json": {1, 2}},
    ],
    ids=repr,
)
def test__what_no_server_could_say__raises_with_the_cure(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"Answer: .*give"):
        Answer(**wrong)


def test__checked__is_the_same_answer() -> None:
    made, checked = Answer(203, headers={"a": "b"}, content=b"x"), Answer.checked(203, [("a", "b")], b"x")
    assert [getattr(made, name) for name in Answer.__slots__] == [getattr(checked, name) for name in Answer.__slots__]
