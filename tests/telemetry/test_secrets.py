"""A canary in every place where secrets are: it is in nothing that we log, tell, trace, measure or say."""

from __future__ import annotations

import logging
import traceback
from contextlib import ExitStack
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from prometheus_client import CollectorRegistry, generate_latest

import seawall
from seawall import Answer, Policy, Resilience, Retry, SimplifiedResponse, StaleResponse, telemetry
from tests.contract import steps
from tests.contract.clients import Kit
from tests.contract.peer import Peer
from tests.contract.settings import retrying, tripping
from tests.contract.steps import answer
from tests.telemetry.spans import Spans
from tests.telemetry.test_otel_metrics import Meters

CANARY = "s3cr3tc4n4ry"
HEADERS = {
    "Authorization": f"Bearer {CANARY}",
    "Cookie": f"session={CANARY}",
    "X-API-Key": CANARY,
    "Idempotency-Key": CANARY,
    "X-Custom": CANARY,
}
SAID = [("X-Custom", CANARY), ("Set-Cookie", f"id={CANARY}"), ("Location", f"/{CANARY}")]


class Ears:
    """Everything that is heard of a Resilience, as text."""

    def __init__(self, stack: ExitStack, resilience: Resilience, caplog: pytest.LogCaptureFixture) -> None:
        self.said: list[str] = []
        self._caplog = caplog
        self._spans, self._meters, self._registry = Spans(), Meters(), CollectorRegistry()
        caplog.set_level(logging.DEBUG, logger="seawall")
        stack.callback(resilience.subscribe(lambda event: self.said.append(repr(event))))
        stack.callback(telemetry.logging.instrument(resilience))
        stack.callback(
            telemetry.otel.instrument(
                resilience, tracer_provider=self._spans.provider, meter_provider=self._meters.provider
            )
        )
        stack.callback(telemetry.prometheus.instrument(resilience, registry=self._registry, each_host=True))

    def hear(self, thing: Any) -> None:
        """What an answer or an exception says of itself."""
        story = seawall.report(thing)
        if story is not None:
            self.said += [str(story), repr(story), repr(story.attempts), repr(story.ending)]
        if isinstance(thing, seawall.ResilienceError):
            self.said += [
                str(thing),
                repr(thing),
                *traceback.TracebackException.from_exception(thing).format(chain=False),
            ]
        self.said += [note for note in getattr(thing, "__notes__", []) if note.startswith("seawall")]

    def everything(self) -> str:
        formatter = logging.Formatter("%(levelname)s %(name)s %(message)s")
        ours = [formatter.format(record) for record in self._caplog.records if record.name == "seawall"]
        spans = [text for span in self._spans.calls for text in said_by(span)]
        metrics = [repr(metric.to_json()) for metric in self._meters.collect().values()]
        return "\n".join([*self.said, *ours, *spans, *metrics, generate_latest(self._registry).decode()])


def said_by(span: ReadableSpan) -> list[str]:
    return [span.name, repr(dict(span.attributes or {})), repr(span.status.description), span.to_json()]


def nosy(*_: Any) -> Any:
    """A function of the user's that raises what it was given."""
    raise RuntimeError(CANARY)


def secretive(policy: Policy) -> Resilience:
    resilience = Resilience({"all://": policy})
    resilience.subscribe(nosy)
    resilience.hub.enclose(nosy)
    return resilience


async def use(kit: Kit, peer: Peer, ears: Ears, resilience: Resilience) -> None:
    """A POST and a GET, with secrets wherever one can be."""
    url = f"http://{CANARY}:{CANARY}@127.0.0.1:{peer.port}/{CANARY}?q={CANARY}"
    async with kit.mounted(resilience) as client:
        for method, options in [("POST", {"content": CANARY.encode()}), ("GET", {})]:
            try:
                ears.hear((await client.request(method, url, headers=HEADERS, **options)).raw)
            except kit.errors.base as error:
                ears.hear(error)


@pytest.mark.parametrize(
    "script",
    [
        [answer(503, CANARY.encode(), SAID), answer(200, CANARY.encode(), SAID)],
        [answer(429, f'{{"error": "quota {CANARY}"}}'.encode(), [*SAID, ("Content-Type", "application/json")])],
        [answer(503, CANARY.encode(), [*SAID, ("Retry-After", CANARY)])],
        [answer(404, CANARY.encode(), SAID)],
        [steps.raw(CANARY.encode() * 3)],
        [steps.reset()],
        [steps.short_body(CANARY.encode())],
    ],
    ids=["retried", "quota", "retried in vain", "not found", "garbage", "reset", "body breaks"],
)
@pytest.mark.parametrize("degrades", [False, True], ids=["bare", "degrading"])
async def test__canary__is_nowhere(
    kit: Kit, peer: Peer, stack: ExitStack, caplog: pytest.LogCaptureFixture, script: list[Any], degrades: bool
) -> None:
    peer.script(*script)
    ways = [
        StaleResponse(key=nosy),
        SimplifiedResponse(nosy),
        SimplifiedResponse(lambda *_: Answer(content=CANARY.encode())),
    ]
    resilience = secretive(
        Policy(
            retry=retrying(methods={"GET", "POST"}, when=nosy),
            breaker=tripping(failure_threshold=4),
            classify=nosy,
            degrade=ways if degrades else (),
        )
    )
    ears = Ears(stack, resilience, caplog)
    for _ in range(2):
        await use(kit, peer, ears, resilience)
    resilience.isolate(peer.url)  # refusals
    await use(kit, peer, ears, resilience)
    said = ears.everything()
    assert "raised RuntimeError; calls go on without it" in said, "nobody was heard"
    assert "isolated" in said
    assert CANARY not in said.lower()


async def test__canary__in_the_words_of_our_exceptions_is_nowhere(
    kit: Kit, peer: Peer, stack: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    peer.script(answer(503, CANARY.encode(), SAID))
    resilience = secretive(Policy(retry=Retry(max_retries=1, base_delay=0.01, on_exhausted="raise"), classify=nosy))
    ears = Ears(stack, resilience, caplog)
    await use(kit, peer, ears, resilience)
    said = ears.everything()
    assert "attempts exhausted (retry), after 2 attempts" in said
    assert CANARY not in said.lower()


def test__canary__in_the_names_of_operations_arguments_and_errors_is_nowhere(
    stack: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(secret: str) -> None:
        raise ValueError(secret)

    resilience = Resilience({"printer": Policy(retry=retrying())})
    ears = Ears(stack, resilience, caplog)
    with pytest.raises(seawall.MaxRetriesExceeded) as caught:
        resilience.execute("printer", fails, CANARY)
    ears.hear(caught.value)
    said = ears.everything()
    assert "EXECUTE" in said
    assert CANARY not in said.lower()
