"""OpenTelemetry: a span for each call, with its attempts as events, and metrics. Only the API is needed.

The span is the call as the caller knows it; what is sent are the spans of the client's own instrumentation inside it,
one per attempt in httpx and httpx2. It lasts from the start of the call to the end of the answer's body, and is the
current span from its start until the caller has the answer. It is of the internal kind: it sends nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from seawall.events import (
    AttemptEnded,
    AttemptStarted,
    BudgetExhausted,
    BulkheadWaited,
    CallEnded,
    Degraded,
    Event,
    Rejected,
    RetryScheduled,
)
from seawall.forks import Lock
from seawall.outcome import Ending, Verdict
from seawall.telemetry._measures import BUCKETS, INSTRUMENTS, Instrument, Measures, outcome_of
from seawall.telemetry._once import once

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.trace import SpanKind, Status, StatusCode
except ImportError as error:
    raise ImportError("seawall.telemetry.otel needs opentelemetry-api: pip install 'seawall[otel]'") from error

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import Meter, MeterProvider
    from opentelemetry.trace import Span, Tracer, TracerProvider

    from seawall.events import CallInfo
    from seawall.resilience import Resilience

    _Write = Callable[[float, dict[str, str]], None]

_CALL: Final = context.create_key("seawall-call")
_RESENDS: Final = "http.request.resend_count"
_WELL: Final = ("ok", "fallback", "cancelled")


def instrument(
    resilience: Resilience,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    each_host: bool = False,
) -> Callable[[], None]:
    """Trace and measure the calls of this Resilience; returns what ends it.

    tracer_provider, meter_provider: left out: the global ones.
    each_host: True makes `host_group` of the metrics the host itself, at most 1,000 of them; else it is what was
        configured (a pattern, a group, a provider name), and "all://" for every host that no entry names.

    Spans of calls under way are ended when it ends. Twice for the same providers is once. Thread- and async-safe.
    """

    def begin() -> Callable[[], None]:
        tracing = _Tracing(trace.get_tracer("seawall", tracer_provider=tracer_provider))
        export = _Export(meter_provider or metrics.get_meter_provider())
        measures = Measures(resilience, export, each_host=each_host)
        ends = (
            resilience.hub.enclose(tracing.begin),
            resilience.subscribe(tracing.hear),
            resilience.subscribe(measures.hear),
        )
        measures.look(resilience)

        def end() -> None:
            for one in ends:
                one()
            tracing.close()
            measures.close()

        return end

    return once(resilience, ("otel", tracer_provider, meter_provider), begin)


def request_hook(span: Span, *_: object) -> None:
    """A `request_hook` for the instrumentation of httpx and httpx2: sets `http.request.resend_count` on our retries.

    `HTTPXClientInstrumentor().instrument(request_hook=request_hook, async_request_hook=async_request_hook)`
    """
    call = context.get_value(_CALL)
    if isinstance(call, _Trace) and call.attempt > 1:
        span.set_attribute(_RESENDS, call.attempt - 1)


async def async_request_hook(span: Span, *_: object) -> None:
    """`request_hook` for async clients, whose instrumentation wants an async function."""
    request_hook(span)


class _Trace:
    """The span of one call, and what is still to come of it."""

    __slots__ = ("attempt", "in_flight", "is_over", "is_well", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.attempt = 0
        """The number of the one under way."""
        self.in_flight = 0
        """Attempts whose body has not ended."""
        self.is_over = False
        """The caller has answer, exception or refusal."""
        self.is_well = True
        """It has not failed, as far as anybody knows."""


class _Tracing:
    """The spans of the calls of one Resilience."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._traces: WeakKeyDictionary[CallInfo, _Trace] = WeakKeyDictionary()

    def begin(self, call: CallInfo) -> Callable[[BaseException | None], None]:
        """Start the span of a call and make it the current one; returns what makes the one before current again."""
        attributes: dict[str, Any] = {"seawall.pattern": call.pattern}
        if call.address is not None:
            attributes |= {"http.request.method": call.method, "server.address": call.address}
            if call.port is not None:
                attributes["server.port"] = call.port
        span = self._tracer.start_span(f"seawall {call.method}", kind=SpanKind.INTERNAL, attributes=attributes)
        one = _Trace(span)
        if span.is_recording():
            self._traces[call] = one
        ours = context.set_value(_CALL, one, trace.set_span_in_context(span))
        token = context.attach(ours)

        def leave(error: BaseException | None) -> None:
            died = isinstance(error, GeneratorExit)
            if not died or context.get_current() is ours:  # a collection may run in anybody's context
                context.detach(token)
            if error is not None and not died and not one.is_over:
                self._end(call, one)

        return leave

    def hear(self, event: Event) -> None:
        """A listener for every kind of event."""
        call = getattr(event, "call", None)
        one = None if call is None else self._traces.get(call)
        if one is None:
            return
        match event:
            case AttemptStarted():
                one.attempt = event.number
                one.in_flight += 1
            case AttemptEnded():
                self._attempt_ended(event, one)
            case CallEnded():
                self._call_ended(event, one)
            case _:
                one.span.add_event(*_told(event))

    def close(self) -> None:
        """End what is under way."""
        for living in self._traces.keyrefs():  # a list, made in one step: calls begin and end meanwhile
            call = living()
            one = None if call is None else self._traces.get(call)
            if call is not None and one is not None:
                self._end(call, one)

    def _attempt_ended(self, event: AttemptEnded, one: _Trace) -> None:
        attributes: dict[str, Any] = {
            _RESENDS: event.number - 1,
            "seawall.verdict": event.verdict.value,
            "seawall.duration": event.duration,
        }
        if event.status is not None:
            attributes["http.response.status_code"] = event.status
        if event.kind is not None:
            attributes["error.type"] = _error_type(event.status, event.kind.value)
        one.span.add_event("seawall.attempt", attributes)
        one.in_flight -= 1
        if one.is_over and one.is_well and event.kind is not None and event.verdict is not Verdict.SUCCESS:
            one.span.set_attribute("error.type", event.kind.value)
            one.span.set_status(Status(StatusCode.ERROR, Ending.BODY_BROKE.value))
        if one.is_over and one.in_flight <= 0:
            self._end(event.call, one)

    def _call_ended(self, event: CallEnded, one: _Trace) -> None:
        span, outcome = one.span, outcome_of(event.ending)
        span.set_attributes(
            {
                "seawall.host": event.host,
                "seawall.host_group": event.host_group,
                "seawall.attempts": event.attempts,
                "seawall.ending": event.ending.value,
                "seawall.served_from": event.served_from,
            }
        )
        if event.status is not None and event.served_from == "origin":
            span.set_attribute("http.response.status_code", event.status)
        one.is_over, one.is_well = True, outcome in _WELL
        if not one.is_well:
            word = event.ending.value if event.kind is None else event.kind.value
            span.set_attribute("error.type", event.reason or _error_type(event.status, word))
            span.set_status(Status(StatusCode.ERROR, event.ending.value))
        if one.in_flight <= 0:
            self._end(event.call, one)

    def _end(self, call: CallInfo, one: _Trace) -> None:
        one.is_over = True
        if self._traces.pop(call, None) is not None:
            one.span.end()


def _error_type(status: int | None, word: str) -> str:
    """As the conventions say: the status as text, if there was one that is an error; else a word for it."""
    return str(status) if status is not None and status >= 400 else word


def _told(event: Event) -> tuple[str, dict[str, Any]]:
    """Name and attributes of what happened between the attempts."""
    match event:
        case RetryScheduled():
            return "seawall.retry", {_RESENDS: event.number - 1, "seawall.delay": event.delay}
        case BulkheadWaited():
            return "seawall.bulkhead.waited", {"seawall.wait": event.seconds, "seawall.admitted": event.admitted}
        case Rejected():
            facts: dict[str, Any] = {"seawall.policy": event.policy, "seawall.reason": event.reason}
            if event.retry_after is not None:
                facts["seawall.retry_after"] = event.retry_after
            return "seawall.rejected", facts
        case BudgetExhausted():
            return "seawall.retry.denied", {}
        case _:
            assert isinstance(event, Degraded), event
            return "seawall.degraded", {"seawall.source": event.source}


class _Export:
    """Figures of one Resilience into the instruments of a meter. Levels that add up are told by their changes."""

    def __init__(self, provider: MeterProvider) -> None:
        with _making:
            known = _instruments.get(provider)
            if known is None:
                meter = provider.get_meter("seawall")
                known = _instruments[provider] = {one: _writer(meter, one) for one in INSTRUMENTS}
        self._write = known
        self._levels: dict[tuple[Instrument, tuple[str, ...]], float] = {}

    def __call__(self, instrument: Instrument, value: float, labels: tuple[str, ...]) -> None:
        if instrument.kind == "sum":
            key = (instrument, labels)
            value, self._levels[key] = value - self._levels.get(key, 0), value
        attributes = {
            name.replace("error_type", "error.type"): label
            for name, label in zip(instrument.labels, labels, strict=True)
            if label
        }
        self._write[instrument](value, attributes)


_instruments: WeakKeyDictionary[MeterProvider, dict[Instrument, _Write]] = WeakKeyDictionary()
"""Made once for a provider: SDKs before 1.30 warn of a second one."""
_making: Final = Lock()


def _writer(meter: Meter, instrument: Instrument) -> _Write:
    name, unit, text = instrument.name, instrument.unit, instrument.text
    if instrument.kind == "counter":
        return meter.create_counter(name, unit, text).add
    if instrument.kind == "sum":
        return meter.create_up_down_counter(name, unit, text).add
    if instrument.kind == "least":
        return meter.create_gauge(name, unit, text).set
    try:
        made = meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=list(BUCKETS))
    except TypeError:  # an API before 1.30: the SDK's buckets, unless a view says otherwise
        made = meter.create_histogram(name, unit, text)
    return made.record
