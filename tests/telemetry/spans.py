"""Spans as they are exported, kept and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

SHOWN = (
    "http.response.status_code",
    "error.type",
    "http.request.resend_count",
    "seawall.verdict",
    "seawall.attempts",
    "seawall.ending",
    "seawall.policy",
    "seawall.reason",
    "seawall.source",
)
"""What does not differ from run to run, and is worth a look."""
OLDER = {"http.status_code": "http.response.status_code"}
"""Names that instrumentations use until told otherwise (OTEL_SEMCONV_STABILITY_OPT_IN)."""


class Spans:
    """A tracer provider, and what was exported of it."""

    def __init__(self, **options: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(**options)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def all(self) -> list[ReadableSpan]:
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    @property
    def calls(self) -> list[ReadableSpan]:
        """Ours only."""
        return [span for span in self.all if span.name.startswith("seawall ")]

    def drawn(self) -> str:
        """A line for each span and event, in the order of time, what is inside a span indented."""
        children: dict[int | None, list[ReadableSpan]] = {}
        for span in self.all:
            children.setdefault(span.parent.span_id if span.parent else None, []).append(span)
        lines: list[str] = []

        def draw(span: ReadableSpan, indent: str) -> None:
            kind = span.kind.name.lower()
            lines.append(f"{indent}{span.name} [{kind}]{shown(span.attributes)}")
            inside: list[tuple[int, ReadableSpan | str]] = [
                (event.timestamp, f"{indent}  * {event.name}{shown(event.attributes)}") for event in span.events
            ]
            assert span.context is not None
            inside += [(child.start_time or 0, child) for child in children.get(span.context.span_id, [])]
            for _, one in sorted(inside, key=lambda pair: pair[0]):
                if isinstance(one, str):
                    lines.append(one)
                else:
                    draw(one, indent + "  ")

        for root in children.get(None, []):
            draw(root, "")
        return "\n".join(lines)


def shown(attributes: Mapping[str, Any] | None) -> str:
    found = {OLDER.get(name, name): value for name, value in (attributes or {}).items()}
    told = [f"{name}={found[name]}" for name in SHOWN if name in found]
    return f" {', '.join(told)}" if told else ""


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def events(span: ReadableSpan) -> list[str]:
    return [event.name for event in span.events]
