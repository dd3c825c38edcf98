"""Equal calls at one time, through the whole flow: what the leader's fate is to the others, and how they count."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Coroutine
from typing import Any

import pytest

from seawall import Answer as Given
from seawall import Ending, Policy, StaleResponse, Timeouts, events
from seawall._story import Call
from seawall.admission import Admission
from seawall.degrade.copying import Copy, copy_of
from seawall.degrading import journey
from seawall.flow import Failed
from seawall.outcome import ErrorKind, Reason, Rejection
from tests.core.stage import (
    Answer,
    Peer,
    Request,
    Stage,
    Step,
    answer,
    brittle,
    fault,
    one_at_a_time,
    only,
    purse,
    steady,
    word,
)

X = Request()


class Mount(Peer):
    """Copies bodies as the mounts do: whole ones at once, streams as the test reads them."""

    def __init__(self, *script: Step) -> None:
        super().__init__(*script)
        self.copies: list[Copy] = []

    async def send(self, call: Call, admission: Admission) -> Answer:
        response = await super().send(call, admission)
        admission.headers_at = call.state.clock.monotonic()
        copy = copy_of(call, admission, response.status_code, list(response.headers.items()))
        if copy is not None and response.stream:
            self.copies.append(copy)
        elif copy is not None and response.body is not None:
            copy.add(response.body)
            call.copy = copy
        return response

    def respond(self, call: Call, answer: Given) -> Answer:
        return Answer(answer.status, answer.content, False, dict(answer.headers))


class Hall(Stage):
    """A stage whose calls may lead and follow each other."""

    def __init__(self, policy: Policy, *script: Step, **options: Any) -> None:
        super().__init__(policy, *script, **options)
        self.peer = Mount(*script)
        self.calls: list[Call] = []
        send = self.peer.send

        async def timed(call: Call, admission: Admission) -> Answer:
            self.times.append(self.now)
            return await send(call, admission)

        self.peer.send = timed  # type: ignore[method-assign]

    def start(self, request: Request | None = None, override: Any = None) -> Coroutine[Any, Any, Any]:
        call = self.call(request, override)
        self.calls.append(call)
        return journey(call, self.peer)

    def after(self, seconds: float, request: Request | None = None, override: Any = None) -> Coroutine[Any, Any, Any]:
        """A call that begins a while later."""
        return self.at(seconds, lambda: self.start(request, override))


def hall(*script: Step, **parts: Any) -> Hall:
    return Hall(only(**({"degrade": [StaleResponse(coalesce=True)]} | parts)), *script)


def bodies(results: list[Any]) -> list[Any]:
    return [result.body if isinstance(result, Answer) else word(result) for result in results]


def test__equal_calls__one_is_sent_and_all_are_answered() -> None:
    stage = hall(answer(body=b"one", after=2))
    results = stage.together(*(stage.after(0.1 * n) for n in range(5)))
    assert bodies(results) == [b"one"] * 5
    assert stage.times == [0]
    assert [call.ending for call in stage.calls] == [Ending.ANSWERED] + [Ending.COLLAPSED] * 4
    assert [len(call.attempts) for call in stage.calls] == [1, 0, 0, 0, 0]
    assert {call.served_from for call in stage.calls} == {"origin"}
    assert results[1].headers["cache-status"] == "seawall; fwd=miss; collapsed"
    assert (stage.host.successes, stage.host.requests, stage.host.total_degraded) == (1, 1, 0)
    assert stage.now == 2


def test__without_coalesce__all_are_sent() -> None:
    stage = hall(answer(body=b"one", after=2), degrade=[StaleResponse()])
    stage.together(stage.start(), stage.start())
    assert len(stage.times) == 2


def test__one_after_the_other__are_two() -> None:
    stage = hall(answer(body=b"one"))
    stage.together(stage.start())
    stage.together(stage.start())
    assert len(stage.times) == 2


def test__each_call__ends_once_for_listeners() -> None:
    stage = hall(answer(body=b"one", after=2))
    seen: list[Any] = []
    stage.resilience.subscribe(seen.append, [events.CallEnded, events.AttemptEnded])
    stage.together(stage.start(), stage.after(1))
    told = sorted((type(event).__name__, str(getattr(event, "ending", ""))) for event in seen)
    assert told == [("AttemptEnded", ""), ("CallEnded", "Ending.ANSWERED"), ("CallEnded", "Ending.COLLAPSED")]
    assert [event.attempts for event in seen if isinstance(event, events.CallEnded)] in ([0, 1], [1, 0])


def test__leaders_retries__are_waited_for() -> None:
    stage = hall(answer(503), answer(body=b"second"), retry=steady(), budget=purse())
    assert bodies(stage.together(stage.start(), stage.after(0.5))) == [b"second"] * 2
    assert stage.times == [0, 1]


def test__followers__need_no_permit() -> None:
    stage = hall(answer(body=b"one", after=2), bulkhead=one_at_a_time(max_queue=0, max_wait=0))
    assert bodies(stage.together(*(stage.start() for _ in range(9)))) == [b"one"] * 9


def test__host_failed_the_leader__each_goes_by_itself() -> None:
    stage = hall(answer(503, after=1), answer(body=b"mine", after=1))
    assert bodies(stage.together(stage.start(), stage.after(0.5), stage.after(0.5)))[1:] == [b"mine"] * 2
    assert stage.times == [0, 1, 1]
    assert [round(call.attempts[0].wait, 3) for call in stage.calls[1:]] == [0.5, 0.5]
    assert [round(call.attempts[0].duration, 3) for call in stage.calls[1:]] == [1, 1]


def test__leader_could_not_send__each_goes_by_itself() -> None:
    stage = hall(fault(ErrorKind.CONNECTION_REFUSED, after=1), answer(body=b"mine"))
    first, second = stage.together(stage.start(), stage.after(0.5))
    assert isinstance(first, Failed)
    assert second.body == b"mine"


def test__leader_refused__the_others_ask_themselves() -> None:
    stage = hall(answer(503), answer(503), breaker=brittle())
    stage.together(stage.start(Request("PUT")), stage.start(Request("PUT")))
    results = stage.together(stage.start(), stage.start())
    assert [word(result) for result in results] == [Reason.CIRCUIT_OPEN] * 2


def test__leaders_own_deadline__is_not_the_others() -> None:
    stage = hall(answer(body=b"late", after=1))
    hurried = stage.call(None)
    hurried.deadline = stage.clock.now  # it is over before anything is sent
    first, *rest = stage.together(journey(hurried, stage.peer), stage.start(), stage.start())
    assert word(first) is Reason.DEADLINE
    assert bodies(rest) == [b"late"] * 2
    assert len(stage.times) == 1


def test__followers_deadline__holds() -> None:
    stage = hall(answer(body=b"late", after=5))
    hurried = stage.call()
    hurried.deadline = stage.clock.now + 1

    async def late() -> Any:
        result = await journey(hurried, stage.peer)
        assert stage.now == 1
        return result

    first, second = stage.together(stage.start(), late())
    assert first.body == b"late"
    assert isinstance(second, Rejection)
    assert second.reason is Reason.DEADLINE
    assert hurried.attempts == ()


def test__followers_deadline__leaves_time_for_what_was_remembered() -> None:
    stage = hall(answer(body=b"remembered"), answer(body=b"late", after=5))
    stage.together(stage.start())
    hurried = stage.call()
    hurried.deadline = stage.clock.now + 1
    _, second = stage.together(stage.start(), journey(hurried, stage.peer))
    assert second.body == b"remembered"
    assert hurried.served_from == "stale"


def test__follower__waits_no_longer_than_for_a_silent_host() -> None:
    stage = hall(answer(body=b"slow", after=60), answer(body=b"mine"), timeouts=Timeouts(attempt=10))
    stage.client = (None, None)
    first, second = stage.together(stage.start(), stage.after(1))
    assert second.body == b"mine"
    assert stage.times == [0, 11]
    assert first.body == b"slow"


def test__follower_of_one_without_any_clock__waits_a_minute_and_a_half() -> None:
    stage = hall(answer(body=b"slow", after=1000), answer(body=b"mine"), timeouts=None)
    stage.together(stage.start(), stage.after(1))
    assert stage.times == [0, 91]


@pytest.mark.parametrize(
    "step",
    [
        answer(body=b"own", after=1, cache_control="no-store"),
        answer(body=b"own", after=1, set_cookie="session=1"),
        answer(404, b"own", after=1),
        answer(body=b"own", after=1, content_type="text/event-stream"),
    ],
    ids=["no-store", "a cookie", "404", "an event stream"],
)
def test__not_to_be_shared__each_goes_by_itself_and_the_next_do_not_wait(step: Step) -> None:
    stage = hall(step)
    assert bodies(stage.together(stage.start(), stage.start(), stage.start())) == [b"own"] * 3
    assert stage.times == [0, 1, 1]
    stage.together(stage.start(), stage.start())
    assert stage.times == [0, 1, 1, 2, 2]


def test__every_answer_streams__nobody_waits_for_a_body() -> None:
    stage = hall(answer(body=b"own", after=1), stream=True)
    stage.together(stage.start(), stage.start())
    assert stage.times == [0, 0]


def test__answer_read_by_its_caller__is_the_others_when_it_is_whole() -> None:
    stage = hall(answer(body=None, after=1, stream=True))

    def read() -> None:
        (copy,) = stage.peer.copies
        copy.add(b"to the ")
        copy.add(b"end")
        copy.keep(None)

    first, second, _ = stage.together(stage.start(), stage.start(), stage.at(1.5, read))
    assert (first.status_code, second.body) == (200, b"to the end")
    assert (stage.times, stage.now) == ([0], 1.5)


def test__answer_nobody_reads_on__is_not_waited_for() -> None:
    stage = hall(answer(body=None, after=1, stream=True), answer(body=b"mine"))
    assert stage.together(stage.start(), stage.start())[1].body == b"mine"
    assert stage.times[1] <= 3


def test__answer_left__the_first_follower_leads() -> None:
    stage = hall(answer(body=None, after=1, stream=True), answer(body=b"second", after=1))
    results = stage.together(
        stage.start(), stage.start(), stage.start(), stage.at(1.5, lambda: stage.peer.copies[0].leave())
    )
    assert bodies(results)[1:3] == [b"second"] * 2
    assert stage.times == [0, 1.5]


@pytest.mark.parametrize("error", [CancelledError, KeyboardInterrupt, GeneratorExit])
def test__leader_is_interrupted__the_first_follower_leads(error: type[BaseException]) -> None:
    stage = hall(answer(body=b"one", after=2))
    leader = stage.line_up()

    def interrupt() -> None:
        with pytest.raises(error):
            leader.throw(error)

    first, second, _ = stage.together(stage.start(), stage.start(), stage.at(1, interrupt))
    assert bodies([first, second]) == [b"one"] * 2
    assert stage.times == [0, 1]


@pytest.mark.parametrize("error", [CancelledError, KeyboardInterrupt, GeneratorExit])
def test__follower_is_interrupted__nobody_notices(error: type[BaseException]) -> None:
    stage = hall(answer(body=b"one", after=2))
    leader, gone = stage.line_up(), stage.line_up()
    with pytest.raises(error):
        gone.throw(error)
    assert stage.calls[1].ending is None or stage.calls[1].ending is Ending.CANCELLED
    del leader
    assert stage.host.in_flight == 1


def test__interrupted_at_its_first_breath_as_leader__another_leads() -> None:
    stage = hall(answer(body=b"one", after=2))
    leader, heir = stage.line_up(), stage.line_up()
    with pytest.raises(CancelledError):
        leader.throw(CancelledError)
    with pytest.raises(CancelledError):
        heir.throw(CancelledError)
    assert bodies(stage.together(stage.start(), stage.start())) == [b"one"] * 2
    assert len(stage.times) == 2


def test__closed__followers_are_refused_at_once() -> None:
    stage = hall(answer(body=b"one", after=5))
    first, second, _ = stage.together(
        stage.start(), stage.start(), stage.at(1, lambda: stage.resilience.close(timeout=0))
    )
    assert (first.body, word(second)) == (b"one", Reason.CLOSED)


def test__something_changed__is_seen_by_who_asks_afterwards() -> None:
    stage = hall(answer(body=b"old", after=5), answer(204), answer(body=b"new", after=1))
    results = stage.together(
        stage.start(),
        stage.after(1, Request("POST", "/elsewhere")),
        stage.after(2),
        stage.after(2.5),
    )
    assert bodies([results[0], results[2], results[3]]) == [b"old", b"new", b"new"]


def test__change_that_failed__may_have_changed_something() -> None:
    stage = hall(answer(body=b"old", after=5), fault(), answer(body=b"new", after=1))
    results = stage.together(stage.start(), stage.after(1, Request("POST", "/elsewhere")), stage.after(2))
    assert bodies([results[0], results[2]]) == [b"old", b"new"]


def test__two_callers__lead_each_their_own() -> None:
    stage = hall(answer(body=b"own", after=1))
    stage.together(*(stage.start(Request(authorization=name)) for name in ("alice", "bob", "alice")))
    assert len(stage.times) == 2


def test__answer_the_library_cannot_read__is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = hall(answer(body=b"broken", after=1), answer(body=b"mine"))
    monkeypatch.setattr(Mount, "respond", lambda *_: None)
    assert bodies(stage.together(stage.start(), stage.start())) == [b"broken", b"mine"]
