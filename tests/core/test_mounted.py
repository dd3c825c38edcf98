"""What all mounts share, where no client has to be there to see it."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytest

import seawall
from seawall.mounted import blame, watch_above
from seawall.runtime import Stopped
from tests.core.stage import Request, Stage, answer, fault, only, steady


def tried(count: Any) -> tuple[Any, Stage]:
    """A call of two attempts whose request carries an SDK's number of its own try."""
    stage, request = Stage(only(retry=steady(max_retries=1)), answer(503)), Request()
    request.headers["x-stainless-retry-count"] = count
    call = stage.call(request)
    stage.together(_run(call, stage))
    return call, stage


async def _run(call: Any, stage: Stage) -> Any:
    from seawall.degrading import journey

    return await journey(call, stage.peer)


@pytest.mark.parametrize(
    ("count", "warned"),
    [
        ("1", True),
        (b"1", True),
        ("0", False),
        (b"0", False),
        (b"\xff", False),
        ("1.5", False),
        ("\u0661", False),
        (1, False),
    ],
    ids=ascii,
)
def test__retrier_above__is_told_by_its_number_however_it_is_kept(count: Any, warned: bool) -> None:
    call, stage = tried(count)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watch_above(call, answer(503), stage.resilience)
    assert [warning.category for warning in caught] == [RuntimeWarning] * warned


def test__retrier_above__warnings_are_errors__is_logged_and_the_answer_is_not_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    call, stage = tried("1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch_above(call, answer(503), stage.resilience)
    (record,) = caplog.records
    assert (record.levelno, "attempts multiply" in record.getMessage()) == (logging.WARNING, True)


def test__stop_iteration__is_given_back_as_itself() -> None:
    stage = Stage(only(), fault())
    call, ended, carrier = stage.call(), StopIteration("mine"), Stopped()
    carrier.__cause__ = ended
    assert blame(call, carrier) is ended
    bare = Stopped()
    assert blame(call, bare) is bare


def test__mount__a_class_is_refused_with_the_cure() -> None:
    class Client:
        pass

    with pytest.raises(TypeError, match=r"mount: Client is a class: give a client made of it, Client\(…\)"):
        seawall.mount(Client)
