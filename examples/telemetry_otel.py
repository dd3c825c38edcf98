"""OpenTelemetry: a span for the call, and inside it the spans of httpx's own instrumentation, one per attempt."""

import httpx
from _server import Answer, serve
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from httpx_resilience import mount
from seawall import Policy, Resilience, Retry
from seawall.telemetry import otel


def main() -> None:
    exporter = InMemorySpanExporter()  # in a program of yours: the OTLP exporter
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    HTTPXClientInstrumentor().instrument(tracer_provider=provider, request_hook=otel.request_hook)

    resilience = Resilience(Policy(retry=Retry(base_delay=0.01)))
    end = otel.instrument(resilience, tracer_provider=provider)
    with serve(Answer(503)) as peer, mount(httpx.Client(), resilience) as client:
        client.get(peer.url)
    end()
    HTTPXClientInstrumentor().uninstrument()

    for span in sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0):
        attributes = span.attributes or {}
        resends = attributes.get("http.request.resend_count")
        print(f"{'  ' if span.parent else ''}{span.name}" + (f", repeat {resends}" if resends else ""))
        for event in span.events:
            print(f"    - {event.name}: {dict(event.attributes or {})}")


if __name__ == "__main__":
    main()
