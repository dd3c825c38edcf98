"""The span of a call, in virtual time: what it says, when it is the current one, and that it always ends."""

from __future__ import annotations

import gc
from asyncio import CancelledError
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import INVALID_SPAN, SpanKind, StatusCode

from seawall import Answer, Bulkhead, Policy, SimplifiedResponse, deadline
from seawall._story import Call
from seawall.events import CallInfo
from seawall.telemetry import otel
from tests.core.stage import (
    HOST,
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
)
from tests.core.test_cancellation import SCENARIOS, Scenario, suspensions
from tests.telemetry.spans import Spans, attributes, events


def traced(stage: Stage, **options: Any) -> Spans:
    """The spans of its calls from now on."""
    spans = Spans(**options)
    otel.instrument(stage.resilience, tracer_provider=spans.provider)
    return spans


# -- what it says ----------------------------------------------------------------------------------


def test__answered_call__says_to_whom_and_how() -> None:
    stage = Stage({"https://api.test": only()}, answer(200))
    spans = traced(stage)
    stage.get(Request(path="/CANARY?CANARY"))
    (span,) = spans.all
    assert (span.name, span.kind, span.parent) == ("seawall GET", SpanKind.INTERNAL, None)
    assert attributes(span) == {
        "http.request.method": "GET",
        "server.address": "api.test",
        "server.port": 443,
        "http.response.status_code": 200,
        "seawall.pattern": "https://api.test",
        "seawall.host": HOST,
        "seawall.host_group": "https://api.test",
        "seawall.attempts": 1,
        "seawall.ending": "answered",
        "seawall.served_from": "origin",
    }
    assert span.status.status_code is StatusCode.UNSET


def test__every_attempt__is_an_event_and_so_is_what_lies_between() -> None:
    stage = Stage(only(retry=steady()), answer(503, after=0.5), fault(), answer(200))
    spans = traced(stage)
    stage.get()
    (span,) = spans.all
    assert [(event.name, dict(event.attributes or {})) for event in span.events] == [
        (
            "seawall.attempt",
            {
                "http.request.resend_count": 0,
                "http.response.status_code": 503,
                "error.type": "503",
                "seawall.verdict": "failure",
                "seawall.duration": 0.5,
            },
        ),
        ("seawall.retry", {"http.request.resend_count": 1, "seawall.delay": 1}),
        (
            "seawall.attempt",
            {
                "http.request.resend_count": 1,
                "error.type": "connection reset",
                "seawall.verdict": "failure",
                "seawall.duration": 0,
            },
        ),
        ("seawall.retry", {"http.request.resend_count": 2, "seawall.delay": 1}),
        (
            "seawall.attempt",
            {
                "http.request.resend_count": 2,
                "http.response.status_code": 200,
                "seawall.verdict": "success",
                "seawall.duration": 0,
            },
        ),
    ]


@pytest.mark.parametrize(
    ("stage", "error_type", "description"),
    [
        (Stage(only(), answer(404)), None, None),
        (Stage(only(), answer(503)), "503", "retries are off"),
        (Stage(only(retry=steady()), fault()), "connection reset", "no attempts left"),
        (Stage(only(degrade=[SimplifiedResponse(lambda request, error: Answer())]), answer(503)), None, None),
    ],
    ids=["the caller's mistake", "an error answer", "an exception", "answered from elsewhere"],
)
def test__status__is_an_error_where_the_call_failed(
    stage: Stage, error_type: str | None, description: str | None
) -> None:
    spans = traced(stage)
    stage.get()
    (span,) = spans.all
    assert attributes(span).get("error.type") == error_type
    assert span.status.description == description
    assert (span.status.status_code is StatusCode.ERROR) == (error_type is not None)


def test__refused_call__has_a_span_without_attempts() -> None:
    stage = Stage(only(breaker=brittle()))
    stage.resilience.isolate(HOST)
    spans = traced(stage)
    stage.get()
    (span,) = spans.all
    assert [(event.name, dict(event.attributes or {})) for event in span.events] == [
        ("seawall.rejected", {"seawall.policy": "breaker", "seawall.reason": "isolated"})
    ]
    told = attributes(span)
    assert (told["seawall.ending"], told["error.type"], told["seawall.attempts"]) == ("refused locally", "isolated", 0)
    assert "http.response.status_code" not in told


def test__degraded_call__says_so_and_shows_no_status_of_the_host() -> None:
    stage = Stage(only(degrade=[SimplifiedResponse(lambda request, error: Answer())]), answer(503))
    spans = traced(stage)
    stage.get()
    (span,) = spans.all
    assert events(span) == ["seawall.attempt", "seawall.degraded"]
    told = attributes(span)
    assert (told["seawall.served_from"], told["seawall.ending"]) == ("simplified", "a degraded answer")
    assert "http.response.status_code" not in told


def test__waiting_and_denial__are_events() -> None:
    stage = Stage(only(retry=steady(), budget=purse(1), bulkhead=one_at_a_time()), answer(503, after=1))
    spans = traced(stage)
    stage.together(stage.start(), stage.start())
    told = [name for span in spans.all for name in events(span)]
    assert told.count("seawall.bulkhead.waited") == 2
    assert told.count("seawall.retry.denied") == 2


def test__operation__has_no_address() -> None:
    stage = Stage({"printer": Policy()})
    spans = traced(stage)
    stage.resilience.execute("printer", lambda: None)
    (span,) = spans.all
    assert span.name == "seawall EXECUTE"
    assert not {"server.address", "http.request.method"} & set(attributes(span))
    assert attributes(span)["seawall.pattern"] == "printer"


# -- the current one -------------------------------------------------------------------------------


def seen(found: list[Any], status: int = 200) -> Step:
    """Notes which span is the current one while it is sent."""

    async def step(call: Call) -> Any:
        found.append(trace.get_current_span())
        return await answer(status)(call)

    return step


def test__while_attempts_run__it_is_the_current_span_and_not_before_or_after() -> None:
    found: list[Any] = []
    stage = Stage(only(retry=steady()), seen(found, 503), seen(found, 200))
    spans = traced(stage)
    stage.get()
    (span,) = spans.all
    assert [one.get_span_context() for one in found] == [span.context, span.context]
    assert trace.get_current_span() is INVALID_SPAN
    assert context.get_current() == {}


def test__span_around__is_its_parent_and_current_again() -> None:
    stage = Stage(only(), answer(200))
    spans = traced(stage)
    with spans.provider.get_tracer("app").start_as_current_span("handler") as outer:
        stage.get()
        assert trace.get_current_span() is outer
    ours, handler = spans.calls[0], spans.all[0]
    assert ours.parent == handler.context


# -- it always ends --------------------------------------------------------------------------------


def test__stream__ends_it_with_its_body() -> None:
    stage = Stage(only(), answer(200, stream=True))
    spans = traced(stage)
    response = stage.get()
    assert spans.all == []
    assert trace.get_current_span() is INVALID_SPAN
    response.admission.finish()
    (span,) = spans.all
    assert (events(span), span.status.status_code) == (["seawall.attempt"], StatusCode.UNSET)


def test__stream_that_is_abandoned__ends_it_too() -> None:
    stage = Stage(only(), answer(200, stream=True))
    spans = traced(stage)
    stage.get().admission.abandon()
    assert len(spans.all) == 1


def test__stream_that_breaks__is_an_error() -> None:
    from seawall.classification import of_error
    from seawall.outcome import ErrorKind

    stage = Stage(only(), answer(200, stream=True))
    spans = traced(stage)
    stage.get().admission.broke(of_error(ConnectionResetError(), ErrorKind.CONNECTION_RESET))
    (span,) = spans.all
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "the body broke off")
    assert attributes(span)["error.type"] == "connection reset"


@pytest.mark.filterwarnings("ignore:seawall.* dropped:ResourceWarning")
def test__stream_that_is_dropped__ends_it_with_the_next_visit() -> None:
    stage = Stage(only(), answer(200, stream=True), answer(200))
    spans = traced(stage)
    stage.get()
    stage.peer.opened.clear()
    gc.collect()
    stage.get()
    assert len(spans.all) == 2


ALONE = [scenario for scenario in SCENARIOS if not (scenario.acts or scenario.before)]


@pytest.mark.parametrize("scenario", ALONE, ids=str)
@pytest.mark.parametrize("error", [CancelledError, KeyboardInterrupt, GeneratorExit])
def test__interrupted_anywhere__ends_and_leaves_no_context(scenario: Scenario, error: type[BaseException]) -> None:
    for suspension in range(suspensions(scenario)):
        stage = Stage(scenario.policy, *scenario.steps)
        spans = traced(stage)
        with scenario.around:
            call = stage.start(scenario.request)
        pause = call.send(None)
        for _ in range(suspension):
            stage.clock.now += pause.seconds
            pause = call.send(None)
        if error is GeneratorExit:
            call.close()
            assert spans.all == [], "a finaliser may run inside any lock"
            stage.resilience.isolate(HOST)
        else:
            with pytest.raises(error):
                call.throw(error())
        (span,) = spans.all
        assert attributes(span)["seawall.ending"] == "cancelled"
        assert context.get_current() == {}


def test__call_is_collected_in_anothers_context__that_one_stays(caplog: pytest.LogCaptureFixture) -> None:
    import contextvars

    stage = Stage(only(retry=steady()), answer(503), answer(200))
    traced(stage)
    call = stage.start()
    contextvars.copy_context().run(call.send, None)
    with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False))) as span:
        del call
        gc.collect()
        assert trace.get_current_span() is span
    assert caplog.records == [], "opentelemetry complains of tokens of another context"


# -- on and off ------------------------------------------------------------------------------------


def test__instrument__twice_is_once_and_ends_once() -> None:
    stage, spans = Stage(only(), answer(200)), Spans()
    ends = [otel.instrument(stage.resilience, tracer_provider=spans.provider) for _ in range(2)]
    stage.get()
    assert len(spans.all) == 1
    for end in ends:
        end()
    stage.get()
    assert len(spans.all) == 1
    assert not stage.resilience.hub.around
    assert not stage.resilience.hub.listening


def test__end__ends_the_spans_of_calls_under_way() -> None:
    stage, spans = Stage(only(), answer(200, stream=True)), Spans()
    end = otel.instrument(stage.resilience, tracer_provider=spans.provider)
    response = stage.get()
    end()
    assert len(spans.all) == 1
    response.admission.finish()
    assert len(spans.all) == 1


def test__end__while_another_call_dies__that_is_passed_over() -> None:
    infos = [CallInfo(id=n, method="GET", address=None, port=None, pattern="all://") for n in range(2)]

    class Forgets(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            infos.clear()

    spans = Spans()
    spans.provider.add_span_processor(Forgets())
    tracing = otel._Tracing(spans.provider.get_tracer("seawall"))
    for number in range(2):
        tracing.begin(infos[number])(None)
    tracing.close()
    assert len(spans.all) == 1


def test__not_sampled__nothing_is_kept_but_the_decision_is_passed_on() -> None:
    found: list[Any] = []
    stage = Stage(only(), seen(found))
    spans = traced(stage, sampler=ALWAYS_OFF)
    stage.get()
    assert spans.all == []
    (span,) = found
    assert span.get_span_context().is_valid
    assert not span.get_span_context().trace_flags.sampled


class Interrupted:
    """A way to degrade whose beginning is interrupted, so that no end of the call is told."""

    source, reserve = "simplified", 0.0

    def begin(self, call: Any, runtime: Any) -> None:
        raise KeyboardInterrupt

    def could_answer(self, call: Any) -> bool:
        return False

    async def answer(self, trouble: Any) -> None:
        return None


@pytest.mark.parametrize(("options", "ended"), [({}, 1), ({"sampler": ALWAYS_OFF}, 0)], ids=["sampled", "not sampled"])
def test__interrupted_before_it_began__its_span_ends_and_is_not_current(options: Any, ended: int) -> None:
    stage = Stage(only(degrade=[Interrupted()]), answer(200))
    spans = traced(stage, **options)
    with pytest.raises(KeyboardInterrupt):
        stage.get()
    assert (len(spans.all), context.get_current()) == (ended, {})


def test__scheme_without_a_port_of_its_own__has_none() -> None:
    stage = Stage(only(), answer(200))
    spans, request = traced(stage), Request()
    request.url = "custom://api.test/"
    stage.get(request)
    assert attributes(spans.all[0])["server.address"] == "api.test"
    assert "server.port" not in attributes(spans.all[0])


def test__no_sdk__costs_nothing_but_goes() -> None:
    stage = Stage(only(), answer(200))
    otel.instrument(stage.resilience)
    assert stage.get().status_code == 200
    assert context.get_current() == {}


class Broken(SpanProcessor):
    """A user's, that raises."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("CANARY")

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("CANARY")


def test__span_processor_that_raises__breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(only(retry=steady()), answer(503), answer(200))
    spans = traced(stage)
    spans.provider.add_span_processor(Broken())
    assert stage.get().status_code == 200
    assert context.get_current() == {}
    assert "CANARY" not in caplog.text


def test__request_hook__outside_of_a_call_sets_nothing() -> None:
    spans = Spans()
    with spans.provider.get_tracer("app").start_as_current_span("GET") as span:
        otel.request_hook(span, object())
    assert attributes(spans.all[0]) == {}


def test__deadline__is_an_error_by_its_reason() -> None:
    stage = Stage(only(bulkhead=Bulkhead(max_concurrent=1)), answer(200))
    spans = traced(stage)
    with stage.clock.as_process_clock(), deadline(0):
        stage.get()
    assert attributes(spans.all[0])["error.type"] == "deadline exceeded"
