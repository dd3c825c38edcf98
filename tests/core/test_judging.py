"""What an attempt meant, where the socket, the clock or the stream itself knows better than the library's error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from seawall import Ending, ErrorKind, Verdict
from seawall.admission import Admission
from seawall.clocks import Watch
from seawall.inspect_stream import Inspector
from seawall.judging import came, judge_error
from seawall.outcome import Again, Sent
from seawall.runtime import OutOfTime
from tests.core.stage import Fault, Stage, only

K = ErrorKind


def watched(stage: Stage) -> tuple[Any, Admission, Watch]:
    admission = stage.hold()
    admission.watch = watch = Watch(admission.call, stage.clock.now)
    return admission.call, admission, watch


@pytest.mark.parametrize(
    ("kind", "told", "wrote", "sent", "again"),
    [
        pytest.param(K.CONNECTION_RESET, Sent.MAYBE, False, Sent.NO, Again.ANY, id="nothing left the socket"),
        pytest.param(K.CERTIFICATE, Sent.MAYBE, False, Sent.NO, Again.NO, id="nothing left, and it is hopeless"),
        pytest.param(K.CONNECTION_REFUSED, Sent.NO, True, Sent.MAYBE, Again.SAFE, id="something left all the same"),
        pytest.param(K.CERTIFICATE, Sent.NO, True, Sent.MAYBE, Again.NO, id="something left, and it is hopeless"),
        pytest.param(K.CONNECTION_RESET, Sent.MAYBE, True, Sent.MAYBE, Again.SAFE, id="as the library says"),
    ],
)
def test__socket_that_saw_it__knows_what_was_sent(
    kind: ErrorKind, told: Sent, wrote: bool, sent: Sent, again: Again
) -> None:
    stage = Stage(only())
    call, admission, watch = watched(stage)
    watch.is_proof, watch.wrote = True, wrote
    outcome = judge_error(call, admission, Fault(kind, told), stage.peer, stage.clock.now)
    assert (outcome.sent, outcome.again, call.may_be_done) == (sent, again, sent is Sent.MAYBE)


def test__piece_that_came_too_late__is_not_handed_over() -> None:
    stage = Stage(only())
    _, admission, watch = watched(stage)
    watch.ends = stage.clock.now + 2
    came(admission, b"in time")
    stage.clock.advance(2)
    with pytest.raises(OutOfTime):
        came(admission, b"too late")


def test__error_in_the_midst_of_a_stream__is_the_verdict_at_its_end() -> None:
    stage = Stage(only())
    call, admission, _ = watched(stage)
    admission.inspector = Inspector()
    call.note(1, stage.clock.now, stage.clock.now, 200, None, Verdict.SUCCESS, None)
    for piece in (b"data: hello\n\n", b"", b"data: more\n\n"):
        came(admission, piece)
        assert (admission.outcome, call.ending) == (None, None)
    came(admission, b"data: " + json.dumps({"error": {"code": 503}}).encode() + b"\n\n")
    assert call.ending is Ending.BODY_BROKE
    assert admission.outcome is not None
    assert (admission.outcome.kind, admission.outcome.verdict) == (K.SERVICE_UNAVAILABLE, Verdict.FAILURE)
