"""Where a request may go when its host failed, as the step decides it; the sending itself is shown for every client."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest

from seawall import ErrorKind, FallbackProvider, Verdict
from seawall.outcome import Reason, Rejection
from seawall.policies.retry import Repeatable
from seawall.runtime import run_sync
from tests.core.stage import Stage, only


class Runtime:
    """What the step asks of a mount. `answers`: what each origin gives; None: it is switched off."""

    can_repeat = True

    def __init__(self, answers: dict[str, Any], content: bytes | None) -> None:
        self.answers = answers
        self.body = content
        self.asked: list[str] = []

    def repeatable(self, call: Any) -> Repeatable:
        return Repeatable("GET", body=self.can_repeat, has_key=False)

    def content(self, call: Any) -> bytes | None:
        return self.body

    async def forward(self, call: Any, rewrite: Any) -> Any:
        self.asked.append(rewrite.url)
        return self.answers[rewrite.url.removesuffix("/x")]


class Trouble:
    """As a step is told of it."""

    response = None
    error = ConnectionError("down")

    def __init__(self, answers: dict[str, Any], content: bytes | None = b"") -> None:
        self.call = Stage(only()).call()
        self.call.request = httpx.Request("GET", "https://api.test/x")
        self.rejection = Rejection(Reason.CIRCUIT_OPEN, "h", 7.0)
        self.runtime = Runtime(answers, content)


def asked(step: FallbackProvider, trouble: Any) -> tuple[Any, list[str]]:
    return run_sync(step.answer(trouble)), trouble.runtime.asked


def test__https__is_never_sent_on_in_clear_and_the_next_origin_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    step = FallbackProvider("http://plain.test", "https://safe.test")
    assert asked(step, Trouble({"https://safe.test": "answer"})) == ("answer", ["https://safe.test/x"])
    assert [(record.levelno, "FallbackProvider" in record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, True)
    ]


def test__origin_that_is_switched_off__the_next_is_asked() -> None:
    step = FallbackProvider("https://off.test", "https://on.test")
    trouble = Trouble({"https://off.test": None, "https://on.test": "answer"})
    assert asked(step, trouble) == ("answer", ["https://off.test/x", "https://on.test/x"])


def test__body_that_is_used_up__is_sent_on_only_if_it_was_never_begun() -> None:
    trouble = Trouble({"https://other.test": "answer"})
    trouble.runtime.can_repeat = False
    assert asked(FallbackProvider("https://other.test", body=lambda body: body), trouble) == (None, [])
    assert asked(FallbackProvider("https://other.test"), trouble) == ("answer", ["https://other.test/x"])
    trouble.call.note(1, 0.0, 0.0, None, ErrorKind.CONNECTION_REFUSED, Verdict.FAILURE, None)
    assert asked(FallbackProvider("https://other.test"), trouble)[0] is None


def test__body_to_rewrite_that_is_not_at_hand__is_sent_nowhere() -> None:
    step = FallbackProvider("https://other.test", body=lambda body: body + b"!")
    assert asked(step, Trouble({}, None)) == (None, [])


@pytest.mark.parametrize(
    "origin",
    [
        "https://a.test:99999",
        "https://a.test/path",
        "https://user@a.test",
        "ftp://a.test",
        "a.test",
        "https://a.test?query",
        "https://a.test#fragment",
        7,
    ],
)
def test__origin_that_is_none__raises_with_the_cure(origin: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"FallbackProvider: origin=.*give"):
        FallbackProvider("https://good.test", origin)
