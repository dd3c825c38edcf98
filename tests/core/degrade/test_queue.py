"""Queue for retry: which requests are kept, what of them, and what the step answers."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests

from seawall import ErrorKind, Outbox, QueueForRetry, Retry, Timeouts
from seawall.degrade.credentials import is_credential
from seawall.outcome import Reason, Rejection
from seawall.policies.retry import Repeatable
from seawall.runtime import run_sync
from seawall.stores.items import Item, OutboxFull
from seawall.testing.virtual import VirtualClock
from tests.core.stage import Request, Stage, fault, hang, only, steady
from tests.core.stores.files import quick_folder

URL = "https://api.test/orders?q=1"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def outbox(clock: VirtualClock) -> Iterator[Outbox]:
    with quick_folder() as folder:
        yield Outbox(folder / "outbox.db", clock=clock, max_bytes=100_000)


def httpx_request(method: str, url: str, headers: Any, body: bytes | None) -> Any:
    return httpx.Request(method, url, headers=headers, content=body)


def requests_request(method: str, url: str, headers: Any, body: bytes | None) -> Any:
    return requests.Request(method, url, headers=headers, data=body).prepare()


LIBRARIES = pytest.mark.parametrize("make", [httpx_request, requests_request], ids=["httpx", "requests"])


def kept(queue: QueueForRetry, request: Any, body: bytes | None = None, retry: Retry | None = None) -> Item:
    assert queue.keep(request, body, "https://api.test:443", retry) is not None
    item = queue.outbox.lease(10)
    assert item is not None
    return item


# -- which ---------------------------------------------------------------------------------------------------------


@LIBRARIES
@pytest.mark.parametrize(
    ("method", "key", "retry", "accepted"),
    [
        ("GET", None, Retry(), True),
        ("PUT", None, Retry(), True),
        ("DELETE", None, None, True),
        ("POST", None, Retry(), False),
        ("POST", None, None, False),
        ("PATCH", None, Retry(), False),
        ("POST", "Idempotency-Key", Retry(), True),
        ("POST", "idempotency-key", None, True),
        ("POST", "Idempotency-Key", Retry(idempotency_header="X-Once"), False),
        ("POST", "X-Once", Retry(idempotency_header="X-Once"), True),
        ("POST", None, Retry(methods={"POST"}), True),
        ("PUT", None, Retry(methods={"POST"}), False),
    ],
)
def test__accepts__what_may_be_sent_twice(
    make: Any, method: str, key: str | None, retry: Retry | None, accepted: bool, outbox: Outbox
) -> None:
    request = make(method, URL, {} if key is None else {key: "k"}, None)
    assert QueueForRetry(outbox).accepts(request, retry) is accepted


@LIBRARIES
def test__accepts__no_post_with_an_empty_key(make: Any, outbox: Outbox) -> None:
    assert not QueueForRetry(outbox).accepts(make("POST", URL, {"Idempotency-Key": ""}, None), Retry())


def test__accepts__no_operation(outbox: Outbox) -> None:
    assert not QueueForRetry(outbox).accepts(object(), Retry(methods={"EXECUTE"}))


# -- what ----------------------------------------------------------------------------------------------------------

CANARIES = (
    "Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "api-key", "X-Goog-Api-Key", "X-Auth-Token",
    "X-Amz-Security-Token", "X-CSRF-Token", "Ocp-Apim-Subscription-Key", "X-Client-Secret", "X-Session-Id", "apikey",
    "X-Functions-Key", "Private-Token", "X-JWT-Assertion",
)  # fmt: skip
HARMLESS = (
    "Accept", "Content-Type", "Content-Encoding", "Idempotency-Key", "User-Agent", "X-Request-Id", "Traceparent",
    "X-Ms-Partition-Key", "If-Match", "Author", "X-Keyboard", "X-Monkey", "Content-Digest",
)  # fmt: skip


@pytest.mark.parametrize("name", CANARIES)
def test__credential__is_told_by_the_words_of_its_name(name: str) -> None:
    assert is_credential(name)
    assert is_credential(name.lower())


@pytest.mark.parametrize("name", HARMLESS)
def test__other_field__is_no_credential(name: str) -> None:
    assert not is_credential(name)


@LIBRARIES
def test__file__holds_no_secret_by_default(make: Any, outbox: Outbox) -> None:
    headers = dict.fromkeys(CANARIES, "CANARY") | dict.fromkeys(HARMLESS, "fine")
    url = "https://user:CANARY@api.test/orders?q=1"
    item = kept(QueueForRetry(outbox), make("POST", url, headers, b"body"), b"body")
    assert item.url == URL
    names = {name.lower() for name, _ in item.headers}
    assert {name.lower() for name in HARMLESS} <= names
    assert not any("CANARY" in value for _, value in item.headers)
    outbox.close()
    with open(outbox.path, "rb") as file:
        assert b"CANARY" not in file.read()


@LIBRARIES
def test__store_credentials__keeps_them(make: Any, outbox: Outbox) -> None:
    headers = dict.fromkeys(CANARIES, "CANARY")
    item = kept(QueueForRetry(outbox, store_credentials=True), make("PUT", URL, headers, None))
    assert {name.lower() for name in CANARIES} <= {name.lower() for name, _ in item.headers}


@LIBRARIES
def test__framing__is_not_kept(make: Any, outbox: Outbox) -> None:
    headers = {"Connection": "close, X-Hop", "X-Hop": "1", "TE": "trailers", "Expect": "100-continue", "X-Kept": "1"}
    item = kept(QueueForRetry(outbox, store_credentials=True), make("PUT", URL, headers, b"body"), b"body")
    names = {name.lower() for name, _ in item.headers}
    assert "x-kept" in names
    assert not names & {"connection", "x-hop", "te", "expect", "host", "content-length", "transfer-encoding"}


@LIBRARIES
def test__configured_key__is_kept_whatever_its_name(make: Any, outbox: Outbox) -> None:
    retry = Retry(idempotency_header="X-Auth-Token")
    item = kept(QueueForRetry(outbox), make("POST", URL, {"X-Auth-Token": "k"}, None), retry=retry)
    assert ("x-auth-token", "k") in [(name.lower(), value) for name, value in item.headers]


def test__repeated_fields__stay_apart_and_keep_their_bytes(outbox: Outbox) -> None:
    pairs = [(b"X-Thing", b"a"), (b"X-Thing", b"\xef\xff")]
    item = kept(QueueForRetry(outbox), httpx.Request("GET", URL, headers=pairs))
    assert [pair for pair in item.headers if pair[0] == "X-Thing"] == [("X-Thing", "a"), ("X-Thing", "\xef\xff")]


def test__long_body__is_not_kept(outbox: Outbox) -> None:
    queue = QueueForRetry(outbox, max_body=10)
    assert queue.keep(httpx.Request("PUT", URL), b"x" * 11, "h", None) is None
    assert queue.keep(httpx.Request("PUT", URL), b"x" * 10, "h", None) is not None
    assert len(outbox) == 1


# -- the step ------------------------------------------------------------------------------------------------------


class Runtime:
    """What the step asks of a mount."""

    def __init__(self, *, replayable: bool) -> None:
        self.replayable = replayable
        self.body: bytes | None = b"at hand"
        self.read = 0

    def repeatable(self, call: Any) -> Repeatable:
        return Repeatable(call.request.method, body=self.replayable, has_key=False)

    def content(self, call: Any) -> bytes | None:
        self.read += 1
        return self.body if self.body is None else bytes(call.request.content)

    async def disk(self, function: Any, *args: Any) -> Any:
        return function(*args)


class Trouble:
    """As a step is told of it."""

    response = None

    def __init__(self, *, body: bytes = b"body", replayable: bool = True, method: str = "PUT") -> None:
        self.call = Stage(only()).call()
        self.call.request = httpx.Request(method, URL, content=body)
        self.rejection = Rejection(Reason.CIRCUIT_OPEN, "h", 7.0)
        self.error = ConnectionError("down")
        self.runtime = Runtime(replayable=replayable)


def test__answer__is_a_rejection_with_the_receipt(outbox: Outbox, clock: VirtualClock) -> None:
    trouble = Trouble()
    ended = run_sync(QueueForRetry(outbox).answer(trouble))
    assert isinstance(ended, Rejection)
    assert (ended.reason, ended.host, ended.retry_after) == (Reason.QUEUED, trouble.call.state.name, None)
    assert ended.cause is trouble.error
    assert ended.facts is not None
    assert ended.facts["receipt"].state == "queued"
    assert outbox.due() == {trouble.call.state.name: 7.0}
    clock.advance(7)
    item = outbox.lease(1)
    assert item is not None
    assert (item.method, item.url, item.body) == ("PUT", URL, b"body")


@pytest.mark.parametrize(
    "given",
    [{"method": "POST"}, {"replayable": False}, {"body": b"x" * 2_000_000}],
    ids=["unsafe", "read once", "too long"],
)
def test__answer__passes_on_without_reading_the_body(given: Any, outbox: Outbox) -> None:
    trouble = Trouble(**given)
    assert run_sync(QueueForRetry(outbox).answer(trouble)) is None
    assert (trouble.runtime.read, len(outbox)) == (0, 0)


def test__answer__passes_on_what_can_be_sent_again_but_is_not_at_hand(outbox: Outbox) -> None:
    trouble = Trouble()
    trouble.runtime.body = None
    assert run_sync(QueueForRetry(outbox).answer(trouble)) is None
    assert len(outbox) == 0


def test__answer__longer_than_it_says__is_not_kept(outbox: Outbox) -> None:
    trouble = Trouble(body=b"x" * 2_000_000)
    del trouble.call.request.headers["content-length"]
    assert run_sync(QueueForRetry(outbox).answer(trouble)) is None
    assert len(outbox) == 0


def test__primary__is_left_all_of_the_deadline_and_waits_no_longer_than_degrade_after(outbox: Outbox) -> None:
    stage = Stage(only(degrade=[QueueForRetry(outbox)], timeouts=Timeouts(total=10)), hang())
    stage.get(Request("PUT"))
    assert stage.now == 10
    for method, waited in (("PUT", 0.0), ("POST", 1.0)):  # what it would not keep is retried as without it
        policy = only(degrade=[QueueForRetry(outbox)], degrade_after=0.5, retry=steady(max_retries=1))
        stage = Stage(policy, fault(ErrorKind.CONNECTION_REFUSED))
        stage.get(Request(method))
        assert stage.now == waited


def test__answer__without_room__says_so(outbox: Outbox) -> None:
    with pytest.raises(OutboxFull):
        run_sync(QueueForRetry(outbox).answer(Trouble(body=b"x" * 150_000)))


# -- the configuration ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"outbox": "outbox.db"}, TypeError),
        ({"outbox": Outbox}, TypeError),
        ({"queue_timeout": 0}, ValueError),
        ({"queue_timeout": float("inf")}, ValueError),
        ({"queue_timeout": "1 h"}, TypeError),
        ({"max_body": -1}, ValueError),
        ({"store_credentials": 1}, TypeError),
    ],
)
def test__configuration__that_cannot_be_meant__is_refused(options: Any, error: type[Exception], outbox: Outbox) -> None:
    with pytest.raises(error, match=next(iter(options))):
        QueueForRetry(**({"outbox": outbox} | options))


def test__pickle__keeps_the_configuration(outbox: Outbox) -> None:
    twin = pickle.loads(pickle.dumps(QueueForRetry(outbox, queue_timeout=5)))
    assert (twin.queue_timeout, twin.outbox.path) == (5, outbox.path)
