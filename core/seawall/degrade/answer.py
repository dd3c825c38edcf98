"""An answer that no server gave: the mount makes its library's response of it."""

from __future__ import annotations

import json as jsonlib
from typing import TYPE_CHECKING, Any, Final

from seawall.degrade.fields import FRAMING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_OF_THE_TRANSFER: Final = frozenset({"content-encoding", *FRAMING})


class Answer:
    """Status, headers and body of an answer made or remembered here. Never changed after it was made."""

    __slots__ = ("content", "headers", "status")

    def __init__(
        self,
        status: int = 200,
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        content: bytes | None = None,
        json: Any = None,
        text: str | None = None,
    ) -> None:
        """
        status: 200–599.
        headers: a mapping, or pairs where a field comes several times. A content type is added for `json` and `text`.
        content, json, text: the body, in one of three ways; none of them: empty. `json=None` is no body; for JSON's
            null give `content=b"null"`.

        Raises ValueError or TypeError for what no server could have said.
        """
        if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
            raise ValueError(f"Answer: status={status!r}: give a whole number from 200 to 599")
        if sum(body is not None for body in (content, json, text)) > 1:
            raise ValueError("Answer: content, json and text are three ways to give the body: give one")
        pairs = _pairs(headers)
        kind = None
        if json is not None:
            content, kind = _json(json), "application/json"
        elif text is not None:
            if not isinstance(text, str):
                raise TypeError(f"Answer: text={text!r}: give a string")
            content, kind = text.encode(), "text/plain; charset=utf-8"
        elif content is not None and not isinstance(content, bytes):
            raise TypeError(f"Answer: content={content!r}: give bytes, or use text= or json=")
        if kind is not None and not any(name.lower() == "content-type" for name, _ in pairs):
            pairs.append(("content-type", kind))
        self.status = status
        self.headers: tuple[tuple[str, str], ...] = tuple(pairs)
        self.content = content or b""

    @classmethod
    def checked(cls, status: int, headers: Iterable[tuple[str, str]], content: bytes) -> Answer:
        """One whose parts are known to be what a server could say."""
        answer = cls.__new__(cls)
        answer.status, answer.headers, answer.content = status, tuple(headers), content
        return answer

    @classmethod
    def decoded(cls, status: int, headers: Iterable[tuple[str, str]], content: bytes) -> Answer:
        """A library's answer whose body was decoded: what its header said of the body as sent is left out."""
        kept = [(name, value) for name, value in headers if name.lower() not in _OF_THE_TRANSFER]
        return cls(status, headers=kept, content=content)

    def __repr__(self) -> str:
        return f"<Answer {self.status}, {len(self.content)} bytes>"


def _json(value: Any) -> bytes:
    try:
        return jsonlib.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:  # its text names a type or a number, and no more of it
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"Answer: json={type(value).__name__}: {error}: give what JSON knows, None in place of NaN"
        ) from error


def _pairs(headers: Any) -> list[tuple[str, str]]:
    given: list[Any] = list(headers.items() if hasattr(headers, "items") else headers)
    for pair in given:
        try:
            name, value = pair
        except (TypeError, ValueError):
            name = value = None
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"Answer: headers has {pair!r}: give names and values as strings")
        if any(c in name + value for c in "\r\n\0"):
            raise ValueError(f"Answer: headers has {name!r} with a line break: give one line")
    return [(name, value) for name, value in given]
